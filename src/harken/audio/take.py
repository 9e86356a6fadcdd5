"""A take of a word: the second that holds it, or why it is no good. serve/page/take.js holds the same rules."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

CLIP_S = 1.0
_QUIETEST_DB = -42.0  # a voice at arm's length peaks at -30 dB or above
_CLIPPED = 0.999
_MOST_CLIPPED = 3  # samples: a true peak may touch full scale, clipping stays there
_FRAME_S = 0.01
_RANGE = 1000.0  # of power, 30 dB: what is softer than that belongs to the room


@dataclass(frozen=True)
class Take:
    """clip : float32 [one second of samples], the word in its middle; None where `fault` says what to do better."""

    clip: NDArray[np.float32] | None
    fault: str = ""


def check_take(samples: NDArray[np.float32], sample_rate: int) -> Take:
    """Return the second about the word in a recording [samples] of more than a second, or why there is none."""
    peak = float(np.abs(samples).max(initial=0.0))
    if 20 * np.log10(peak + 1e-9) < _QUIETEST_DB:
        return Take(None, "too quiet: nearer to the microphone")
    if int((np.abs(samples) >= _CLIPPED).sum()) > _MOST_CLIPPED:
        return Take(None, "too loud, it clips: softer, or further away")
    step = round(_FRAME_S * sample_rate)
    frames = samples[: samples.size // step * step].reshape(-1, step)
    power = np.square(frames, dtype=np.float64).mean(axis=1)
    loud = np.flatnonzero(power > power.max() / _RANGE)
    first, last = int(loud[0]), int(loud[-1])
    if last == len(power) - 1:
        return Take(None, "cut off at its end: speak a little sooner")
    length = round(CLIP_S * sample_rate)
    if (last + 1 - first) * step > length:
        return Take(None, "longer than a second, or the room is loud: one short word")
    middle = (first + last + 1) * step // 2
    start = max(0, min(samples.size - length, middle - length // 2))
    return Take(samples[start : start + length].astype(np.float32))
