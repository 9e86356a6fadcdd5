"""A threshold for each word: below it, even the most probable word is not taken as heard.

calibrate_thresholds   from validation clips and from speech without commands
measure_rejection      what a model does with its thresholds on either
speech_windows         one-second windows of recordings, a fixed hop apart
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from harken.corpus.recordings import Recordings
from harken.errors import HarkenError
from harken.evaluation.clips.examples import Examples
from harken.progress import progress
from harken.runtime.modelfile import ModelFile

HOP_S = 0.25  # between windows of speech
_BATCH = 256
# Thresholds to choose from, 0.27 to 0.9990: evenly in logits, since near 1 a small step decides.
_GRID = np.round(1 / (1 + np.exp(-np.arange(-1.0, 6.95, 0.1))), 5)
_PRICES = np.geomspace(1e-4, 10.0, 60)  # of one false alarm, in missed clips of a word


@dataclass(frozen=True)
class Rejection:
    """What thresholds lead to.

    found : fraction of command clips answered with the right word. confused : fraction answered with a wrong word.
    accepted : fraction of `_unknown_` and `_silence_` clips answered with a word. alarms : windows of speech without
    commands that are answered with a word. minutes : of that speech.
    """

    found: float
    confused: float
    accepted: float
    alarms: int
    minutes: float

    @property
    def alarms_per_minute(self) -> float:
        """False alarms a minute of speech."""
        return self.alarms / self.minutes


def calibrate_thresholds(
    model: ModelFile, examples: Examples, speech: Recordings, *, alarms_per_minute: float = 0.5
) -> dict[str, float]:
    """Return for each word the threshold with which the words together keep to a rate of false alarms.

    Every threshold minimises (fraction of the word's clips missed) + price * (its false alarms) at one price for all
    words: at the best split of the allowed alarms, another one costs each word the same. The lowest price that keeps to
    the rate is taken, so that as few clips are missed as the rate permits. False alarms are those windows of
    `speech`, and those `_unknown_` and `_silence_` examples, in which the word is the most probable class.

    Raises HarkenError when no threshold keeps to the rate.
    """
    minutes = speech.seconds() / 60
    allowed = alarms_per_minute * minutes
    clips = model.probabilities(examples.waveforms)
    background = np.concatenate([model.probabilities(batch) for batch in speech_windows(model, speech)])
    labels, words = model.card.labels, model.card.words
    is_word = np.isin(np.array(labels), words)
    strangers = clips[~is_word[examples.truth]]
    curves = {word: _curve(labels.index(word), clips, examples.truth, background, strangers) for word in words}
    for price in _PRICES:
        chosen = {word: int(np.argmin(curve.missed + price * curve.priced)) for word, curve in curves.items()}
        if sum(curves[word].alarms[index] for word, index in chosen.items()) <= allowed:
            return {word: float(_GRID[index]) for word, index in chosen.items()}
    raise HarkenError(
        f"no thresholds keep to {alarms_per_minute:g} false alarms a minute: train longer, or allow more of them"
    )


@dataclass(frozen=True)
class _Curve:
    """Along the grid of thresholds: fraction of a word's clips missed, windows of speech accepted, and all alarms."""

    missed: NDArray[np.float64]
    alarms: NDArray[np.float64]
    priced: NDArray[np.float64]


def _curve(
    word: int,
    clips: NDArray[np.float32],
    truth: NDArray[np.int64],
    background: NDArray[np.float32],
    strangers: NDArray[np.float32],
) -> _Curve:
    def accepted(probabilities: NDArray[np.float32]) -> NDArray[np.float64]:
        scores = probabilities[probabilities.argmax(axis=1) == word, word]
        return np.array([(scores >= threshold).sum() for threshold in _GRID], dtype=np.float64)

    own = clips[truth == word]
    missed = 1 - accepted(own) / max(1, len(own))
    alarms = accepted(background)
    return _Curve(missed, alarms, alarms + accepted(strangers))


def measure_rejection(
    model: ModelFile, examples: Examples, speech: Recordings, thresholds: Mapping[str, float] | None = None
) -> Rejection:
    """Measure a model with its stored thresholds, or with others, on examples and on speech without commands."""
    thresholds = model.card.thresholds if thresholds is None else thresholds
    labels = model.card.labels
    limits = np.array([thresholds.get(label, 0.0) for label in labels])
    is_word = np.isin(np.array(labels), model.card.words)

    def answers(probabilities: NDArray[np.float32]) -> NDArray[np.int64]:
        top = probabilities.argmax(axis=1)
        heard = is_word[top] & (probabilities.max(axis=1) >= limits[top])
        return np.where(heard, top, -1)

    given = answers(model.probabilities(examples.waveforms))
    spoken = is_word[examples.truth]
    alarms = sum(int((answers(model.probabilities(batch)) >= 0).sum()) for batch in speech_windows(model, speech))
    return Rejection(
        found=float((given == examples.truth)[spoken].mean()),
        confused=float(((given >= 0) & (given != examples.truth))[spoken].mean()),
        accepted=float((given >= 0)[~spoken].mean()) if (~spoken).any() else 0.0,
        alarms=alarms,
        minutes=speech.seconds() / 60,
    )


def speech_windows(model: ModelFile, speech: Recordings, *, hop_s: float = HOP_S) -> Iterator[NDArray[np.float32]]:
    """Yield the windows [up to 256, window] of each recording, `hop_s` seconds apart; shorter recordings are padded."""
    window, hop = model.card.window, round(hop_s * model.card.sample_rate)
    for index in progress(range(len(speech)), "listening to speech"):
        audio = (speech.one(index) / 32768.0).astype(np.float32)
        audio = np.pad(audio, (0, max(0, window - audio.size)))
        windows = np.lib.stride_tricks.sliding_window_view(audio, window)[::hop]
        for start in range(0, len(windows), _BATCH):
            yield windows[start : start + _BATCH]
