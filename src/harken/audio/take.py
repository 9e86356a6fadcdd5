"""Check a recorded take of a word, and cut out the part with the word.

Take         the result: the clip, or what to do better
check_take   check a recording of one word

serve/page/take.js has the same rules and messages. A test compares the two.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from harken.audio.highpass import HighPass

CLIP_S = 1.0
_MIN_PEAK_DB = -42.0  # a voice at arm's length peaks at -30 dB or above
_CLIPPED = 0.999
_MAX_CLIPPED_SAMPLES = 3  # a clean peak can touch full scale for a few samples; a clipped one stays there
_FRAME_S = 0.01
_POWER_RANGE = 1000.0  # 30 dB: frames that are softer than the loudest by more than this count as room noise


@dataclass(frozen=True)
class Take:
    """Result of checking a take.

    Attributes
    ----------
    clip
        The audio with the word in the middle, float32 [samples]. None if the take cannot be used.
    fault
        What is wrong with the take and what to do better. Empty if the take can be used.
    """

    clip: NDArray[np.float32] | None
    fault: str = ""


def check_take(samples: NDArray[np.float32], sample_rate: int, *, clip_s: float = CLIP_S) -> Take:
    """Find the word in a recording, and check that it is complete and neither too quiet nor too loud.

    Parameters
    ----------
    samples
        Recording of one word, float32 [samples], longer than `clip_s`.
    sample_rate
        Sample rate in Hz.
    clip_s
        Length of the clip to cut out, in seconds.

    Returns
    -------
    Take
        The audio around the word, or what is wrong with the recording.
    """
    # Relative to the first sample: otherwise the filter would take an offset for a sound at the start.
    without_hum = HighPass(sample_rate).push(samples - samples[:1])
    peak = float(np.abs(without_hum).max(initial=0.0))
    if 20 * np.log10(peak + 1e-9) < _MIN_PEAK_DB:
        return Take(None, "too quiet: move closer to the microphone")
    if int((np.abs(samples) >= _CLIPPED).sum()) > _MAX_CLIPPED_SAMPLES:
        return Take(None, "too loud, so it clips: speak more softly, or move back")
    step = round(_FRAME_S * sample_rate)
    frames = without_hum[: samples.size // step * step].reshape(-1, step)
    power = np.square(frames).mean(axis=1)
    loud = np.flatnonzero(power > power.max(initial=0.0) / _POWER_RANGE)
    if loud.size == 0 or loud[-1] == len(power) - 1:  # no frame is loud in a recording that is shorter than a frame
        return Take(None, "cut off at the end: speak a little sooner")
    first, last = int(loud[0]), int(loud[-1])
    if first == 0:
        return Take(None, "cut off at the start: speak a little later")
    length = round(clip_s * sample_rate)
    if (last + 1 - first) * step > length:
        if clip_s > CLIP_S:
            return Take(None, f"longer than {clip_s:g} seconds, or the room is noisy: say the phrase without a pause")
        return Take(None, "longer than a second, or the room is noisy: say one short word")
    middle = (first + last + 1) * step // 2
    start = max(0, min(samples.size - length, middle - length // 2))
    return Take(samples[start : start + length].astype(np.float32))
