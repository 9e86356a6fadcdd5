"""Replace the beginning or the end of words with running speech.

Running speech is full of words that begin or end like a keyword. Spliced words teach a network to reject them.
"""

import torch
from torch import Tensor

from harken.training.augment.random_draws import random_mask, uniform

_FADE_S = 0.01
_HEAD = (0.3, 0.5)  # share of the word's energy before the cut, if its beginning is kept
_TAIL = (0.5, 0.7)  # share of the word's energy before the cut, if its end is kept


def splice(words: Tensor, speech: Tensor, sample_rate: int) -> Tensor:
    """Return words [N, samples] whose beginning or end is replaced with running speech.

    A word is cut near the middle of its energy, and at most half of it is kept. What is left is no longer that word, but it
    begins or ends like it. The speech gets the peak level of the word, and the two are cross-faded over 10 ms.

    Parameters
    ----------
    words, speech
        Waveforms of words and of running speech, [N, samples] each.
    sample_rate
        In Hz.
    """
    energy = words.square().cumsum(dim=1)
    total = energy[:, -1:]
    first = random_mask(len(words), 0.5, words)
    share = torch.where(first, uniform(len(words), *_HEAD, words), uniform(len(words), *_TAIL, words))
    cut = (energy < share * total).sum(dim=1, keepdim=True)
    place = torch.arange(words.shape[1], device=words.device)
    after = ((place - cut) / (_FADE_S * sample_rate) + 0.5).clamp(0.0, 1.0)  # 0 before the cut, 1 after it
    gain = words.abs().amax(dim=1, keepdim=True) / speech.abs().amax(dim=1, keepdim=True).clamp(min=1e-4)
    return torch.where(first, torch.lerp(words, gain * speech, after), torch.lerp(gain * speech, words, after))
