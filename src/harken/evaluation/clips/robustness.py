"""Measure accuracy in noise, with the word early or late in the window, and at other levels.

measure_robustness     run a model on altered clips
Robustness, Point      its accuracies
draw_noise, add_noise, shift, amplify    the alterations, each of waveforms [N, samples]

Clips of `_silence_` are left out: they have no speech, so no signal-to-noise ratio and no position of the word. Noisy and
amplified waveforms are clipped to full scale and rounded to 16 bits, as a recorder would.
"""

import math
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from harken.audio.clip import in_16_bits
from harken.corpus.recordings import Recordings
from harken.errors import HarkenError
from harken.evaluation.clips.examples import Examples
from harken.evaluation.metrics import wilson_interval
from harken.labels import SILENCE
from harken.progress import progress
from harken.runtime.modelfile import ModelFile

SNRS_DB = (20.0, 10.0, 5.0, 0.0)
SHIFTS_MS = (-200.0, -150.0, -100.0, -50.0, 50.0, 100.0, 150.0, 200.0)
GAINS_DB = (-40.0, -30.0, -20.0, -10.0, 10.0)

_BATCH = 256
_SILENT_RMS = 1e-5  # A third of a 16-bit step: what is below is digital silence.
_MAX_TRIES = 100  # to find a window that is not silent in one recording

_Waveforms = NDArray[np.float32]


@dataclass(frozen=True)
class Point:
    """The right answers at one value of an alteration.

    Attributes
    ----------
    value
        The value, in dB or milliseconds.
    hits
        Number of right answers.
    clips
        Number of clips.
    """

    value: float
    hits: int
    clips: int

    @property
    def accuracy(self) -> float:
        """The fraction of right answers."""
        return self.hits / self.clips

    @property
    def accuracy_interval(self) -> tuple[float, float]:
        """The 95 % Wilson interval of the accuracy."""
        return wilson_interval(self.hits, self.clips)

    def to_json(self, unit: str) -> dict[str, Any]:
        """Return the figures as plain values, with the value under the key `unit`."""
        return {unit: self.value, "accuracy": self.accuracy, "accuracy_interval": list(self.accuracy_interval)}


@dataclass(frozen=True)
class Robustness:
    """Accuracy on the same clips with different alterations.

    Attributes
    ----------
    clips
        Number of clips.
    recordings
        Number of recordings that the noise was cut from.
    snr
        Accuracy at decreasing signal-to-noise ratios in dB; the first is infinite (unaltered clips).
    shift
        Accuracy at shifts in milliseconds, early to late, with the unaltered clips at 0.
    gain
        Accuracy at gains in dB, soft to loud, with the unaltered clips at 0.
    """

    clips: int
    recordings: int
    snr: tuple[Point, ...]
    shift: tuple[Point, ...]
    gain: tuple[Point, ...]

    @property
    def clean(self) -> Point:
        """The accuracy on the unaltered clips."""
        return self.snr[0]

    def to_json(self) -> dict[str, Any]:
        """Return the figures as plain values."""
        return {
            "clips": self.clips,
            "noise_recordings": self.recordings,
            "clean": self.clean.accuracy,
            "snr": [point.to_json("snr_db") for point in self.snr[1:]],
            "shift": [point.to_json("shift_ms") for point in self.shift],
            "gain": [point.to_json("gain_db") for point in self.gain],
        }


