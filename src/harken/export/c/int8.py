"""Quantize the network to 8 bits: first the units of its values, by calibration, then its weights.

calibrate     find the unit of each channel of each tensor that a convolution reads
int8_tables   quantize a network

The unit of a channel is its quantization step: a value x is stored as x / unit, rounded to an integer from 0 to 255 after
a ReLU and from -127 to 127 elsewhere. The units of a convolution's input are multiplied into its weights before these are
quantized, symmetrically and with a scale per output channel (Jacob et al., CVPR 2018, arXiv:1712.05877). The units of its
output go into its scales and biases. So no units are needed in the C code. The front-end, the sums over bands and the SiLU
stay in float32.
"""

from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
from numpy.typing import NDArray

from harken.export.c.graph import Array, Block, CausalNetwork
from harken.export.c.tables import (
    BlockTables,
    Floats,
    Tables,
    Weights,
    depthwise_layout,
    last_layout,
    pointwise_layout,
    stem_layout,
)

_MAX_POSITIVE, _MAX_SIGNED, _MAX_WEIGHT = 255, 127, 127
_BINS = 1024
_CLIPPING = np.linspace(0.3, 1.0, 36)  # clipping points to choose from, as fractions of the largest magnitude
_BATCH = 16


def calibrate(path: Path, network: CausalNetwork, clips: Floats) -> dict[str, Array]:
    """Find the units of each tensor that is quantized.

    Each channel is clipped where the squared error over the clips is lowest. The error comes from clipping the values
    above and from rounding the values below.

    Parameters
    ----------
    path
        The model file.
    network
        Its network.
    clips
        [N, window].

    Returns
    -------
    dict
        The units of each tensor by its name, [channels].
    """
    levels = _levels(network)
    session = _with_outputs(path, list(levels))
    highest = {name: np.zeros(1) for name in levels}
    for values in _run(session, list(levels), clips):
        highest = {name: np.maximum(highest[name], values[name].max(axis=1)) for name in levels}
    counts = {name: np.zeros((len(highest[name]), _BINS)) for name in levels}
    for values in _run(session, list(levels), clips):
        for name, magnitudes in values.items():
            top = np.where(highest[name] > 0, highest[name], 1.0)
            bins = np.minimum((magnitudes / top[:, None] * _BINS).astype(np.int64), _BINS - 1)
            flat = bins + _BINS * np.arange(len(bins))[:, None]
            counts[name] += np.bincount(flat.ravel(), minlength=counts[name].size).reshape(counts[name].shape)
    return {name: _units(counts[name], highest[name], levels[name]) for name in levels}


def _levels(network: CausalNetwork) -> dict[str, int]:
    """Return the largest integer of each tensor that is quantized, by the name of the tensor."""
    levels = {network.stem.reads: _MAX_SIGNED, network.last.reads: _MAX_POSITIVE}
    levels |= {network.expand.reads: _MAX_SIGNED, network.expanded: _MAX_POSITIVE}
    for block in network.blocks:
        levels |= {block.reads: _MAX_POSITIVE, block.over_bands.reads: _MAX_POSITIVE}
        levels |= {block.over_time.reads: _MAX_SIGNED, block.mix.reads: _MAX_SIGNED}
    return levels


def _with_outputs(path: Path, names: list[str]) -> onnxruntime.InferenceSession:
    model = onnx.load(str(path))
    model.graph.output.extend(onnx.ValueInfoProto(name=name) for name in names)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.log_severity_level = 3
    return onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])


def _run(session: onnxruntime.InferenceSession, names: list[str], clips: Floats) -> Iterator[dict[str, Array]]:
    """Yield the magnitudes [channels, values] of each tensor, for each batch of clips."""
    for start in range(0, len(clips), _BATCH):
        found = session.run(names, {"waveform": clips[start : start + _BATCH]})
        yield {
            name: np.abs(np.moveaxis(values, 1, 0).reshape(values.shape[1], -1)).astype(np.float64)
            for name, values in zip(names, found, strict=True)
        }


