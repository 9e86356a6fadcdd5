"""The bank: what speech in general is like, and an hour of it to count false alarms in.

Bank            a mean, typical embeddings, and the embeddings of an hour of talk
load_bank       the one that harken ships (tools/build_bank.py made it)
peaks_of        the highest scores in talk, one in two seconds
fit_tail        those -> Calibration
"""

from dataclasses import dataclass
from functools import lru_cache
from importlib.resources import files

import numpy as np
from numpy.typing import NDArray

from harken.enrollment.embedding import SAMPLE_RATE, STEP
from harken.enrollment.graph import Calibration, SpeechModel
from harken.errors import HarkenError

_TAIL = 40  # of the highest peaks, which the law of the tail is fitted to
_APART = 25  # steps: two alarms within 2 s are one
_LEAST_SCALE = 1e-3


@dataclass(frozen=True)
class Bank:
    """speech : what is common to all speech. talk : [steps, 96] embeddings of speech, half of it in noise."""

    speech: SpeechModel
    talk: NDArray[np.float32]

    @property
    def hours(self) -> float:
        """How long the talk is."""
        return hours_of(self.talk)


@lru_cache(maxsize=1)
def load_bank() -> Bank:
    """Read the bank. Its numbers are kept in 8 bits, each of the 96 with a scale of its own."""
    path = files("harken").joinpath("enrollment/bank.npz")
    try:
        with path.open("rb") as file, np.load(file, allow_pickle=False) as stored:
            mean, scale = stored["mean"].astype(np.float32), stored["scale"].astype(np.float32)
            talk = stored["talk"].astype(np.float32) * scale + mean
            typical = stored["typical"].astype(np.float32)
    except (OSError, KeyError, ValueError) as error:
        raise HarkenError("the bank of other speech cannot be read: reinstall harken") from error
    typical /= np.linalg.norm(typical, axis=1, keepdims=True)
    return Bank(SpeechModel(mean, typical), talk)


def hours_of(embeddings: NDArray[np.float32]) -> float:
    """Return how many hours of audio a sequence of embeddings covers."""
    return len(embeddings) * STEP / SAMPLE_RATE / 3600


def peaks_of(scores: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return the highest scores [steps], falling: of those within two seconds of a higher one, none."""
    usable = scores.size // _APART * _APART
    if not usable:
        return np.sort(scores)[-1:]
    blocks = scores[:usable].reshape(-1, _APART)
    heights = blocks.max(axis=1)
    places = blocks.argmax(axis=1) + np.arange(len(blocks)) * _APART
    # A peak at the edge of its block may be the slope of a higher one in the next.
    hidden = np.zeros(len(blocks), bool)
    near = np.diff(places) < _APART
    hidden[:-1] |= near & (heights[:-1] < heights[1:])
    hidden[1:] |= near & (heights[1:] <= heights[:-1])
    return np.sort(heights[~hidden])[::-1]


def fit_tail(peaks: NDArray[np.float32], hours: float) -> Calibration:
    """Return the exponential law of the highest peaks. peaks : falling."""
    count = max(1, min(_TAIL, peaks.size - 1))
    start = float(peaks[min(count, peaks.size - 1)])
    scale = max(_LEAST_SCALE, float((peaks[:count] - start).mean()))
    return Calibration(start, scale, count / hours)
