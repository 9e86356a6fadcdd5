"""Windows of held-out noise that stand for `_silence_` in evaluation.

SilenceWindow        one window
draw_silence         choose windows at random
silence_waveforms    their waveforms
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from harken.corpus.recordings import Recordings
from harken.errors import HarkenError


@dataclass(frozen=True)
class SilenceWindow:
    """A window of held-out noise: the name of its recording, its first sample, and a change of level in dB."""

    recording: str
    start: int
    gain_db: float


def draw_silence(noise: Recordings, *, count: int, samples: int, seed: int) -> tuple[SilenceWindow, ...]:
    """Choose windows of held-out noise. Every second one has its recorded level, the others are 0 to 60 dB lower.

    Parameters
    ----------
    noise
        Held-out noise.
    count, samples
        Number of windows, and their length.
    seed
        Random seed.

    Raises
    ------
    HarkenError
        If there is no held-out noise.
    """
    if not len(noise):
        raise HarkenError("no noise is held out for validation: add more recordings with --noise DIR")
    rng = np.random.default_rng(seed)
    recordings = sorted(_by_name(noise).values())
    windows = []
    for number in range(count):
        recording = recordings[int(rng.integers(len(recordings)))]
        start = int(rng.integers(max(1, int(noise.lengths[recording]) - samples + 1)))
        gain_db = 0.0 if number % 2 == 0 else round(float(rng.uniform(-60, 0)), 1)
        windows.append(SilenceWindow(noise.names[recording], start, gain_db))
    return tuple(windows)


def silence_waveforms(windows: Sequence[SilenceWindow], noise: Recordings, samples: int) -> NDArray[np.float32]:
    """Return the waveforms of windows, float32 [windows, samples]. Recordings shorter than a window are repeated."""
    by_name = _by_name(noise)
    rows = np.zeros((len(windows), samples), np.float32)
    for row, window in zip(rows, windows, strict=True):
        audio = noise.recording(by_name[window.recording])
        audio = np.resize(audio, max(audio.size, samples))[window.start : window.start + samples]
        row[:] = audio / 32768.0 * 10 ** (window.gain_db / 20)
    return rows


def _by_name(noise: Recordings) -> dict[str, int]:
    """Return the index of each name's recording, or of the first if several have that name."""
    return {name: index for index, name in reversed(list(enumerate(noise.names)))}
