"""Copy the weights of a network into a wider one."""

import torch
from torch import Tensor, nn

from harken.errors import HarkenError


@torch.no_grad()
def widen_weights(narrow: nn.Module, wide: nn.Module, *, seed: int) -> None:
    """Copy weights into a network with the same layers and more channels (Net2WiderNet).

    Each channel of a layer is copied to several channels. All of them keep its incoming weights, and they divide its
    outgoing weights in random proportions, so that training can make them different. In evaluation mode, two networks that
    differ only in width then compute the same (T. Chen, I. Goodfellow and J. Shlens, 2016, arXiv:1511.05641).

    Parameters
    ----------
    narrow
        The network to copy from.
    wide
        The network to change. It can also have the same width.
    seed
        Random seed of the proportions.

    Raises
    ------
    HarkenError
        If the layers differ, or one of them would be narrower.
    """
    generator = torch.Generator().manual_seed(seed)
    old, new = narrow.state_dict(), wide.state_dict()
    if list(old) != list(new):
        raise HarkenError(
            "the two networks have different layers: start from a run of the same network, or of a narrower one"
        )
    for name, weight in new.items():
        if any(new_size < old_size for new_size, old_size in zip(weight.shape, old[name].shape, strict=True)):
            raise HarkenError(
                f"its {name} would be narrower: start from a run of the same network, or of a narrower one"
            )
        weight.copy_(_widened(old[name], weight.shape, generator))


def _widened(weight: Tensor, shape: torch.Size, generator: torch.Generator) -> Tensor:
    """Return a weight [out, in, ...] or [out] in a larger shape. Channel j copies channel j modulo the old width."""
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
