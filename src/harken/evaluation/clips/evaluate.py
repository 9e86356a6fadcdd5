"""Evaluate a model on clips.

evaluate_clips     run a model on the clips of corpus folders
ClipEvaluation     its answers, and the figures that follow from them
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, get_args

import numpy as np
from numpy.typing import NDArray

from harken.audio.clip import load_clip
from harken.errors import HarkenError, require_list
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
    """A model's answers on a set of clips, and the figures that follow from them.

    Attributes
    ----------
    model
        The model.
    examples
        The clips with their true classes.
    probabilities
        The model's probabilities, [N, classes].
    """

    model: ModelFile
    examples: Examples
    probabilities: NDArray[np.float32]

    @property
    def card(self) -> Card:
        """The model's card."""
        return self.model.card

    @cached_property
    def answers(self) -> NDArray[np.int64]:
        """The most probable class of each clip, [N]. Thresholds are not applied."""
        answers: NDArray[np.int64] = self.probabilities.argmax(axis=1)
        return answers

    @property
    def clips(self) -> int:
        """The number of clips."""
        return len(self.examples.truth)

    @property
    def hits(self) -> int:
        """The number of right answers."""
        return int((self.answers == self.examples.truth).sum())

    @property
    def accuracy(self) -> float:
        """The fraction of right answers."""
        return self.hits / self.clips

    @property
    def accuracy_interval(self) -> tuple[float, float]:
        """The 95 % Wilson interval of the accuracy."""
        return wilson_interval(self.hits, self.clips)

    @cached_property
    def confusion(self) -> NDArray[np.int64]:
        """Counts [classes, classes]: a row for each true class, a column for each answer."""
        return confusion_matrix(self.examples.truth, self.answers, len(self.card.labels))

    @cached_property
    def words(self) -> list[WordScore]:
        """Precision, recall and F1 of each class."""
        return word_scores(self.confusion, self.card.labels)

    @cached_property
    def calibration(self) -> Calibration:
        """Predicted probability compared with accuracy."""
        return calibration(self.probabilities, self.examples.truth)

    def worst_mistakes(self, count: int) -> NDArray[np.int64]:
        """Return the rows of the `count` most confident mistakes."""
        wrong = np.flatnonzero(self.answers != self.examples.truth)
        order = np.argsort(-self.probabilities[wrong].max(axis=1), kind="stable")
        return wrong[order][:count]

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
                    "precision": _none_if_nan(score.precision),
                    "recall": _none_if_nan(score.recall),
                    "f1": _none_if_nan(score.f1),
                    "clips": score.clips,
                }
                for score in self.words
            ],
            "confusion": self.confusion.tolist(),
            "expected_calibration_error": self.calibration.error,
            "left_out": self.examples.skipped_words,
            "unreadable": list(self.examples.unreadable),
            "overlap_warning": self.examples.overlap_warning,
        }


def evaluate_clips(
    model: ModelFile,
    folders: Sequence[Path],
    *,
    split: Split | None = None,
    noise: Sequence[Path] = (),
    other: Sequence[Path] = (),
) -> ClipEvaluation:
    """Evaluate a model on the clips of corpus folders.

    In a clip of a test archive or of the split "all" that is longer than the model's window, the window is chosen as
    `Recognizer` does. Clips of the other splits are cut as in training.

    Parameters
    ----------
    model
        The model.
    folders
        Corpus folders, or a test archive.
    split
        "validation", "test" or "all". Default: all of a test archive, validation of other folders.
    noise
        Folders of noise recordings that silence is cut from.
    other
        Corpora of words that count as `_unknown_`, for models of the recipe `own`.

    Raises
    ------
    HarkenError
        If a folder cannot be used, or has no clips to evaluate on. If a single folder is given in place of a list, `model` is
        not an opened model file, or there is no such split.
    """
    if not isinstance(model, ModelFile):
        raise HarkenError(
            f"model is of the type {type(model).__name__}: pass an opened model, such as ModelFile('base')"
        )
    if split is not None and split not in get_args(Split):
        raise HarkenError(f"split={split!r}: give validation, test or all")
    for name, given in (("folders", folders), ("noise", noise), ("other", other)):
        require_list(given, name, "folder")
    examples = gather_examples(model.card, folders, split, noise=noise, other=other)
    probabilities = predict_in_batches(model, examples.waveforms)
    if examples.long_clips:
        recognizer = Recognizer(model)
        for row, path in progress(
            examples.long_clips.items(), "evaluating longer clips", total=len(examples.long_clips)
        ):
            # The report plays this window, and the other measurements are made on it.
            examples.waveforms[row] = recognizer.best_window(load_clip(path, recognizer.sample_rate))
            probabilities[row] = model.probabilities(examples.waveforms[row : row + 1])[0]
    return ClipEvaluation(model, examples, probabilities)


def predict_in_batches(model: ModelFile, waveforms: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return the probabilities [N, classes] of waveforms [N, window], and show a progress bar."""
    starts = range(0, len(waveforms), _BATCH)
    parts = [model.probabilities(waveforms[start : start + _BATCH]) for start in progress(starts, "evaluating")]
    return np.concatenate(parts)


def _none_if_nan(value: float) -> float | None:
    return value if np.isfinite(value) else None
