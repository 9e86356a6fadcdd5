"""Reject uncertain answers: a threshold for each word, below which the word does not count as recognized.

calibrate_thresholds   choose thresholds from validation clips and speech without the words
measure_rejection      measure a model with its thresholds on both
speech_windows         cut recordings into windows, a fixed hop apart
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from harken.corpus.recordings import Recordings
from harken.evaluation.clips.examples import Examples
from harken.progress import progress
from harken.runtime.modelfile import ModelFile

HOP_S = 0.25  # between the starts of two windows of speech
_BATCH = 256
# Thresholds to choose from, 0.27 to 0.9990. They are spaced evenly in logits, since near 1 small steps matter.
_GRID = np.round(1 / (1 + np.exp(-np.arange(-1.0, 6.95, 0.1))), 5)
_ALARM_COSTS = np.geomspace(1e-4, 10.0, 60)  # cost of one false alarm, as a fraction of a word's clips missed


@dataclass(frozen=True)
class Rejection:
    """The effect of a set of thresholds.

    Attributes
    ----------
    found
        Fraction of the clips of words that were recognized. None if there are no such clips.
    confused
        Fraction of the clips of words that were recognized as another word. None if there are no such clips.
    accepted
        Fraction of the clips of `_unknown_` and `_silence_` that were recognized as a word.
    alarms
        Windows of speech without the words that were recognized as a word.
    minutes
        Minutes of that speech.
    """

    found: float | None
    confused: float | None
    accepted: float
    alarms: int
    minutes: float

    @property
    def alarms_per_minute(self) -> float:
        """False alarms per minute of speech."""
        return self.alarms / self.minutes


def calibrate_thresholds(
    model: ModelFile, examples: Examples, speech: Recordings, *, alarms_per_minute: Sequence[float]
) -> dict[str, float]:
    """Choose a threshold for each word so that all words together stay within the first possible rate of false alarms.

    Each threshold minimizes (fraction of the word's clips missed) + cost * (its false acceptances). The cost is the same
    for all words: when the allowed alarms are split in the best way, one more alarm would gain each word the same. The
    lowest cost that stays within the rate is used, so that as few clips as possible are missed. False acceptances are the
    windows of `speech`, and the clips of `_unknown_` and `_silence_`, in which the word is the most probable class.

    Parameters
    ----------
    model
        The model.
    examples
        Validation clips.
    speech
        Recordings of speech without the words.
    alarms_per_minute
        Rates to try for, as false alarms per minute of speech, strictest first.

    Returns
    -------
    dict
        The threshold of each word. Empty if no thresholds stay within any of the rates.
    """
    clips = model.probabilities(examples.waveforms)
    background = np.concatenate([model.probabilities(batch) for batch in speech_windows(model, speech)])
    labels, words = model.card.labels, model.card.words
    is_word = np.isin(np.array(labels), words)
    others = clips[~is_word[examples.truth]]
    curves = {word: _word_curve(labels.index(word), clips, examples.truth, background, others) for word in words}
    for rate in alarms_per_minute:
        for cost in _ALARM_COSTS:
            chosen = {
                word: int(np.argmin(curve.missed + cost * curve.false_acceptances)) for word, curve in curves.items()
            }
            alarms = sum(curves[word].alarms[index] for word, index in chosen.items())
            if alarms <= rate * speech.seconds() / 60:
                return {word: float(_GRID[index]) for word, index in chosen.items()}
    return {}


@dataclass(frozen=True)
class _WordCurve:
    """What each threshold of the grid means for one word.

    missed : fraction of its clips missed. alarms : accepted windows of speech. false_acceptances : these, and accepted
    clips of other classes.
    """

    missed: NDArray[np.float64]
    alarms: NDArray[np.float64]
    false_acceptances: NDArray[np.float64]


def _word_curve(
    word: int,
    clips: NDArray[np.float32],
    truth: NDArray[np.int64],
    background: NDArray[np.float32],
    others: NDArray[np.float32],
) -> _WordCurve:
    def accepted(probabilities: NDArray[np.float32]) -> NDArray[np.float64]:
        scores = probabilities[probabilities.argmax(axis=1) == word, word]
        return np.array([(scores >= threshold).sum() for threshold in _GRID], dtype=np.float64)

    own = clips[truth == word]
    missed = 1 - accepted(own) / max(1, len(own))
    alarms = accepted(background)
    return _WordCurve(missed, alarms, alarms + accepted(others))


def measure_rejection(
    model: ModelFile, examples: Examples, speech: Recordings, thresholds: Mapping[str, float] | None = None
) -> Rejection:
    """Measure a model with thresholds on clips and on speech without the words.

    Parameters
    ----------
    model
        The model.
    examples
        The clips.
    speech
        Recordings of speech without the words.
    thresholds
        The threshold of each word. Default: those of the model file.
    """
    thresholds = model.card.thresholds if thresholds is None else thresholds
    labels = model.card.labels
    limits = np.array([thresholds.get(label, 0.0) for label in labels])
    is_word = np.isin(np.array(labels), model.card.words)

    def answers(probabilities: NDArray[np.float32]) -> NDArray[np.int64]:
        top = probabilities.argmax(axis=1)
        accepted = is_word[top] & (probabilities.max(axis=1) >= limits[top])
        return np.where(accepted, top, -1)

    answer = answers(model.probabilities(examples.waveforms))
    of_word = is_word[examples.truth]
    alarms = sum(int((answers(model.probabilities(batch)) >= 0).sum()) for batch in speech_windows(model, speech))
    return Rejection(
        found=float((answer == examples.truth)[of_word].mean()) if of_word.any() else None,
        confused=float(((answer >= 0) & (answer != examples.truth))[of_word].mean()) if of_word.any() else None,
        accepted=float((answer >= 0)[~of_word].mean()) if (~of_word).any() else 0.0,
        alarms=alarms,
        minutes=speech.seconds() / 60,
    )


def speech_windows(model: ModelFile, speech: Recordings, *, hop_s: float = HOP_S) -> Iterator[NDArray[np.float32]]:
    """Yield the windows of each recording, `hop_s` seconds apart, in batches [up to 256, window].

    Recordings shorter than a window are padded with zeros.
    """
    window, hop = model.card.window, round(hop_s * model.card.sample_rate)
    for index in progress(range(len(speech)), "evaluating speech"):
        audio = (speech.recording(index) / 32768.0).astype(np.float32)
        audio = np.pad(audio, (0, max(0, window - audio.size)))
        windows = np.lib.stride_tricks.sliding_window_view(audio, window)[::hop]
        for start in range(0, len(windows), _BATCH):
            yield windows[start : start + _BATCH]
