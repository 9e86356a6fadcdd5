"""Augmentation on whole batches, on the device: each transform is a module, active in training alone.

Shift, Speed, Pitch, Room, Gain, Noise    waveforms [N, samples] -> [N, samples]
LeftContext                                      waveforms [N, samples] -> the same, or [N, 2 samples]
Filter, Suppress, SpecAugment             features [N, bands, frames] -> the same
Mixup                                     waveforms and soft labels -> the same
WindowBank                                where noise or speech is drawn from: recordings
SteadyNoise, ChainedWords                 the same, made on the spot
MixedBank                                 both

Each draws from torch's global generator, so that a seeded step can be repeated, and refuses impossible ranges when it
is made.
"""

from harken.training.augment.chain import ChainedWords
from harken.training.augment.filter import Filter
from harken.training.augment.gain import Gain
from harken.training.augment.left_context import LeftContext
from harken.training.augment.made_noise import SteadyNoise
from harken.training.augment.mixed import MixedBank
from harken.training.augment.mixup import Mixup
from harken.training.augment.noise import Noise, WindowBank
from harken.training.augment.pitch import Pitch
from harken.training.augment.room import Room
from harken.training.augment.shift import Shift
from harken.training.augment.spec_augment import SpecAugment
from harken.training.augment.speed import Speed
from harken.training.augment.suppress import Suppress

__all__ = [
    "ChainedWords",
    "Filter",
    "Gain",
    "LeftContext",
    "MixedBank",
    "Mixup",
    "Noise",
    "Pitch",
    "Room",
    "Shift",
    "SpecAugment",
    "Speed",
    "SteadyNoise",
    "Suppress",
    "WindowBank",
]
