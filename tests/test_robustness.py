import math
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from harken.corpus.recordings import Recordings
from harken.errors import HarkenError
from harken.evaluation.clips.examples import Examples
from harken.evaluation.clips.robustness import add_noise, amplify, draw_noise, measure_robustness, shift
from harken.runtime.modelfile import ModelFile


def recordings(*parts: NDArray[np.int16], sample_rate: int = 8000) -> Recordings:
    lengths = np.array([len(part) for part in parts])
    starts = np.cumsum(lengths) - lengths
    names = tuple(f"noise {number}" for number in range(len(parts)))
    return Recordings(names, np.concatenate(parts), starts, lengths, sample_rate)


def test_a_shift_fills_the_gap_with_zeros() -> None:
    waveform = np.array([[1, 2, 3, 4]], np.float32)
    assert shift(waveform, 1).tolist() == [[0, 1, 2, 3]]
    assert shift(waveform, -3).tolist() == [[4, 0, 0, 0]]
    assert shift(waveform, 0).tolist() == waveform.tolist()


def test_amplified_waveforms_are_clipped_and_rounded_to_16_bits() -> None:
    waveform = np.array([[0.25, -0.5, 0.001, 2**-15]], np.float32)
    assert amplify(waveform, 20.0).tolist() == [[32767 / 32768, -1.0, 328 / 32768, 10 / 32768]]
    assert amplify(waveform, -40.0).tolist() == [[82 / 32768, -164 / 32768, 0.0, 0.0]]


@pytest.mark.parametrize("snr_db", [20.0, 0.0])
def test_noise_is_added_at_the_signal_to_noise_ratio(snr_db: float) -> None:
    rng = np.random.default_rng(0)
    waveforms = (rng.standard_normal((3, 4000)) * [[0.02], [0.05], [0.1]]).astype(np.float32)
    noise = (0.2 * rng.standard_normal((3, 4000))).astype(np.float32)
    added = add_noise(waveforms, noise, snr_db) - waveforms
    ratio = 10 * np.log10(np.square(waveforms).mean(axis=1) / np.square(added).mean(axis=1))
    assert ratio == pytest.approx([snr_db] * 3, abs=0.01)


def test_no_noise_is_added_to_digital_silence() -> None:
    assert not add_noise(np.zeros((1, 8), np.float32), np.ones((1, 8), np.float32), 0.0).any()


def test_random_noise_is_never_silent_and_short_recordings_are_repeated() -> None:
    half_silent = np.concatenate([np.zeros(5000, np.int16), np.full(1000, 3277, np.int16)])
    drawn = draw_noise(recordings(half_silent, np.array([8192, -8192], np.int16)), 60, 5, np.random.default_rng(3))
    assert np.square(drawn).mean(axis=1).min() > 0
    assert {0.25, -0.25} in [set(row) for row in drawn.tolist()]
    assert np.isclose(drawn, 3277 / 32768).any(axis=1).sum() > 10


def test_random_noise_follows_the_seed() -> None:
    noise = recordings(np.arange(-1000, 1000, dtype=np.int16))
    first, again, other = (draw_noise(noise, 4, 50, np.random.default_rng(seed)) for seed in (1, 1, 2))
    assert (first == again).all()
    assert (first != other).any()


@pytest.mark.parametrize(
    "noise",
    [recordings(np.zeros(100, np.int16)), Recordings((), np.zeros(0, np.int16), *[np.zeros(0, np.int64)] * 2, 8000)],
)
def test_silent_noise_is_an_error(noise: Recordings) -> None:
    with pytest.raises(HarkenError, match="give"):
        draw_noise(noise, 1, 10, np.random.default_rng(0))


@pytest.fixture
def examples() -> Examples:
    """Return clips for a model that finds the loudest quarter of 8,000 samples: `yes` (first), `no` (second), and silence."""
    waveforms = np.zeros((3, 8000), np.float32)
    waveforms[0, 800:1200] = 0.5
    waveforms[0, 2000:4000] = 0.1
    # When clipped, the long soft part becomes stronger than the short loud one.
    waveforms[1, :2000] = 0.3
    waveforms[1, 2800:3200] = 0.9
    return Examples(waveforms, np.array([0, 1, 3]), ("yes/a", "no/a", "white from 0.00 s"), {})


def test_accuracy_on_altered_clips(make_model: Callable[..., Path], examples: Examples) -> None:
    noise = np.zeros(8000, np.int16)
    noise[6000:] = 1000  # In the last quarter, at 0 dB, it is louder than both words.
    found = measure_robustness(ModelFile(make_model()), examples, recordings(noise))
    assert (found.clips, found.recordings) == (2, 1)
    assert [(point.value, point.accuracy) for point in found.snr] == [
        (math.inf, 1.0), (20.0, 1.0), (10.0, 1.0), (5.0, 1.0), (0.0, 0.0),
    ]  # fmt: skip
    assert [(point.value, point.accuracy) for point in found.shift] == [
        (-200.0, 0.5), (-150.0, 0.5), (-100.0, 1.0), (-50.0, 1.0), (0.0, 1.0),
        (50.0, 1.0), (100.0, 1.0), (150.0, 0.0), (200.0, 0.0),
    ]  # fmt: skip
    assert [(point.value, point.accuracy) for point in found.gain] == [
        (-40.0, 1.0), (-30.0, 1.0), (-20.0, 1.0), (-10.0, 1.0), (0.0, 1.0), (10.0, 0.5),
    ]  # fmt: skip
    assert found.clean.accuracy_interval == pytest.approx((0.342380, 1.0), abs=1e-6)
    values = found.to_json()
    assert values["clean"] == 1.0
    assert values["snr"][-1] == {
        "snr_db": 0.0,
        "accuracy": 0.0,
        "accuracy_interval": [0.0, pytest.approx(0.657620, abs=1e-6)],
    }
    assert values["shift"][0]["shift_ms"] == -200.0
    assert values["gain"][5]["gain_db"] == 10.0


def test_noise_at_another_sample_rate_is_an_error(make_model: Callable[..., Path], examples: Examples) -> None:
    with pytest.raises(HarkenError, match="read the recordings at 8000 Hz"):
        measure_robustness(ModelFile(make_model()), examples, recordings(np.ones(10, np.int16), sample_rate=16_000))


def test_clips_without_speech_are_an_error(make_model: Callable[..., Path], examples: Examples) -> None:
    silence = Examples(examples.waveforms[2:], examples.truth[2:], examples.names[2:], {})
    with pytest.raises(HarkenError, match="no speech"):
        measure_robustness(ModelFile(make_model()), silence, recordings(np.ones(10, np.int16)))
