"""Random numbers, range checks and levels that the transforms share."""

import torch
from torch import Tensor

from harken.errors import HarkenError


def uniform(count: int, low: float, high: float, like: Tensor) -> Tensor:
    """Return numbers [count, 1] drawn uniformly from low to high, of the type and device of `like`."""
    return torch.empty(count, 1, device=like.device, dtype=like.dtype).uniform_(low, high)


def random_mask(count: int, probability: float, like: Tensor) -> Tensor:
    """Return booleans [count, 1], each true with `probability`, on the device of `like`."""
    return torch.rand(count, 1, device=like.device) < probability


def check_probability(name: str, value: float) -> None:
    """Raise HarkenError if a probability is not from 0 to 1."""
    if not 0.0 <= value <= 1.0:
        raise HarkenError(f"{name}={value} is not a probability: give a number from 0 to 1")


def check_range(low_name: str, low: float, high_name: str, high: float) -> None:
    """Raise HarkenError if the lower end of a range is above its upper end."""
    if low > high:
        raise HarkenError(f"{low_name}={low} is greater than {high_name}={high}: swap them")


def rms(waveform: Tensor) -> Tensor:
    """Return the root mean square of each row, [N, 1]."""
    return waveform.square().mean(dim=1, keepdim=True).sqrt()


def from_db(decibels: Tensor) -> Tensor:
    """Return the amplitude ratio for a level in decibels."""
    return torch.pow(10.0, decibels / 20.0)
