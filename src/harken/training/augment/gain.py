"""Random level."""

from torch import Tensor, nn

from harken.training.augment.random_draws import check_range, from_db, uniform


class Gain(nn.Module):
    """Multiply each waveform by a random gain. Samples beyond full scale are clipped, as in an analog-to-digital converter.

    Parameters
    ----------
    min_gain_db, max_gain_db
        Range of the gain, drawn uniformly in decibels. Both 0: off.

    Raises
    ------
    HarkenError
        If the range is reversed.
    """

    def __init__(self, min_gain_db: float, max_gain_db: float) -> None:
        super().__init__()
        check_range("min_gain_db", min_gain_db, "max_gain_db", max_gain_db)
        self.min_gain_db = min_gain_db
        self.max_gain_db = max_gain_db

    def forward(self, waveform: Tensor) -> Tensor:
        if not self.training or self.min_gain_db == self.max_gain_db == 0:
            return waveform
        gain = from_db(uniform(len(waveform), self.min_gain_db, self.max_gain_db, waveform))
        return (waveform * gain).clamp(-1.0, 1.0)
