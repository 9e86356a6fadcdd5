"""Measure whether a word stands alone, like a command, or is part of other sound, like a word in a sentence.

Isolation         keeps the sound levels of the last seconds and computes the penalty for a word
silence_hops      how many evaluations of the network its times contain
subtract_logits   lower a probability by a number of logits

A network that sees one second of audio cannot tell the command "no" from the "no" in a sentence. The difference is in
the sound around the word. A command is spoken after a pause and followed by one. Therefore it is louder than most of the
last seconds, and louder than the sound right after it. A word within a sentence is neither.

A word may be part of a sentence, but not of the noise of a fan or of rain. So the surer the network is that the last seconds
were `_silence_`, the class of noise, the smaller is the penalty.
"""

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

FRAME_S = 0.05
HISTORY_FRAMES = 60  # frames that are remembered: 3 s
QUIET_FRAMES = 36  # of these, how many must be quieter than the word; so one or two words may take up 1.2 s
AFTER_FRAMES = 3  # the newest frames, which must be quieter because the word is over by then: 0.15 s
NO_PENALTY_DB = 17.0  # a word that is louder than the sound around it by this much gets no penalty
FULL_PENALTY_DB = 5.0  # a word that is louder by only this much, or less, gets the full penalty
RECENT_S = 0.8  # the windows of this time contain the word itself, so they do not show what was before it
POWER_FLOOR = 1e-10  # -100 dB of full scale, below the noise of any recording device


class Isolation:
    """Keep the sound levels of the last 3 s in frames of 50 ms, and compute the penalty for a word.

    Parameters
    ----------
    sample_rate
        Sample rate of the stream in Hz.
    window
        Number of samples that the network sees. The word is in these last samples.
    hop
        Number of samples between two evaluations of the network.
    """

    def __init__(self, sample_rate: int, window: int, hop: int) -> None:
        self._frame = frame_length(sample_rate)
        self._window = window_frames(window, sample_rate)
        self._powers = np.empty(HISTORY_FRAMES)
        recent, remembered = silence_hops(hop, sample_rate)
        self._earlier = remembered - recent
        self._silence = np.empty(remembered)
        self.reset()

    def reset(self) -> None:
        """Forget all sound, as if there had been silence."""
        self._powers[:] = 0.0
        self._silence[:] = 0.0  # nothing has been taken for noise yet
        self._energy = 0.0
        self._filled = 0

    def push(self, samples: NDArray[np.floating[Any]]) -> None:
        """Add float samples [samples], without offset and hum. A frame counts as soon as it is full."""
        start = 0
        while start < samples.size:
            part = samples[start : start + self._frame - self._filled].astype(np.float64, copy=False)
            self._energy += float(part @ part)
            self._filled += part.size
            start += part.size
            if self._filled == self._frame:
                self._powers[:-1] = self._powers[1:]
                self._powers[-1] = self._energy / self._frame
                self._energy, self._filled = 0.0, 0

    def add_silence(self, probability: float) -> None:
        """Add the probability of `_silence_` at a hop. Without it, all sound counts as speech."""
        self._silence[:-1] = self._silence[1:]
        self._silence[-1] = probability

    @property
    def penalty(self) -> float:
        """Penalty for a word in the current window: 0 if it stands alone, 1 for sound before or after it, 2 for both.

        The loudest frame of the window is compared with two levels: the level that three fifths of the last 3 s do not
        exceed, and the loudest of the three newest frames. Each comparison gives a penalty that falls linearly, from 1
        at a difference of 5 dB to 0 at 17 dB. Their sum is multiplied by the mean probability, from 3 to 0.8 s ago, that the
        sound was not `_silence_`.
        """
        loudest = self._powers[-self._window :].max()
        before = np.partition(self._powers, QUIET_FRAMES - 1)[QUIET_FRAMES - 1]
        after = self._powers[-AFTER_FRAMES:].max()
        differences = (10 * math.log10((loudest + POWER_FLOOR) / (other + POWER_FLOOR)) for other in (before, after))
        penalties = (
            min(1.0, max(0.0, (NO_PENALTY_DB - difference) / (NO_PENALTY_DB - FULL_PENALTY_DB)))
            for difference in differences
        )
        return sum(penalties) * (1.0 - float(self._silence[: self._earlier].mean()))


def frame_length(sample_rate: int) -> int:
    """Return the number of samples in a frame."""
    return max(1, round(FRAME_S * sample_rate))


def window_frames(window: int, sample_rate: int) -> int:
    """Return the number of frames in a window of `window` samples, at most as many as are remembered."""
    return min(HISTORY_FRAMES, max(AFTER_FRAMES, round(window / frame_length(sample_rate))))


def silence_hops(hop: int, sample_rate: int) -> tuple[int, int]:
    """Return how many hops there are in `RECENT_S` (at least one), and in the remembered 3 s (at least one more)."""
    recent = max(1, round(RECENT_S * sample_rate / hop))
    return recent, max(recent + 1, round(HISTORY_FRAMES * FRAME_S * sample_rate / hop))


def subtract_logits(confidence: float, logits: float) -> float:
    """Return a probability that is lowered by a number of logits."""
    return confidence / (confidence + (1 - confidence) * math.exp(logits))
