"""Resampling in chunks gives the same samples as resampling the whole clip."""

import numpy as np
import pytest

from harken.audio.clip import load_clip
from harken.audio.resampler import Resampler, to_float
from harken.errors import HarkenError


def noise(samples, seed=0):
    return (0.1 * np.random.default_rng(seed).standard_normal(samples)).astype(np.float32)


def resample(resampler, signal, cuts):
    parts = [resampler.push(part) for part in np.split(signal, cuts)]
    return np.concatenate([*parts, resampler.finish()])


@pytest.mark.parametrize("source_rate", [8_000, 11_025, 16_000, 44_100, 48_000])
def test_chunks_of_any_size_give_the_samples_of_the_whole_clip(source_rate):
    signal = noise(source_rate // 2 + 37)
    whole = load_clip(signal, 16_000, source_rate=source_rate)
    rng = np.random.default_rng(1)
    for cuts in ([], [0, 1, 1, 2, 3], np.sort(rng.integers(0, signal.size, 40)), np.arange(0, signal.size, 97)):
        np.testing.assert_array_equal(resample(Resampler(source_rate, 16_000), signal, cuts), whole)


def test_samples_can_be_pushed_one_by_one():
    signal = noise(4_410)
    one_by_one = resample(Resampler(44_100, 16_000), signal, np.arange(1, signal.size))
    np.testing.assert_array_equal(one_by_one, resample(Resampler(44_100, 16_000), signal, []))


@pytest.mark.parametrize("samples", [0, 1, 7, 441, 1_000, 12_345])
def test_length_matches_the_length_of_the_stream(samples):
    assert resample(Resampler(44_100, 16_000), noise(samples), []).size == -(-samples * 16_000 // 44_100)


def test_a_tone_keeps_its_phase_and_level():
    seconds = np.arange(48_000) / 48_000
    tone = np.sin(2 * np.pi * 440 * seconds).astype(np.float32)
    resampled = resample(Resampler(48_000, 16_000), tone, [1_000, 30_000])
    expected = np.sin(2 * np.pi * 440 * np.arange(16_000) / 16_000)
    assert np.abs(resampled - expected)[200:-200].max() < 1e-3


def test_delay_is_less_than_a_twentieth_of_a_second():
    resampler = Resampler(48_000, 16_000)
    returned = sum(resampler.push(chunk).size for chunk in np.split(noise(48_000), 100))
    assert 15_200 < returned < 16_000


def test_reset_forgets_the_stream():
    resampler = Resampler(44_100, 16_000)
    resampler.push(noise(5_000, seed=5))
    resampler.reset()
    np.testing.assert_array_equal(
        resample(resampler, noise(9_000), [100]), resample(Resampler(44_100, 16_000), noise(9_000), [])
    )
    with pytest.raises(HarkenError, match="reset"):
        resampler.push(noise(10))
    with pytest.raises(HarkenError, match="reset"):
        resampler.finish()
    resampler.reset()
    assert resampler.push(noise(44_100)).size > 0


def test_pcm_is_scaled_and_channels_are_averaged():
    expected = np.float32([-1, 0, 0.5])
    for pcm in (np.array([-32768, 0, 16384], np.int16), np.array([-(2**31), 0, 2**30], np.int32)):
        np.testing.assert_array_equal(to_float(pcm), expected)
    np.testing.assert_array_equal(to_float(np.array([0, 128, 192], np.uint8)), expected)
    stereo = np.array([[1.0, 0.0], [0.5, -0.5]])
    np.testing.assert_array_equal(to_float(stereo), np.float32(stereo))
    assert to_float(stereo).dtype == np.float32
    assert to_float(stereo[:, :1]).shape == (2,)
    mono = Resampler(8_000, 8_000).push(np.array([[100, 300]], np.int16))
    np.testing.assert_array_equal(mono, np.float32([200 / 32768]))


@pytest.mark.parametrize(
    ("chunk", "message"),
    [
        (np.zeros((2, 800), np.float32), "800 channels"),
        (np.zeros(4, np.uint32), "uint32"),
        (np.zeros((1, 1, 1), np.float32), r"\[samples\]"),
        ([0.0, 1.0], r"\[samples\]"),
        (np.array([0.0, np.nan]), "NaN"),
    ],
)
def test_invalid_chunks_are_refused_and_do_not_change_the_stream(chunk, message):
    resampler = Resampler(8_000, 16_000)
    first = resampler.push(noise(4_000))
    with pytest.raises(HarkenError, match=message):
        resampler.push(chunk)
    rest = np.concatenate([first, resampler.push(noise(4_000, seed=2)), resampler.finish()])
    both = np.concatenate([noise(4_000), noise(4_000, seed=2)])
    np.testing.assert_array_equal(rest, load_clip(both, 16_000, source_rate=8_000))


@pytest.mark.parametrize("rates", [(0, 16_000), (16_000.5, 16_000), (16_000, 300_000)])
def test_rates_out_of_range_are_refused(rates):
    with pytest.raises(HarkenError, match="sample rate"):
        Resampler(*rates)
