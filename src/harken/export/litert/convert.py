"""A spotter as a LiteRT flatbuffer in float32, its tensors named by what they belong to.

convert      a spotter -> the bytes of a .tflite file
FRONT_END    what the names of the front-end's tensors begin with        NETWORK    the same of the network's
"""

import copy
from typing import Any

import torch
from torch import Tensor, nn

from harken.errors import HarkenError
from harken.export.litert.quiet import quiet
from harken.models.bc_resnet import SUB_BANDS, BCResNet, BroadcastBlock
from harken.models.frontend import LogMel
from harken.models.spotter import Spotter

FRONT_END = "front_end/"
NETWORK = "network/"
_LEAST = 1e-12  # that a channel which is always zero may be divided by


def convert(spotter: Spotter, samples: int, *, features: bool = False, temperature: float = 1.0) -> bytes:
    """Return a spotter as a flatbuffer: `waveform` [1, samples] -> `probabilities` [1, classes], float32.

    features : leave the front-end out, and take `features` [1, bands, frames] in its place.
    Raises HarkenError when the converter does not take the network.
    """
    spotter = _prepared(spotter)
    bands, frames = spotter.front_end.bands, spotter.front_end.frames(samples)
    ending = () if features else ("LOG",) if isinstance(spotter.front_end, LogMel) else ("CONV_2D", "DEPTHWISE_CONV_2D")
    module: nn.Module = _OfWaveform(spotter, temperature)
    given = {"waveform": torch.zeros(1, samples)}
    if features:
        module, given = _OfFeatures(spotter.network, temperature), {"features": torch.zeros(1, bands, frames)}
    try:
        with quiet(), torch.no_grad():
            import litert_torch

            content = litert_torch.convert(module.eval(), sample_kwargs=given).model_content()
    except Exception as error:  # the converter's own errors share no base but this
        reason = f"{type(error).__name__}: {str(error).strip().partition(chr(10))[0]}"
        raise HarkenError(f"LiteRT's converter does not take this network ({reason}): choose another form") from error
    return _renamed(content, ending)


class _OfWaveform(nn.Module):
    def __init__(self, spotter: nn.Module, temperature: float) -> None:
        super().__init__()
        self.spotter = spotter
        self.temperature = temperature

    def forward(self, waveform: Tensor) -> dict[str, Tensor]:
        return {"probabilities": torch.softmax(self.spotter(waveform) / self.temperature, dim=1)}


class _OfFeatures(nn.Module):
    def __init__(self, network: nn.Module, temperature: float) -> None:
        super().__init__()
        self.network = network
        self.temperature = temperature

    def forward(self, features: Tensor) -> dict[str, Tensor]:
        return {"probabilities": torch.softmax(self.network(features) / self.temperature, dim=1)}


class _ByBand(nn.Module):
    """One factor and one summand a channel and band: [N, channels, bands, frames] -> the same shape."""

    def __init__(self, factor: Tensor, summand: Tensor) -> None:
        super().__init__()
        self.factor: Tensor
        self.summand: Tensor
        self.register_buffer("factor", factor)
        self.register_buffer("summand", summand)

    def forward(self, x: Tensor) -> Tensor:
        return x * self.factor + self.summand


def _prepared(spotter: Spotter) -> Spotter:
    """Return a copy on the CPU in evaluation mode, with the sub-spectral norms of a BC-ResNet folded."""
    copied = copy.deepcopy(spotter).cpu().eval()
    copied.to(memory_format=torch.contiguous_format)  # type: ignore[call-overload]
    if isinstance(copied.network, BCResNet):
        bands = copied.front_end.bands // copied.network.stem.stride[0]
        for block in copied.network.blocks:
            assert isinstance(block, BroadcastBlock)
            bands //= block.over_bands.stride[0]
            block.band_norm = _folded(block, bands)  # type: ignore[assignment]
    return copied


@torch.no_grad()
def _folded(block: BroadcastBlock, bands: int) -> _ByBand:
    """Return the sub-spectral norm of a block without reshapes, its largest factor a channel gone into the convolution.

    LiteRT keeps channels last: a reshape from channels to sub-bands costs two transpositions of everything. Factors of one
    channel are then at most 1, which 8 bits can hold; a convolution's own have a scale a channel.
    """
    norm = block.band_norm.norm
    assert norm.running_mean is not None
    assert norm.running_var is not None
    factor = norm.weight / torch.sqrt(norm.running_var + norm.eps)
    summand = norm.bias - norm.running_mean * factor
    factor, summand = (
        values.reshape(1, -1, SUB_BANDS, 1).repeat_interleave(bands // SUB_BANDS, dim=2) for values in (factor, summand)
    )
    largest = factor.abs().amax(dim=2, keepdim=True).clamp_min(_LEAST)
    block.over_bands.weight.mul_(largest.reshape(-1, 1, 1, 1))
    return _ByBand(factor / largest, summand)


def _renamed(content: bytes, ending: tuple[str, ...]) -> bytes:
    """Return a flatbuffer with short names for its tensors; the converter's are paths through Python classes.

    ending : kinds of operator, at the first of which the front-end ends; without one there is no front-end.
    """
    from ai_edge_litert.tools import flatbuffer_utils

    model = flatbuffer_utils.read_model_from_bytearray(bytearray(content))
    for number, graph in enumerate(model.subgraphs):
        made_by = {output: operator for operator in graph.operators for output in operator.outputs}
        waiting: list[Any] = [
            operator
            for operator in graph.operators
            if flatbuffer_utils.opcode_to_name(model, operator.opcodeIndex) in ending
        ][:1]
        heard: set[int] = set()
        while waiting and number == 0:
            operator = waiting.pop()
            heard.update(operator.outputs)
            heard.update(index for index in operator.inputs if index not in made_by)  # its constants
            waiting += [made_by[index] for index in operator.inputs if index in made_by and index not in heard]
        given = {tensor.tensorIndex: tensor.name for tensor in _signature(model, number)}
        for index, tensor in enumerate(graph.tensors):
            own = f"{FRONT_END if index in heard else NETWORK}{f'{number}/' if number else ''}{index}"
            tensor.name = given.get(index, own)
    return bytes(flatbuffer_utils.convert_object_to_bytearray(model))


def _signature(model: Any, number: int) -> list[Any]:
    """Return the inputs and outputs of a subgraph as its signature names them."""
    return [
        tensor
        for signature in model.signatureDefs
        if signature.subgraphIndex == number
        for tensor in (*signature.inputs, *signature.outputs)
    ]
