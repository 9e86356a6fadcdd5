"""A wider network that starts with what a narrower one has learnt."""

import torch
from torch import Tensor, nn

from harken.errors import HarkenError


@torch.no_grad()
def widen_weights(narrow: nn.Module, wide: nn.Module, *, seed: int) -> None:
    """Fill `wide` with the weights of `narrow`, a network of the same layers and fewer channels (Net2WiderNet).

    Each channel of a layer becomes several: all keep its incoming weights, and share out its outgoing weights among
    them in drawn proportions, so that they can grow apart. In evaluation mode, networks that differ in nothing but width
    then compute the same (T. Chen, I. Goodfellow and J. Shlens, 2016, arXiv:1511.05641).

    Raises HarkenError when the layers are not the same, or one is narrower.
    """
    generator = torch.Generator().manual_seed(seed)
    old, new = narrow.state_dict(), wide.state_dict()
    if list(old) != list(new):
        raise HarkenError("the two have different layers: start from a run of the same network, or of a narrower one")
    for name, weight in new.items():
        if any(now < then for now, then in zip(weight.shape, old[name].shape, strict=True)):
            raise HarkenError(
                f"its {name} would be narrower: start from a run of the same network, or of a narrower one"
            )
        weight.copy_(_widened(old[name], weight.shape, generator))


def _widened(weight: Tensor, shape: torch.Size, generator: torch.Generator) -> Tensor:
    """Return a weight [out, in, ...], or numbers a channel [out], in a larger shape; channel j copies j modulo the old width."""
    if not weight.ndim:
        return weight
    weight = weight[torch.arange(shape[0]) % weight.shape[0]]
    if weight.ndim < 2 or shape[1] == weight.shape[1]:
        return weight
    sources = torch.arange(shape[1]) % weight.shape[1]
    shares = 0.5 + torch.rand(shape[:2], generator=generator)
    totals = torch.zeros(shape[0], weight.shape[1]).index_add_(1, sources, shares)
    shares = shares / totals[:, sources]
    return weight[:, sources] * shares.reshape(*shape[:2], *[1] * (weight.ndim - 2))
