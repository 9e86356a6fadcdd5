"""Random speed, which changes tempo and pitch together."""

import torch
from torch import Tensor, nn

from harken.errors import HarkenError
from harken.training.augment.random_draws import check_range, uniform


class Speed(nn.Module):
    """Play each waveform at a random speed (speed perturbation, Ko et al., Interspeech 2015).

    Cubic interpolation stretches or compresses the waveform around its middle. The length stays the same, and gaps are
    filled with zeros.

    Parameters
    ----------
    min_speed, max_speed
        Range of the factor, drawn uniformly. Both 1: off.

    Raises
    ------
    HarkenError
        If the range is reversed or includes 0.
    """

    def __init__(self, min_speed: float, max_speed: float) -> None:
        super().__init__()
        check_range("min_speed", min_speed, "max_speed", max_speed)
        if min_speed <= 0:
            raise HarkenError(f"min_speed={min_speed} must be greater than 0")
        self.min_speed = min_speed
        self.max_speed = max_speed

    def forward(self, waveform: Tensor) -> Tensor:
        if not self.training or self.min_speed == self.max_speed == 1:
            return waveform
        samples = waveform.shape[1]
        middle = (samples - 1) / 2
        ticks = torch.arange(samples, device=waveform.device, dtype=waveform.dtype) - middle
        return interpolate(waveform, middle + ticks * uniform(len(waveform), self.min_speed, self.max_speed, waveform))


def interpolate(waveform: Tensor, places: Tensor) -> Tensor:
    """Return the values of waveforms [N, samples] at fractional positions [N, places], by cubic interpolation; 0 outside."""
    across = places * (2 / (waveform.shape[1] - 1)) - 1
    grid = torch.stack([across, torch.zeros_like(across)], dim=-1).unsqueeze(1)
    rows = waveform[:, None, None, :]
    return nn.functional.grid_sample(rows, grid, mode="bicubic", align_corners=True)[:, 0, 0]
