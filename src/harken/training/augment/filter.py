"""Microphones, rooms and codecs that colour the sound."""

import math

import torch
from torch import Tensor, nn

from harken.errors import HarkenError
from harken.models.frontend import LOG_FLOOR
from harken.training.augment.random_draws import check_probability, chosen, uniform

_NODES = 5
_DB = math.log(10) / 10  # a decibel of power in the natural logarithm
_CUT_DB_PER_BAND = (2.0, 12.0)
_LOWEST_CUT = 0.35  # of the bands


class Filter(nn.Module):
    """Colour log-mel features [N, bands, frames] by a drawn frequency response (after FilterAugment, arXiv:2110.03282).

    Each clip's response runs straight from node to node, five over the bands, each drawn evenly within `max_filter_db`
    either way. With `cut_probability` what lies above a drawn band falls off as well, as behind a narrow line. What the
    front-end adds to energies before the logarithm is not filtered: bands end there, as they do in digital silence.
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
        falls = uniform(count, *_CUT_DB_PER_BAND, features) * (band - cut).clamp(min=0)
        response = response - torch.where(chosen(count, self.cut_probability, features), falls, 0.0)
        energies = (features.exp() - LOG_FLOOR).clamp(min=0) * torch.exp(_DB * response)[:, :, None]
        return torch.log(energies + LOG_FLOOR)
