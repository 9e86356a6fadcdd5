"""Sound before the window. In a stream there is some; a clip has none."""

import torch
from torch import Tensor, nn

from harken.training.augment.noise import Bank
from harken.training.augment.random_draws import check_probability, from_db, uniform

_LEVEL_DB = (-30.0, 0.0)  # range of the level of noise and speech, relative to the recording
# Shares of speech, noise and silence. In the remaining cases, another example of the batch comes before the window.
_SPEECH, _NOISE, _SILENCE = 0.35, 0.15, 0.1


class LeftContext(nn.Module):
    """Put other sound before each waveform of some batches: [N, samples] -> [N, 2 samples], the waveform last.

    The other sound is another example of the batch, running speech, noise, or digital silence. It prepares a network
    without look-ahead for streams, in which the states of its convolutions come from audio before the window.

    Parameters
    ----------
    probability
        Probability that a batch is changed. 0: never.
    speech, noise
        Sources of windows as long as a waveform. Without one, examples of the batch are used instead.
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
        before = waveform.roll(1, 0)
        choice = torch.rand(count, device=waveform.device)
        for bank, low, high in ((self.speech, 0.0, _SPEECH), (self.noise, _SPEECH, _SPEECH + _NOISE)):
            rows = ((choice >= low) & (choice < high)).nonzero().flatten()
            if bank is not None and len(rows):
                before[rows] = bank.draw(len(rows)) * from_db(uniform(len(rows), *_LEVEL_DB, waveform))
        before[choice >= 1 - _SILENCE] = 0.0
        return torch.cat([before, waveform], dim=1)
