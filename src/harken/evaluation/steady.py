"""Whether steady noise is heard as silence: of three colours, narrow, pulsing, humming.

measure_steady_noise   -> the answers on each kind
steady_noise           its windows

The noise is made, so that it needs no recording: the few that a validation side holds out do not show what a network
takes a hum for. It is made otherwise than the noise of harken.training.augment.steady, which a model may have learnt.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from harken.labels import SILENCE
from harken.modelfile import ModelFile

KINDS: Mapping[str, str] = {
    "white": "all frequencies alike",
    "pink": "power falls by 3 dB an octave",
    "brown": "power falls by 6 dB an octave",
    "narrow": "a band of noise, half an octave to two wide",
    "pulsing": "pink, swelling and fading once to eight times a second",
    "humming": "eleven harmonics of 40 to 300 Hz",
}
_WINDOWS = 200  # of each kind
_BATCH = 100
_LOWEST_DB = -40.0  # of the peaks, drawn evenly up to full scale
_EDGE_ORDER = 8


@dataclass(frozen=True)
class SteadyAnswers:
    """How windows of one kind are answered. confused_with : the label most heard beside silence, "" where there is none."""

    kind: str
    windows: int
    silent: int
    confused_with: str

    @property
    def share(self) -> float:
        """The fraction heard as silence."""
        return self.silent / self.windows

    def to_json(self) -> dict[str, Any]:
        """Return the figures as plain values."""
        return {**vars(self), "share": self.share}


def measure_steady_noise(model: ModelFile, *, seed: int = 0) -> tuple[SteadyAnswers, ...]:
    """Return the answers on 200 windows of each kind; none for a model that has no `_silence_`.

    The most probable class counts, thresholds play no part.
    """
    labels = model.card.labels
    if SILENCE not in labels:
        return ()
    silence = labels.index(SILENCE)
    answers = []
    for kind in KINDS:
        windows = steady_noise(kind, _WINDOWS, model.card.window, model.card.sample_rate, seed=seed)
        batches = [windows[start : start + _BATCH] for start in range(0, _WINDOWS, _BATCH)]
        heard = np.concatenate([model.probabilities(batch).argmax(axis=1) for batch in batches])
        counts = np.bincount(heard, minlength=len(labels))
        silent = int(counts[silence])
        counts[silence] = 0
        answers.append(SteadyAnswers(kind, _WINDOWS, silent, labels[counts.argmax()] if counts.any() else ""))
    return tuple(answers)


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
