"""Convert a spotter to a float32 LiteRT flatbuffer, with short names for its tensors.

convert      return the bytes of a .tflite file
FRONT_END    prefix of the names of the front-end's tensors
NETWORK      prefix of the names of the network's tensors
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
_MIN_FACTOR = 1e-12  # avoids a division by zero for a channel that is always zero


def convert(spotter: Spotter, samples: int, *, features: bool = False, temperature: float = 1.0) -> bytes:
    """Convert a spotter to a flatbuffer that maps `waveform` [1, samples] to `probabilities` [1, classes], in float32.

    Parameters
    ----------
    spotter
        The network with its front-end.
    samples
        Samples in a window.
    features
        Leave the front-end out; the input is then `features` [1, bands, frames].
    temperature
        Divisor of the logits.

    Raises
    ------
    HarkenError
        The converter does not support the network.
    """
    spotter = _prepare(spotter)
    bands, frames = spotter.front_end.bands, spotter.front_end.frames(samples)
    ending = () if features else ("LOG",) if isinstance(spotter.front_end, LogMel) else ("CONV_2D", "DEPTHWISE_CONV_2D")
    module: nn.Module = _FromWaveform(spotter, temperature)
    given = {"waveform": torch.zeros(1, samples)}
    if features:
        module, given = _FromFeatures(spotter.network, temperature), {"features": torch.zeros(1, bands, frames)}
    try:
        with quiet(), torch.no_grad():
            import litert_torch

            content = litert_torch.convert(module.eval(), sample_kwargs=given).model_content()
    except Exception as error:  # The converter's errors have no other common base.
        reason = f"{type(error).__name__}: {str(error).strip().partition(chr(10))[0]}"
        raise HarkenError(
            f"LiteRT's converter does not support this network ({reason}): choose another export format"
        ) from error
    return _shorten_names(content, ending)


class _FromWaveform(nn.Module):
    def __init__(self, spotter: nn.Module, temperature: float) -> None:
        super().__init__()
        self.spotter = spotter
        self.temperature = temperature

    def forward(self, waveform: Tensor) -> dict[str, Tensor]:
        return {"probabilities": torch.softmax(self.spotter(waveform) / self.temperature, dim=1)}


class _FromFeatures(nn.Module):
    def __init__(self, network: nn.Module, temperature: float) -> None:
        super().__init__()
        self.network = network
        self.temperature = temperature

    def forward(self, features: Tensor) -> dict[str, Tensor]:
        return {"probabilities": torch.softmax(self.network(features) / self.temperature, dim=1)}


class _AffineByBand(nn.Module):
    """Multiply by a factor and add an offset for each channel and band of [N, channels, bands, frames]."""

    def __init__(self, factor: Tensor, offset: Tensor) -> None:
        super().__init__()
        self.factor: Tensor
        self.offset: Tensor
        self.register_buffer("factor", factor)
        self.register_buffer("offset", offset)

    def forward(self, x: Tensor) -> Tensor:
        return x * self.factor + self.offset


def _prepare(spotter: Spotter) -> Spotter:
    """Return a copy on the CPU in evaluation mode, with the sub-spectral norms of a BC-ResNet folded."""
    copied = copy.deepcopy(spotter).cpu().eval()
    copied.to(memory_format=torch.contiguous_format)  # type: ignore[call-overload]
    if isinstance(copied.network, BCResNet):
        bands = copied.front_end.bands // copied.network.stem.stride[0]
        for block in copied.network.blocks:
            assert isinstance(block, BroadcastBlock)
            bands //= block.over_bands.stride[0]
            block.band_norm = _fold_norm(block, bands)  # type: ignore[assignment]
    return copied


@torch.no_grad()
def _fold_norm(block: BroadcastBlock, bands: int) -> _AffineByBand:
    """Return the sub-spectral norm of a block without reshapes, and move each channel's largest factor into the convolution.

    LiteRT keeps channels last, so reshaping channels to sub-bands would cost two transpositions of all values. The
    remaining factors of a channel are at most 1, which fits into 8 bits. The convolution has a scale per channel, so it
    can hold the rest.
    """
    norm = block.band_norm.norm
    assert norm.running_mean is not None
    assert norm.running_var is not None
    factor = norm.weight / torch.sqrt(norm.running_var + norm.eps)
    offset = norm.bias - norm.running_mean * factor
    factor, offset = (
        values.reshape(1, -1, SUB_BANDS, 1).repeat_interleave(bands // SUB_BANDS, dim=2) for values in (factor, offset)
    )
    largest = factor.abs().amax(dim=2, keepdim=True).clamp_min(_MIN_FACTOR)
    block.over_bands.weight.mul_(largest.reshape(-1, 1, 1, 1))
    return _AffineByBand(factor / largest, offset)


def _shorten_names(content: bytes, ending: tuple[str, ...]) -> bytes:
    """Return a flatbuffer with short names for its tensors. The converter's names are paths through Python classes.

    ending : kinds of operators; the front-end ends at the first of them. If empty, there is no front-end.
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
        in_front_end: set[int] = set()
        while waiting and number == 0:
            operator = waiting.pop()
            in_front_end.update(operator.outputs)
            in_front_end.update(index for index in operator.inputs if index not in made_by)  # Its constants.
            waiting += [made_by[index] for index in operator.inputs if index in made_by and index not in in_front_end]
        given = {tensor.tensorIndex: tensor.name for tensor in _signature(model, number)}
        for index, tensor in enumerate(graph.tensors):
            own = f"{FRONT_END if index in in_front_end else NETWORK}{f'{number}/' if number else ''}{index}"
            tensor.name = given.get(index, own)
    return bytes(flatbuffer_utils.convert_object_to_bytearray(model))


def _signature(model: Any, number: int) -> list[Any]:
    """Return the inputs and outputs of a subgraph with their names in its signature."""
    return [
        tensor
        for signature in model.signatureDefs
        if signature.subgraphIndex == number
        for tensor in (*signature.inputs, *signature.outputs)
    ]
