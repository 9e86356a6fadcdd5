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
from harken.frontend import LogMel
from harken.models.bc_resnet import SUB_BANDS, SubSpectralNorm
from harken.training.module import Spotter

FRONT_END = "front_end/"
NETWORK = "network/"


def convert(spotter: Spotter, samples: int, *, features: bool = False, temperature: float = 1.0) -> bytes:
    """Return a spotter as a flatbuffer: `waveform` [1, samples] -> `probabilities` [1, classes], float32.

    features : leave the front-end out, and take `features` [1, bands, frames] in its place.
    Raises HarkenError when the converter does not take the network.
    """
    spotter = _folded(spotter)
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


class _FoldedSubSpectralNorm(nn.Module):
    """A sub-spectral norm as one factor and one summand a channel and band.

    Its reshape from channels to sub-bands would cost two transpositions of everything, since LiteRT keeps channels last.
    """

    def __init__(self, source: SubSpectralNorm) -> None:
        super().__init__()
        norm = source.norm
        assert norm.running_mean is not None
        assert norm.running_var is not None
        scale = norm.weight / torch.sqrt(norm.running_var + norm.eps)
        self.scale: Tensor
        self.shift: Tensor
        self.register_buffer("scale", scale.detach().clone())
        self.register_buffer("shift", (norm.bias - norm.running_mean * scale).detach())

    def forward(self, x: Tensor) -> Tensor:
        return x * self._by_band(self.scale, x.shape[2]) + self._by_band(self.shift, x.shape[2])

    def _by_band(self, values: Tensor, bands: int) -> Tensor:
        """Return values [channels x sub-bands] as [1, channels, bands, 1]."""
        return values.reshape(1, -1, SUB_BANDS, 1).repeat_interleave(bands // SUB_BANDS, dim=2)


def _folded(spotter: Spotter) -> Spotter:
    """Return a copy on the CPU in evaluation mode, with its sub-spectral norms folded."""
    copied = copy.deepcopy(spotter).cpu().eval()
    copied.to(memory_format=torch.contiguous_format)  # type: ignore[call-overload]
    for parent in list(copied.modules()):
        for name, child in list(parent.named_children()):
            if isinstance(child, SubSpectralNorm):
                setattr(parent, name, _FoldedSubSpectralNorm(child))
    return copied


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
