"""The recurrent counterpart of the tutorial's network: two LSTM layers over log-mel frames."""

from torch import Tensor, nn

from harken.models.dropout import Dropout
from harken.models.keras_init import initialize_like_keras, initialize_lstm_like_keras

_UNITS = 128
_DENSE = 128
_DROPOUT = 0.3


class TutorialLSTM(nn.Module):
    """Two LSTM layers of 128 units (Hochreiter & Schmidhuber 1997): features [N, bands, frames] -> logits [N, classes].

    The last state passes through the tutorial's dense layer of 128 units with ReLU and dropout. Each band is normalized by
    the mean and variance of the training clips (batch normalization without parameters). Log-mel energies are between -14
    and 5 or so, far from where the gates of an LSTM respond.
    """

    def __init__(self, classes: int, bands: int, frames: int) -> None:
        super().__init__()
        self.norm = nn.BatchNorm1d(bands, affine=False)
        self.lstm1 = nn.LSTM(bands, _UNITS, batch_first=True)
        self.dropout1 = Dropout(_DROPOUT)
        self.lstm2 = nn.LSTM(_UNITS, _UNITS, batch_first=True)
        self.dropout2 = Dropout(_DROPOUT)
        self.dense = nn.Linear(_UNITS, _DENSE)
        self.relu = nn.ReLU()
        self.dropout3 = Dropout(_DROPOUT)
        self.output = nn.Linear(_DENSE, classes)
        initialize_like_keras(self)
        initialize_lstm_like_keras(self.lstm1)
        initialize_lstm_like_keras(self.lstm2)

    def forward(self, features: Tensor) -> Tensor:
        states, _ = self.lstm1(self.norm(features).transpose(1, 2))
        states, _ = self.lstm2(self.dropout1(states))
        x = self.relu(self.dense(self.dropout2(states[:, -1])))
        logits: Tensor = self.output(self.dropout3(x))
        return logits
