"""Dropout whose random numbers cost a quarter of torch's on a CPU."""

import torch
from torch import Tensor, nn


class Dropout(nn.Dropout):
    """`nn.Dropout`, faster on a CPU: one 64-bit random number decides for four values.

    torch draws a random number for each value, on one thread. The probability is rounded to a multiple of 2**-16.
    """

    def __init__(self, p: float) -> None:
        super().__init__(p)

    def forward(self, input: Tensor) -> Tensor:
        if not (self.training and input.is_cpu and 0 < self.p < 1):
            return super().forward(input)
        words = torch.empty((input.numel() + 3) // 4, dtype=torch.int64).random_(-(2**63), None)
        lots = words.view(torch.int16)[: input.numel()]
        # Laid out as the input is: a mask of another layout makes both multiplications a good deal slower.
        lots = lots.as_strided(input.shape, input.stride()) if _is_dense(input) else lots.view(input.shape)
        kept = lots >= round(self.p * 2**16) - 2**15
        return input * kept.to(input.dtype).mul_(1 / (1 - self.p))


def _is_dense(input: Tensor) -> bool:
    """Say whether the strides of `input` reach each of its places in memory once, without gaps."""
    return input.is_contiguous() or (input.ndim == 4 and input.is_contiguous(memory_format=torch.channels_last))
