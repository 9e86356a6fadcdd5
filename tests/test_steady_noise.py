from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from harken.evaluation.clips.steady_noise import KINDS, measure_steady_noise, steady_noise
from harken.runtime.modelfile import ModelFile

RATE = 8_000


def spectrum(kind: str) -> np.ndarray:
    windows = steady_noise(kind, 50, RATE, RATE).astype(float)
    windows /= np.sqrt(np.square(windows).mean(axis=1, keepdims=True))
    return np.square(np.abs(np.fft.rfft(windows)))


@pytest.mark.parametrize("kind", KINDS)
def test_windows_follow_the_seed_and_have_peaks_within_40_db(kind: str) -> None:
    windows, again, other = (steady_noise(kind, 60, 1_000, RATE, seed=seed) for seed in (1, 1, 2))
    assert windows.dtype == np.float32
    assert np.array_equal(windows, again)
    assert not np.array_equal(windows, other)
    peaks = 20 * np.log10(np.abs(windows).max(axis=1))
    assert -40.01 < peaks.min() < -33
    assert -7 < peaks.max() < 0.01


@pytest.mark.parametrize(("kind", "db_per_octave"), [("white", 0.0), ("pink", -3.01), ("brown", -6.02)])
def test_the_power_of_colored_noise_falls_by_its_slope(kind: str, db_per_octave: float) -> None:
    power = spectrum(kind).mean(axis=0)
    octaves = [10 * np.log10(power[125 * 2**n : 250 * 2**n].mean()) for n in range(5)]
    assert np.diff(octaves) == pytest.approx([db_per_octave] * 4, abs=0.5)


def test_humming_has_lines_narrow_noise_is_narrow_and_pulsing_changes_its_level() -> None:
    humming = np.sort(spectrum("humming"), axis=1)[:, ::-1]
    assert humming[:, :120].sum() > 0.9 * humming.sum()  # eleven lines, each spread over some bins
    narrow = np.sort(spectrum("narrow"), axis=1)[:, ::-1]
    assert np.median(narrow[:, :1_000].sum(axis=1) / narrow.sum(axis=1)) > 0.8
    envelopes = np.square(steady_noise("pulsing", 50, RATE, RATE)).reshape(50, 40, -1).mean(axis=2)
    assert (envelopes.max(axis=1) > 5 * envelopes.min(axis=1)).all()


def test_answers_are_counted_by_kind(make_model: Callable[..., Path], monkeypatch: pytest.MonkeyPatch) -> None:
    model = ModelFile(make_model())
    labels = model.card.labels
    silence = labels.index("_silence_")
    monkeypatch.setattr(
        "harken.evaluation.clips.steady_noise.steady_noise", lambda kind, count, *_, **__: np.full(count, kind)
    )

    def probabilities(batch: np.ndarray) -> np.ndarray:
        answers = np.full(len(batch), silence)
        if batch[0] == "humming":
            answers[:30] = labels.index(labels[0])
        return np.eye(len(labels))[answers]

    monkeypatch.setattr(model, "probabilities", probabilities)
    found = {score.kind: score for score in measure_steady_noise(model)}
    assert list(found) == list(KINDS)
    assert (found["white"].silent, found["white"].confused_with) == (200, "")
    assert found["humming"].to_json() == {
        "kind": "humming", "windows": 200, "silent": 140, "confused_with": labels[0], "share": 0.7,
    }  # fmt: skip
