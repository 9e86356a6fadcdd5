"""Whether a word stands alone, as a command does, or in the midst of other sound, as words of a sentence do.

Isolation   the levels of the last seconds, and how much they speak against a word

A network that looks at one second cannot tell "no" from the "no" of a sentence: in both it hears the word. What differs
is around it. A command comes after a pause and is followed by one, and so it is louder than most of the last
seconds, and louder than what comes right after it; a word within a sentence is neither.
"""

import math

import numpy as np
from numpy.typing import NDArray

FRAME_S = 0.05
FRAMES = 60  # that are remembered: 3 s
QUIET_FRAMES = 36  # of them, that ought to be quieter than the word: so the word, or two, may last for 1.2 s
AFTER_FRAMES = 3  # the newest, which ought to be quieter: 0.15 s in which the word is over
ALONE_DB = 17.0  # that a word stands above what is around it when nothing speaks against it
AMONG_DB = 5.0  # and when all does
FLOOR = 1e-10  # of power: -100 dB of full scale, below any recorder's own noise


class Isolation:
    """The levels of the last 3 s, in frames of 50 ms, and what they say of a word in the last `window` samples."""

    def __init__(self, sample_rate: int, window: int) -> None:
        self._frame = frame_of(sample_rate)
        self._window = frames_of(window, sample_rate)
        self._powers = np.empty(FRAMES)
        self.reset()

    def reset(self) -> None:
        """Forget all sound: before it was silence."""
        self._powers[:] = 0.0
        self._energy = 0.0
        self._filled = 0

    def push(self, samples: NDArray[np.float32]) -> None:
        """Hear more samples. A frame counts from when it is full."""
        start = 0
        while start < samples.size:
            part = samples[start : start + self._frame - self._filled].astype(np.float64)
            self._energy += float(part @ part)
            self._filled += part.size
            start += part.size
            if self._filled == self._frame:
                self._powers[:-1] = self._powers[1:]
                self._powers[-1] = self._energy / self._frame
                self._energy, self._filled = 0.0, 0

    @property
    def doubt(self) -> float:
        """How much speaks against a word: 0 when it stands alone, 1 for sound before it or after it, 2 for both.

        The loudest frame of the window stands some dB above the level that three fifths of the last 3 s do not exceed, and
        some above the loudest of the three newest frames. Each of the two doubts falls evenly, from 1 at 5 dB to 0 at 17 dB.
        """
        loudest = self._powers[-self._window :].max()
        before = np.partition(self._powers, QUIET_FRAMES - 1)[QUIET_FRAMES - 1]
        after = self._powers[-AFTER_FRAMES:].max()
        rises = (10 * math.log10((loudest + FLOOR) / (other + FLOOR)) for other in (before, after))
        return sum(min(1.0, max(0.0, (ALONE_DB - rise) / (ALONE_DB - AMONG_DB))) for rise in rises)


def frame_of(sample_rate: int) -> int:
    """Return the samples of a frame."""
    return max(1, round(FRAME_S * sample_rate))


def frames_of(window: int, sample_rate: int) -> int:
    """Return how many frames a network's window of so many samples has, as far as they are remembered."""
    return min(FRAMES, max(AFTER_FRAMES, round(window / frame_of(sample_rate))))


def subtract_logits(confidence: float, logits: float) -> float:
    """Return a probability with so many logits less."""
    return confidence / (confidence + (1 - confidence) * math.exp(logits))
