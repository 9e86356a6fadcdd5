"""Corpora of very short tones, and recipes for them."""

from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
import soundfile

from conftest import tone
from harken.tasks.recipe import RECIPES, Recipe, with_settings

RATE = 4_000
SMALL = [f"sample_rate={RATE}", "window_s=0.05"]
PEOPLE = [f"person{number}" for number in range(12)]


def recipe(name: str, *settings: str) -> Recipe:
    return with_settings(RECIPES[name], [*SMALL, *settings])


def write_corpus(root: Path, names: Iterable[str], *, seconds: float = 0.05) -> Path:
    """Write clips `word/stem`, each with other samples."""
    for number, name in enumerate(names):
        path = root / f"{name}.wav"
        path.parent.mkdir(parents=True, exist_ok=True)
        soundfile.write(path, tone(100 + number, seconds, RATE), RATE)
    return root


def write_noise(root: Path, *names: str) -> Path:
    root.mkdir(parents=True, exist_ok=True)
    for number, name in enumerate(names):
        soundfile.write(root / f"{name}.wav", 0.1 * np.random.default_rng(number).standard_normal(RATE), RATE)
    return root


def own_names(words: Sequence[str], speakers: Sequence[str], takes: int = 2) -> list[str]:
    return [f"{word}/{speaker}/take{take}" for word in words for speaker in speakers for take in range(takes)]
