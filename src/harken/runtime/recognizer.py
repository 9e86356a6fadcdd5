"""The model file at work on clips.

Recognizer   `Recognizer().predict("clip.wav")` -> Prediction
Prediction   the word, or none of them and why
"""

import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any, Literal, TypeVar

import numpy as np
from numpy.typing import NDArray

from harken.audio.clip import AudioSource, load_clip
from harken.labels import SILENCE, UNKNOWN
from harken.runtime.modelfile import ModelFile

_T = TypeVar("_T")
Reason = Literal["silence", "unknown", "unsure"]

DEFAULT_MODEL = "base"
_HOPS_PER_WINDOW = 10  # of the windows laid over a clip longer than one
_AT_ONCE = 64  # clips read, and windows judged


@dataclass(frozen=True)
class Prediction:
    """What was heard in a clip.

    word : the word, or None. reason : why none: `silence`, `unknown` (another word), or `unsure` (a word below its
    threshold). label, probability : the most probable class, and how probable. probabilities : of every class.
    """

    word: str | None
    reason: Reason | None
    label: str
    probability: float
    probabilities: dict[str, float]


class Recognizer:
    """Recognises the word in a clip.

    model : path of a model file, folder of a finished run, or name of a bundled model. threads : of onnxruntime.

    A clip shorter than the model's window is padded with zeros at its end. Over a longer one, windows are laid a tenth
    of a window apart; the window in which some word is most probable speaks for the clip.
    """

    def __init__(self, model: str | os.PathLike[str] = DEFAULT_MODEL, *, threads: int = 1) -> None:
        self.model = ModelFile(model, threads=threads)
        self.card = self.model.card
        self._words = np.array([label not in (UNKNOWN, SILENCE) for label in self.card.labels])

    @property
    def labels(self) -> tuple[str, ...]:
        """Class names in the order of the probabilities."""
        return self.card.labels

    @property
    def sample_rate(self) -> int:
        """The rate that clips are brought to, in Hz."""
        return self.card.sample_rate

    def predict(self, clip: AudioSource, *, source_rate: int | None = None) -> Prediction:
        """Return what is heard in one clip: a path, an open binary file, or an array with its `source_rate` in Hz.

        Raises HarkenError when the clip cannot be read.
        """
        return self.decide(self._judge([load_clip(clip, self.sample_rate, source_rate=source_rate)])[0])

    def predict_many(self, clips: Iterable[AudioSource], *, source_rate: int | None = None) -> Iterator[Prediction]:
        """Yield what is heard in each of many clips; they are read and judged in batches."""
        for batch in _batched(clips, _AT_ONCE):
            waveforms = [load_clip(clip, self.sample_rate, source_rate=source_rate) for clip in batch]
            yield from map(self.decide, self._judge(waveforms))

    def probabilities(self, waveforms: Sequence[NDArray[Any]]) -> NDArray[np.float32]:
        """Return the probabilities [N, classes] of waveforms, arrays as load_clip takes them, at the model's own rate.

        Raises HarkenError when one of them is no clip.
        """
        rate = self.sample_rate
        return self._judge([load_clip(waveform, rate, source_rate=rate) for waveform in waveforms])

    def _judge(self, waveforms: Sequence[NDArray[np.float32]]) -> NDArray[np.float32]:
        starts = [self._window_starts(waveform.size) for waveform in waveforms]
        windows = (
            self._window(waveform, start)
            for waveform, of_one in zip(waveforms, starts, strict=True)
            for start in of_one
        )
        # Batch by batch, since the windows of a long recording hold ten times its samples.
        judged = [self.model.probabilities(np.stack(batch)) for batch in _batched(windows, _AT_ONCE)]
        rows = np.zeros((len(waveforms), len(self.labels)), np.float32)
        if judged:
            ends = np.cumsum([len(of_one) for of_one in starts])
            for row, found in zip(rows, np.split(np.concatenate(judged), ends[:-1]), strict=True):
                row[:] = found[found[:, self._words].max(axis=1).argmax()]
        return rows

    def decide(self, probabilities: NDArray[np.float32]) -> Prediction:
        """Return the prediction that probabilities [classes] lead to: the word, if it passes its threshold."""
        top = int(probabilities.argmax())
        label, probability = self.labels[top], float(probabilities[top])
        reason: Reason | None = None
        if label == SILENCE:
            reason = "silence"
        elif label == UNKNOWN:
            reason = "unknown"
        elif probability < self.card.thresholds.get(label, 0.0):
            reason = "unsure"
        every = dict(zip(self.labels, map(float, probabilities), strict=True))
        return Prediction(None if reason else label, reason, label, probability, every)

    def _window_starts(self, samples: int) -> list[int]:
        last = max(0, samples - self.card.window)
        # The last window ends with the clip, so that no sample goes unheard.
        return [*range(0, last, max(1, self.card.window // _HOPS_PER_WINDOW)), last]

    def _window(self, waveform: NDArray[np.float32], start: int) -> NDArray[np.float32]:
        window = waveform[start : start + self.card.window]
        return np.pad(window, (0, self.card.window - window.size))


def _batched(items: Iterable[_T], size: int) -> Iterator[list[_T]]:
    remaining = iter(items)
    while batch := list(islice(remaining, size)):
        yield batch
