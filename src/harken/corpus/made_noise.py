"""Steady noise of six kinds that is made: of three colours, narrow, pulsing, humming.

KINDS          what each is
steady_noise   windows of one kind
made_noise     recordings of all of them
"""

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from harken.audio.clip import to_int16
from harken.corpus.recordings import Recordings, from_arrays

KINDS: Mapping[str, str] = {
    "white": "all frequencies alike",
    "pink": "power falls by 3 dB an octave",
    "brown": "power falls by 6 dB an octave",
    "narrow": "a band of noise, half an octave to two wide",
    "pulsing": "pink, swelling and fading once to eight times a second",
    "humming": "eleven harmonics of 40 to 300 Hz",
}
_LOWEST_DB = -40.0  # of the peaks, drawn evenly up to full scale
_EDGE_ORDER = 8
_MADE = 10  # recordings of each kind
_MADE_S = 4.0


def steady_noise(kind: str, count: int, samples: int, sample_rate: int, *, seed: int = 0) -> NDArray[np.float32]:
    """Return windows of a kind of KINDS, [count, samples]; their peaks lie 0 to 40 dB below full scale, drawn evenly."""
    rng = np.random.default_rng((seed, list(KINDS).index(kind)))
    time = np.arange(samples) / sample_rate
    frequencies = np.fft.rfftfreq(samples, 1 / sample_rate)
    frequencies[0] = frequencies[1]

    def noise(power: NDArray[np.floating[Any]]) -> NDArray[np.float64]:
        return np.fft.irfft(np.fft.rfft(rng.standard_normal((count, samples))) * np.sqrt(power), n=samples)

    def drawn(low: float, high: float) -> NDArray[np.float64]:  # evenly in octaves
        return np.exp(rng.uniform(math.log(low), math.log(high), (count, 1)))

    if kind == "narrow":
        low = drawn(50, sample_rate / 4)
        high = low * drawn(1.4, 4)
        made = noise(1 / ((1 + (low / frequencies) ** _EDGE_ORDER) * (1 + (frequencies / high) ** _EDGE_ORDER)))
    elif kind == "pulsing":
        angle = 2 * np.pi * (drawn(1, 8) * time + rng.uniform(size=(count, 1)))
        made = noise(1 / frequencies) * (0.55 + 0.45 * np.sin(angle))
    elif kind == "humming":
        fundamental = drawn(40, 300)
        made = np.zeros((count, samples))
        for harmonic in range(1, 12):
            strength, phase = rng.uniform(size=(count, 1)), rng.uniform(0, 2 * np.pi, (count, 1))
            made += strength * np.sin(2 * np.pi * harmonic * fundamental * time + phase)
    else:
        made = noise(frequencies ** -float({"white": 0, "pink": 1, "brown": 2}[kind]))
    peaks = 10 ** (rng.uniform(_LOWEST_DB, 0, (count, 1)) / 20)
    windows: NDArray[np.float32] = (made / np.abs(made).max(axis=1, keepdims=True) * peaks).astype(np.float32)
    return windows


def made_noise(sample_rate: int, *, seed: int) -> Recordings:
    """Return ten recordings of four seconds of each kind, named `made-KIND-NUMBER`, for those who have no noise recorded."""
    names = [f"made-{kind}-{number}" for kind in KINDS for number in range(_MADE)]
    samples = round(_MADE_S * sample_rate)
    parts = [to_int16(row) for kind in KINDS for row in steady_noise(kind, _MADE, samples, sample_rate, seed=seed)]
    return from_arrays(names, parts, sample_rate)
