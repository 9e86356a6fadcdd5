"""The speech bank: statistics of speech in general, and two hours of noisy speech in which false alarms are counted.

Bank            the mean, typical embeddings, and the embeddings of two hours of noisy speech
load_bank       read the bank of a speech embedding, which tools/build_bank.py creates
hours_of        the duration of a sequence of embeddings
peaks_of        the highest scores, at most one in two seconds
fit_tail        peaks -> Calibration
"""

from dataclasses import dataclass
from functools import cached_property, lru_cache
from importlib.resources import files

import numpy as np
from numpy.typing import NDArray

from harken.enrollment.graph import Calibration, SpeechModel
from harken.errors import HarkenError
from harken.models.encoders import DEFAULT
from harken.models.speech_embedding import SAMPLE_RATE, STEP

_TAIL_PEAKS = 80  # the exponential distribution is fitted to this many of the highest peaks
_TAIL_SHARE = 4  # but to at most one in four: in a short recording, more of them would not be the tail
# The scale of a few peaks is a rough estimate. It counts together with the usual scale, as if that came from 40 more peaks.
_USUAL_SCALE, _USUAL_PEAKS = 0.028, 40
# Part of the similarity to typical speech that is subtracted, for each encoder. Chosen on speech of the bank.
_WEIGHTS = {"harken": 0.5, "google": 0.7}
_PEAK_STEPS = 25  # steps of 80 ms: two alarms within 2 s count as one


@dataclass(frozen=True)
class Bank:
    """Statistics and embeddings of speech by many speakers.

    Attributes
    ----------
    speech
        What all speech has in common.
    quantized
        Embeddings [steps, 96] of two hours of speech, mixed with noise 5 to 20 dB below the speech, in 8 bits.
    scale
        Factor [96] of each dimension of `quantized`.
    """

    speech: SpeechModel
    quantized: NDArray[np.int8]
    scale: NDArray[np.float32]

    @cached_property
    def talk(self) -> NDArray[np.float32]:
        """The embeddings of `quantized` [steps, 96]."""
        return self.quantized.astype(np.float32) * self.scale + self.speech.mean

    @property
    def hours(self) -> float:
        """Duration of `talk` in hours."""
        return hours_of(self.quantized)


@lru_cache(maxsize=2)
def load_bank(encoder: str = DEFAULT) -> Bank:
    """Read the bank that harken ships for a speech embedding.

    The file stores embeddings in 8 bits, with a separate scale for each of the 96 dimensions.

    Parameters
    ----------
    encoder
        Name of the speech embedding, as in `harken.models.encoders`.

    Raises
    ------
    HarkenError
        If the file is missing or damaged.
    """
    name = f"enrollment/bank_{encoder}.npz"
    path = files("harken").joinpath(name)
    try:
        with path.open("rb") as file, np.load(file, allow_pickle=False) as stored:
            mean, scale = stored["mean"].astype(np.float32), stored["scale"].astype(np.float32)
            quantized = np.asarray(stored["talk"], np.int8)
            typical = stored["typical"].astype(np.float32)
    except (OSError, KeyError, ValueError) as error:
        raise HarkenError(f"the speech bank {name} cannot be read: reinstall harken") from error
    typical /= np.linalg.norm(typical, axis=1, keepdims=True)
    return Bank(SpeechModel(mean, typical, _WEIGHTS[encoder]), quantized, scale)


def hours_of(embeddings: NDArray[np.generic]) -> float:
    """Return the duration in hours of a sequence of embeddings."""
    return len(embeddings) * STEP / SAMPLE_RATE / 3600


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
