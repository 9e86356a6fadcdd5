"""Augmentation of whole batches on the device. Each transform is a module that is active in training mode only.

Shift, Speed, Pitch, Room, Gain, Noise    waveforms [N, samples] -> [N, samples]
LeftContext                               waveforms [N, samples] -> [N, samples] or [N, 2 samples]
Filter, NoiseSuppression, SpecAugment     features [N, bands, frames] -> [N, bands, frames]
Mixup                                     waveforms and soft labels -> waveforms and soft labels
WindowBank                                source of noise or speech: windows cut from recordings
SteadyNoise                               source of generated noise
ChainedWords                              source of generated running speech
MixedBank                                 two sources combined

All random numbers come from torch's global generator, so that a seeded step can be repeated. Impossible values are refused
when a transform is created.
"""

from harken.training.augment.chained_words import ChainedWords
from harken.training.augment.filter import Filter
from harken.training.augment.gain import Gain
from harken.training.augment.left_context import LeftContext
from harken.training.augment.mixed_bank import MixedBank
from harken.training.augment.mixup import Mixup
from harken.training.augment.noise import Noise, WindowBank
from harken.training.augment.noise_suppression import NoiseSuppression
from harken.training.augment.pitch import Pitch
from harken.training.augment.room import Room
from harken.training.augment.shift import Shift
from harken.training.augment.spec_augment import SpecAugment
from harken.training.augment.speed import Speed
from harken.training.augment.steady_noise import SteadyNoise

__all__ = [
    "ChainedWords",
    "Filter",
    "Gain",
    "LeftContext",
    "MixedBank",
    "Mixup",
    "Noise",
    "NoiseSuppression",
    "Pitch",
    "Room",
    "Shift",
    "SpecAugment",
    "Speed",
    "SteadyNoise",
    "WindowBank",
]
