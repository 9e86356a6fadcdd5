"""Hard negatives: windows of running speech that a listener would mistake for a keyword.

HardNegatives    find such windows, and add them to batches

The network soon recognizes most windows of speech as `_unknown_` and learns nothing more from them. Searching for the others
with the current network, once per epoch, is online hard example mining (A. Shrivastava et al., 2016, arXiv:1604.03540).

A listener lowers the confidence of a word that does not stand alone (see `harken.runtime.isolation`), as nearly every word of a
sentence. What is left, for example "Now" before a pause at the start of a sentence, hardly ever occurs among windows drawn at
random. So the search looks where a word would stand alone.
"""

from collections.abc import Callable, Iterable, Sequence

import numpy as np
import torch
from torch import Tensor

from harken.audio.highpass import HighPass
from harken.progress import progress
from harken.runtime.isolation import Isolation
from harken.runtime.listener_settings import ListenerSettings
from harken.training.augment import WindowBank
from harken.training.augment.random_draws import random_mask

_SEARCHED = 48_000  # windows scored per epoch: a tenth of 13 hours of speech
_KEPT = 2_000
_BATCH = 256
_PEAK = 0.5  # level at which windows are scored; afterwards they are augmented like any other example


class HardNegatives:
    """Search running speech for windows that a network, followed by a listener, mistakes for a keyword.

    Parameters
    ----------
    bank
        The running speech.
    sample_rate
        Its sample rate in Hz.
    """

    def __init__(self, bank: WindowBank, sample_rate: int) -> None:
        self.bank = bank
        self.places: Tensor | None = None  # numbers of the windows found
        places, penalties = _penalized_windows(bank, sample_rate)
        alone = penalties.argsort(stable=True)[:_SEARCHED]
        self._searched = places[alone]
        self._penalties = penalties[alone]

    @torch.no_grad()
    def search(
        self,
        keyword_probability: Callable[[Tensor], Tensor],
        shown: Callable[[Sequence[Tensor]], Iterable[Tensor]] = iter,
    ) -> None:
        """Score the windows in which a word would stand alone most, and keep those with the highest confidence of a keyword.

        Parameters
        ----------
        keyword_probability
            Function that returns the probability of the most probable keyword [N] for waveforms [N, samples].
        shown
            Function that yields the parts of the search, and shows how far it has come.
        """
        parts = torch.split(self._searched, _BATCH)
        scores = torch.cat([keyword_probability(self._at_one_level(part)) for part in shown(parts)])
        confidences = torch.logit(scores, eps=1e-6) - ListenerSettings.isolation * self._penalties
        self.places = self._searched[confidences.topk(min(_KEPT, len(confidences))).indices]

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


def _penalized_windows(bank: WindowBank, sample_rate: int) -> tuple[Tensor, Tensor]:
    """Return the numbers of the windows at every hop of every recording, and a listener's penalty for a word in each.

    The listener begins with each recording, and has heard nothing before it. All sound counts as speech.
    """
    hop = round(ListenerSettings.hop_ms / 1000 * sample_rate)
    audio, firsts, ends = (values.cpu().numpy() for values in (bank.audio, bank.first, bank.ends))
    places: list[int] = []
    penalties: list[float] = []
    recordings = list(zip(firsts, [0, *ends[:-1]], ends, strict=True))
    for first, start, end in progress(recordings, "finding where a word would stand alone"):
        recording = audio[first : first + end - start + bank.samples - 1].astype(np.float32) / np.float32(32768)
        without_hum = HighPass(sample_rate).push(recording)
        isolation = Isolation(sample_rate, bank.samples, hop)
        for heard in range(hop, len(recording) + 1, hop):
            isolation.push(without_hum[heard - hop : heard])
            if heard >= bank.samples:
                places.append(int(start) + heard - bank.samples)
                penalties.append(isolation.penalty)
    device = bank.audio.device
    return torch.tensor(places, device=device), torch.tensor(penalties, device=device, dtype=torch.float32)