def _units(counts: Array, highest: Array, levels: int) -> Array:
    """Return the unit of each channel, from histograms [channels, bins] of its magnitudes from 0 to `highest`."""
    centers = (np.arange(_BINS) + 0.5) / _BINS
    errors = [
        counts @ np.where(centers <= clip, (clip / levels) ** 2 / 12, (centers - clip) ** 2) for clip in _CLIPPING
    ]
    best = _CLIPPING[np.argmin(errors, axis=0)]
    return np.where(highest > 0, best * highest / levels, 1.0)


def int8_tables(network: CausalNetwork, units: Mapping[str, Array]) -> Tables:
    """Quantize a network to 8 bits.

    Parameters
    ----------
    network
        The network.
    units
        The units of each tensor, as `calibrate` returns them.
    """
    writes = [block.reads for block in network.blocks[1:]] + [network.last.reads]
    one = np.ones(1)
    features = units[network.stem.reads]
    expand, expanded = network.expand, units[network.expanded]
    return Tables(
        norm_mean=network.norm_mean.astype(np.float32),
        norm_scale=(network.norm_scale / features).astype(np.float32),
        time_stride=network.stem.stride[1],
        stem=_quantize(stem_layout(network.stem), features, units[network.blocks[0].reads], network.stem.bias),
        blocks=tuple(
            _int8_block(block, units, units[written]) for block, written in zip(network.blocks, writes, strict=True)
        ),
        last=_quantize(last_layout(network.last), units[network.last.reads], units[expand.reads]),
        expand=_quantize(_with_input_units(units[expand.reads], pointwise_layout(expand)), one, expanded, expand.bias),
        classify=_quantize(
            _with_input_units(expanded, pointwise_layout(network.classify)), one, one, network.classify.bias
        ),
    )


def _int8_block(block: Block, units: Mapping[str, Array], written: Array) -> BlockTables:
    one = np.ones(1)
    widen, over_time = block.widen, block.over_time
    read, middle = units[block.reads], units[block.over_bands.reads]
    mean, silu = units[over_time.reads], units[block.mix.reads]
    over_bands = _quantize(depthwise_layout(block.over_bands), middle, written)
    assert over_bands.scale is not None
    return BlockTables(
        channels_in=len(read),
        dilation=over_time.dilation,
        stride=block.over_bands.stride[0],
        widen=None
        if widen is None
        else _quantize(_with_input_units(read, pointwise_layout(widen)), one, middle, widen.bias),
        over_bands=over_bands.values,
        band_scale=(block.band_scale * over_bands.scale).astype(np.float32),
        band_shift=(block.band_shift / written).astype(np.float32),
        over_time=_quantize(depthwise_layout(over_time), mean, one, over_time.bias),
        mix=_quantize(_with_input_units(silu, pointwise_layout(block.mix)), one, written),
        mean_scale=(written / mean).astype(np.float32),
        silu_scale=(1 / silu).astype(np.float32),
        identity_scale=None if widen is not None else (read / written).astype(np.float32),
    )


def _with_input_units(read: Array, weights: Array) -> Array:
    """Multiply weights [in, out] by the units of their input."""
    return weights * read[:, None]


def _quantize(weights: Array, read: Array, written: Array, bias: Array | None = None) -> Weights:
    """Quantize weights [..., out].

    read : units of the input by output channel, for a convolution in which each channel reads only itself; else 1.
    written : units of the output.
    """
    weights = weights * read
    step = np.abs(weights).reshape(-1, weights.shape[-1]).max(axis=0) / _MAX_WEIGHT
    step = np.where(step > 0, step, 1.0)
    values: NDArray[np.int8] = np.rint(weights / step).astype(np.int8)
    scale = np.broadcast_to(step / written, step.shape).astype(np.float32)
    return Weights(values, scale, None if bias is None else (bias / written).astype(np.float32))
