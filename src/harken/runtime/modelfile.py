"""Open model files.

A model file is one ONNX file: waveform in, probabilities out. Its metadata contains everything that a user of the model
needs.

ModelFile       an opened model file: its metadata and its network
Card            the metadata of a model file
find_model      find the path of a model
bundled_models  list the names of the bundled models
"""

import json
import math
import os
import unicodedata
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.resources import files
from numbers import Integral
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
from numpy.typing import NDArray

from harken.audio.clip import is_number, peak_of
from harken.errors import HarkenError
from harken.labels import SILENCE, UNKNOWN, normalize_word
from harken.runtime.hub import fetch_model, is_hub_uri

_REQUIRED = ("labels", "sample_rate", "window")
STREAM_SUFFIX = ".stream"  # end of the name of a bundled streaming model, such as base.stream
_BATCH_SIZE = 64  # windows per run of the network: enough to use all cores, and small enough for a phone's memory


@dataclass(frozen=True)
class Card:
    """The metadata of a model file.

    Attributes
    ----------
    labels
        Class names in the order of the probabilities.
    sample_rate
        Sample rate of the input in Hz.
    window
        Number of samples that the network classifies at once.
    thresholds
        Minimum probability at which a word in a clip is accepted, by word. A word without an entry has the threshold 0.
    fields
        All other metadata entries, such as the recipe, the corpus, and the measured accuracy.
    """

    labels: tuple[str, ...]
    sample_rate: int
    window: int
    thresholds: Mapping[str, float]
    fields: Mapping[str, Any]

    @property
    def words(self) -> tuple[str, ...]:
        """Labels that are words: all except `_unknown_` and `_silence_`."""
        return tuple(label for label in self.labels if label not in (UNKNOWN, SILENCE))

    @property
    def temperature(self) -> float:
        """Temperature of the softmax, chosen on the validation set to calibrate the probabilities. Default: 1."""
        return float(self.fields.get("temperature", 1.0))


class ModelFile:
    """An opened model file, which classifies windows of a fixed length.

    `Recognizer` and `Listener` are built on it, and accept clips and streams of any length and sample rate. It can be
    pickled and copied, as can both of them: the copy opens the file again.

    Parameters
    ----------
    model
        Path of a model file, folder of a finished training run, or name of a bundled model.
    threads
        Number of onnxruntime threads, 1 or more.

    Attributes
    ----------
    card : Card
        Metadata of the model.
    path : Path
        Path of the file.

    Raises
    ------
    HarkenError
        If the file does not exist or is not a harken model file, or `threads` is not a whole number of 1 or more.
    """

    def __init__(self, model: str | os.PathLike[str], *, threads: int = 1) -> None:
        self.path = find_model(model)
        self._session, self.card = open_model(self.path, threads)
        if is_streaming(self._session):
            raise HarkenError(
                f"{self.path} is a streaming model, which works only for streams, in `harken listen` and Listener: "
                "pass the model that it was exported from"
            )
        check_tensor(self.path, self._session.get_inputs(), "waveform", self.card.window)
        check_tensor(self.path, self._session.get_outputs(), "probabilities", len(self.card.labels))

    def probabilities(self, windows: NDArray[np.floating[Any]]) -> NDArray[np.float32]:
        """Classify windows.

        Parameters
        ----------
        windows
            Samples [N, window] at the model's sample rate, of any float type. Full scale is 1.0. They are converted to float32.

        Returns
        -------
        ndarray of float32
            The probabilities [N, classes], in the order of `card.labels`.

        Raises
        ------
        HarkenError
            If `windows` is not an array of floats of this shape, or contains NaN or infinity.
        """
        windows = as_float32(windows, "windows")
        if windows.ndim != 2 or windows.shape[1] != self.card.window:
            raise HarkenError(f"windows of shape {windows.shape} do not fit the model: pass [N, {self.card.window}]")
        if not math.isfinite(peak_of(windows)):
            raise HarkenError("windows contains NaN or infinite samples: check where they come from")
        if not len(windows):
            return np.zeros((0, len(self.card.labels)), np.float32)
        batches = [
            self._session.run(
                ["probabilities"], {"waveform": np.ascontiguousarray(windows[start : start + _BATCH_SIZE])}
            )[0]
            for start in range(0, len(windows), _BATCH_SIZE)
        ]
        return np.concatenate(batches)


