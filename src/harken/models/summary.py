"""Layers, parameters and multiply-adds of a network.

Layer               one row of the table
layer_table         the rows of a network, in the order in which the layers run
multiply_adds       the total of a network, for one example
count_parameters    the total of a module
table_by_name       the rows of a network of the registry, for its usual input
count_by_name       its parameters and multiply-adds, for the same input

A multiply-add multiplies a value by a weight and adds the product. They are counted in layers with weights: convolutions,
dense layers, LSTMs and GRUs, including products with zero padding. Not counted are biases, normalization (an export folds
it into the convolution before it) and everything without weights: activations, pooling and the products inside attention.
A parameter is a number that training changes. The running statistics of a normalization are not parameters.
"""

from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor, nn

from harken.models.registry import find_network

_USUAL_INPUT = {
    "raw": (1, 8_000),
    "log_mel": (40, 98),
    "speech_mel": (32, 97),
}  # bands and frames of one second in the recipes


@dataclass(frozen=True)
class Layer:
    """One layer of a network.

    Attributes
    ----------
    name
        Path of the layer in the network.
    kind
        Its class, with kernel, stride and dilation if it has them.
    output_shape
        Shape of its output for one example, as Keras prints it: channels last, without axes of length one. (7988, 8) is
        7,988 time steps of 8 channels, (20, 49, 64) bands, frames and channels.
    parameters
        Number of its own parameters.
    multiply_adds
        Multiply-adds for one example.
    """

    name: str
    kind: str
    output_shape: tuple[int, ...]
    parameters: int
    multiply_adds: int


class Counts(NamedTuple):
    """The parameters of a network, and its multiply-adds for one example."""

    parameters: int
    multiply_adds: int


def layer_table(network: nn.Module, bands: int, frames: int) -> list[Layer]:
    """Run a network on one example and return a row for each layer, in the order in which they ran.

    A layer that runs twice has two rows, and its parameters are in the first one. The network does not change: neither its
    weights, nor its running statistics, nor its training mode.

    Parameters
    ----------
    network
        A network for features [N, bands, frames].
    bands, frames
        Size of the example.
    """
    rows: list[Layer] = []
    seen: set[nn.Module] = set()

    def add_row(name: str, layer: nn.Module, inputs: tuple[Tensor, ...], output: Tensor | tuple[Tensor, ...]) -> None:
        out = output if isinstance(output, Tensor) else output[0]
        own = 0 if layer in seen else sum(p.numel() for p in layer.parameters(recurse=False))
        seen.add(layer)
        rows.append(Layer(name, _kind(layer), _shape(layer, out), own, _multiply_adds(layer, inputs[0], out)))

    layers = {
        name: module
        for name, module in network.named_modules()
        if not any(module.children()) or any(True for _ in module.parameters(recurse=False))
    }
    hooks = [
        module.register_forward_hook(lambda layer, inputs, output, name=name: add_row(name, layer, inputs, output))
        for name, module in layers.items()
    ]
    modes = {module: module.training for module in network.modules()}
    example = next(network.parameters(), torch.empty(0))
    try:
        network.eval()
        with torch.no_grad():
            network(torch.zeros(1, bands, frames, device=example.device, dtype=example.dtype))
    finally:
        for hook in hooks:
            hook.remove()
        for module, training in modes.items():
            module.training = training
    return rows


def multiply_adds(network: nn.Module, bands: int, frames: int) -> int:
    """Return the multiply-adds of a network for one example of features [bands, frames]."""
    return sum(layer.multiply_adds for layer in layer_table(network, bands, frames))


def count_parameters(module: nn.Module) -> int:
    """Return the number of parameters of a module."""
    return sum(parameter.numel() for parameter in module.parameters())


def table_by_name(name: str) -> list[Layer]:
    """Return the layers of the network called `name`, for one second of its usual input.

    The input is 8,000 samples for a network over the raw waveform, and 40 bands x 98 frames for others. The tutorial's
    networks have ten classes, others twelve. Raises HarkenError if there is no such network.
    """
    return layer_table(*_build_with_usual_input(name))


def count_by_name(name: str) -> Counts:
    """Return parameters and multiply-adds of the network called `name`, for the same input as `table_by_name`."""
    network, bands, frames = _build_with_usual_input(name)
    return Counts(count_parameters(network), multiply_adds(network, bands, frames))


def _build_with_usual_input(name: str) -> tuple[nn.Module, int, int]:
    entry = find_network(name)
    bands, frames = _USUAL_INPUT[entry.front_end]
    with torch.random.fork_rng(devices=[]):  # building a network must not change the random numbers of a later training
        return entry.build(10 if name.startswith("tutorial_") else 12, bands, frames), bands, frames


def _multiply_adds(layer: nn.Module, features: Tensor, output: Tensor) -> int:
    """Count each weight once for each position at which it is used."""
    if isinstance(layer, nn.Conv1d | nn.Conv2d):
        return layer.weight.numel() * (output.numel() // layer.out_channels)
    if isinstance(layer, nn.Linear):
        return layer.weight.numel() * (output.numel() // layer.out_features)
    if isinstance(layer, nn.RNNBase):
        weights = sum(p.numel() for name, p in layer.named_parameters() if name.startswith("weight"))
        return weights * features.shape[1 if layer.batch_first else 0]
    return 0


def _kind(layer: nn.Module) -> str:
    kind = type(layer).__name__
    if isinstance(layer, nn.Conv1d | nn.Conv2d):
        kind += f" {_times(layer.kernel_size)}"
        if layer.groups > 1:
            kind += " depthwise" if layer.groups == layer.in_channels else f" in {layer.groups} groups"
        kind += f", stride {_times(layer.stride)}" if max(layer.stride) > 1 else ""
        kind += f", dilation {_times(layer.dilation)}" if max(layer.dilation) > 1 else ""
    elif isinstance(layer, nn.MaxPool2d):
        size = layer.kernel_size
        kind += f" {_times(size if isinstance(size, tuple) else (size, size))}"
    return kind


def _times(numbers: tuple[int, ...]) -> str:
    return "x".join(map(str, numbers))


def _shape(layer: nn.Module, output: Tensor) -> tuple[int, ...]:
    shape = tuple(output.shape[1:])
    if len(shape) == 3 or (len(shape) == 2 and type(layer).__name__.endswith("1d")):
        shape = (*shape[1:], shape[0])
    return (*(length for length in shape[:-1] if length != 1), *shape[-1:])
