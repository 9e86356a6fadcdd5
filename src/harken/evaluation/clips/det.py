"""Rejection, measured: words missed against what is no word and yet answered, as one threshold moves.

DetCurve, det_curve            the detection error trade-off (Martin et al., Eurospeech 1997)
ThresholdScore, at_thresholds  what the thresholds in the model file make of each word
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from harken.evaluation.clips.evaluate import ClipEvaluation
from harken.labels import SILENCE, UNKNOWN

_MOST_POINTS = 500  # of a curve: more could not be seen


@dataclass(frozen=True)
class DetCurve:
    """The trade-off at falling thresholds, [points] each.

    An example is answered when its most probable word is over the threshold. missed : fraction of the `words` clips not
    answered with their own word. accepted : fraction of the `others` clips answered with any.
    """

    thresholds: NDArray[np.float64]
    missed: NDArray[np.float64]
    accepted: NDArray[np.float64]
    words: int
    others: int


def det_curve(evaluation: ClipEvaluation, others: tuple[str, ...] = (UNKNOWN, SILENCE)) -> DetCurve | None:
    """Return the trade-off against the examples of the classes `others`; None where either kind has no example."""
    labels = evaluation.card.labels
    is_word = _is_word(labels)
    truth = evaluation.examples.truth
    score = evaluation.probabilities[:, is_word].max(axis=1, initial=0.0).astype(np.float64)
    own = (
        np.flatnonzero(is_word)[evaluation.probabilities[:, is_word].argmax(axis=1)] == truth if is_word.any() else None
    )
    commands = is_word[truth]
    other = np.isin(truth, [labels.index(label) for label in others if label in labels])
    if own is None or not commands.any() or not other.any():
        return None
    heard, falsely = np.sort(score[commands & own]), np.sort(score[other])
    # A point for each number of others accepted, dense where they are few.
    ranks = np.unique(np.rint(np.geomspace(1, len(falsely), min(_MOST_POINTS, len(falsely)))).astype(int))
    thresholds = np.append(falsely[::-1][ranks - 1], -1.0)  # the last one lets everything through
    return DetCurve(
        thresholds=np.maximum(thresholds, 0.0),
        missed=1 - (len(heard) - np.searchsorted(heard, thresholds, side="right")) / int(commands.sum()),
        accepted=(len(falsely) - np.searchsorted(falsely, thresholds, side="right")) / len(falsely),
        words=int(commands.sum()),
        others=len(falsely),
    )


@dataclass(frozen=True)
class ThresholdScore:
    """A word at its own threshold: its clips, how many of them are not answered with it, and what else is.

    accepted : clips of `_unknown_` and `_silence_` that are answered with the word.
    """

    label: str
    threshold: float
    clips: int
    missed: int
    accepted: int


def at_thresholds(evaluation: ClipEvaluation, *, stored: bool = True) -> list[ThresholdScore]:
    """Return what `predict` makes of each word: answered when it is the most probable class and reaches its threshold.

    stored : with the thresholds of the model file; else with none.
    """
    labels = evaluation.card.labels
    is_word = _is_word(labels)
    top = evaluation.probabilities.max(axis=1)
    scores = []
    for index in np.flatnonzero(is_word):
        threshold = evaluation.card.thresholds.get(labels[index], 0.0) if stored else 0.0
        answered = (evaluation.answers == index) & (top >= threshold)
        said = evaluation.examples.truth == index
        accepted = answered & ~is_word[evaluation.examples.truth]
        scores.append(
            ThresholdScore(
                labels[index], threshold, int(said.sum()), int((said & ~answered).sum()), int(accepted.sum())
            )
        )
    return scores


def _is_word(labels: tuple[str, ...]) -> NDArray[np.bool_]:
    return np.array([label not in (UNKNOWN, SILENCE) for label in labels])
