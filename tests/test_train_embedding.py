"""The examples that the speech embedding learns from."""

import numpy as np
import pytest
from train_embedding import STEPS, distorted, loudest, softer

from harken.models.speech_embedding import SAMPLE_RATE, STEP, samples_of
from harken.training.augment.room import Room

SIZE = samples_of(STEPS)


def rms_db(samples: np.ndarray) -> float:
    return float(10 * np.log10(np.mean(np.square(samples, dtype=np.float64))))


def white(seed: int, level: float = 0.1) -> np.ndarray:
    return (level * np.random.default_rng(seed).standard_normal(SIZE)).astype(np.float32)


def test_speech_in_the_background_is_softer() -> None:
    rng = np.random.default_rng(0)
    differences = [rms_db(white(1)) - rms_db(softer(white(2, level=1.0), white(1), rng)) for _ in range(50)]
    assert 3 <= min(differences) < 8
    assert 23 < max(differences) <= 28


def test_the_loudest_moment_is_that_of_the_audio_of_each_embedding() -> None:
    samples = np.zeros(SIZE, np.float32)
    samples[30 * STEP : 31 * STEP] = 0.5
    covering = [step for step in range(STEPS) if step * STEP <= 30 * STEP and step * STEP + samples_of(1) >= 31 * STEP]
    assert np.flatnonzero(loudest(samples)).tolist() == covering
    assert loudest(samples).max() == pytest.approx(0.5)


def test_the_distorted_recording_has_the_talk_and_the_noise_and_the_clean_one_has_neither() -> None:
    rng, room = np.random.default_rng(0), Room(SAMPLE_RATE, probability=0.0)
    noise = white(3)
    with_noise = 0
    for _ in range(20):
        talk = softer(white(2), white(1), rng)
        noisy, clean, gain = distorted(white(1), talk, [noise], room, rng)
        assert np.abs(noisy).max() <= 1.0001
        added = (noisy - clean) / gain
        assert added @ talk == pytest.approx(talk @ talk, rel=0.3)
        assert abs(clean @ talk) < 0.05 * np.linalg.norm(clean) * np.linalg.norm(talk)
        with_noise += np.linalg.norm(added - talk) > 1e-3
    assert 8 < with_noise < 20
