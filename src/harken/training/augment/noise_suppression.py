"""Simulate the noise suppression of phones and headsets, which leaves holes in speech."""

import torch
from torch import Tensor, nn

from harken.models.frontend import LOG_FLOOR
from harken.training.augment.random_draws import check_probability, random_mask, uniform

_NOISE_SHARE = (0.2, 0.6)  # range of the share of frames that count as noise
_OVER_SUBTRACTION = (1.0, 6.0)  # range of the multiple of the noise that is subtracted
_FLOOR_DB = (-30.0, -10.0)  # range of the energy that always stays


class NoiseSuppression(nn.Module):
    """Subtract steady noise from log-mel features [N, bands, frames].

    This is spectral subtraction (S. Boll, 1979, IEEE Trans. ASSP 27) with over-subtraction and a floor (M. Berouti et al.,
    1979, ICASSP). The noise of a band is the energy below which a random share of its frames lies. A random multiple of it
    is subtracted from each frame, and at least a random share of the energy stays. Fluctuating noise leaves islands.

    Parameters
    ----------
    probability
        Probability that a clip is changed. 0: never.

    Raises
    ------
    HarkenError
        If the probability is not from 0 to 1.
    """

    def __init__(self, probability: float) -> None:
        super().__init__()
        check_probability("suppression_probability", probability)
        self.probability = probability

    def forward(self, features: Tensor) -> Tensor:
        if not self.training or self.probability == 0:
            return features
        rows = random_mask(len(features), self.probability, features).flatten().nonzero().flatten()
        energies = (features[rows].exp() - LOG_FLOOR).clamp(min=0)
        frames = energies.shape[2]
        rank = (uniform(len(rows), *_NOISE_SHARE, features) * frames).long().clamp(max=frames - 1)
        noise = energies.sort(dim=2).values.gather(2, rank[:, None].expand(-1, energies.shape[1], 1))
        noise = noise * uniform(len(rows), *_OVER_SUBTRACTION, features)[:, None]
        floor = torch.pow(10.0, uniform(len(rows), *_FLOOR_DB, features) / 10)[:, None]
        kept = torch.maximum(energies - noise, floor * energies)
        return features.index_copy(0, rows, torch.log(kept + LOG_FLOOR))
