"""Two banks in one."""

from torch import Tensor, nn

from harken.training.augment.noise import Bank
from harken.training.augment.random_draws import check_probability, chosen


class MixedBank(nn.Module):
    """Draws windows from recordings, a share of them made instead."""

    def __init__(self, recorded: Bank, made: Bank, share: float) -> None:
        super().__init__()
        check_probability("share", share)
        self.recorded = recorded
        self.made = made
        self.share = share

    def draw(self, count: int) -> Tensor:
        """Return `count` windows, float [count, samples], full scale 1.0."""
        windows = self.recorded.draw(count)
        if self.share == 0:  # no lot is drawn: the draws of a recipe without it are as they were
            return windows
        rows = chosen(count, self.share, windows).flatten().nonzero().flatten()
        if len(rows):
            windows[rows] = self.made.draw(len(rows))
        return windows
