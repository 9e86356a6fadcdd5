"""Hard negatives: windows of running speech that the network mistakes for a keyword.

HardNegatives    find such windows, and add them to batches

The network soon recognizes most windows of speech as `_unknown_` and learns nothing more from them. Searching for the others
with the current network, once per epoch, is online hard example mining (A. Shrivastava et al., 2016, arXiv:1604.03540).
"""

from collections.abc import Callable

import torch
from torch import Tensor

from harken.training.augment import WindowBank
from harken.training.augment.random_draws import random_mask

_SEARCHED = 12_000  # windows scored per epoch: more than three hours of speech
_KEPT = 2_000
_BATCH = 256
_PEAK = 0.5  # level at which windows are scored; afterwards they are augmented like any other example


class HardNegatives:
    """Search running speech for windows that a network mistakes for a keyword.

    Parameters
    ----------
    bank
        The running speech.
    """

    def __init__(self, bank: WindowBank) -> None:
        self.bank = bank
        self.places: Tensor | None = None  # numbers of the windows found

    @torch.no_grad()
    def search(self, keyword_probability: Callable[[Tensor], Tensor], *, seed: int) -> None:
        """Score random windows, and keep those with the highest probability of a keyword.

        Parameters
        ----------
        keyword_probability
            Function that returns the probability of the most probable keyword [N] for waveforms [N, samples].
        seed
            Random seed for choosing the windows, so that a resumed run searches the same ones.
        """
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            places = self.bank.draw_places(_SEARCHED)
        scores = torch.cat([keyword_probability(self._at_one_level(part)) for part in torch.split(places, _BATCH)])
        self.places = places[scores.topk(_KEPT).indices]

    def replace_some(self, windows: Tensor, share: float) -> Tensor:
        """Replace a share of windows [N, samples] with hard negatives, and return the windows."""
        if self.places is None:
            return windows
        rows = random_mask(len(windows), share, windows).flatten().nonzero().flatten()
        picked = torch.randint(len(self.places), (len(rows),), device=self.places.device)
        windows[rows] = self.bank.windows(self.places[picked])
        return windows

    def _at_one_level(self, places: Tensor) -> Tensor:
        windows = self.bank.windows(places)
        return windows * (_PEAK / windows.abs().amax(1, keepdim=True).clamp(min=0.05))