def as_float32(samples: NDArray[Any], name: str) -> NDArray[np.float32]:
    """Return an array of floats as float32.

    Parameters
    ----------
    samples
        Array of any shape.
    name
        Name of the argument, for messages.

    Raises
    ------
    HarkenError
        If `samples` is not an array of floats.
    """
    if not isinstance(samples, np.ndarray):
        raise HarkenError(f"{name} is of the type {type(samples).__name__}: pass an array, numpy.float32({name})")
    if samples.dtype.kind != "f":
        raise HarkenError(
            f"{name} has the type {samples.dtype}: pass floats, where full scale is 1.0; divide int16 by 32768"
        )
    with np.errstate(over="ignore"):  # a float64 beyond float32 becomes infinity
        return samples.astype(np.float32, copy=False)


class _Session(onnxruntime.InferenceSession):  # type: ignore[misc]
    """A session that can be pickled and copied: the copy opens the same file again."""

    def __init__(self, path: Path, threads: int) -> None:
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        options.inter_op_num_threads = 1
        options.log_severity_level = 3
        # The fallback would only try the same again, and print to standard output.
        super().__init__(str(path), options, providers=["CPUExecutionProvider"], enable_fallback=False)
        self._file = path.absolute()  # another process may have another working folder
        self._threads = threads

    def __reduce__(self) -> tuple[Any, ...]:
        return _open_session, (self._file, self._threads)


def _open_session(path: Path, threads: int) -> _Session:
    try:
        path.open("rb").close()  # onnxruntime does not say whether a file is damaged or cannot be read
    except OSError as error:
        raise _cannot_be_opened(path, error) from error
    try:
        return _Session(path, threads)
    except Exception as error:  # the errors of onnxruntime have no other base class in common
        raise HarkenError(f"{path} is not an ONNX model that can be run: export it again") from error


def _cannot_be_opened(model: str | os.PathLike[str], error: OSError) -> HarkenError:
    return HarkenError(f"{model} cannot be opened: {error.strerror}; check the path and its permissions")


def open_model(path: Path, threads: int) -> tuple[onnxruntime.InferenceSession, Card]:
    """Open an ONNX file of harken.

    Parameters
    ----------
    path
        Path of a model file or of a streaming model.
    threads
        Number of onnxruntime threads, 1 or more.

    Returns
    -------
    tuple of InferenceSession and Card
        The onnxruntime session and the metadata.

    Raises
    ------
    HarkenError
        If `threads` is not a whole number of 1 or more, or the file cannot be run or was not written by harken.
    """
    if not isinstance(threads, Integral) or threads < 1:
        raise HarkenError(f"threads={threads!r}: give a whole number, 1 or more")
    session = _open_session(path, threads)
    try:
        metadata = session.get_modelmeta().custom_metadata_map
    except UnicodeDecodeError as error:
        raise HarkenError(f"{path} is damaged: its metadata is not text; copy or export it again") from error
    return session, _read_card(path, metadata)


def is_streaming(session: onnxruntime.InferenceSession) -> bool:
    """Return whether a session is of a streaming model, which has its state as an input."""
    return "state" in {node.name for node in session.get_inputs()}


def report_folder(model: Path) -> Path:
    """Return the folder for reports about a model: its own folder, or the working folder for one that is not the user's."""
    downloaded = model.parent.parent.name == "snapshots"  # in the Hub's cache
    return Path() if downloaded or model.parent == _bundled_folder() else model.parent


def _bundled_folder() -> Path:
    return Path(str(files("harken").joinpath("weights")))


def find_model(model: str | os.PathLike[str]) -> Path:
    """Return the path of a model file.

    Parameters
    ----------
    model
        Name of a bundled model, path of a file, or folder of a finished training run. The name of a bundled model takes
        precedence: write `./base` for a file or folder that is called `base`. `hf://OWNER/NAME` is downloaded.

    Raises
    ------
    HarkenError
        If there is no such model, its folder cannot be read, or `model` is neither a text nor a path.
    """
    if not isinstance(model, str | os.PathLike):
        raise HarkenError(
            f"{type(model).__name__} is not a model: pass the path of a model file or the name of a bundled model"
        )
    if is_hub_uri(model):
        return fetch_model(str(model))
    try:
        return _find_local(model)
    except OSError as error:
        raise _cannot_be_opened(model, error) from error


