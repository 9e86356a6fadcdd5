"""Calibration: how many false alarms per hour a score stands for.

Calibration     the distribution of the highest scores in speech without the phrase
fit_tail        peaks -> Calibration
peaks_of        the highest scores, at most one in two seconds
stricter        a calibration with lower logits
logit_of        false alarms per hour -> logit
threshold_for   false alarms per hour -> threshold
upper_limit     a count of false alarms -> the most that their mean may be
"""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

REFERENCE_PER_HOUR = 60.0  # false alarms per hour at which a phrase is as probable as `_unknown_`
_TAIL_PEAKS = 80  # the exponential distribution is fitted to this many of the highest peaks
_TAIL_SHARE = 4  # but to at most one in four: in a short recording, more of them would not be the tail
# The scale of a few peaks is a rough estimate. It counts together with the usual scale, as if that came from 40 more peaks.
_USUAL_SCALE, _USUAL_PEAKS = 0.028, 40
_PEAK_STEPS = 25  # steps of 80 ms: two alarms within 2 s count as one


@dataclass(frozen=True)
class Calibration:
    """Exponential distribution of the highest scores in speech without the phrase (peaks over threshold).

    It is that of a group of templates, whose false alarms are counted together with those of the phrase's other group.

    Attributes
    ----------
    start
        Score from which the distribution is fitted.
    scale
        Increase of the score that divides the false alarms by e.
    per_hour
        False alarms per hour at `start`.
    """

    start: float
    scale: float
    per_hour: float

    @property
    def slope(self) -> float:
        """Logits per unit of score."""
        return 1 / self.scale

    @property
    def offset(self) -> float:
        """The logit at a score of 0."""
        return -self.start / self.scale - math.log(self.per_hour / REFERENCE_PER_HOUR)


def logit_of(false_alarms_per_hour: float) -> float:
    """Return the logit at which a calibrated phrase has this many false alarms per hour."""
    return -math.log(false_alarms_per_hour / REFERENCE_PER_HOUR)


def threshold_for(false_alarms_per_hour: float) -> float:
    """Return the threshold at which a calibrated phrase has this many false alarms per hour."""
    return 1 / (1 + false_alarms_per_hour / REFERENCE_PER_HOUR)


def stricter(fit: Calibration, logits: float) -> Calibration:
    """Return a calibration whose logits are lower by a number."""
    return Calibration(fit.start + logits * fit.scale, fit.scale, fit.per_hour)


def peaks_of(scores: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return the peaks of scores in descending order.

    A score within two seconds of a higher one is not a peak.

    Parameters
    ----------
    scores
        The score at each step [steps].
    """
    usable = scores.size // _PEAK_STEPS * _PEAK_STEPS
    if not usable:
        return np.sort(scores)[-1:]
    blocks = scores[:usable].reshape(-1, _PEAK_STEPS)
    heights = blocks.max(axis=1)
    positions = blocks.argmax(axis=1) + np.arange(len(blocks)) * _PEAK_STEPS
    # The highest score of a block can be the slope of a higher peak in the next block.
    hidden = np.zeros(len(blocks), bool)
    near = np.diff(positions) < _PEAK_STEPS
    hidden[:-1] |= near & (heights[:-1] < heights[1:])
    hidden[1:] |= near & (heights[1:] <= heights[:-1])
    return np.sort(heights[~hidden])[::-1]


def fit_tail(peaks: NDArray[np.float32], hours: float, usual_scale: float = _USUAL_SCALE) -> Calibration:
    """Fit an exponential distribution to the highest peaks.

    The scale is the maximum a posteriori estimate: the mean height of the peaks above the lowest of them, averaged with the
    scale that phrases usually have.

    Parameters
    ----------
    peaks
        Peaks in descending order, from `peaks_of`.
    hours
        Duration of the audio in which they were found.
    usual_scale
        The scale that phrases usually have.
    """
    count = max(1, min(_TAIL_PEAKS, peaks.size // _TAIL_SHARE))
    start = float(peaks[min(count, peaks.size - 1)])
    heights = float((peaks[:count] - start).sum())
    scale = (heights + _USUAL_PEAKS * usual_scale) / (count + _USUAL_PEAKS)
    return Calibration(start, scale, count / hours)


def upper_limit(count: int) -> float:
    """Return the upper 95 % confidence limit of the mean of a Poisson distribution, given a count (F. Garwood, 1936)."""
    low, high = float(count), 2.0 * count + 20.0
    for _ in range(60):
        mean = (low + high) / 2
        term = total = np.exp(-mean)
        for number in range(1, count + 1):
            term *= mean / number
            total += term
        low, high = (mean, high) if total > 0.05 else (low, mean)
    return float(high)
