"""Training that takes a second: two tiny networks, a corpus of tones, and a recipe."""

import csv
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from unittest.mock import patch

import numpy as np
import soundfile
import torch
from torch import Tensor, nn

from conftest import tone
from harken.models.registry import NETWORKS, Network
from harken.tasks.protocol import Material
from harken.tasks.recipe import RECIPES, Recipe, with_settings

RATE = 4_000
WORDS = {"low": 300.0, "middle": 700.0, "high": 1400.0}
SPEAKERS = 10
EPOCHS = 4


class Tiny(nn.Module):
    """A few dense layers on the mean and the variance of each band."""

    def __init__(self, classes: int, bands: int, frames: int, *, noisy: bool = False) -> None:
        super().__init__()
        layers = [nn.Linear(2 * bands, 16), nn.ReLU(), nn.Linear(16, classes)]
        extra = [nn.BatchNorm1d(2 * bands), nn.Dropout(0.2)] if noisy else []
        self.layers = nn.Sequential(*extra, *layers)

    def forward(self, features: Tensor) -> Tensor:
        spread = (features - features.mean(2, keepdim=True)).square().mean(2)
        return self.layers(torch.cat([features.mean(2), spread], 1) / 5)


@contextmanager
def tiny_networks() -> Iterator[None]:
    """Register the networks `tiny` and `tiny_noisy` (with batch norm and dropout) temporarily."""
    module = ModuleType("harken.models.tiny_for_tests")
    module.Tiny = Tiny  # type: ignore[attr-defined]
    sizes = {"tiny": {}, "tiny_noisy": {"noisy": True}}
    made = {name: Network(name, "tiny_for_tests:Tiny", "log_mel", "", "", options) for name, options in sizes.items()}
    # Not patch.dict(sys.modules, ...): at the end it would also forget what was imported meanwhile, and torch cannot be
    # imported twice.
    sys.modules[module.__name__] = module
    try:
        with patch.dict(NETWORKS, made):
            yield
    finally:
        del sys.modules[module.__name__]


def write_material(root: Path) -> Material:
    """Write three words, each a tone, by ten speakers with four clips each, and half a minute of noise."""
    draws = np.random.default_rng(0)
    for word, hz in WORDS.items():
        for speaker in range(SPEAKERS):
            (root / word / f"speaker{speaker}").mkdir(parents=True)
            for take in range(4):
                clip = tone(hz * draws.uniform(0.9, 1.1), 0.2, RATE, amplitude=draws.uniform(0.1, 0.9))
                soundfile.write(root / word / f"speaker{speaker}" / f"{take}.wav", clip, RATE)
    (root / "_background_noise_").mkdir()
    soundfile.write(root / "_background_noise_" / "white.wav", 0.1 * draws.standard_normal(32 * RATE), RATE)
    return Material(data=(root,))


def recipe(*settings: str) -> Recipe:
    fast = [
        *("network=tiny_noisy", f"sample_rate={RATE}", "window_s=0.2", "bands=20", "shift_ms=10", "speed=0.03"),
        *("precision=float32", "start_from=", "epoch_clips=0"),
        *(f"epochs={EPOCHS}", "batch_size=16", "learning_rate=0.02", "warmup_epochs=0.5", "average_decay=0.9"),
        *("room_probability=0", "pitch_semitones=0.3", "mixup=0.1", "silence_share=0.3", "max_bands=2", "max_frames=3"),
    ]
    return with_settings(RECIPES["own"], [*fast, *settings])


PLAIN = (
    *("network=tiny", "shift_ms=0", "gain_db=0", "speed=0", "pitch_semitones=0", "mixup=0", "noise_probability=0"),
    *("band_masks=0", "frame_masks=0", "silence_share=0"),
)


def not_finished(*_: object) -> float:
    """Replace writing the model file, which would take longer than the training itself."""
    return 1.0


def weights(out: Path, name: str = "last.ckpt") -> dict[str, Tensor]:
    state: dict[str, Tensor] = torch.load(out / name, weights_only=True)["state_dict"]
    return state


def history(out: Path) -> list[dict[str, str]]:
    with (out / "history.csv").open(newline="") as file:
        return [{name: value for name, value in row.items() if name != "seconds"} for row in csv.DictReader(file)]
