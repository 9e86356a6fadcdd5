"""Two sources of windows combined."""

from torch import Tensor, nn

from harken.training.augment.noise import Bank
from harken.training.augment.random_draws import check_probability, random_mask


class MixedBank(nn.Module):
    """Draw windows from recordings and replace a share of them with generated ones.

    Parameters
    ----------
    recorded, made
        The two sources, with windows of the same length.
    share
        Share of generated windows, from 0 to 1.
    """

    def __init__(self, recorded: Bank, made: Bank, share: float) -> None:
        super().__init__()
        check_probability("share", share)
        self.recorded = recorded
        self.made = made
        self.share = share

    def draw(self, count: int) -> Tensor:
        """Return `count` windows, float [count, samples], full scale 1.0."""
        windows = self.recorded.draw(count)
        if (
            self.share == 0
        ):  # uses no random number, so that recipes without generated windows draw what they always drew
            return windows
        rows = random_mask(count, self.share, windows).flatten().nonzero().flatten()
        if len(rows):
            windows[rows] = self.made.draw(len(rows))
        return windows
