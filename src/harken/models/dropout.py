"""Dropout whose random numbers cost a quarter of torch's on a CPU.

Dropout            in the place of `nn.Dropout`
rectified_dropout  ReLU and the dropout behind it as one step
"""

from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd import Function
from torch.autograd.function import once_differentiable


class Dropout(nn.Dropout):
    """`nn.Dropout`, faster on a CPU: one 64-bit random number decides for four values.

    torch draws a random number for each value, on one thread. The probability is rounded to a multiple of 2**-16.
    """

    def __init__(self, p: float) -> None:
        super().__init__(p)

    def forward(self, input: Tensor) -> Tensor:
        if not self.draws_for(input):
            return super().forward(input)
        return input * _kept(input, self.p).to(input.dtype).mul_(1 / (1 - self.p))

    def draws_for(self, input: Tensor) -> bool:
        """Say whether `input` is one that this class draws for, rather than torch."""
        return self.training and input.is_cpu and 0 < self.p < 1


def rectified_dropout(input: Tensor, dropout: Dropout) -> Tensor:
    """Return `dropout(relu(input))`, with the very draws of that; in training on a CPU in fewer passes over memory."""
    if not dropout.draws_for(input):
        return dropout(torch.relu(input))  # type: ignore[no-any-return]
    return _RectifiedDropout.apply(input, dropout.p)  # type: ignore[no-any-return, no-untyped-call]


class _RectifiedDropout(Function):
    """One factor a value, 0 or 1 / (1 - p), stands for both: forwards and backwards take a multiplication each."""

    @staticmethod
    def forward(ctx: Any, input: Tensor, p: float) -> Tensor:
        factor = (_kept(input, p) & (input > 0)).to(input.dtype).mul_(1 / (1 - p))
        ctx.save_for_backward(factor)
        return input * factor

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        (factor,) = ctx.saved_tensors
        return gradient * factor, None


def _kept(input: Tensor, p: float) -> Tensor:
    """Draw which values of `input` stay, as bool of its shape, laid out in memory as it is."""
    words = torch.empty((input.numel() + 3) // 4, dtype=torch.int64).random_(-(2**63), None)
    lots = words.view(torch.int16)[: input.numel()]
    dense = input.is_contiguous() or (input.ndim == 4 and input.is_contiguous(memory_format=torch.channels_last))
    lots = lots.as_strided(input.shape, input.stride()) if dense else lots.view(input.shape)
    return lots >= round(p * 2**16) - 2**15
