"""Windows of the speech bank that harken ships, as further examples of `_unknown_` for a network on the speech embedding.

BankWindows    draw such windows, and search for those that the network takes for a keyword

The bank contains embeddings of two hours of speech by many speakers. Whoever records a phrase rarely has so much.
"""

from collections.abc import Callable

import torch
from torch import Tensor

from harken.enrollment.bank import load_bank
from harken.training.augment.random_draws import random_mask

_HARD_SHARE = 0.5  # share of the windows that are taken from those most like a keyword, once they are known
_KEPT = 2_000
_BATCH = 4_096


class BankWindows:
    """Draw windows of embeddings from the speech bank.

    Parameters
    ----------
    steps
        Embeddings in a window.
    """

    def __init__(self, steps: int) -> None:
        talk = torch.from_numpy(load_bank("google").talk.T.copy())
        self._windows = talk.unfold(1, steps, 1).permute(1, 0, 2)  # [windows, 96, steps]
        self._hard: Tensor | None = None

    def draw(self, count: int) -> Tensor:
        """Return random windows [count, 96, steps], half of them hard ones after a search."""
        places = torch.randint(len(self._windows), (count,))
        if self._hard is not None:
            picked = self._hard[torch.randint(len(self._hard), (count,))]
            places = torch.where(random_mask(count, _HARD_SHARE, self._windows).flatten(), picked, places)
        return self._windows[places]

    @torch.no_grad()
    def search(self, keyword_probability: Callable[[Tensor], Tensor]) -> None:
        """Find the windows that are most like a keyword.

        Parameters
        ----------
        keyword_probability
            Function that returns the probability of the most probable keyword [N] for windows [N, 96, steps].
        """
        scores = torch.cat([keyword_probability(part) for part in torch.split(self._windows, _BATCH)])
        self._hard = scores.topk(min(_KEPT, len(scores))).indices