def measure_robustness(
    model: ModelFile, examples: Examples, held_out_noise: Recordings, *, seed: int = 0
) -> Robustness:
    """Measure accuracy at several signal-to-noise ratios, time shifts and gains.

    Each clip gets the same window of noise at every ratio. All recordings are equally likely to be drawn.

    Parameters
    ----------
    model
        The model.
    examples
        The clips.
    held_out_noise
        Recordings that were not used in training, `noise_side(..., "held_out")`, at the model's sample rate.
    seed
        Random seed for the noise.

    Raises
    ------
    HarkenError
        The sample rates differ, or there is no speech or no noise.
    """
    card = model.card
    if held_out_noise.sample_rate != card.sample_rate:
        raise HarkenError(
            f"the noise is at {held_out_noise.sample_rate} Hz, the model at {card.sample_rate} Hz: "
            f"read the recordings at {card.sample_rate} Hz"
        )
    silence = card.labels.index(SILENCE) if SILENCE in card.labels else -1
    rows = np.flatnonzero(examples.truth != silence)
    if not len(rows):
        raise HarkenError("the clips contain no speech: give clips of words to measure robustness on")
    rng = np.random.default_rng(seed)
    hits: Counter[tuple[str, float]] = Counter()
    for start in progress(range(0, len(rows), _BATCH), "measuring robustness"):
        chosen = rows[start : start + _BATCH]
        waveforms, truth = examples.waveforms[chosen], examples.truth[chosen]
        noise = draw_noise(held_out_noise, len(waveforms), card.window, rng)
        for condition, altered in _altered_waveforms(waveforms, noise, card.sample_rate):
            hits[condition] += int((model.probabilities(altered).argmax(axis=1) == truth).sum())

    def curve(kind: str, values: Sequence[float]) -> tuple[Point, ...]:
        return tuple(Point(value, hits[kind, value] if value else hits["snr", math.inf], len(rows)) for value in values)

    noisy = tuple(Point(value, hits["snr", value], len(rows)) for value in (math.inf, *SNRS_DB))
    return Robustness(
        clips=len(rows),
        recordings=len(held_out_noise),
        snr=noisy,
        shift=curve("shift", sorted((*SHIFTS_MS, 0.0))),
        gain=curve("gain", sorted((*GAINS_DB, 0.0))),
    )


def _altered_waveforms(
    waveforms: _Waveforms, noise: _Waveforms, sample_rate: int
) -> Iterator[tuple[tuple[str, float], _Waveforms]]:
    yield ("snr", math.inf), waveforms
    for snr_db in SNRS_DB:
        yield ("snr", snr_db), add_noise(waveforms, noise, snr_db)
    for shift_ms in SHIFTS_MS:
        yield ("shift", shift_ms), shift(waveforms, round(shift_ms * sample_rate / 1000))
    for gain_db in GAINS_DB:
        yield ("gain", gain_db), amplify(waveforms, gain_db)


def draw_noise(recordings: Recordings, count: int, samples: int, rng: np.random.Generator) -> _Waveforms:
    """Return random windows of noise, [count, samples], full scale 1.0. None of them is digital silence.

    Recordings shorter than a window are repeated to fill it.

    Raises
    ------
    HarkenError
        There is no recording, or all are silent.
    """
    if not len(recordings):
        raise HarkenError("no noise recording is held out for measurement: give more recordings")
    return np.stack([_audible_window(recordings, samples, rng) for _ in range(count)])


def _audible_window(recordings: Recordings, samples: int, rng: np.random.Generator) -> _Waveforms:
    for index in rng.permutation(len(recordings)):  # Usually the first one: the others only serve if it is silent.
        audio = recordings.recording(int(index))
        if audio.size < samples:
            audio = np.resize(audio, samples)
        for start in rng.integers(audio.size - samples + 1, size=_MAX_TRIES):
            window: _Waveforms = audio[start : start + samples].astype(np.float32) / np.float32(32768)
            if _rms(window[None])[0, 0] > _SILENT_RMS:
                return window
    raise HarkenError(f"the noise recordings ({recordings.names[0]}, ...) are silent: give other recordings")


def add_noise(waveforms: _Waveforms, noise: _Waveforms, snr_db: float) -> _Waveforms:
    """Return waveforms with noise added at a signal-to-noise ratio in dB, by the RMS over the whole window."""
    gain = _rms(waveforms) / _rms(noise) * 10 ** (-snr_db / 20)
    return in_16_bits(waveforms + gain * noise)


def shift(waveforms: _Waveforms, samples: int) -> _Waveforms:
    """Return waveforms moved later by `samples` (earlier if negative). The gap is filled with zeros."""
    moved = np.zeros_like(waveforms)
    if samples >= 0:
        moved[:, samples:] = waveforms[:, : waveforms.shape[1] - samples]
    else:
        moved[:, :samples] = waveforms[:, -samples:]
    return moved


def amplify(waveforms: _Waveforms, gain_db: float) -> _Waveforms:
    """Return waveforms amplified by `gain_db`, clipped to full scale and rounded to 16 bits."""
    return in_16_bits(waveforms * 10 ** (gain_db / 20))


def _rms(waveforms: _Waveforms) -> NDArray[np.float64]:
    power: NDArray[np.float64] = np.square(waveforms, dtype=np.float64).mean(axis=1, keepdims=True)
    return np.sqrt(power)
