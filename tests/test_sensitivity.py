"""Sensitivity moves the thresholds for clips and for streams along the measured trade-off."""

import math
from dataclasses import replace

import numpy as np
import pytest

from harken import HarkenError, Listener, Recognizer, StreamFile
from harken.runtime.listener_settings import ListenerSettings
from harken.runtime.modelfile import Card
from harken.runtime.sensitivity import RANGE, STEPS, shift_thresholds, stored_shifts, with_sensitivity

CARD = Card(("yes", "no", "_unknown_"), 16_000, 16_000, {"yes": 0.5, "no": 0.8}, {})


def logit(probability: float) -> float:
    return math.log(probability / (1 - probability))


def test_the_default_leaves_the_card_as_it_is():
    assert with_sensitivity(CARD, None) is CARD
    assert with_sensitivity(CARD, 0.5) is CARD


@pytest.mark.parametrize(("sensitivity", "shift"), [(0, 3.0), (1, -3.0), (0.75, -1.5)])
def test_without_a_measured_trade_off_thresholds_move_by_up_to_three_logits(sensitivity, shift):
    moved = with_sensitivity(CARD, sensitivity)
    for word in ("yes", "no"):
        assert logit(moved.thresholds[word]) == pytest.approx(logit(CARD.thresholds[word]) + shift)
        assert logit(ListenerSettings.from_card(moved).thresholds[word]) == pytest.approx(
            logit(CARD.thresholds[word]) + shift
        )


def test_clips_and_streams_move_by_their_own_measured_shifts():
    stored = {"clips": [1 - step for step in STEPS], "stream": [10 - 20 * step for step in STEPS]}
    moved = with_sensitivity(replace(CARD, fields={"sensitivity": stored}), 0.25)
    assert logit(moved.thresholds["yes"]) == pytest.approx(0.75)
    assert logit(ListenerSettings.from_card(moved).thresholds["yes"]) == pytest.approx(5.0)


@pytest.mark.parametrize("sensitivity", [-0.1, 1.1, math.nan, "high", True + 1])
def test_a_sensitivity_out_of_range_is_refused(sensitivity):
    with pytest.raises(HarkenError, match="from 0"):
        with_sensitivity(CARD, sensitivity)


@pytest.mark.parametrize("stored", [{"clips": [0, 1]}, {"clips": ["a"] * 11}, {"clips": 3}])
def test_invalid_stored_shifts_are_refused(stored):
    with pytest.raises(HarkenError, match="tune the model again"):
        with_sensitivity(replace(CARD, fields={"sensitivity": stored}), 0.2)


def test_shifts_follow_the_measured_rates():
    shifts = np.arange(-8, 8.01, 0.25)
    rates = 2.0 * np.exp(-shifts)  # one logit divides the false alarms by e
    found = stored_shifts(shifts, rates)
    assert found[STEPS.index(0.5)] == 0
    assert found[0] == pytest.approx(math.log(RANGE), abs=0.01)
    assert found[-1] == pytest.approx(-math.log(RANGE), abs=0.01)
    assert found == sorted(found, reverse=True)


def test_shifts_of_a_curve_that_rises_by_chance_still_fall():
    shifts = np.arange(-4, 4.01, 1.0)
    rates = np.array([9, 8, 8.5, 5, 4, 4.5, 1, 1, 1.0])
    found = stored_shifts(shifts, rates)
    assert found == sorted(found, reverse=True)


def test_the_lowest_sensitivity_stops_where_the_last_false_alarm_is_gone():
    shifts = np.arange(-4, 9.01, 0.25)
    rates = np.where(shifts < 1.5, 2.0, 0.25)
    assert stored_shifts(shifts, rates)[0] == pytest.approx(1.5)


def test_a_lower_sensitivity_never_lowers_thresholds():
    shifts = np.arange(-4, 9.01, 0.25)
    rates = np.where(shifts < -1.5, 2.0, 0.25)  # no false alarm is left at the thresholds that the model has
    found = stored_shifts(shifts, rates)
    assert found[: STEPS.index(0.5) + 1] == [0.0] * 6
    assert found == sorted(found, reverse=True)
    assert found[-1] < -1.4


def test_one_confident_false_alarm_does_not_raise_thresholds_beyond_all_words():
    shifts = np.arange(-4, 9.01, 0.25)
    rates = np.where(shifts < 8.0, 1.0, 0.25)
    assert stored_shifts(shifts, rates)[:5] == pytest.approx([3.0, 2.4, 1.8, 1.2, 0.6])


def test_thresholds_shift_in_logits():
    assert shift_thresholds({"a": 0.5, "b": 0.0}, math.log(9))["a"] == pytest.approx(0.9)


def test_recognizer_stream_file_and_listener_take_it():
    strict, plain = Recognizer("tiny", sensitivity=0.0), Recognizer("tiny")
    assert all(strict.card.thresholds[word] > plain.card.thresholds[word] for word in plain.card.words)
    listener = Listener(strict, source_rate=16_000)
    own = Listener(plain, source_rate=16_000).settings.thresholds
    assert all(listener.settings.thresholds[word] > own[word] for word in own)
    lenient = StreamFile("tiny.stream", sensitivity=1.0)
    streamed = ListenerSettings.from_card(StreamFile("tiny.stream").card).thresholds
    assert all(ListenerSettings.from_card(lenient.card).thresholds[word] < streamed[word] for word in streamed)
