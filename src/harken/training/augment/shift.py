"""Random shift in time."""

import torch
from torch import Tensor, nn

from harken.errors import HarkenError


class Shift(nn.Module):
    """Shift each waveform in time. The gap is filled with zeros.

    Parameters
    ----------
    max_shift
        Largest shift, earlier or later, in samples. 0: off.

    Raises
    ------
    HarkenError
        If `max_shift` is negative.
    """

    def __init__(self, max_shift: int) -> None:
        super().__init__()
        if max_shift < 0:
            raise HarkenError(f"max_shift={max_shift} must be 0 or more samples")
        self.max_shift = max_shift

    def forward(self, waveform: Tensor) -> Tensor:
        if not self.training or self.max_shift == 0:
            return waveform
        count, samples = waveform.shape
        shift = torch.randint(-self.max_shift, self.max_shift + 1, (count, 1), device=waveform.device)
        source = torch.arange(samples, device=waveform.device) - shift
        inside = (source >= 0) & (source < samples)
        return waveform.gather(1, source.clamp(0, samples - 1)) * inside
