"""Hard negatives: the windows found are those that a listener with the network would take for a keyword."""

import numpy as np
import pytest
import torch

from harken.corpus.recordings import recordings_from_arrays
from harken.training import hard_negatives
from harken.training.augment import WindowBank
from harken.training.hard_negatives import HardNegatives

RATE = 8_000
BURST = 8_000 * np.sign(np.sin(np.arange(RATE // 2) / 3))  # half a second of what `squareness` takes for a keyword
TALK, PAUSE = 12, 6  # lengths of the two recordings in seconds
BURSTS = 3, 6, 9  # when a burst starts in the talk, in seconds
LAST_OF_TALK = (TALK - 1) * RATE  # number of its last window; those of the other recording follow


def bank() -> WindowBank:
    """Return a recording with three bursts in noise almost as loud, and one with a burst after a pause."""
    draws = np.random.default_rng(0)
    talk = draws.normal(0, 4_000, TALK * RATE)
    pause = draws.normal(0, 20, PAUSE * RATE)
    for start in BURSTS:
        talk[start * RATE :][: len(BURST)] = BURST
    pause[4 * RATE :][: len(BURST)] = BURST
    parts = [part.clip(-32_768, 32_767).astype(np.int16) for part in (talk, pause)]
    return WindowBank(recordings_from_arrays(["talk", "pause"], parts, RATE), RATE)


def squareness(waveform: torch.Tensor) -> torch.Tensor:
    """Return 0.95 if a third of the samples are as loud as the loudest, else 0.01."""
    peaks = (waveform.abs() > 0.9 * waveform.abs().amax(1, keepdim=True)).float().mean(1)
    return torch.where(peaks > 0.3, 0.95, 0.01)


def test_a_keyword_within_other_sound_is_not_searched_for(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(hard_negatives, "_KEPT", 5)
    negatives = HardNegatives(bank(), RATE)
    negatives.search(squareness)
    assert negatives.places is not None
    # Windows of the second recording are numbered after those of the first. They contain most of the burst and 0.15 s after it.
    starts = (negatives.places - LAST_OF_TALK - 1).double() / RATE
    assert sorted(starts.tolist()) == pytest.approx([3.7, 3.8, 3.9, 4.0, 4.1], abs=1e-3)


@pytest.mark.parametrize(("probability", "found"), [(0.99, False), (0.999998, True)])
def test_within_other_sound_a_keyword_must_be_more_probable(
    monkeypatch: pytest.MonkeyPatch, probability: float, found: bool
):
    def scores(waveform: torch.Tensor) -> torch.Tensor:
        is_noise = waveform.abs().median(1).values > 0.1
        return torch.where(is_noise, probability, squareness(waveform))

    monkeypatch.setattr(hard_negatives, "_KEPT", 4)
    negatives = HardNegatives(bank(), RATE)
    negatives.search(scores)
    assert negatives.places is not None
    assert bool((negatives.places <= LAST_OF_TALK).all()) is found


def test_only_the_windows_with_the_smallest_penalties_are_searched(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(hard_negatives, "_SEARCHED", 8)
    negatives = HardNegatives(bank(), RATE)
    negatives.search(lambda waveform: torch.full((len(waveform),), 0.5))
    assert negatives.places is not None
    assert len(negatives.places) == 8
    assert int(negatives.places.min()) > LAST_OF_TALK


def test_a_share_of_the_windows_is_replaced():
    negatives = HardNegatives(bank(), RATE)
    windows = torch.zeros(2_000, RATE)
    assert torch.equal(negatives.replace_some(windows.clone(), 0.5), windows)  # nothing was searched yet
    negatives.search(squareness)
    torch.manual_seed(1)
    replaced = negatives.replace_some(windows.clone(), 0.25).abs().amax(1) > 0
    assert 0.2 < float(replaced.float().mean()) < 0.3
