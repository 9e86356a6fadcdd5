"""What was heard before the window: a stream remembers it, a clip has nothing before it."""

import torch
from torch import Tensor, nn

from harken.training.augment.noise import Bank
from harken.training.augment.random_draws import check_probability, from_db, uniform

_LEVEL_DB = (-30.0, 0.0)  # of drawn sound, as it was recorded
_SPEECH, _NOISE, _NOTHING = 0.35, 0.15, 0.1  # of pasts; the others are another example


class LeftContext(nn.Module):
    """Put other sound before each waveform, in a share of batches: [N, samples] -> [N, 2 samples], the waveform last.

    It is another example of the batch, running speech, noise, or digital silence. A network without look-ahead then
    meets what it has in a stream: memories of its convolutions that are not of this window.

    speech, noise : windows as long as a waveform; without one, the examples of the batch stand in for it.
    """

    def __init__(self, probability: float, *, speech: Bank | None, noise: Bank | None) -> None:
        super().__init__()
        check_probability("probability", probability)
        self.probability = probability
        self.speech = speech
        self.noise = noise

    def forward(self, waveform: Tensor) -> Tensor:
        if not self.training or self.probability == 0 or float(torch.rand(())) >= self.probability:
            return waveform
        count = len(waveform)
        past = waveform.roll(1, 0)
        lot = torch.rand(count, device=waveform.device)
        for bank, low, high in ((self.speech, 0.0, _SPEECH), (self.noise, _SPEECH, _SPEECH + _NOISE)):
            rows = ((lot >= low) & (lot < high)).nonzero().flatten()
            if bank is not None and len(rows):
                past[rows] = bank.draw(len(rows)) * from_db(uniform(len(rows), *_LEVEL_DB, waveform))
        past[lot >= 1 - _NOTHING] = 0.0
        return torch.cat([past, waveform], dim=1)
