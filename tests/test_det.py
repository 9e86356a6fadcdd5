from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from harken.evaluation.clips.det import det_curve, score_at_thresholds
from harken.evaluation.clips.evaluate import ClipEvaluation
from harken.evaluation.clips.examples import Examples
from harken.runtime.modelfile import ModelFile

YES, NO, UNKNOWN, SILENCE = range(4)

# True class, and the probabilities of yes, no, _unknown_, _silence_.
ANSWERS = [
    (YES, [0.90, 0.05, 0.05, 0.00]),
    (YES, [0.45, 0.15, 0.40, 0.00]),  # right, below the threshold of 0.5
    (NO, [0.10, 0.70, 0.20, 0.00]),
    (NO, [0.60, 0.30, 0.10, 0.00]),  # recognized as the other word
    (UNKNOWN, [0.80, 0.10, 0.10, 0.00]),
    (UNKNOWN, [0.20, 0.30, 0.50, 0.00]),
    (SILENCE, [0.02, 0.03, 0.05, 0.90]),
    (SILENCE, [0.30, 0.40, 0.00, 0.30]),
]


@pytest.fixture
def evaluation(make_model: Callable[..., Path]) -> ClipEvaluation:
    truth = np.array([label for label, _ in ANSWERS])
    probabilities = np.array([row for _, row in ANSWERS], np.float32)
    waveforms = np.zeros((len(ANSWERS), 8000), np.float32)
    examples = Examples(waveforms, truth, tuple(f"clip {row}" for row in range(len(ANSWERS))), {})
    return ClipEvaluation(ModelFile(make_model()), examples, probabilities)


def test_det_curve(evaluation: ClipEvaluation) -> None:
    curve = det_curve(evaluation)
    assert curve is not None
    assert (curve.words, curve.others) == (4, 4)
    assert curve.thresholds == pytest.approx([0.8, 0.4, 0.3, 0.03, 0.0])
    assert curve.accepted.tolist() == [0.0, 0.25, 0.5, 0.75, 1.0]
    # One clip is recognized as another word, at every threshold.
    assert curve.missed.tolist() == [0.75, 0.25, 0.25, 0.25, 0.25]


def test_det_curve_against_silence_alone(evaluation: ClipEvaluation) -> None:
    curve = det_curve(evaluation, ("_silence_",))
    assert curve is not None
    assert curve.others == 2
    assert curve.accepted.tolist() == [0.0, 0.5, 1.0]


def test_there_is_no_det_curve_without_other_sounds(evaluation: ClipEvaluation) -> None:
    examples = evaluation.examples
    words = Examples(examples.waveforms[:4], examples.truth[:4], examples.names[:4], {})
    assert det_curve(ClipEvaluation(evaluation.model, words, evaluation.probabilities[:4])) is None


def test_scores_at_the_thresholds_of_the_model_file(evaluation: ClipEvaluation) -> None:
    yes, no = score_at_thresholds(evaluation)
    assert (yes.label, yes.threshold, yes.clips, yes.missed, yes.accepted) == ("yes", 0.5, 2, 1, 1)
    assert (no.label, no.threshold, no.clips, no.missed, no.accepted) == ("no", 0.0, 2, 1, 1)