def _find_local(model: str | os.PathLike[str]) -> Path:
    path = Path(model)
    if str(model).removesuffix(STREAM_SUFFIX) in bundled_models():
        bundled = _bundled_folder() / f"{model}.onnx"
        if bundled.is_file():
            return bundled
    if path.is_file():
        return path
    if path.is_dir():
        if (path / "model.onnx").is_file():
            return path / "model.onnx"
        raise HarkenError(f"{path} is a folder without model.onnx: pass a model file or the folder of a finished run")
    if str(model).partition("+")[0].removesuffix(".onnx").endswith(STREAM_SUFFIX) and "+" in str(model):
        raise HarkenError(
            f"{model}: two models joined by + work only for streams, in `listen`, `wyoming`, `evaluate-stream` and "
            "`serve --streaming`; give one of them"
        )
    names = ", ".join(bundled_models()) or "none"
    raise HarkenError(f"{model} is neither a model file nor a bundled model (there are {names}): check the path")


def bundled_models() -> tuple[str, ...]:
    """Return the names of the models that are installed with harken, smallest first.

    Each name can be passed to `Recognizer`, `ModelFile`, and the option `--model`.
    """
    models = [path for path in _bundled_folder().glob("*.onnx") if not path.stem.endswith(STREAM_SUFFIX)]
    return tuple(path.stem for path in sorted(models, key=lambda path: path.stat().st_size))


def check_tensor(path: Path, tensors: Sequence[Any], name: str, size: int) -> None:
    """Check that an input or output of a model file exists, with the shape [N, size].

    Parameters
    ----------
    path
        Path of the file, for messages.
    tensors
        All inputs or all outputs of its session.
    name
        Name of the tensor.
    size
        Size that the metadata state.

    Raises
    ------
    HarkenError
        If there is no such tensor, or its shape is another one.
    """
    shape = next((tensor.shape for tensor in tensors if tensor.name == name), None)
    if shape is None:
        raise HarkenError(
            f"{path} lacks the input or output `{name}`: create the model with `harken train` or `harken export`"
        )
    # A symbolic size fits any size, and so does a shape that is not stated.
    if shape and (len(shape) != 2 or (isinstance(shape[1], int) and shape[1] != size)):
        raise HarkenError(
            f"{path}: the shape of `{name}` is {shape}, but the metadata says [N, {size}]; export it again"
        )


def _read_card(path: Path, raw: Mapping[str, str]) -> Card:
    missing = [key for key in _REQUIRED if key not in raw]
    if missing:
        raise HarkenError(
            f"{path} lacks the metadata {', '.join(missing)}: create the model with `harken train` or `harken export`"
        )
    fields = {key: _entry(text) for key, text in raw.items()}
    try:
        labels, thresholds = fields.pop("labels"), fields.pop("thresholds", {})
        if not isinstance(labels, list):
            raise TypeError("labels is not a list")
        card = Card(
            labels=tuple(normalize_word(label) if isinstance(label, str) else label for label in labels),
            sample_rate=int(fields.pop("sample_rate")),
            window=int(fields.pop("window")),
            thresholds={normalize_word(word): float(value) for word, value in thresholds.items()},
            fields=fields,
        )
    except (ValueError, TypeError, AttributeError, OverflowError) as error:
        raise HarkenError(f"{path} contains metadata that harken cannot read: train or export it again") from error
    for label in card.labels:
        if not isinstance(label, str) or not label or any(map(_is_control_character, label)):
            raise HarkenError(f"{path} has the label {label!r}, which is not a word: train or export it again")
        if card.labels.count(label) > 1:
            raise HarkenError(f"{path} has the label {label!r} twice: train or export it again")
    if not card.words:
        raise HarkenError(f"{path} has no words: give another model")
    for word, threshold in card.thresholds.items():
        if not 0 <= threshold <= 1:
            raise HarkenError(
                f"{path} has the threshold {threshold} for {word!r}: it must be from 0 to 1; tune it again"
            )
    if card.sample_rate < 1 or card.window < 1:
        raise HarkenError(
            f"{path} states a sample rate of {card.sample_rate} Hz and a window of {card.window} samples: export it again"
        )
    lead_in, temperature = fields.get("lead_in", 0), fields.get("temperature", 1.0)
    if not isinstance(lead_in, int) or lead_in < 0:
        raise HarkenError(f"the metadata `lead_in` of {path} is not a number of samples: export it again")
    if not is_number(temperature) or not 0 < temperature < math.inf:
        raise HarkenError(f"the metadata `temperature` of {path} is not a number above 0: export it again")
    return card


def _is_control_character(character: str) -> bool:
    """Return whether a character controls a terminal or ends a line, or stands for a byte that is not text."""
    return unicodedata.category(character) in ("Cc", "Cs", "Zl", "Zp")


def _entry(text: str) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return text  # an entry of another tool, such as onnxruntime's quantizer
