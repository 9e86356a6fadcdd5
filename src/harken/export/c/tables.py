"""Arrange the weights of a network as the C code reads them.

Tables         the weights of a network, in float32 or 8 bits
float_tables   the weights of a network in float32

The output channel is the last axis, so that the innermost loop of the C code reads consecutive values.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from harken.export.c.graph import Array, Block, CausalNetwork, Conv

Floats = NDArray[np.float32]


@dataclass(frozen=True)
class Weights:
    """The weights of one convolution: out = sum(values * in) * scale + bias.

    Attributes
    ----------
    values
        float32 or int8, [..., out].
    scale
        [out]; None in float32.
    bias
        [out]; None if it is zero.
    """

    values: NDArray[Any]
    scale: Floats | None = None
    bias: Floats | None = None


@dataclass(frozen=True)
class BlockTables:
    """The weights of one block. `mean_scale`, `silu_scale` and `identity_scale` are None in float32; see int8.py."""

    channels_in: int
    dilation: int
    stride: int
    widen: Weights | None
    over_bands: NDArray[Any]  # [3, out]
    band_scale: Floats  # [sub-bands, out]
    band_shift: Floats
    over_time: Weights
    mix: Weights
    mean_scale: Floats | None = None
    silu_scale: Floats | None = None
    identity_scale: Floats | None = None

    @property
    def out(self) -> int:
        """Output channels."""
        return int(self.over_bands.shape[1])


@dataclass(frozen=True)
class Tables:
    """The weights of a network. In 8 bits, `norm_scale` also converts the features to integers."""

    norm_mean: Floats
    norm_scale: Floats
    time_stride: int
    stem: Weights  # [over bands, over time, out]
    blocks: tuple[BlockTables, ...]
    last: Weights  # [over time, over bands, out]
    expand: Weights
    classify: Weights

    @property
    def bits(self) -> int:
        """The bits of a weight: 32 or 8."""
        return self.stem.values.itemsize * 8


def float_tables(network: CausalNetwork) -> Tables:
    """Arrange the weights of a network in float32."""
    return Tables(
        norm_mean=network.norm_mean.astype(np.float32),
        norm_scale=network.norm_scale.astype(np.float32),
        time_stride=network.stem.stride[1],
        stem=_float(stem_layout(network.stem), network.stem.bias),
        blocks=tuple(_float_block(block) for block in network.blocks),
        last=_float(last_layout(network.last)),
        expand=_float(pointwise_layout(network.expand), network.expand.bias),
        classify=_float(pointwise_layout(network.classify), network.classify.bias),
    )


def _float_block(block: Block) -> BlockTables:
    widen = block.widen
    return BlockTables(
        channels_in=block.over_bands.out if widen is None else widen.weight.shape[1],
        dilation=block.over_time.dilation,
        stride=block.over_bands.stride[0],
        widen=None if widen is None else _float(pointwise_layout(widen), widen.bias),
        over_bands=depthwise_layout(block.over_bands).astype(np.float32),
        band_scale=block.band_scale.astype(np.float32),
        band_shift=block.band_shift.astype(np.float32),
        over_time=_float(depthwise_layout(block.over_time), block.over_time.bias),
        mix=_float(pointwise_layout(block.mix)),
    )


def _float(values: Array, bias: Array | None = None) -> Weights:
    return Weights(values.astype(np.float32), None, None if bias is None else bias.astype(np.float32))


def stem_layout(conv: Conv) -> Array:
    """Rearrange [out, 1, bands, time] to [bands, time, out]."""
    return conv.weight[:, 0].transpose(1, 2, 0)


def last_layout(conv: Conv) -> Array:
    """Rearrange [out, 1, bands, time] to [time, bands, out]."""
    return conv.weight[:, 0].transpose(2, 1, 0)


def depthwise_layout(conv: Conv) -> Array:
    """Rearrange [out, 1, 3, 1] or [out, 1, 1, 3] to [3, out]."""
    return conv.weight.reshape(conv.out, -1).T


def pointwise_layout(conv: Conv) -> Array:
    """Rearrange [out, in, 1, 1] to [in, out]."""
    return conv.weight[:, :, 0, 0].T
