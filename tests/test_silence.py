from collections.abc import Sequence

import numpy as np
import pytest

from harken.corpus.recordings import Recordings
from harken.errors import HarkenError
from harken.tasks.silence import draw_silence, silence_waveforms


def held_out(*sizes: int, names: Sequence[str] = ()) -> Recordings:
    lengths = np.array(sizes)
    samples = np.arange(1, lengths.sum() + 1, dtype=np.int16)
    names = names or [str(size) for size in sizes]
    return Recordings(tuple(names), samples, np.cumsum(lengths) - lengths, lengths, 4_000)


def test_every_second_window_has_the_full_level() -> None:
    windows = draw_silence(held_out(300, 50), count=40, samples=100, seed=1)
    assert [window.gain_db for window in windows[::2]] == [0.0] * 20
    below = [window.gain_db for window in windows[1::2]]
    assert -60 <= min(below) < -40
    assert -20 < max(below) <= 0
    assert {window.recording for window in windows} == {"300", "50"}
    assert all(window.start <= 200 for window in windows if window.recording == "300")
    assert all(window.start == 0 for window in windows if window.recording == "50")


def test_waveforms_have_their_level_and_short_recordings_are_repeated() -> None:
    noise = held_out(300, 50)
    windows = draw_silence(noise, count=6, samples=100, seed=1)
    for window, row in zip(windows, silence_waveforms(windows, noise, 100) * 32768, strict=True):
        start = window.start if window.recording == "300" else 300
        wanted = start + 1 + np.arange(100) if window.recording == "300" else np.tile(301 + np.arange(50), 2)
        np.testing.assert_allclose(row, wanted * 10 ** (window.gain_db / 20), rtol=1e-5)


def test_recordings_with_the_same_name_are_not_mixed_up() -> None:
    noise = held_out(300, 120, names=["1", "1"])
    windows = draw_silence(noise, count=20, samples=100, seed=1)
    assert silence_waveforms(windows, noise, 100).max() * 32768 <= 300


def test_missing_held_out_noise_is_refused() -> None:
    with pytest.raises(HarkenError, match="no noise is held out"):
        draw_silence(held_out(), count=1, samples=100, seed=0)
