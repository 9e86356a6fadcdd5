"""Measure rejection: words missed against other sounds accepted, as the threshold changes.

DetCurve, det_curve                   the detection error trade-off (Martin et al., Eurospeech 1997)
ThresholdScore, score_at_thresholds   misses and false acceptances of each word at its own threshold
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from harken.evaluation.clips.evaluate import ClipEvaluation
from harken.labels import SILENCE, UNKNOWN

_MAX_POINTS = 500  # More points of a curve would not be visible.


@dataclass(frozen=True)
class DetCurve:
    """Misses and false acceptances at decreasing thresholds.

    A clip is accepted when its most probable word is above the threshold.

    Attributes
    ----------
    thresholds
        [points].
    missed
        Fraction of the clips of words that were not accepted as their own word, [points].
    accepted
        Fraction of the other clips that were accepted as any word, [points].
    words, others
        Numbers of clips.
    """

    thresholds: NDArray[np.float64]
    missed: NDArray[np.float64]
    accepted: NDArray[np.float64]
    words: int
    others: int


def det_curve(evaluation: ClipEvaluation, others: tuple[str, ...] = (UNKNOWN, SILENCE)) -> DetCurve | None:
    """Compute the trade-off between missed words and accepted clips of other classes.

    Parameters
    ----------
    evaluation
        The evaluated clips.
    others
        The classes that should not be accepted.

    Returns
    -------
    DetCurve
        None if there are no clips of words, or none of the other classes.
    """
    labels = evaluation.card.labels
    is_word = _is_word(labels)
    truth = evaluation.examples.truth
    score = evaluation.probabilities[:, is_word].max(axis=1, initial=0.0).astype(np.float64)
    is_own_word = (
        np.flatnonzero(is_word)[evaluation.probabilities[:, is_word].argmax(axis=1)] == truth if is_word.any() else None
    )
    commands = is_word[truth]
    other = np.isin(truth, [labels.index(label) for label in others if label in labels])
    if is_own_word is None or not commands.any() or not other.any():
        return None
    right_scores, false_scores = np.sort(score[commands & is_own_word]), np.sort(score[other])
    # One point for each number of false acceptances, with more points where these are few.
    ranks = np.unique(np.rint(np.geomspace(1, len(false_scores), min(_MAX_POINTS, len(false_scores)))).astype(int))
    thresholds = np.append(false_scores[::-1][ranks - 1], -1.0)  # At the last threshold everything is accepted.
    return DetCurve(
        thresholds=np.maximum(thresholds, 0.0),
        missed=1 - (len(right_scores) - np.searchsorted(right_scores, thresholds, side="right")) / int(commands.sum()),
        accepted=(len(false_scores) - np.searchsorted(false_scores, thresholds, side="right")) / len(false_scores),
        words=int(commands.sum()),
        others=len(false_scores),
    )


@dataclass(frozen=True)
class ThresholdScore:
    """Misses and false acceptances of one word at its own threshold.

    Attributes
    ----------
    label
        The word.
    threshold
        Its threshold.
    clips
        Number of its clips.
    missed
        How many of them were not recognized as the word.
    accepted
        Clips of `_unknown_` and `_silence_` that were recognized as the word.
    """

    label: str
    threshold: float
    clips: int
    missed: int
    accepted: int


def score_at_thresholds(evaluation: ClipEvaluation, *, stored: bool = True) -> list[ThresholdScore]:
    """Count the misses and false acceptances of each word by the rule of `predict`.

    A clip is recognized as a word when that word is the most probable class and reaches its threshold.

    Parameters
    ----------
    evaluation
        The evaluated clips.
    stored
        Use the thresholds of the model file; otherwise use none.
    """
    labels = evaluation.card.labels
    is_word = _is_word(labels)
    top = evaluation.probabilities.max(axis=1)
    scores = []
    for index in np.flatnonzero(is_word):
        threshold = evaluation.card.thresholds.get(labels[index], 0.0) if stored else 0.0
        answered = (evaluation.answers == index) & (top >= threshold)
        is_word_clip = evaluation.examples.truth == index
        accepted = answered & ~is_word[evaluation.examples.truth]
        scores.append(
            ThresholdScore(
                labels[index],
                threshold,
                int(is_word_clip.sum()),
                int((is_word_clip & ~answered).sum()),
                int(accepted.sum()),
            )
        )
    return scores


def _is_word(labels: tuple[str, ...]) -> NDArray[np.bool_]:
    return np.array([label not in (UNKNOWN, SILENCE) for label in labels])
