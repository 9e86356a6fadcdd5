"""Dropout whose random numbers take a quarter of the time of torch's on a CPU."""

import torch
from torch import Tensor, nn


class Dropout(nn.Dropout):
    """`nn.Dropout` that is faster on a CPU, where one 64-bit random number decides for four values.

    torch draws a random number for each value, in a single thread. The probability is rounded to a multiple of 2**-16.
    """

    def __init__(self, p: float) -> None:
        super().__init__(p)

    def forward(self, input: Tensor) -> Tensor:
        if not (self.training and input.is_cpu and 0 < self.p < 1):
            return super().forward(input)
        words = torch.empty((input.numel() + 3) // 4, dtype=torch.int64).random_(-(2**63), None)
        values = words.view(torch.int16)[: input.numel()]
        # The mask has the memory layout of the input. With another one, both multiplications would be much slower.
        values = values.as_strided(input.shape, input.stride()) if _is_dense(input) else values.view(input.shape)
        kept = values >= round(self.p * 2**16) - 2**15
        return input * kept.to(input.dtype).mul_(1 / (1 - self.p))


def _is_dense(input: Tensor) -> bool:
    """Return whether the elements of `input` lie in memory without gaps."""
    return input.is_contiguous() or (input.ndim == 4 and input.is_contiguous(memory_format=torch.channels_last))
