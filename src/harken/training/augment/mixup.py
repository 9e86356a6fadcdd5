"""Mixtures of two examples."""

import torch
from torch import Tensor, nn

from harken.errors import HarkenError


class Mixup(nn.Module):
    """Mix each example with another one of the batch (Zhang et al., 2018, arXiv:1710.09412).

    It changes waveforms [N, samples] and soft labels [N, classes]. One share is drawn for the whole batch.

    Parameters
    ----------
    alpha
        The share is drawn from Beta(alpha, alpha). 0: off.

    Raises
    ------
    HarkenError
        If alpha is negative.
    """

    def __init__(self, alpha: float) -> None:
        super().__init__()
        if alpha < 0:
            raise HarkenError(f"mixup={alpha} must be 0 or more")
        self.alpha = alpha

    def forward(self, waveform: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        if not self.training or self.alpha == 0:
            return waveform, labels
        share = torch.distributions.Beta(self.alpha, self.alpha).sample().item()
        share = max(share, 1 - share)
        other = torch.randperm(len(waveform), device=waveform.device)
        return torch.lerp(waveform[other], waveform, share), torch.lerp(labels[other], labels, share)
