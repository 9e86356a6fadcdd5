"""Measure how often steady noise is recognized as silence: white, pink, brown, narrow, pulsing and humming noise.

measure_steady_noise   run a model on each kind
SteadyNoiseScore       its answers on one kind

The noise is synthetic, so no recordings are needed: a validation set has too few to show how a network answers to a hum.
It is generated differently from the noise of harken.training.augment.steady_noise, which a model may have been trained
on. One exception: a model trained on your own words without noise recordings was trained on other windows of this same
noise.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np

from harken.corpus.synthetic_noise import KINDS, steady_noise
from harken.labels import SILENCE
from harken.runtime.modelfile import ModelFile

_WINDOWS = 200  # of each kind
_BATCH = 100


@dataclass(frozen=True)
class SteadyNoiseScore:
    """A model's answers on one kind of steady noise.

    Attributes
    ----------
    kind
        The kind of noise.
    windows
        Number of windows.
    silent
        How many were recognized as silence.
    confused_with
        The most frequent other answer; empty if there is none.
    """

    kind: str
    windows: int
    silent: int
    confused_with: str

    @property
    def share(self) -> float:
        """The fraction recognized as silence."""
        return self.silent / self.windows

    def to_json(self) -> dict[str, Any]:
        """Return the figures as plain values."""
        return {**vars(self), "share": self.share}


def measure_steady_noise(model: ModelFile, *, seed: int = 0) -> tuple[SteadyNoiseScore, ...]:
    """Run a model on 200 windows of each kind of steady noise.

    The answer is the most probable class; thresholds are not applied.

    Returns
    -------
    tuple of SteadyNoiseScore
        One for each kind; empty if the model has no class `_silence_`.
    """
    labels = model.card.labels
    if SILENCE not in labels:
        return ()
    silence = labels.index(SILENCE)
    scores = []
    for kind in KINDS:
        windows = steady_noise(kind, _WINDOWS, model.card.window, model.card.sample_rate, seed=seed)
        batches = [windows[start : start + _BATCH] for start in range(0, _WINDOWS, _BATCH)]
        predicted = np.concatenate([model.probabilities(batch).argmax(axis=1) for batch in batches])
        counts = np.bincount(predicted, minlength=len(labels))
        silent = int(counts[silence])
        counts[silence] = 0
        scores.append(SteadyNoiseScore(kind, _WINDOWS, silent, labels[counts.argmax()] if counts.any() else ""))
    return tuple(scores)
