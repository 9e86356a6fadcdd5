"""Compute figures from true and predicted classes.

wilson_interval    95 % interval of a proportion
poisson_interval   95 % interval of a rate of rare events
confusion_matrix   counts by true class and predicted class
word_scores        precision, recall and F1 of each class
calibration        predicted probability compared with accuracy
logit              log odds of probabilities, which stay finite
"""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

_Z95 = 1.959963984540054  # two-sided 95 % quantile of the normal distribution
_MARGIN = 1e-7  # probabilities closer than this to 0 or 1 only reflect the rounding of float32


def logit(probabilities: NDArray[np.float32]) -> NDArray[np.float64]:
    """Return log(p / (1 - p)) of probabilities of any shape. 0 and 1 count as 1e-7 and 1 - 1e-7."""
    inside = np.clip(probabilities.astype(np.float64), _MARGIN, 1 - _MARGIN)
    logits: NDArray[np.float64] = np.log(inside / (1 - inside))
    return logits


def wilson_interval(hits: int, count: int) -> tuple[float, float]:
    """Return the 95 % Wilson score interval of the proportion hits / count (Wilson, 1927); (0, 1) if count is 0."""
    if count == 0:
        return 0.0, 1.0
    share, z2 = hits / count, _Z95**2
    center = (share + z2 / (2 * count)) / (1 + z2 / count)
    half_width = _Z95 / (1 + z2 / count) * math.sqrt(share * (1 - share) / count + z2 / (4 * count * count))
    return max(0.0, center - half_width), min(1.0, center + half_width)


def poisson_interval(events: int, exposure: float) -> tuple[float, float]:
    """Return the exact 95 % interval of the rate events / exposure (Garwood, 1936)."""
    from scipy.stats import chi2

    low = 0.0 if events == 0 else float(chi2.ppf(0.025, 2 * events)) / 2
    return low / exposure, float(chi2.ppf(0.975, 2 * events + 2)) / 2 / exposure


def confusion_matrix(truth: NDArray[np.int64], answer: NDArray[np.int64], classes: int) -> NDArray[np.int64]:
    """Return counts [classes, classes]: a row for each true class, a column for each predicted class."""
    counts = np.bincount(truth * classes + answer, minlength=classes * classes)
    return counts.reshape(classes, classes).astype(np.int64)


@dataclass(frozen=True)
class WordScore:
    """The scores of one class.

    Attributes
    ----------
    label
        The class.
    precision
        Fraction of its predictions that are right; NaN if it was never predicted.
    recall
        Fraction of its clips that were found; NaN if it has none.
    f1
        Harmonic mean of precision and recall; NaN if it was never predicted and has no clips.
    clips
        Number of clips of the class.
    """

    label: str
    precision: float
    recall: float
    f1: float
    clips: int


def word_scores(confusion: NDArray[np.int64], labels: tuple[str, ...]) -> list[WordScore]:
    """Return precision, recall and F1 of each class, from the confusion matrix."""
    scores = []
    for index, label in enumerate(labels):
        hits = int(confusion[index, index])
        answered, occurred = int(confusion[:, index].sum()), int(confusion[index].sum())
        precision = hits / answered if answered else math.nan
        recall = hits / occurred if occurred else math.nan
        f1 = 2 * hits / (answered + occurred) if answered + occurred else math.nan
        scores.append(WordScore(label, precision, recall, f1, occurred))
    return scores


@dataclass(frozen=True)
class Calibration:
    """Predicted probability compared with accuracy, in bins of equal width.

    Attributes
    ----------
    edges
        Edges of the bins, [bins + 1].
    predicted
        Mean predicted probability in each bin, [bins]; NaN in empty bins.
    accuracy
        Fraction of right answers in each bin, [bins]; NaN in empty bins.
    counts
        Examples in each bin, [bins].
    error
        Expected calibration error (Guo et al., 2017, arXiv:1706.04599), as a fraction.
    """

    edges: NDArray[np.float64]
    predicted: NDArray[np.float64]
    accuracy: NDArray[np.float64]
    counts: NDArray[np.int64]
    error: float


def calibration(probabilities: NDArray[np.float32], truth: NDArray[np.int64], *, bins: int = 15) -> Calibration:
    """Compare the highest probability of each example with how often that answer is right.

    Parameters
    ----------
    probabilities
        [N, classes].
    truth
        True classes, [N].
    bins
        Number of bins from 0 to 1.
    """
    predicted = probabilities.max(axis=1).astype(np.float64)
    right = (probabilities.argmax(axis=1) == truth).astype(np.float64)
    edges = np.linspace(0, 1, bins + 1)
    index = np.clip(np.digitize(predicted, edges[1:-1], right=True), 0, bins - 1)
    counts = np.bincount(index, minlength=bins)
    with np.errstate(invalid="ignore"):
        mean_predicted = np.bincount(index, predicted, bins) / counts
        mean_right = np.bincount(index, right, bins) / counts
    error = float(np.nansum(counts * np.abs(mean_predicted - mean_right)) / max(1, counts.sum()))
    return Calibration(edges, mean_predicted, mean_right, counts.astype(np.int64), error)
