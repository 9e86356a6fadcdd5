"""A model's answers on the examples that evaluate_clips it, and the figures that follow from them."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from harken.audio.clip import load_clip
from harken.evaluation.clips.examples import Examples, Split, gather_examples
from harken.evaluation.metrics import (
    Calibration,
    WordScore,
    calibration,
    confusion_matrix,
    wilson_interval,
    word_scores,
)
from harken.progress import progress
from harken.runtime.modelfile import Card, ModelFile
from harken.runtime.recognizer import Recognizer

_BATCH = 256


@dataclass(frozen=True)
class ClipEvaluation:
    """A model's probabilities [N, classes] on examples, and what follows from them."""

    model: ModelFile
    examples: Examples
    probabilities: NDArray[np.float32]

    @property
    def card(self) -> Card:
        """The model's card."""
        return self.model.card

    @cached_property
    def answers(self) -> NDArray[np.int64]:
        """The most probable class of each example, [N]; thresholds play no part."""
        answers: NDArray[np.int64] = self.probabilities.argmax(axis=1)
        return answers

    @property
    def clips(self) -> int:
        """How many clips evaluate_clips."""
        return len(self.examples.truth)

    @property
    def hits(self) -> int:
        """How many are answered right."""
        return int((self.answers == self.examples.truth).sum())

    @property
    def accuracy(self) -> float:
        """The fraction answered right."""
        return self.hits / self.clips

    @property
    def accuracy_interval(self) -> tuple[float, float]:
        """The 95 % Wilson interval of the accuracy."""
        return wilson_interval(self.hits, self.clips)

    @cached_property
    def confusion(self) -> NDArray[np.int64]:
        """Counts [classes, classes], true class by answer."""
        return confusion_matrix(self.examples.truth, self.answers, len(self.card.labels))

    @cached_property
    def words(self) -> list[WordScore]:
        """Precision, recall and F1 of each class."""
        return word_scores(self.confusion, self.card.labels)

    @cached_property
    def calibration(self) -> Calibration:
        """Stated probability against found accuracy."""
        return calibration(self.probabilities, self.examples.truth)

    def worst(self, most: int) -> NDArray[np.int64]:
        """Return the rows of the mistakes made with most confidence."""
        wrong = np.flatnonzero(self.answers != self.examples.truth)
        order = np.argsort(-self.probabilities[wrong].max(axis=1), kind="stable")
        return wrong[order][:most]

    def to_json(self) -> dict[str, Any]:
        """Return the figures as plain values; NaN becomes None."""
        labels = self.card.labels
        return {
            "model": self.model.path.name,
            "accuracy": self.accuracy,
            "accuracy_interval": list(self.accuracy_interval),
            "clips": self.clips,
            "labels": list(labels),
            "words": [
                {
                    "label": score.label,
                    "precision": _finite(score.precision),
                    "recall": _finite(score.recall),
                    "f1": _finite(score.f1),
                    "clips": score.clips,
                }
                for score in self.words
            ],
            "confusion": self.confusion.tolist(),
            "expected_calibration_error": self.calibration.error,
            "left_out": self.examples.left_out,
            "unreadable": list(self.examples.unreadable),
            "doubt": self.examples.doubt,
        }


def evaluate_clips(
    model: ModelFile,
    folders: Sequence[Path],
    *,
    split: Split | None = None,
    noise: Sequence[Path] = (),
    other: Sequence[Path] = (),
) -> ClipEvaluation:
    """Evaluate a model on folders. See `gather_examples` for the clips, and `Recognizer` for the window of a longer clip."""
    examples = gather_examples(model.card, folders, split, noise=noise, other=other)
    probabilities = probabilities_of(model, examples.waveforms)
    if examples.longer:
        recognizer = Recognizer(model.path)
        for row, path in progress(examples.longer.items(), "judging longer clips", total=len(examples.longer)):
            probabilities[row] = recognizer.probabilities([load_clip(path, recognizer.sample_rate)])[0]
    return ClipEvaluation(model, examples, probabilities)


def probabilities_of(model: ModelFile, waveforms: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return the probabilities [N, classes] of waveforms [N, window], with a progress bar."""
    starts = range(0, len(waveforms), _BATCH)
    parts = [model.probabilities(waveforms[start : start + _BATCH]) for start in progress(starts, "judging")]
    return np.concatenate(parts)


def _finite(value: float) -> float | None:
    return value if np.isfinite(value) else None
