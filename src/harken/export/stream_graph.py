"""One step of a causal BC-ResNet as an ONNX graph with as few and as cheap nodes as onnxruntime allows.

A step needs so little arithmetic that most of its time is spent on starting nodes. The graph that torch exports has twice as
many nodes, and its last axis is time, which has only a few frames. This module therefore builds the graph itself:

- Features are [N, bands, frames, channels]. Means over bands, and sums with one value for all bands, run over long rows.
- Batch norms are part of the weights before or after them. The sub-spectral norm and the convolution over bands before it
  are one weight for each of three neighboring bands.
- The convolutions over time are split in two. What earlier frames contribute is computed for all blocks at once. The state
  of all blocks is a single array.
- The state keeps the logits of a window's frames instead of the features that they are computed from.
"""

import numpy as np
import onnx
import torch
from numpy.typing import NDArray
from torch import nn

from harken.models.bc_resnet import SUB_BANDS, BCResNet, BroadcastBlock, TimeConv
from harken.models.frontend import LogMel
from harken.models.frontend_graph import add_log_mel
from harken.models.graph_builder import GraphBuilder

Array = NDArray[np.float64]

_END = np.iinfo(np.int64).max  # of a slice
_NEIGHBORS = np.arange(-1, 2)  # of a band, in the convolution over bands


class _Part:
    """A part of the state: the last frames of a tensor [N, *shape], whose frames are on `axis`."""

    def __init__(self, shape: tuple[int, ...], axis: int) -> None:
        self.shape = shape
        self.axis = axis
        self.size = int(np.prod(shape))
        self.past = ""
        self.kept = ""

    @property
    def frames(self) -> int:
        return self.shape[self.axis - 1]

    def split(self, graph: GraphBuilder, flat: str) -> None:
        """Take this part out of the state."""
        self.past = graph.reshape(flat, *self.shape) if len(self.shape) > 1 else flat

    def extend(self, graph: GraphBuilder, x: str) -> str:
        """Return x with the past frames in front of it, and keep its last frames for the next step."""
        if not self.size:
            return x
        whole = graph("Concat", self.past, x, axis=self.axis)
        self.kept = graph.slice(whole, -self.frames, _END, self.axis)
        if len(self.shape) > 1:
            self.kept = graph.reshape(self.kept, self.size)
        return whole


