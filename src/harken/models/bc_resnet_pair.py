"""Two BC-ResNets whose logits are averaged."""

from collections.abc import Mapping
from typing import Any

from torch import Tensor, nn

from harken.models.bc_resnet import BCResNet


class BCResNetPair(nn.Module):
    """Two BC-ResNets over the same features [N, bands, frames] -> the mean of their logits [N, classes].

    Networks that were trained apart make different errors, so that their mean makes fewer than each (Lakshminarayanan et al.,
    NeurIPS 2017, arXiv:1612.01474).

    Parameters
    ----------
    classes
        Number of classes.
    bands
        Number of mel bands.
    frames
        Number of frames in a window.
    first, second
        Options of each `BCResNet`.

    Raises
    ------
    HarkenError
        If `bands` is not a multiple of 40.
    """

    def __init__(
        self, classes: int, bands: int, frames: int, *, first: Mapping[str, Any], second: Mapping[str, Any]
    ) -> None:
        super().__init__()
        self.first = BCResNet(classes, bands, frames, **first)
        self.second = BCResNet(classes, bands, frames, **second)

    def forward(self, features: Tensor) -> Tensor:
        logits: Tensor = (self.first(features) + self.second(features)) / 2
        return logits
