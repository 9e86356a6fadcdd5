"""Spotters trained in a second on the synthetic corpus, and clips to compare their exported files on."""

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import nn

from conftest import OTHER_WORDS, TEN_WORDS, spoken
from harken.models.spotter import Spotter
from harken.tasks.recipe import Recipe

RATE = 16_000


def speech_like(samples: int, seed: int) -> NDArray[np.float32]:
    """Return a buzz with gliding pitch and a moving resonance, in syllables, with some noise."""
    draws = np.random.default_rng(seed)
    time = np.arange(samples) / RATE
    pitch = draws.uniform(90, 250) * (1 + 0.2 * np.sin(2 * np.pi * draws.uniform(0.5, 2) * time))
    phase = 2 * np.pi * np.cumsum(pitch) / RATE
    resonance = draws.uniform(400, 2500) * (1 + 0.3 * np.sin(2 * np.pi * draws.uniform(1, 4) * time))
    buzz = sum(np.exp(-(((n * pitch - resonance) / 400) ** 2)) * np.sin(n * phase) for n in range(1, 30))
    syllables = np.clip(np.sin(2 * np.pi * draws.uniform(1, 3) * time + draws.uniform(0, 6)), 0, None)
    clip = draws.uniform(0.02, 0.4) * buzz * syllables + 10 ** draws.uniform(-4, -2) * draws.standard_normal(samples)
    return np.clip(clip, -1, 1).astype(np.float32)


def clips(samples: int, take: int = 20) -> NDArray[np.float32]:
    """Return silence, noise, speech-like sound, and the words of the synthetic corpus by a new speaker."""
    draws = np.random.default_rng(take)
    tests = [np.zeros(samples), draws.uniform(-1, 1, samples), 1e-4 * draws.standard_normal(samples)]
    tests += [speech_like(samples, take + number) for number in range(5)]
    tests += [spoken(word, f"{take:08x}", samples / RATE) for word in (*TEN_WORDS, *OTHER_WORDS)]
    return np.stack(tests).astype(np.float32)


def words(samples: int, *takes: int) -> NDArray[np.float32]:
    """Return the words of the synthetic corpus by speakers with these numbers. A trained spotter is confident about them."""
    spoken_words = [
        spoken(word, f"{take:08x}", samples / RATE) for take in takes for word in (*TEN_WORDS, *OTHER_WORDS)
    ]
    return np.stack(spoken_words).astype(np.float32)


def train_spotter(recipe: Recipe, network: nn.Module | None, classes: int) -> Spotter:
    """Return a spotter trained on the first words of the synthetic corpus. Quantizing an untrained one would test little."""
    torch.manual_seed(11)
    spotter = Spotter(recipe, classes)
    if network is not None:
        spotter.network = network
    words = (*TEN_WORDS, *OTHER_WORDS)[:classes]
    samples = np.stack([spoken(word, f"{take:08x}", recipe.window_s) for take in range(8) for word in words])
    features = spotter.front_end(torch.from_numpy(samples))
    truth = torch.arange(classes).repeat(8)
    optimizer = torch.optim.Adam(spotter.network.parameters(), 0.01)
    for _ in range(50):
        batch = torch.randperm(len(truth))[:24]
        loss = F.cross_entropy(spotter.train().network(features[batch]), truth[batch])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return spotter.eval()
