"""Choose a threshold for clips: the lowest one at which a given share of other sounds is accepted.

tune_clips       probabilities of labeled clips -> ClipThreshold
ClipThreshold    the threshold, with its measured error rates

Thresholds for streams are chosen in harken.evaluation.stream.tuning. A stream contains thousands of windows of speech per
hour, while a clip is a single window that was recorded on purpose. A threshold for streams is much too strict for clips.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from harken.errors import HarkenError
from harken.evaluation.metrics import logit
from harken.labels import SILENCE, UNKNOWN
from harken.runtime.sensitivity import stored_shifts

ACCEPTED = 0.02  # share of other words and noises that may be accepted as a word
_LOGITS = np.round(np.arange(-3.0, 9.01, 0.05), 2)  # thresholds to choose from: 0.05 to 0.9999
_UNSEEN = 0.5  # clips assumed to be accepted in addition, so that every rate has a logarithm


@dataclass(frozen=True)
class ClipThreshold:
    """A threshold for clips, the same for all words, with its error rates on the clips it was chosen on.

    Attributes
    ----------
    threshold
        Minimum probability at which a word is accepted.
    answered
        Fraction of the clips of words that are accepted as their own word.
    confused
        Fraction of the clips of words that are accepted as another word.
    accepted
        Fraction of the other clips that are accepted as a word.
    words, others
        Numbers of clips.
    shifts
        Shift of the threshold in logits for each sensitivity (see `harken.runtime.sensitivity`).
    """

    threshold: float
    answered: float
    confused: float
    accepted: float
    words: int
    others: int
    shifts: list[float]

    def metadata(self, labels: Sequence[str], sensitivity: Mapping[str, Any] | None = None) -> dict[str, Any]:
        """Return the metadata entries that store the threshold in a model file.

        Parameters
        ----------
        labels
            Class names.
        sensitivity
            The file's present entry `sensitivity`. Its shifts for streams are kept.
        """
        measured = ("answered", "confused", "accepted", "words", "others")
        return {
            "thresholds": {label: self.threshold for label in labels if label not in (UNKNOWN, SILENCE)},
            "clips_operating_point": {name: round(getattr(self, name), 5) for name in measured},
            "sensitivity": {**(sensitivity or {}), "clips": self.shifts},
        }


def tune_clips(
    probabilities: NDArray[np.float32], truth: NDArray[np.int64], labels: Sequence[str], *, accepted: float = ACCEPTED
) -> ClipThreshold:
    """Choose the lowest threshold at which at most a share of other words and noises is accepted.

    Parameters
    ----------
    probabilities
        Probabilities of each clip [N, classes].
    truth
        True class of each clip [N].
    labels
        Class names.
    accepted
        Share of the clips of `_unknown_` and `_silence_` that may be accepted as a word, above 0 and below 1.

    Raises
    ------
    HarkenError
        If there are no clips of words or of other sounds, or even the highest threshold accepts too many.
    """
    if not 0 < accepted < 1:
        raise HarkenError(f"accepted={accepted:g}: give a share of other sounds, above 0 and below 1")
    is_word = np.array([label not in (UNKNOWN, SILENCE) for label in labels])
    of_word = is_word[truth]
    if not of_word.any() or of_word.all():
        raise HarkenError("a threshold for clips needs clips of words and clips of other words or noise: add them")
    top = probabilities.argmax(axis=1)
    scores = np.where(is_word[top], logit(probabilities.max(axis=1)), -np.inf)
    accepted_at = (scores[~of_word][:, None] >= _LOGITS).mean(axis=0)
    possible = np.flatnonzero(accepted_at <= accepted)
    if not possible.size:
        raise HarkenError(f"no threshold keeps to {100 * accepted:g} % of other sounds: train longer, or allow more")
    chosen = _LOGITS[possible[0]]
    answered = scores >= chosen
    others = int((~of_word).sum())
    return ClipThreshold(
        threshold=round(float(1 / (1 + np.exp(-chosen))), 5),
        answered=float((answered & (top == truth))[of_word].mean()),
        confused=float((answered & (top != truth))[of_word].mean()),
        accepted=float(accepted_at[possible[0]]),
        words=int(of_word.sum()),
        others=others,
        shifts=stored_shifts(_LOGITS - chosen, accepted_at + _UNSEEN / others),
    )
