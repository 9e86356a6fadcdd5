"""Generated steady noise of six kinds: white, pink, brown, narrow-band, pulsing and humming.

KINDS                   the kinds, each with a description
steady_noise            windows of one kind
make_synthetic_noise    recordings of all kinds
"""

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from harken.audio.clip import to_int16
from harken.corpus.recordings import Recordings, recordings_from_arrays

KINDS: Mapping[str, str] = {
    "white": "the same power at all frequencies",
    "pink": "power falls by 3 dB per octave",
    "brown": "power falls by 6 dB per octave",
    "narrow": "a band of noise, half an octave to two octaves wide",
    "pulsing": "pink, rising and falling one to eight times per second",
    "humming": "eleven harmonics of a fundamental of 40 to 300 Hz",
}
_LOWEST_PEAK_DB = -40.0  # relative to full scale; peaks are drawn uniformly from here up to 0
_EDGE_ORDER = 8
_RECORDINGS_PER_KIND = 10
_RECORDING_S = 4.0


def steady_noise(kind: str, count: int, samples: int, sample_rate: int, *, seed: int = 0) -> NDArray[np.float32]:
    """Return windows of noise, float32 [count, samples].

    Their peaks are 0 to 40 dB below full scale, drawn uniformly.

    Parameters
    ----------
    kind
        One of KINDS.
    count, samples
        Number of windows, and their length.
    sample_rate
        In Hz.
    seed
        Random seed.
    """
    rng = np.random.default_rng((seed, list(KINDS).index(kind)))
    time = np.arange(samples) / sample_rate
    frequencies = np.fft.rfftfreq(samples, 1 / sample_rate)
    frequencies[0] = frequencies[1]

    def noise(power: NDArray[np.floating[Any]]) -> NDArray[np.float64]:
        return np.fft.irfft(np.fft.rfft(rng.standard_normal((count, samples))) * np.sqrt(power), n=samples)

    def log_uniform(low: float, high: float) -> NDArray[np.float64]:
        return np.exp(rng.uniform(math.log(low), math.log(high), (count, 1)))

    if kind == "narrow":
        low = log_uniform(50, sample_rate / 4)
        high = low * log_uniform(1.4, 4)
        made = noise(1 / ((1 + (low / frequencies) ** _EDGE_ORDER) * (1 + (frequencies / high) ** _EDGE_ORDER)))
    elif kind == "pulsing":
        angle = 2 * np.pi * (log_uniform(1, 8) * time + rng.uniform(size=(count, 1)))
        made = noise(1 / frequencies) * (0.55 + 0.45 * np.sin(angle))
    elif kind == "humming":
        fundamental = log_uniform(40, 300)
        made = np.zeros((count, samples))
        for harmonic in range(1, 12):
            strength, phase = rng.uniform(size=(count, 1)), rng.uniform(0, 2 * np.pi, (count, 1))
            made += strength * np.sin(2 * np.pi * harmonic * fundamental * time + phase)
    else:
        made = noise(frequencies ** -float({"white": 0, "pink": 1, "brown": 2}[kind]))
    peaks = 10 ** (rng.uniform(_LOWEST_PEAK_DB, 0, (count, 1)) / 20)
    windows: NDArray[np.float32] = (made / np.abs(made).max(axis=1, keepdims=True) * peaks).astype(np.float32)
    return windows


def make_synthetic_noise(sample_rate: int, *, seed: int) -> Recordings:
    """Return ten generated recordings of each kind, four seconds long and named `made-KIND-NUMBER`."""
    names = [f"made-{kind}-{number}" for kind in KINDS for number in range(_RECORDINGS_PER_KIND)]
    samples = round(_RECORDING_S * sample_rate)
    parts = [
        to_int16(row)
        for kind in KINDS
        for row in steady_noise(kind, _RECORDINGS_PER_KIND, samples, sample_rate, seed=seed)
    ]
    return recordings_from_arrays(names, parts, sample_rate)
