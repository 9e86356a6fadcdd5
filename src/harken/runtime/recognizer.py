"""Recognize the word in a clip.

Recognizer   open a model, and recognize clips with `Recognizer().predict("clip.wav")`
Prediction   the result: the word, or the reason why there is none
"""

import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any, Literal, TypeVar, overload

import numpy as np
from numpy.typing import NDArray

from harken.audio.clip import AudioSource, load_clip
from harken.errors import HarkenError, require_list
from harken.labels import SILENCE, UNKNOWN
from harken.runtime.modelfile import ModelFile
from harken.runtime.sensitivity import DEFAULT_SENSITIVITY, with_sensitivity

_T = TypeVar("_T")
Reason = Literal["silence", "unknown", "unsure"]

DEFAULT_MODEL = "base"
_HOPS_PER_WINDOW = 10  # a clip longer than the window is classified every tenth of a window
_BATCH_SIZE = 64  # clips that are read together, and windows that are classified together


@dataclass(frozen=True)
class Prediction:
    """The result of recognizing a clip.

    Attributes
    ----------
    word
        The word, or None.
    reason
        Why there is no word: `silence`, `unknown` (another word), or `unsure` (a word below its threshold). None if there
        is a word.
    label
        The most probable class. It can also be `_unknown_` or `_silence_`.
    probability
        Probability of that class.
    probabilities
        Probability of each class, by label.
    """

    word: str | None
    reason: Reason | None
    label: str
    probability: float
    probabilities: dict[str, float]


