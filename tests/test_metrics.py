import math

import numpy as np
import pytest

from harken.evaluation.metrics import calibration, confusion_matrix, poisson_interval, wilson_interval, word_scores


# scipy.stats.binomtest(hits, 10).proportion_ci(method="wilson")
@pytest.mark.parametrize(
    ("hits", "low", "high"),
    [(0, 0.0, 0.27753279986288926), (8, 0.4901624715366418, 0.9433178485456248), (10, 0.7224672001371109, 1.0)],
)
def test_wilson_interval_of_ten(hits: int, low: float, high: float) -> None:
    assert wilson_interval(hits, 10) == pytest.approx((low, high), abs=1e-12)


def test_wilson_interval_without_trials_is_0_to_1() -> None:
    assert wilson_interval(0, 0) == (0.0, 1.0)


# Garwood's table of exact limits has two decimals; further decimals are from R's poisson.test.
@pytest.mark.parametrize(
    ("events", "low", "high"), [(0, 0.0, 3.688879), (1, 0.025318, 5.571643), (10, 4.795389, 18.390356)]
)
def test_poisson_interval(events: int, low: float, high: float) -> None:
    assert poisson_interval(events, 1.0) == pytest.approx((low, high), abs=1e-6)
    assert poisson_interval(events, 4.0) == pytest.approx((low / 4, high / 4), abs=1e-6)


def test_confusion_matrix_has_rows_of_true_classes() -> None:
    truth, answer = np.array([0, 0, 0, 1, 2, 2]), np.array([0, 0, 1, 1, 0, 2])
    assert confusion_matrix(truth, answer, 4).tolist() == [[2, 1, 0, 0], [0, 1, 0, 0], [1, 0, 1, 0], [0, 0, 0, 0]]


def test_word_scores_of_a_small_matrix() -> None:
    scores = word_scores(np.array([[6, 2, 0], [3, 1, 0], [0, 0, 0]]), ("yes", "no", "up"))
    yes, no, up = scores
    assert (yes.precision, yes.recall, yes.clips) == (6 / 9, 6 / 8, 8)
    assert yes.f1 == pytest.approx(12 / 17)
    assert (no.precision, no.recall, no.f1) == (pytest.approx(1 / 3), 0.25, pytest.approx(2 / 7))
    assert all(math.isnan(value) for value in (up.precision, up.recall, up.f1))


def test_f1_of_a_word_that_is_never_predicted_is_zero() -> None:
    (score, _) = word_scores(np.array([[0, 5], [0, 5]]), ("yes", "no"))
    assert math.isnan(score.precision)
    assert (score.recall, score.f1) == (0.0, 0.0)


def test_expected_calibration_error_of_four_answers() -> None:
    # Two answers of 0.85, one of them right; two of 0.65, both right. |0.85 - 0.5| / 2 + |0.65 - 1| / 2 = 0.35.
    probabilities = np.array([[0.85, 0.15], [0.85, 0.15], [0.65, 0.35], [0.35, 0.65]], np.float32)
    found = calibration(probabilities, np.array([0, 1, 0, 1]), bins=10)
    assert found.error == pytest.approx(0.35, abs=1e-6)
    assert found.counts.tolist() == [0, 0, 0, 0, 0, 0, 2, 0, 2, 0]
    assert found.predicted[[6, 8]] == pytest.approx([0.65, 0.85])
    assert found.accuracy[[6, 8]].tolist() == [1.0, 0.5]
    assert np.isnan(found.accuracy[0])


def test_a_probability_of_1_is_in_the_last_bin() -> None:
    found = calibration(np.array([[1.0, 0.0]], np.float32), np.array([0]))
    assert found.counts.tolist() == [0] * 14 + [1]
    assert found.error == 0.0
