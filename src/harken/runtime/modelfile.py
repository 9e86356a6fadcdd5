"""The model file: one ONNX file, waveform in, probabilities out, with all that a user of it needs in its metadata.

ModelFile       an opened model file: its card, and its network at work on windows
find_model      a path or the name of a bundled model -> path
bundled_models  the names of the models in the box
"""

import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
from numpy.typing import NDArray

from harken.errors import HarkenError
from harken.labels import SILENCE, UNKNOWN

_REQUIRED = ("labels", "sample_rate", "window")
STREAMING = ".stream"  # at the end of the name of a bundled model's streaming form
_BATCH = 64  # windows run at once: enough to fill the cores, small enough for a phone's memory


@dataclass(frozen=True)
class Card:
    """What the metadata of a model file say.

    labels : class names in the order of the probabilities. sample_rate : Hz. window : samples judged at once.
    thresholds : the least probability at which each word counts as heard; words without one have 0.
    fields : every other entry, such as recipe, corpus, licence and measured accuracy.
    """

    labels: tuple[str, ...]
    sample_rate: int
    window: int
    thresholds: Mapping[str, float]
    fields: Mapping[str, Any]

    @property
    def words(self) -> tuple[str, ...]:
        """The labels that are words: all but `_unknown_` and `_silence_`."""
        return tuple(label for label in self.labels if label not in (UNKNOWN, SILENCE))

    @property
    def temperature(self) -> float:
        """What the logits were divided by before they became probabilities; 1 where validation chose none."""
        return float(self.fields.get("temperature", 1.0))


class ModelFile:
    """A model file at work on windows of exact length.

    model : a path, or the name of a bundled model. threads : of onnxruntime.
    Raises HarkenError when there is no such file or it is no model file of harken's.
    """

    def __init__(self, model: str | os.PathLike[str], *, threads: int = 1) -> None:
        self.path = find_model(model)
        self._session, self.card = open_model(self.path, threads)
        if is_streaming(self._session):
            raise HarkenError(
                f"{self.path} is a streaming form, which `harken listen` and Listener take: name its model"
            )
        _check_tensor(self.path, self._session.get_inputs(), "waveform", self.card.window)
        _check_tensor(self.path, self._session.get_outputs(), "probabilities", len(self.card.labels))

    def probabilities(self, windows: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return the probabilities [N, classes] of windows [N, window], full scale 1.0.

        Raises HarkenError when the shape is wrong.
        """
        if windows.ndim != 2 or windows.shape[1] != self.card.window:
            raise HarkenError(f"windows of shape {windows.shape} do not fit the model: pass [N, {self.card.window}]")
        if not len(windows):
            return np.zeros((0, len(self.card.labels)), np.float32)
        batches = [
            self._session.run(["probabilities"], {"waveform": np.ascontiguousarray(windows[start : start + _BATCH])})[0]
            for start in range(0, len(windows), _BATCH)
        ]
        return np.concatenate(batches)


def open_model(path: Path, threads: int) -> tuple[onnxruntime.InferenceSession, Card]:
    """Return a session and the card of a file. Raises HarkenError when it cannot be run or was not written by harken."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.log_severity_level = 3
    try:
        session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    except Exception as error:  # onnxruntime's own errors share no base but this
        raise HarkenError(f"{path} is not an ONNX model that can be run: export it again") from error
    return session, _read_card(path, session.get_modelmeta().custom_metadata_map)


def is_streaming(session: onnxruntime.InferenceSession) -> bool:
    """Whether a session is of a streaming form, with its memory as an input."""
    return "state" in {node.name for node in session.get_inputs()}


def page_folder(model: Path) -> Path:
    """Return the folder for the pages of a model file: its own, or the working folder where it is one in the box."""
    return Path() if model.parent == _box() else model.parent


def _box() -> Path:
    return Path(str(files("harken").joinpath("weights")))


def find_model(model: str | os.PathLike[str]) -> Path:
    """Return the path of a model given by path or by the name of a bundled one, which comes first: ./base is a path.

    Raises HarkenError when neither exists.
    """
    path = Path(model)
    if str(model).removesuffix(STREAMING) in bundled_models():
        bundled = _box() / f"{model}.onnx"
        if bundled.is_file():
            return bundled
    if path.is_file():
        return path
    if path.is_dir():
        if (path / "model.onnx").is_file():
            return path / "model.onnx"  # the folder of a run
        raise HarkenError(f"{path} is a folder without model.onnx: name a model file, or a finished run")
    names = ", ".join(bundled_models()) or "none"
    raise HarkenError(f"{model} is no model file, nor a bundled model (there are {names}): check the path")


def bundled_models() -> tuple[str, ...]:
    """Return the names of the models in the box, smallest first."""
    models = [path for path in _box().glob("*.onnx") if not path.stem.endswith(STREAMING)]
    return tuple(path.stem for path in sorted(models, key=lambda path: path.stat().st_size))


def _check_tensor(path: Path, tensors: Sequence[Any], name: str, size: int) -> None:
    shape = next((tensor.shape for tensor in tensors if tensor.name == name), None)
    if shape is None:
        raise HarkenError(f"{path} has no input `waveform` and output `probabilities`: train it with harken")
    # A size that is a name, not a number, fits any; so does a shape that is not stated.
    if shape and (len(shape) != 2 or (isinstance(shape[1], int) and shape[1] != size)):
        raise HarkenError(f"{path} has `{name}` of shape {shape}, its metadata say [N, {size}]: export it again")


def _read_card(path: Path, raw: Mapping[str, str]) -> Card:
    missing = [key for key in _REQUIRED if key not in raw]
    if missing:
        raise HarkenError(
            f"{path} lacks the metadata {', '.join(missing)}: it was not written by harken; train or export it again"
        )
    fields = {key: _entry(text) for key, text in raw.items()}
    try:
        labels, thresholds = fields.pop("labels"), fields.pop("thresholds", {})
        if not isinstance(labels, list):
            raise TypeError("labels are no list")
        return Card(
            labels=tuple(map(str, labels)),
            sample_rate=int(fields.pop("sample_rate")),
            window=int(fields.pop("window")),
            thresholds={word: float(value) for word, value in thresholds.items()},
            fields=fields,
        )
    except (ValueError, TypeError, AttributeError) as error:
        raise HarkenError(f"{path} holds metadata that are not harken's JSON: train or export it again") from error


def _entry(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        return text  # an entry of another tool's, such as onnxruntime's quantiser leaves
