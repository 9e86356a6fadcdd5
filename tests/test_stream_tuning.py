"""Tuning of thresholds to a wanted rate of false alarms."""

import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from harken.errors import HarkenError
from harken.evaluation.stream.audio import BackgroundSection
from harken.evaluation.stream.evaluate import evaluate_run
from harken.evaluation.stream.tuning import tune_listener
from listener_runs import make_run, make_utterance, random_run


def logit(probability):
    return math.log(probability / (1 - probability))


def test_tuning_reaches_the_rate_on_new_audio():
    tuned = tune_listener(random_run(0), false_alarms_per_hour=2.0)
    fresh = evaluate_run(random_run(1), tuned)
    low, high = fresh.false_alarms_per_hour_interval
    assert low < 2.0 < high
    # 60 peaks an hour, exponential in logits: the thresholds are near 1.2 * ln(60 / 2).
    for threshold in tuned.thresholds.values():
        assert logit(threshold) == pytest.approx(1.2 * math.log(30), abs=0.5)


def test_tuning_on_minutes_of_background_is_not_overconfident():
    # In a quarter of an hour, 1 an hour allows a quarter of a false alarm: thresholds are well above the highest peak.
    rates = []
    for seed in range(10):
        tuned = tune_listener(random_run(seed, hours=0.25), false_alarms_per_hour=1.0)
        rates.append(evaluate_run(random_run(100 + seed), tuned).false_alarms_per_hour)
    assert 0.1 < np.mean(rates) < 2.0


def test_a_word_that_is_easily_confused_gets_a_higher_threshold():
    listener_run = random_run(2)
    mostly_high = (
        (listener_run.top == 0)
        & (np.arange(listener_run.top.size) < 360_000)
        & (np.arange(listener_run.top.size) % 200 > 0)
    )
    top = np.where(mostly_high, 1, listener_run.top).astype(np.int16)
    tuned = tune_listener(replace(listener_run, top=top), false_alarms_per_hour=1.0)
    assert logit(tuned.thresholds["high"]) > logit(tuned.thresholds["low"]) + 0.5
    assert replace(tuned, thresholds={}) == replace(listener_run.settings, thresholds={})


def test_near_misses_of_one_word_do_not_raise_the_threshold_of_another():
    # Both words have equally many peaks, but those of "low" are 0.3 times as high.
    differences = []
    for seed in range(10):
        listener_run = random_run(seed, hours=0.25, peaks_per_hour=200)
        lower = (listener_run.top == 0) & (np.arange(listener_run.top.size) < 9_000)
        scores = np.where(lower, 1 / (1 + (1 / listener_run.scores - 1) ** 0.3), listener_run.scores).astype(np.float32)
        tuned = tune_listener(replace(listener_run, scores=scores), false_alarms_per_hour=5.0)
        differences.append(logit(tuned.thresholds["high"]) - logit(tuned.thresholds["low"]))
    assert np.mean(differences) > 0.7


def test_a_higher_rate_misses_fewer_words():
    listener_run = random_run(3)
    misses = [
        evaluate_run(listener_run, tune_listener(listener_run, false_alarms_per_hour=rate)).miss_rate
        for rate in (0.5, 2, 10)
    ]
    assert misses[0] > misses[1] > misses[2]


def test_no_word_is_given_up_for_another():
    listener_run = random_run(4)
    tuned = tune_listener(listener_run, false_alarms_per_hour=0.5)
    groups = evaluate_run(listener_run, tuned).misses_by(lambda utterance: utterance.word)
    assert all(group.miss_rate < 0.95 for group in groups)


def test_a_background_without_any_alarm_still_gives_thresholds():
    listener_run = make_run(
        [(5.4, "low", 0.9), (15.4, "high", 0.9)],
        [make_utterance("low", 5.0, 5.5), make_utterance("high", 15.0, 15.5)],
        [BackgroundSection("room", Path("a.wav"), 20.0, 60.0)],
    )
    tuned = tune_listener(listener_run, false_alarms_per_hour=50.0)
    assert evaluate_run(listener_run, tuned).miss_rate == 0.0


@pytest.mark.parametrize(
    ("change", "rate", "message"),
    [
        ({}, 0.0, "give a rate above 0"),
        ({}, 1e-9, "no thresholds stay within"),
        ({"utterances": (make_utterance("low", 1, 2),)}, 1.0, "no high"),
        ({"background_sections": ()}, 1.0, "no background"),
    ],
)
def test_impossible_tuning_is_an_error(change, rate, message):
    with pytest.raises(HarkenError, match=message):
        tune_listener(replace(random_run(0, hours=1.0), **change), false_alarms_per_hour=rate)
