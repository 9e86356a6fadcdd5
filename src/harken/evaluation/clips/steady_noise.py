"""Whether steady noise is heard as silence: of three colours, narrow, pulsing, humming.

measure_steady_noise   a model -> its answers on each kind

The noise is made, so that it needs no recording: the few that a validation side holds out do not show what a network
takes a hum for. It is made otherwise than the noise of harken.training.augment.made_noise, which a model may have learnt;
but a model of one's own words to which no noise was named has learnt other windows of this very noise.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np

from harken.corpus.made_noise import KINDS, steady_noise
from harken.labels import SILENCE
from harken.runtime.modelfile import ModelFile

_WINDOWS = 200  # of each kind
_BATCH = 100


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
