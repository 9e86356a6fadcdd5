"""Read a causal BC-ResNet from its model file, with batch norms folded into convolutions, in float64.

read_network    read a model file
CausalNetwork   the network

The ONNX exporter keeps the names of weights, so each Conv node of the graph is identified by its weight. Whether the
exporter has already folded the batch norm after a convolution depends on its version.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import numpy_helper

from harken.errors import HarkenError

Array = NDArray[np.float64]

_WEIGHT = re.compile(r"network\.((?:blocks\.\d+\.)?\w+)\.weight$")


@dataclass(frozen=True)
class Conv:
    """One convolution with its batch norm folded in.

    Attributes
    ----------
    weight
        [out, in / groups, kernel over bands, kernel over time].
    bias
        [out].
    stride
        Over bands and time.
    dilation
        Over time.
    reads
        Name of its input tensor in the graph.
    """

    weight: Array
    bias: Array
    stride: tuple[int, int]
    dilation: int
    reads: str

    @property
    def out(self) -> int:
        """Output channels."""
        return len(self.weight)


@dataclass(frozen=True)
class Block:
    """One residual block. `band_scale` and `band_shift` are the sub-spectral norm, [sub-bands, channels]."""

    widen: Conv | None
    over_bands: Conv
    band_scale: Array
    band_shift: Array
    over_time: Conv
    mix: Conv

    @property
    def reads(self) -> str:
        """Name of the block's input tensor."""
        return self.over_bands.reads if self.widen is None else self.widen.reads


@dataclass(frozen=True)
class CausalNetwork:
    """The network.

    It computes (features - norm_mean) * norm_scale, stem, blocks, last, expand, classify, the mean over time, and softmax.

    Attributes
    ----------
    norm_mean, norm_scale
        [bands].
    stem, blocks, last, expand
        The layers.
    classify
        The last convolution, divided by the temperature.
    expanded
        Name of the tensor that the mean is taken of.
    """

    norm_mean: Array
    norm_scale: Array
    stem: Conv
    blocks: tuple[Block, ...]
    last: Conv
    expand: Conv
    classify: Conv
    expanded: str


def read_network(path: Path) -> CausalNetwork:
    """Read the network of a model file.

    Raises
    ------
    HarkenError
        It is not a causal BC-ResNet.
    """
    try:
        return _read(_Graph(onnx.load(str(path)).graph))
    except (KeyError, ValueError, IndexError) as error:
        raise HarkenError(
            f"{path} is not a causal BC-ResNet, the only network that can be exported to C: use tiny or base, or train "
            "with --network harken_tiny, harken_small, harken_base or harken_large"
        ) from error


class _Graph:
    """The nodes of a graph by their outputs and inputs, constants by name, and convolutions by the name of their weight."""

    def __init__(self, graph: onnx.GraphProto) -> None:
        self.constants = {tensor.name: numpy_helper.to_array(tensor) for tensor in graph.initializer}
        self.writer: dict[str, onnx.NodeProto] = {}
        self.readers: dict[str, list[onnx.NodeProto]] = {}
        self.convs: dict[str, onnx.NodeProto] = {}
        for node in graph.node:
            if node.op_type == "Constant":
                self.constants[node.output[0]] = numpy_helper.to_array(node.attribute[0].t)
            self.writer |= dict.fromkeys(node.output, node)
            for name in node.input:
                self.readers.setdefault(name, []).append(node)
            if node.op_type == "Conv" and (match := _WEIGHT.search(node.input[1])):
                self.convs[match[1]] = node

    def array(self, name: str) -> Array:
        return self.constants[name].astype(np.float64)

    def after(self, node: onnx.NodeProto, operator: str) -> onnx.NodeProto | None:
        """Return the reader of a node's output with this operator, or None."""
        return next((reader for reader in self.readers.get(node.output[0], []) if reader.op_type == operator), None)

    def norm(self, node: onnx.NodeProto) -> tuple[Array, Array]:
        """Return the scale and shift of a batch norm."""
        scale, bias, mean, variance = (self.array(name) for name in node.input[1:5])
        scale = scale / np.sqrt(variance + float(_attributes(node).get("epsilon", 1e-5)))
        return scale, bias - scale * mean

    def conv(self, name: str) -> Conv:
        node = self.convs[name]
        attributes = _attributes(node)
        if attributes.get("pads", [0] * 4)[3]:
            raise ValueError(f"{name} looks ahead")
        weight = self.array(node.input[1])
        bias = self.array(node.input[2]) if len(node.input) > 2 else np.zeros(len(weight))
        if norm := self.after(node, "BatchNormalization"):
            scale, shift = self.norm(norm)
            weight, bias = weight * scale[:, None, None, None], bias * scale + shift
        stride_bands, stride_time = attributes.get("strides", [1, 1])
        dilation = attributes.get("dilations", [1, 1])[1]
        return Conv(weight, bias, (stride_bands, stride_time), dilation, node.input[0])


def _read(graph: _Graph) -> CausalNetwork:
    first = graph.writer[graph.convs["stem"].input[0]]  # adds the channel axis
    scale, shift = graph.norm(_require_operator(graph.writer[first.input[0]], "BatchNormalization"))
    classify = graph.conv("classify")
    divisor = _temperature(graph)
    count = sum(name.endswith(".mix") for name in graph.convs)
    network = CausalNetwork(
        norm_mean=-shift / scale,
        norm_scale=scale,
        stem=graph.conv("stem"),
        blocks=tuple(_read_block(graph, f"blocks.{index}") for index in range(count)),
        last=graph.conv("last"),
        expand=graph.conv("expand"),
        classify=Conv(classify.weight / divisor, classify.bias / divisor, (1, 1), 1, classify.reads),
        expanded=_require_operator(graph.writer[classify.reads], "ReduceMean").input[0],
    )
    if not network.blocks:
        raise ValueError("no blocks")
    return network


def _read_block(graph: _Graph, prefix: str) -> Block:
    over_bands = graph.conv(f"{prefix}.over_bands")
    split = graph.after(graph.convs[f"{prefix}.over_bands"], "Reshape")
    norm = None if split is None else graph.after(split, "BatchNormalization")
    if norm is None:
        raise ValueError(f"{prefix} has no sub-spectral norm")
    scale, shift = (values.reshape(over_bands.out, -1).T for values in graph.norm(norm))
    return Block(
        widen=graph.conv(f"{prefix}.widen") if f"{prefix}.widen" in graph.convs else None,
        over_bands=over_bands,
        band_scale=scale,
        band_shift=shift + scale * over_bands.bias,
        over_time=graph.conv(f"{prefix}.over_time"),
        mix=graph.conv(f"{prefix}.mix"),
    )


def _temperature(graph: _Graph) -> float:
    """Return the divisor of the logits before the softmax."""
    node = graph.writer[graph.writer["probabilities"].input[0]]
    if node.op_type in ("Div", "Mul"):
        factor = float(graph.array(node.input[1]))
        return factor if node.op_type == "Div" else 1 / factor
    return 1.0


def _require_operator(node: onnx.NodeProto, operator: str) -> onnx.NodeProto:
    if node.op_type != operator:
        raise ValueError(f"found {node.op_type} instead of {operator}")
    return node


def _attributes(node: onnx.NodeProto) -> Mapping[str, Any]:
    return {attribute.name: onnx.helper.get_attribute_value(attribute) for attribute in node.attribute}
