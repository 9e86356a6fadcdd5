"""Att-RNN: convolutions, two bidirectional LSTMs and attention (de Andrade et al. 2018, arXiv:1808.08929)."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from harken.models.keras_init import initialize_like_keras, initialize_lstm_like_keras

_UNITS = 64  # in each direction


class AttRNN(nn.Module):
    """Att-RNN over log-mel features [N, bands, frames] -> logits [N, classes].

    de Andrade et al. 2018, arXiv:1808.08929. Two convolutions over time with a single output channel are followed by two
    bidirectional LSTMs. A dense layer turns the last state into a query, and attention weights the frames by it.

    With 80 bands and 36 classes it has 202,249 parameters (the paper: 202 K), with 40 bands and twelve classes 180,977.
    Each band is normalized by the statistics of the training clips, where the original normalizes each spectrogram.
    Initial weights are as in Keras.
    """

    def __init__(self, classes: int, bands: int, frames: int) -> None:
        super().__init__()
        self.norm = nn.BatchNorm1d(bands, affine=False)
        self.convolutions = nn.Sequential(
            nn.Conv2d(1, 10, (1, 5), padding=(0, 2)),
            nn.ReLU(inplace=True),
            nn.BatchNorm2d(10),
            nn.Conv2d(10, 1, (1, 5), padding=(0, 2)),
            nn.ReLU(inplace=True),
            nn.BatchNorm2d(1),
        )
        self.lstm1 = nn.LSTM(bands, _UNITS, batch_first=True, bidirectional=True)
        self.lstm2 = nn.LSTM(2 * _UNITS, _UNITS, batch_first=True, bidirectional=True)
        self.query = nn.Linear(2 * _UNITS, 2 * _UNITS)
        self.dense1 = nn.Linear(2 * _UNITS, 64)
        self.dense2 = nn.Linear(64, 32)
        self.output = nn.Linear(32, classes)
        initialize_like_keras(self)
        initialize_lstm_like_keras(self.lstm1)
        initialize_lstm_like_keras(self.lstm2)

    def forward(self, features: Tensor) -> Tensor:
        x = self.convolutions(self.norm(features).unsqueeze(1))
        states, _ = self.lstm1(x.squeeze(1).transpose(1, 2))
        states, _ = self.lstm2(states)  # [N, frames, 2 * units]
        query = self.query(states[:, -1])
        weights = torch.softmax(states @ query.unsqueeze(2), dim=1)  # [N, frames, 1]
        attended = (weights * states).sum(dim=1)
        logits: Tensor = self.output(self.dense2(F.relu(self.dense1(attended))))
        return logits
