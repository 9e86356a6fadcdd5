"""Words that turn into something else, or begin as something else: what running speech is full of."""

import torch
from torch import Tensor

from harken.training.augment.random_draws import chosen, uniform

_FADE_S = 0.01
_HEAD = (0.3, 0.5)  # of a word's energy that is kept where the word comes first
_TAIL = (0.5, 0.7)  # that has passed where the word is taken up


def splice(words: Tensor, speech: Tensor, sample_rate: int) -> Tensor:
    """Return each word [N, samples] with its later part, or its earlier one, replaced by running speech [N, samples].

    Cut in the middle of its energy, under half of a word is left: it is not that word any more, though it begins or
    ends as it does. The speech is as loud as the word. Both are faded over 10 ms.
    """
    energy = words.square().cumsum(dim=1)
    total = energy[:, -1:]
    first = chosen(len(words), 0.5, words)
    share = torch.where(first, uniform(len(words), *_HEAD, words), uniform(len(words), *_TAIL, words))
    cut = (energy < share * total).sum(dim=1, keepdim=True)
    place = torch.arange(words.shape[1], device=words.device)
    after = ((place - cut) / (_FADE_S * sample_rate) + 0.5).clamp(0.0, 1.0)  # 0 before the cut, 1 after it
    gain = words.abs().amax(dim=1, keepdim=True) / speech.abs().amax(dim=1, keepdim=True).clamp(min=1e-4)
    return torch.where(first, torch.lerp(words, gain * speech, after), torch.lerp(gain * speech, words, after))
