"""The noise suppression of phones, headsets and calls, which leaves holes in speech."""

import torch
from torch import Tensor, nn

from harken.models.frontend import LOG_FLOOR
from harken.training.augment.random_draws import check_probability, chosen, uniform

_STEADY_SHARE = (0.2, 0.6)  # of frames that count as noise alone
_OVER_SUBTRACTION = (1.0, 6.0)
_FLOOR_DB = (-30.0, -10.0)


class Suppress(nn.Module):
    """Subtract what is steady from log-mel features [N, bands, frames], with `probability` from each clip.

    Spectral subtraction (S. Boll, 1979, IEEE Trans. ASSP 27) with over-subtraction and a floor (M. Berouti et al., 1979,
    ICASSP): the noise of a band is the energy below which a drawn share of its frames lies, a drawn multiple of it is
    taken from every frame, and at least a drawn share of the energy stays. Where noise fluctuates, islands of it are left.
    """

    def __init__(self, probability: float) -> None:
        super().__init__()
        check_probability("suppression_probability", probability)
        self.probability = probability

    def forward(self, features: Tensor) -> Tensor:
        if not self.training or self.probability == 0:
            return features
        rows = chosen(len(features), self.probability, features).flatten().nonzero().flatten()
        energies = (features[rows].exp() - LOG_FLOOR).clamp(min=0)
        frames = energies.shape[2]
        rank = (uniform(len(rows), *_STEADY_SHARE, features) * frames).long().clamp(max=frames - 1)
        noise = energies.sort(dim=2).values.gather(2, rank[:, None].expand(-1, energies.shape[1], 1))
        noise = noise * uniform(len(rows), *_OVER_SUBTRACTION, features)[:, None]
        floor = torch.pow(10.0, uniform(len(rows), *_FLOOR_DB, features) / 10)[:, None]
        kept = torch.maximum(energies - noise, floor * energies)
        return features.index_copy(0, rows, torch.log(kept + LOG_FLOOR))
