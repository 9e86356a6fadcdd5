"""Random masks over frequency and time."""

import torch
from torch import Tensor, nn

from harken.errors import HarkenError


class SpecAugment(nn.Module):
    """Replace random bands and frames of features [N, bands, frames] with the row's mean (Park et al., 2019, arXiv:1904.08779).

    Parameters
    ----------
    band_masks, frame_masks
        Number of masks over bands and over frames. 0: none.
    max_bands, max_frames
        Largest width of a mask. Widths are drawn uniformly from 0 on.

    Raises
    ------
    HarkenError
        If a value is negative.
    """

    def __init__(self, *, band_masks: int, max_bands: int, frame_masks: int, max_frames: int) -> None:
        super().__init__()
        if min(band_masks, max_bands, frame_masks, max_frames) < 0:
            raise HarkenError("band_masks, max_bands, frame_masks and max_frames must be 0 or more")
        self.band_masks = band_masks
        self.max_bands = max_bands
        self.frame_masks = frame_masks
        self.max_frames = max_frames

    def forward(self, features: Tensor) -> Tensor:
        if not self.training:
            return features
        masked = _masks(features, features.shape[1], self.band_masks, self.max_bands).unsqueeze(2)
        masked = masked | _masks(features, features.shape[2], self.frame_masks, self.max_frames).unsqueeze(1)
        return torch.where(masked, features.mean(dim=(1, 2), keepdim=True), features)


def _masks(like: Tensor, size: int, count: int, widest: int) -> Tensor:
    """Return booleans [N, size], true where one of `count` random masks lies."""
    rows, device = len(like), like.device
    width = (torch.rand(rows, count, 1, device=device) * (min(widest, size) + 1)).floor()
    start = (torch.rand(rows, count, 1, device=device) * (size - width + 1)).floor()
    place = torch.arange(size, device=device)
    return ((place >= start) & (place < start + width)).any(dim=1)
