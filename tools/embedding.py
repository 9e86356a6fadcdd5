"""harken with one more network, to distil from: Google's speech embedding under a head of ours.

python tools/embedding.py FOLDER train --network embedding ... --out TEACHER
python tools/embedding.py FOLDER train --network harken_base --set teacher=large,TEACHER ... --out RUN

After FOLDER come harken's own words. FOLDER holds `melspectrogram.onnx` and `embedding_model.onnx` as openWakeWord prepared
them; `pip install wakebox` brings both, in wakebox/models. The embedding (J. Lin et al., 2020, arXiv:2002.01322,
tfhub.dev/google/speech_embedding/1, Apache-2.0) learnt to tell some 5,000 keywords apart on other recordings, by far more
speakers than Speech Commands has. What it knows of voices reaches a student through its answers; none of it is shipped.
"""

import sys
from pathlib import Path
from types import ModuleType

import numpy as np
import onnx
import torch
import torch.nn.functional as F
from onnx import numpy_helper
from torch import Tensor, nn

from harken.cli import main
from harken.models.registry import NETWORKS, Network

NAME = "embedding"
_CHANNELS = 96  # of the embedding
_WIDTH = 160
_DROPOUT = 0.2
_BEFORE, _AFTER = 52, 28  # frames around a second: the embedding sees 76 at once
_MASKS, _MASKED = 2, 4  # at most so many bands each
_CLIMB = 32_768.0  # it was trained on the values of 16-bit samples
_RANGE_DB = 80.0


class Bands(nn.Module):
    """The embedding's own front-end: waveforms [N, samples] at 16 kHz -> [N, frames, 32], (dB / 10) + 2."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        stored = [numpy_helper.to_array(tensor) for tensor in onnx.load(str(path)).graph.initializer]
        waves = [array[:, 0].T for array in stored if array.ndim == 3]  # real, imaginary: [512, 257] each
        (filters,) = (array for array in stored if array.ndim == 2)
        self.waves: Tensor
        self.filters: Tensor
        self.register_buffer("waves", torch.tensor(np.concatenate(waves, axis=1)), persistent=False)
        self.register_buffer("filters", torch.tensor(filters), persistent=False)

    def forward(self, waveform: Tensor) -> Tensor:
        size, bins = self.waves.shape[0], self.filters.shape[0]
        frames = (waveform * _CLIMB).unfold(-1, size, 160)
        if torch.compiler.is_compiling():
            parts = frames @ self.waves
            power = parts[..., :bins].square() + parts[..., bins:].square()
        else:
            power = torch.view_as_real(torch.fft.rfft(frames * self.waves[:, 0])).square().sum(-1)
        decibels = 10 * (power @ self.filters).clamp(min=1e-10).log10()
        return torch.maximum(decibels, decibels.amax((1, 2), keepdim=True) - _RANGE_DB) / 10 + 2


class Activation(nn.Module):
    """The embedding's: a leaky ReLU that goes no lower than -0.4."""

    def forward(self, x: Tensor) -> Tensor:
        return F.leaky_relu(x, 0.2).clamp(min=-0.4)


def embedding(path: Path) -> nn.Sequential:
    """Return the stored network with its weights: [N, 1, frames, 32] -> [N, 96, (frames - 76) / 8 + 1, 1]."""
    graph = onnx.load(str(path)).graph
    stored = {tensor.name: torch.tensor(numpy_helper.to_array(tensor)) for tensor in graph.initializer}
    layers: list[nn.Module] = []
    for node in graph.node:
        options = {option.name: onnx.helper.get_attribute_value(option) for option in node.attribute}
        if node.op_type == "Conv":
            weight, *bias = (stored[name] for name in node.input[1:])
            out, into, height, width = weight.shape
            top, left, *_ = options.get("pads", (0, 0, 0, 0))  # as much after
            layer = nn.Conv2d(into, out, (height, width), padding=(top, left), bias=bool(bias))
            layer.weight = nn.Parameter(weight)
            if bias:
                layer.bias = nn.Parameter(bias[0])
            layers.append(layer)
        elif node.op_type == "LeakyRelu":
            layers.append(Activation())
        elif node.op_type == "MaxPool":
            layers.append(nn.MaxPool2d(tuple(options["kernel_shape"]), tuple(options["strides"])))
    return nn.Sequential(*layers)


class Embedding(nn.Module):
    """The embedding as it is, and two convolutions over time that train: a second [N, 1, 16000] -> [N, classes].

    The second is set between frames as quiet as its quietest tenth. The embedding's own weights stay: let loose on
    Speech Commands they soon know its training clips by heart, and no more than a network of ours does.
    """

    def __init__(self, classes: int, bands: int, frames: int, *, folder: Path) -> None:
        super().__init__()
        self.bands = Bands(folder / "melspectrogram.onnx")
        body = embedding(folder / "embedding_model.onnx").requires_grad_(False)
        self.body = body.to(memory_format=torch.channels_last)  # type: ignore[call-overload]  # twice as fast
        self.head = nn.Sequential(nn.BatchNorm1d(_CHANNELS), *_convolution(_CHANNELS), *_convolution(_WIDTH))
        self.out = nn.Linear(2 * _WIDTH, classes)

    def forward(self, waveform: Tensor) -> Tensor:
        with torch.no_grad(), torch.autocast(waveform.device.type, enabled=False):
            features = self.bands(waveform.squeeze(1).float())
            tenth = max(1, features.shape[1] // 10)
            quiet = features.topk(tenth, dim=1, largest=False).values[:, -1:]
            if self.training:
                features = _mask(features, quiet)
            features = torch.cat([quiet.expand(-1, _BEFORE, -1), features, quiet.expand(-1, _AFTER, -1)], dim=1)
        x = self.head(self.body(features.unsqueeze(1).contiguous(memory_format=torch.channels_last)).squeeze(3))
        logits: Tensor = self.out(torch.cat([x.amax(2), x.mean(2)], dim=1))
        return logits


def _convolution(channels: int) -> tuple[nn.Module, ...]:
    return nn.Conv1d(channels, _WIDTH, 3, padding=1), nn.BatchNorm1d(_WIDTH), nn.ReLU(), nn.Dropout(_DROPOUT)


def _mask(features: Tensor, quiet: Tensor) -> Tensor:
    """Silence some bands of each row [frames, bands] (SpecAugment: D. Park et al., 2019, arXiv:1904.08779)."""
    rows, _, bands = features.shape
    for _ in range(_MASKS):
        first = torch.randint(bands, (rows, 1), device=features.device)
        width = torch.randint(_MASKED, (rows, 1), device=features.device)
        band = torch.arange(bands, device=features.device)
        features = torch.where(((band >= first) & (band < first + width)).unsqueeze(1), quiet, features)
    return features


def run() -> None:
    """Make the network known, then do as harken does."""
    if len(sys.argv) < 2 or not (Path(sys.argv[1]) / "embedding_model.onnx").is_file():
        sys.exit(__doc__)
    home = ModuleType("harken.models.embedding")
    home.Embedding = Embedding  # type: ignore[attr-defined]
    sys.modules[home.__name__] = home
    folder = Path(sys.argv.pop(1)).resolve()
    known = Network(
        NAME, "embedding:Embedding", "raw", "Google's speech embedding", "arXiv:2002.01322", {"folder": folder}
    )
    NETWORKS[NAME] = known  # type: ignore[index]
    main()


if __name__ == "__main__":
    run()
