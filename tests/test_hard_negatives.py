"""Hard negatives: the windows found are those that the network takes for a keyword, the same at each search."""

import numpy as np
import torch

from harken.corpus.recordings import recordings_from_arrays
from harken.training.augment import WindowBank
from harken.training.hard_negatives import HardNegatives

RATE = 1_000
LOUD = slice(40_000, 60_000)  # the part that the network below takes for a keyword


def bank() -> WindowBank:
    samples = np.random.default_rng(0).normal(0, 300, 100_000)
    samples[LOUD] = 8_000 * np.sign(np.sin(np.arange(20_000) / 3))
    return WindowBank(recordings_from_arrays(["talk"], [samples.astype(np.int16)], RATE), RATE)


def squareness(waveform: torch.Tensor) -> torch.Tensor:
    """Score a square wave, whose mean magnitude is near its peak, above noise."""
    return waveform.abs().mean(1) / waveform.abs().amax(1)


def test_the_windows_found_lie_in_the_part_that_looks_like_a_keyword():
    negatives = HardNegatives(bank())
    negatives.search(squareness, seed=3)
    assert negatives.places is not None
    assert int(negatives.places.min()) > LOUD.start - RATE
    assert int(negatives.places.max()) < LOUD.stop


def test_the_same_seed_finds_the_same_windows_and_leaves_the_random_state_alone():
    first, second = HardNegatives(bank()), HardNegatives(bank())
    first.search(squareness, seed=3)
    state = torch.random.get_rng_state()
    second.search(squareness, seed=3)
    assert torch.equal(torch.random.get_rng_state(), state)
    assert torch.equal(first.places, second.places)
    second.search(squareness, seed=4)
    assert not torch.equal(first.places, second.places)


def test_a_share_of_the_windows_is_replaced():
    negatives = HardNegatives(bank())
    windows = torch.zeros(2_000, RATE)
    assert torch.equal(negatives.replace_some(windows.clone(), 0.5), windows)  # nothing was searched yet
    negatives.search(squareness, seed=3)
    torch.manual_seed(1)
    replaced = negatives.replace_some(windows.clone(), 0.25).abs().amax(1) > 0
    assert 0.2 < float(replaced.float().mean()) < 0.3
