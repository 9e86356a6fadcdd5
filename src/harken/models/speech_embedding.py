"""Speech embeddings: 96 numbers for every 80 ms of audio, computed from log-mel features of the last 775 ms.

SpeechEmbedding   the weights and layers of an embedding; computes embeddings of audio
samples_of        number of samples that a number of embeddings needs
mel_nodes         the log-mel front-end as ONNX nodes
mel_constants     the constants of these nodes
mel_matrices      the window, the transform and the filters of the front-end

There are two of them: harken's own (harken_embedding.py) and Google's (google_embedding.py). Both are stacks of convolutions
without padding in time. One run over a long stretch of audio therefore gives the same result as separate runs over windows
of 775 ms, 80 ms apart. They share the front-end, with which Google's was trained.
"""

from dataclasses import dataclass
from functools import lru_cache
from typing import NamedTuple

import numpy as np
import onnxruntime
from numpy.typing import NDArray

from harken.models.mel_filters import mel_filters
from harken.models.onnx_bytes import Array, Tensor, model, node

SAMPLE_RATE = 16_000
STEP = 1280  # samples from one embedding to the next
FRAMES = 76  # mel frames in the input of one embedding, 10 ms apart
HOP = 160  # samples from one mel frame to the next
STRIDE = 8  # mel frames from one embedding to the next
DIMENSIONS = 96
MEL_BANDS = 32
FFT = 512  # samples of a mel frame
FULL_SCALE = 32768.0  # the embedding was trained on samples of this scale
MEL_FLOOR = 100.0  # minimum mel power, at this scale; it is below the noise of any microphone
SILENT_MEL = 4.0  # log-mel value of digital silence, which MEL_FLOOR determines

_MEL_RANGE_HZ = (60.0, 3800.0)
_MEL_WINDOW = 400  # samples of the Hann window, in the middle of a frame
_INPUT_SAMPLES = FFT + HOP * (FRAMES - 1)  # samples in the input of one embedding
_BATCH_STEPS = 64  # embeddings computed at once; more of them would not fit into the processor's cache


def samples_of(embeddings: int) -> int:
    """Return the number of samples that are needed to compute a number of embeddings."""
    return _INPUT_SAMPLES + STEP * (embeddings - 1)


@dataclass(frozen=True)
class SpeechEmbedding:
    """A speech embedding.

    Attributes
    ----------
    name
        Its name, as in `harken.models.encoders`.
    network
        Constants of the network, by their names in the graph.
    layers
        ONNX nodes that turn `mel_map` [N, 1, frames, 32] into `embedding_map` [N, 96, steps, 1].
    """

    name: str
    network: dict[str, Array]
    layers: tuple[bytes, ...]

    @property
    def constants(self) -> dict[str, Array]:
        """The constants that `mel_nodes` and `nodes` use."""
        return {**mel_constants(), **self.network}

    def nodes(self, mel: str, embeddings: str) -> list[bytes]:
        """Return the nodes that turn log-mel features [N, frames, 32] into embeddings [N, steps, 96]."""
        return [
            node("Unsqueeze", [mel, "axis_1"], ["mel_map"]),
            *self.layers,
            node("Squeeze", ["embedding_map", "axis_3"], ["by_dimension"]),
            node("Transpose", ["by_dimension"], [embeddings], perm=[0, 2, 1]),
        ]

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


@lru_cache(maxsize=2)
def _session_of(embedding: SpeechEmbedding) -> onnxruntime.InferenceSession:
    nodes = [*mel_nodes("waveform", "mel"), *embedding.nodes("mel", "embeddings")]
    content = model(
        nodes,
        embedding.constants,
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
        node("Conv", ["one_channel", "dft"], ["spectrum"], strides=[HOP], kernel_shape=[FFT]),
        node("Mul", ["spectrum", "spectrum"], ["power"]),
        node("Transpose", ["power"], ["power_by_frame"], perm=[0, 2, 1]),
        node("MatMul", ["power_by_frame", "mel_bands"], ["mel_power"]),
        node("Max", ["mel_power", "mel_floor"], ["floored"]),
        node("Log", ["floored"], ["log_power"]),
        node("Mul", ["log_power", "bels"], ["in_bels"]),
        node("Add", ["in_bels", "mel_offset"], [mel]),
    ]


class MelMatrices(NamedTuple):
    """The front-end as matrices.

    Attributes
    ----------
    bins
        Bins of the spectrum that the filters use.
    window
        Hann window [512], zero outside its middle 400 samples.
    transform
        Windowed cosines, then sines, of these bins [2 * bins, 512].
    filters
        Mel filters [bins, 32].
    """

    bins: slice
    window: NDArray[np.float64]
    transform: NDArray[np.float64]
    filters: NDArray[np.float64]


@lru_cache(maxsize=1)
def mel_matrices() -> MelMatrices:
    """Calculate the front-end of the published model."""
    filters = mel_filters(SAMPLE_RATE, FFT, MEL_BANDS, *_MEL_RANGE_HZ)
    used = np.flatnonzero(filters.any(axis=0))  # the bands end at 3.8 kHz, so half of the spectrum is not needed
    angles = 2 * np.pi / FFT * np.outer(used, np.arange(FFT))
    hann = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(_MEL_WINDOW) / _MEL_WINDOW)
    window = np.pad(hann, (FFT - _MEL_WINDOW) // 2)
    transform = np.concatenate([window * np.cos(angles), window * np.sin(angles)])
    return MelMatrices(slice(int(used[0]), int(used[-1]) + 1), window, transform, filters[:, used].T)


def mel_constants() -> dict[str, Array]:
    """Return the constants of `mel_nodes`."""
    _, _, transform, filters = mel_matrices()
    return {
        "full_scale": np.array(FULL_SCALE, np.float32),
        "axis_1": np.array([1], np.int64),
        "axis_3": np.array([3], np.int64),
        "dft": transform[:, None].astype(np.float32),
        "mel_bands": np.concatenate([filters] * 2).astype(np.float32),
        "mel_floor": np.array(MEL_FLOOR, np.float32),
        "bels": np.array(1 / np.log(10), np.float32),
        "mel_offset": np.array(2.0, np.float32),
    }