class StreamGraph:
    """The graph of a step.

    Parameters
    ----------
    front_end, network
        The layers of the spotter. The network must be causal.
    frames
        Frames of the front-end in a step.
    pooled
        Frames of the network in a window.
    temperature
        Divisor of the logits.
    """

    def __init__(
        self, front_end: LogMel, network: BCResNet, *, frames: int, pooled: int, temperature: float = 1.0
    ) -> None:
        self.front_end = front_end
        self.network = network
        self.frames = frames
        self.steps = frames // network.stem.stride[1]  # frames of the network in a step
        self.pooled = pooled
        self.temperature = temperature
        self.blocks = [block for block in network.blocks if isinstance(block, BroadcastBlock)]
        channels = network.last.in_channels
        self.classes = network.classify.out_channels
        self.reach = max(block.over_time.past for block in self.blocks)
        self.samples = _Part((front_end.window - front_end.hop,), 1)
        self.features = _Part((network.stem.past, front_end.bands), 1)
        self.means = _Part((1, self.reach, sum(block.over_time.in_channels for block in self.blocks)), 2)
        self.last = _Part((front_end.bands // 8, network.last.past, channels), 2)
        self.logits = _Part((1, max(0, pooled - self.steps), self.classes), 2)
        parts = (self.samples, self.features, self.means, self.last, self.logits)
        self.parts = [part for part in parts if part.size]
        self.size = sum(part.size for part in self.parts)

    @torch.no_grad()
    def model(self) -> onnx.ModelProto:
        """Return the model, with inputs `waveform` and `state` and outputs `probabilities` and `next_state`."""
        self.graph = graph = GraphBuilder()
        names = [f"state_{number}" for number in range(len(self.parts))]
        graph.several("Split", "state", np.array([part.size for part in self.parts]), out=names, axis=1)
        for part, name in zip(self.parts, names, strict=True):
            part.split(graph, name)
        x = self._stem(add_log_mel(graph, self.front_end, self.samples.extend(graph, "waveform"), self.frames))
        x = self._head(self._all_blocks(x))
        graph("Softmax", x, out="probabilities", axis=1)
        graph("Concat", *(part.kept for part in self.parts), out="next_state", axis=1)
        given = {"waveform": self.frames * self.front_end.hop, "state": self.size}
        return graph.model(given, {"probabilities": self.classes, "next_state": self.size})

    def _stem(self, x: str) -> str:
        graph, network = self.graph, self.network
        scale, shift = _norm(network.norm)
        x = self.features.extend(graph, graph("Add", graph("Mul", x, scale), shift))
        x = graph("Transpose", graph("Unsqueeze", x, np.array([1])), perm=[0, 1, 3, 2])
        return self._bands_first(graph("Relu", self._conv(x, network.stem, *_folded(network.stem, network.stem_norm))))

    def _all_blocks(self, x: str) -> str:
        graph = self.graph
        earlier = graph.several(
            "Split",
            self._earlier_frames(),
            np.array([block.over_time.in_channels for block in self.blocks]),
            out=[f"earlier_{number}" for number in range(len(self.blocks))],
            axis=3,
        )
        bands = self.front_end.bands // 2
        means, shifts = [], []
        for block, past in zip(self.blocks, earlier, strict=True):
            y, shift, bands = self._over_bands(block, x, bands)
            means.append(graph("ReduceMean", y, np.array([1]), keepdims=1))
            shifts.append(shift.mean(axis=0))
            z = graph("Add", self._over_time(block.over_time, block.time_norm, means[-1]), past)
            z = graph("MatMul", graph("Mul", z, graph("Sigmoid", z)), block.mix.weight.double().numpy()[:, :, 0, 0].T)
            whole = [y, self._each_frame(shift[:, None]), *([] if block.first else [x]), z]
            x = graph("Relu", graph("Sum", *whole))
        # The means are those before the shift of the sub-spectral norm, but the state contains those after it.
        shifted = graph("Add", graph("Concat", *means, axis=3), np.concatenate(shifts))
        self.means.extend(graph, shifted)
        return x

    def _over_bands(self, block: BroadcastBlock, x: str, bands: int) -> tuple[str, Array, int]:
        """Return the convolution over bands with its norm, apart from its shift [bands, channels], and the new bands."""
        graph = self.graph
        if block.first:
            weight, bias = _folded(block.widen, block.widen_norm)
            x = graph("MatMul", x, weight[:, :, 0, 0].T)
            x = graph("Relu", graph("Add", x, self._each_frame(bias[None])))
        stride = block.over_bands.stride[0]
        scale, shift = (
            np.repeat(values.reshape(-1, SUB_BANDS).T, bands // stride // SUB_BANDS, axis=0)
            for values in _norm(block.band_norm.norm)
        )
        reads = stride * np.arange(bands // stride)[:, None] + _NEIGHBORS
        exists = (reads >= 0) & (reads < bands)
        kernel = block.over_bands.weight.double().numpy()[:, 0, :, 0].T  # [neighbors, channels]
        weight = scale[:, None] * kernel * exists[..., None]
        x = graph("Gather", x, reads.clip(0, bands - 1), axis=1)
        x = graph("Mul", x, self._each_frame(weight[:, :, None]))
        return graph("ReduceSum", x, np.array([2]), keepdims=0), shift, bands // stride

    def _over_time(self, conv: TimeConv, norm: nn.BatchNorm2d, mean: str) -> str:
        """Return what this step's frames contribute to a block's convolution over time."""
        weight, _ = _folded(conv, norm)
        if conv.dilation[1] >= self.steps:  # no frame of this step is in the context of another one
            return self.graph("Mul", mean, weight[:, 0, 0, -1])
        padding = [0, conv.past, 0, 0]
        return self._bands_first(self._conv(self._channels_first(mean), conv, weight, padding=padding))

    def _earlier_frames(self) -> str:
        """Return what the state and all constants contribute to the convolutions over time, [N, 1, frames, channels]."""
        weights, constants = [], []
        for block in self.blocks:
            conv, dilation = block.over_time, block.over_time.dilation[1]
            weight, bias = _folded(conv, block.time_norm)
            taps = weight[:, 0, 0]  # [channels, taps]; the last one is the present frame
            placed = np.zeros((len(taps), self.reach))
            ages = dilation * np.arange(taps.shape[1])[::-1]
            placed[:, self.reach - ages[:-1]] = taps[:, :-1]
            weights.append(placed[:, None, None])
            # The means of this step come without the shift of the sub-spectral norm.
            shift = _norm(block.band_norm.norm)[1].reshape(-1, SUB_BANDS).mean(axis=1)
            present = np.arange(self.steps)[:, None, None] >= ages  # [frames, 1, taps]
            constants.append(bias + shift * (present * taps).sum(axis=2))
        graph, weight = self.graph, np.concatenate(weights)
        x = self._channels_first(self.means.past)
        x = graph("Conv", x, weight, group=len(weight), pads=[0, 0, 0, self.steps - 1])
        return graph("Add", self._bands_first(x), np.concatenate(constants, axis=1))

    def _head(self, x: str) -> str:
        """Return the logits."""
        graph, network = self.graph, self.network
        x = self._conv(
            self._channels_first(self.last.extend(graph, x)), network.last, network.last.weight.double().numpy()
        )
        x = graph("Relu", self._conv(x, network.expand, *_folded(network.expand, network.expand_norm)))
        weight = network.classify.weight.double().numpy() / self.temperature
        x = self.logits.extend(graph, self._bands_first(self._conv(x, network.classify, weight)))
        if self.pooled < self.steps:
            x = graph.slice(x, -self.pooled, _END, 2)
        assert network.classify.bias is not None
        bias = network.classify.bias.double().numpy() / self.temperature
        return graph("Add", graph("ReduceMean", x, np.array([1, 2]), keepdims=0), bias)

    def _conv(self, x: str, conv: nn.Conv2d, weight: Array, *bias: Array, padding: list[int] | None = None) -> str:
        bands = int(conv.padding[0])
        return self.graph(
            "Conv",
            x,
            weight,
            *bias,
            strides=list(conv.stride),
            dilations=list(conv.dilation),
            group=conv.groups,
            pads=padding or [bands, 0, bands, 0],
        )

    def _each_frame(self, value: Array) -> str:
        """Repeat a constant [..., 1, channels] for each frame of a step. onnxruntime computes this when it loads the file."""
        return self.graph("Expand", value, np.array([*value.shape[:-2], self.steps, value.shape[-1]]))

    def _channels_first(self, x: str) -> str:
        return self.graph("Transpose", x, perm=[0, 3, 1, 2])

    def _bands_first(self, x: str) -> str:
        return self.graph("Transpose", x, perm=[0, 2, 3, 1])


def _norm(layer: nn.BatchNorm1d | nn.BatchNorm2d) -> tuple[Array, Array]:
    """Return the scale and shift of a batch norm."""
    assert layer.running_mean is not None
    assert layer.running_var is not None
    scale = (layer.running_var.double() + layer.eps).rsqrt()
    if not layer.affine:
        return scale.numpy(), (-scale * layer.running_mean.double()).numpy()
    scale = scale * layer.weight.double()
    return scale.numpy(), (layer.bias.double() - scale * layer.running_mean.double()).numpy()


def _folded(conv: nn.Conv2d, norm: nn.BatchNorm2d) -> tuple[Array, Array]:
    """Return the weight and bias of a convolution without bias, with the batch norm after it."""
    scale, shift = _norm(norm)
    return conv.weight.double().numpy() * scale[:, None, None, None], shift