class Recognizer:
    """Recognize the word in clips.

    A clip that is shorter than the model's window is padded with zeros at its end. For a model on the speech embedding, such as
    an enrolled phrase, up to 0.6 s of them come before it. In a longer clip, the window is moved in steps of a tenth of its
    length. The result is that of the window in which a word is most probable.

    Parameters
    ----------
    model
        Path of a model file, folder of a finished training run, name of a bundled model, or an opened model file. Default: the
        bundled `base`.
    threads
        Number of onnxruntime threads, 1 or more. An opened model file keeps its own number.
    sensitivity
        0 to 1: move the thresholds along the model's measured trade-off, for clips and for a `Listener` that is given
        this recognizer. 0: fewest false alarms. 1: fewest misses. Default: 0.5, the thresholds of the model file.

    Attributes
    ----------
    card : Card
        Metadata of the model.
    model : ModelFile
        The opened model file.
    sensitivity : float
        The sensitivity, 0 to 1.

    Raises
    ------
    HarkenError
        If the model does not exist or is not a harken model file, `threads` is not a whole number of 1 or more, or
        `sensitivity` is not from 0 to 1.

    Examples
    --------
    >>> from harken import Recognizer
    >>> recognizer = Recognizer()
    >>> recognizer.predict("clip.wav").word
    'stop'
    """

    def __init__(
        self,
        model: str | os.PathLike[str] | ModelFile = DEFAULT_MODEL,
        *,
        threads: int = 1,
        sensitivity: float | None = None,
    ) -> None:
        self.model = model if isinstance(model, ModelFile) else ModelFile(model, threads=threads)
        self.card = with_sensitivity(self.model.card, sensitivity)
        self.sensitivity = DEFAULT_SENSITIVITY if sensitivity is None else sensitivity
        self._is_word = np.array([label not in (UNKNOWN, SILENCE) for label in self.card.labels])

    @property
    def path(self) -> Path:
        """Path of the model file."""
        return self.model.path

    @property
    def labels(self) -> tuple[str, ...]:
        """Class names in the order of the probabilities."""
        return self.card.labels

    @property
    def sample_rate(self) -> int:
        """Sample rate of the model in Hz. Clips are resampled to it."""
        return self.card.sample_rate

    def predict(self, clip: AudioSource, *, source_rate: int | None = None) -> Prediction:
        """Recognize the word in a clip.

        Parameters
        ----------
        clip
            Path, open binary file, or array [samples] or [samples, channels].
        source_rate
            Sample rate of an array in Hz. Required for an array, and not allowed for a file.

        Returns
        -------
        Prediction
            The word, or the reason why there is none.

        Raises
        ------
        HarkenError
            If the clip cannot be read.
        """
        return self.decide(self._classify([load_clip(clip, self.sample_rate, source_rate=source_rate)])[0])

    @overload
    def predict_many(
        self, clips: Iterable[AudioSource], *, source_rate: int | None = None, on_error: None = None
    ) -> Iterator[Prediction]: ...

    @overload
    def predict_many(
        self,
        clips: Iterable[AudioSource],
        *,
        source_rate: int | None = None,
        on_error: Callable[[AudioSource, HarkenError], object],
    ) -> Iterator[Prediction | None]: ...

    def predict_many(
        self,
        clips: Iterable[AudioSource],
        *,
        source_rate: int | None = None,
        on_error: Callable[[AudioSource, HarkenError], object] | None = None,
    ) -> Iterator[Prediction | None]:
        """Recognize the words in many clips.

        The clips are read and classified in batches, so a generator of any length can be passed.

        Parameters
        ----------
        clips
            Clips, as in `predict`.
        source_rate
            Sample rate of arrays in Hz.
        on_error
            Function that is called with each clip that cannot be read, and with the error. The result for such a clip
            is None. Default: raise the error.

        Yields
        ------
        Prediction or None
            The result for each clip, in the same order. It is None only with `on_error`.

        Raises
        ------
        HarkenError
            If a clip cannot be read and there is no `on_error`. The results for the clips before it are yielded first.
            If `clips` is a single clip, at the first result.

        Examples
        --------
        >>> def report(clip, error):
        ...     print(error)
        >>> for path, prediction in zip(paths, Recognizer().predict_many(paths, on_error=report)):
        ...     print(path, prediction and prediction.word)
        """
        require_list(clips, "clips", "recording")
        remaining = iter(clips)
        while True:
            waveforms: list[NDArray[np.float32] | None] = []
            failure = None
            try:
                for clip in islice(remaining, _BATCH_SIZE):
                    try:
                        waveforms.append(load_clip(clip, self.sample_rate, source_rate=source_rate))
                    except HarkenError as error:
                        if on_error is None:
                            raise
                        on_error(clip, error)
                        waveforms.append(None)
            except Exception as error:  # of a clip, of `on_error`, or of the iterable `clips`
                failure = error
            rows = iter(self._classify([waveform for waveform in waveforms if waveform is not None]))
            for waveform in waveforms:
                yield None if waveform is None else self.decide(next(rows))
            if failure is not None:
                raise failure
            if not waveforms:
                return

    def probabilities(self, waveforms: Sequence[NDArray[Any]]) -> NDArray[np.float32]:
        """Return the probabilities for waveforms at the model's sample rate.

        Parameters
        ----------
        waveforms
            Arrays of any length, of the types that `load_clip` accepts.

        Returns
        -------
        ndarray of float32
            The probabilities [N, classes], in the order of `labels`.

        Raises
        ------
        HarkenError
            If a waveform is not a clip.
        """
        rate = self.sample_rate
        return self._classify([load_clip(waveform, rate, source_rate=rate) for waveform in waveforms])

    def best_window(self, waveform: NDArray[Any]) -> NDArray[np.float32]:
        """Return the window of a waveform in which a word is most probable, float32 [window]. `predict` answers on it.

        Parameters
        ----------
        waveform
            Samples at the model's sample rate, of any length and of the types that `load_clip` accepts.

        Raises
        ------
        HarkenError
            If the waveform is not a clip.
        """
        samples = load_clip(waveform, self.sample_rate, source_rate=self.sample_rate)
        starts = self._window_starts(samples.size)
        windows = (self._window(samples, start) for start in starts)
        classified = [self.model.probabilities(np.stack(batch)) for batch in _batched(windows, _BATCH_SIZE)]
        return self._window(samples, starts[self._best_of(np.concatenate(classified))])

    def _classify(self, waveforms: Sequence[NDArray[np.float32]]) -> NDArray[np.float32]:
        """Return the probabilities [N, classes] of each waveform's window with the most probable word."""
        starts = [self._window_starts(waveform.size) for waveform in waveforms]
        windows = (
            self._window(waveform, start)
            for waveform, clip_starts in zip(waveforms, starts, strict=True)
            for start in clip_starts
        )
        # In batches, because the windows of a long recording take ten times the memory of its samples.
        classified = [self.model.probabilities(np.stack(batch)) for batch in _batched(windows, _BATCH_SIZE)]
        best = np.zeros((len(waveforms), len(self.labels)), np.float32)
        if classified:
            ends = np.cumsum([len(clip_starts) for clip_starts in starts])
            for row, of_clip in zip(best, np.split(np.concatenate(classified), ends[:-1]), strict=True):
                row[:] = of_clip[self._best_of(of_clip)]
        return best

    def _best_of(self, probabilities: NDArray[np.float32]) -> int:
        """Return the number of the window, of probabilities [windows, classes], in which a word is most probable."""
        return int(probabilities[:, self._is_word].max(axis=1).argmax())

    def decide(self, probabilities: NDArray[np.floating[Any]] | Sequence[float]) -> Prediction:
        """Turn probabilities into a prediction: the most probable class, if it is a word and reaches its threshold.

        Parameters
        ----------
        probabilities
            Probabilities of one clip [classes], in the order of `labels`.

        Raises
        ------
        HarkenError
            If there is not one number for each class, or one of them is NaN or infinite.
        """
        try:
            row = np.asarray(probabilities, np.float64)
        except (ValueError, TypeError) as error:
            raise HarkenError(
                f"the probabilities are not numbers: pass [{len(self.labels)}], one for each label"
            ) from error
        if row.shape != (len(self.labels),):
            raise HarkenError(
                f"probabilities of shape {row.shape} do not fit the model: pass [{len(self.labels)}], one for each label"
            )
        if not np.isfinite(row).all():
            raise HarkenError(
                "the probabilities contain NaN or infinite values: check the model or the calculation that they come from"
            )
        top = int(row.argmax())
        label, probability = self.labels[top], float(row[top])
        reason: Reason | None = None
        if label == SILENCE:
            reason = "silence"
        elif label == UNKNOWN:
            reason = "unknown"
        elif probability < self.card.thresholds.get(label, 0.0):
            reason = "unsure"
        by_label = dict(zip(self.labels, map(float, row), strict=True))
        return Prediction(None if reason else label, reason, label, probability, by_label)

    def _window_starts(self, samples: int) -> list[int]:
        last = max(0, samples - self.card.window)
        # The last window ends where the clip ends, so that all samples are used.
        return [*range(0, last, max(1, self.card.window // _HOPS_PER_WINDOW)), last]

    def _window(self, waveform: NDArray[np.float32], start: int) -> NDArray[np.float32]:
        window = waveform[start : start + self.card.window]
        missing = self.card.window - window.size
        # An enrolled phrase's embedding needs some silence before a word that begins with the clip.
        before = min(missing, self.card.fields.get("lead_in", 0))
        return np.pad(window, (before, missing - before))


def _batched(items: Iterable[_T], size: int) -> Iterator[list[_T]]:
    remaining = iter(items)
    while batch := list(islice(remaining, size)):
        yield batch
