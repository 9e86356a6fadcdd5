"""Draws that the transforms share."""

import torch
from torch import Tensor

from harken.errors import HarkenError


def uniform(count: int, low: float, high: float, like: Tensor) -> Tensor:
    """Return [count, 1] numbers drawn evenly from low to high."""
    return torch.empty(count, 1, device=like.device, dtype=like.dtype).uniform_(low, high)


def chosen(count: int, probability: float, like: Tensor) -> Tensor:
    """Return [count, 1] booleans, each true with `probability`."""
    return torch.rand(count, 1, device=like.device) < probability


def check_probability(name: str, value: float) -> None:
    """Raise HarkenError when a probability is not within 0 and 1."""
    if not 0.0 <= value <= 1.0:
        raise HarkenError(f"{name}={value} is no probability: give 0 to 1")


def check_range(low_name: str, low: float, high_name: str, high: float) -> None:
    """Raise HarkenError when a range is upside down."""
    if low > high:
        raise HarkenError(f"{low_name}={low} is over {high_name}={high}: swap them")


def rms(waveform: Tensor) -> Tensor:
    """Return the root mean square of each row, [N, 1]."""
    return waveform.square().mean(dim=1, keepdim=True).sqrt()


def from_db(decibels: Tensor) -> Tensor:
    """Return the amplitude ratio of decibels."""
    return torch.pow(10.0, decibels / 20.0)
