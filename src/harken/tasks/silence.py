"""Windows of held-out noise that stand for `_silence_` where a model is judged."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from harken.corpus.recordings import Recordings
from harken.errors import HarkenError


@dataclass(frozen=True)
class SilenceWindow:
    """A stretch of held-out noise: its recording, first sample, and level change in dB."""

    recording: str
    start: int
    gain_db: float


def draw_silence(noise: Recordings, *, count: int, samples: int, seed: int) -> tuple[SilenceWindow, ...]:
    """Draw windows from held-out noise, every other one at full level, the rest 0 to 60 dB below."""
    if not len(noise):
        raise HarkenError("no noise is held out for validation: give more recordings with --noise DIR")
    rng = np.random.default_rng(seed)
    known = sorted(_by_name(noise).values())
    windows = []
    for number in range(count):
        recording = known[int(rng.integers(len(known)))]
        start = int(rng.integers(max(1, int(noise.lengths[recording]) - samples + 1)))
        gain_db = 0.0 if number % 2 == 0 else round(float(rng.uniform(-60, 0)), 1)
        windows.append(SilenceWindow(noise.names[recording], start, gain_db))
    return tuple(windows)


def silence_waveforms(windows: Sequence[SilenceWindow], noise: Recordings, samples: int) -> NDArray[np.float32]:
    """Return the windows' waveforms, float32 [windows, samples]; recordings shorter than a window are repeated."""
    by_name = _by_name(noise)
    rows = np.zeros((len(windows), samples), np.float32)
    for row, window in zip(rows, windows, strict=True):
        audio = noise.one(by_name[window.recording])
        audio = np.resize(audio, max(audio.size, samples))[window.start : window.start + samples]
        row[:] = audio / 32768.0 * 10 ** (window.gain_db / 20)
    return rows


def _by_name(noise: Recordings) -> dict[str, int]:
    """Return each name's recording: of several in different folders, the first."""
    return {name: index for index, name in reversed(list(enumerate(noise.names)))}
