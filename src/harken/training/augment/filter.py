"""Random frequency responses, like those of microphones, rooms and codecs."""

import math

import torch
from torch import Tensor, nn

from harken.errors import HarkenError
from harken.models.frontend import LOG_FLOOR
from harken.training.augment.random_draws import check_probability, random_mask, uniform

_NODES = 5
_DB = math.log(10) / 10  # a decibel of power, as a natural logarithm
_CUT_DB_PER_BAND = (2.0, 12.0)  # range of the slope above a cut
_LOWEST_CUT = 0.35  # lowest band of a cut, as a fraction of the bands


class Filter(nn.Module):
    """Apply a random frequency response to log-mel features [N, bands, frames] (after FilterAugment, arXiv:2110.03282).

    The response of a clip is piecewise linear in decibels, between five nodes that are spread evenly over the bands. The
    floor that the front-end adds to energies before the logarithm is not filtered, so that a band falls to the value of
    digital silence at most.

    Parameters
    ----------
    max_filter_db
        Largest gain or loss of a node, in dB, drawn uniformly. 0: none.
    cut_probability
        Probability that the bands above a random band also fall off, as on a narrow-band line. 0: never.

    Raises
    ------
    HarkenError
        If a value is out of range.
    """

    def __init__(self, max_filter_db: float, cut_probability: float) -> None:
        super().__init__()
        if max_filter_db < 0:
            raise HarkenError(f"max_filter_db={max_filter_db} must be 0 or more")
        check_probability("cut_probability", cut_probability)
        self.max_filter_db = max_filter_db
        self.cut_probability = cut_probability

    def forward(self, features: Tensor) -> Tensor:
        if not self.training or self.max_filter_db == self.cut_probability == 0:
            return features
        count, bands, _ = features.shape
        nodes = uniform(count * _NODES, -self.max_filter_db, self.max_filter_db, features).reshape(count, 1, _NODES)
        response = nn.functional.interpolate(nodes, bands, mode="linear", align_corners=True)[:, 0]
        band = torch.arange(bands, device=features.device)
        cut = uniform(count, _LOWEST_CUT * bands, bands, features)
        loss_db = uniform(count, *_CUT_DB_PER_BAND, features) * (band - cut).clamp(min=0)
        response = response - torch.where(random_mask(count, self.cut_probability, features), loss_db, 0.0)
        energies = (features.exp() - LOG_FLOOR).clamp(min=0) * torch.exp(_DB * response)[:, :, None]
        return torch.log(energies + LOG_FLOOR)
