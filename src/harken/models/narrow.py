"""Copy the weights of a BC-ResNet into a narrower one.

narrow_weights    copy those of the most important channels
is_narrower       whether two networks differ only in that the second has fewer channels
"""

import torch
from torch import Tensor, nn

from harken.models.bc_resnet import SUB_BANDS, BCResNet, BroadcastBlock


@torch.no_grad()
def narrow_weights(wide: BCResNet, narrow: BCResNet) -> None:
    """Copy the weights of the most important channels into a network with the same layers and fewer channels.

    The importance of a channel is the scale of its norms (Liu et al., ICCV 2017, arXiv:1708.06519) plus the length of its
    weights to and from other channels. All blocks of a stage are on one residual path, so they keep the same channels. What
    the network computes changes: it has to be trained again.

    Parameters
    ----------
    wide
        The network to copy from.
    narrow
        The network to change. No layer may have more channels than in `wide`.
    """
    blocks = [
        (source, target)
        for source, target in zip(wide.blocks, narrow.blocks, strict=True)
        if isinstance(source, BroadcastBlock) and isinstance(target, BroadcastBlock)
    ]
    kept = _most_important(narrow.stem.out_channels, wide.stem_norm.weight, _lengths(blocks[0][0].widen, into=True))
    _copy(wide.norm, narrow.norm)
    _copy(wide.stem, narrow.stem, kept)
    _copy(wide.stem_norm, narrow.stem_norm, kept)
    for number, (source, target) in enumerate(blocks):
        if source.first:
            later = (index for index in range(number + 1, len(blocks)) if blocks[index][0].first)
            stage = [block for block, _ in blocks[number : next(later, len(blocks))]]
            before = kept
            kept = _most_important(
                target.mix.out_channels, *(measure for block in stage for measure in _measures(block))
            )
            _copy(source.widen, target.widen, kept, before)
            _copy(source.widen_norm, target.widen_norm, kept)
        sub_bands = (SUB_BANDS * kept[:, None] + torch.arange(SUB_BANDS)).flatten()
        _copy(source.over_bands, target.over_bands, kept)
        _copy(source.band_norm.norm, target.band_norm.norm, sub_bands)
        _copy(source.over_time, target.over_time, kept)
        _copy(source.time_norm, target.time_norm, kept)
        _copy(source.mix, target.mix, kept, kept)
    _copy(wide.last, narrow.last, kept)
    expanded = _most_important(narrow.expand.out_channels, wide.expand_norm.weight, _lengths(wide.classify, into=True))
    _copy(wide.expand, narrow.expand, expanded, kept)
    _copy(wide.expand_norm, narrow.expand_norm, expanded)
    _copy(wide.classify, narrow.classify, torch.arange(wide.classify.out_channels), expanded)


def is_narrower(wide: BCResNet, narrow: BCResNet) -> bool:
    """Return whether the networks have the same layers and classes, and the second has fewer channels."""
    old, new = wide.state_dict(), narrow.state_dict()
    return (
        wide.stem.out_channels > narrow.stem.out_channels
        and all(old[name].shape[2:] == weight.shape[2:] for name, weight in new.items())
        and all(old[name].shape == new[name].shape for name in ("norm.running_mean", "classify.bias"))
        and all(ours <= theirs for name in new for ours, theirs in zip(new[name].shape, old[name].shape, strict=True))
    )


def _measures(block: BroadcastBlock) -> list[Tensor]:
    """Return three measures [channels] of the importance of a block's channels."""
    scales = block.band_norm.norm.weight.abs().reshape(-1, SUB_BANDS).mean(1)
    return [scales, _lengths(block.mix, into=False), _lengths(block.mix, into=True)]


def _lengths(layer: nn.Conv2d, *, into: bool) -> Tensor:
    """Return the length of the weights of each channel that goes into a 1x1 convolution, or comes out of it."""
    lengths: Tensor = layer.weight[:, :, 0, 0].norm(dim=0 if into else 1)
    return lengths


def _most_important(count: int, *measures: Tensor) -> Tensor:
    """Return the numbers of `count` channels, in ascending order. Each measure of importance [channels] counts equally."""
    importance = torch.stack([measure.abs() / measure.abs().mean() for measure in measures]).sum(0)
    return importance.argsort(descending=True)[:count].sort().values


def _copy(source: nn.Module, target: nn.Module, out: Tensor | None = None, into: Tensor | None = None) -> None:
    """Copy the weights of a layer, of all channels or of those that come out of it and go into it."""
    changed = target.state_dict()
    for name, weight in source.state_dict().items():
        if weight.ndim and out is not None:
            weight = weight[out]
        if weight.ndim > 1 and into is not None:
            weight = weight[:, into]
        changed[name].copy_(weight)
