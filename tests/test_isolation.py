"""The isolation penalty for words with other sound around them, and its effect on a listener."""

import numpy as np
import pytest

from harken.audio.highpass import HighPass
from harken.runtime.isolation import Isolation, silence_hops, subtract_logits
from harken.runtime.listener import Listener
from harken.runtime.listener_settings import MAX_ISOLATION
from tones import RATE, WINDOW, ToneModel, ToneRecognizer, quiet, tone

HOP = RATE // 10


def penalty_of(*parts):
    isolation = Isolation(RATE, WINDOW, HOP)
    isolation.push(np.concatenate(parts))
    return isolation.penalty


def noise(seconds, amplitude=0.5):
    return (amplitude * np.random.default_rng(0).uniform(-1, 1, round(seconds * RATE))).astype(np.float32)


def test_a_word_between_pauses_gets_no_penalty():
    assert penalty_of(quiet(3), tone("low", 0.4), quiet(0.15)) == 0
    assert penalty_of(noise(3, 0.02), tone("low", 0.4), noise(0.15, 0.02)) == 0
    assert penalty_of(tone("low", 0.4), quiet(0.15)) == 0  # at the start of a stream, which counts as silence


def test_sound_before_and_sound_after_each_add_a_penalty_of_one():
    assert penalty_of(noise(3), tone("low", 0.4), quiet(0.15)) == 1
    assert penalty_of(quiet(3), tone("low", 0.4), noise(0.15)) == 1
    assert penalty_of(noise(3), tone("low", 0.4), noise(0.15)) == 2


def test_words_spoken_once_a_second_get_no_penalty():
    words = [part for _ in range(5) for part in (tone("low", 0.4), quiet(0.6))]
    isolation = Isolation(RATE, WINDOW, HOP)
    for number, hop in enumerate(np.split(np.concatenate(words), 50)):
        isolation.push(hop)
        if number % 10 == 5:  # 0.6 s after the start of a word
            assert isolation.penalty == 0


def test_a_word_can_follow_another_word_but_not_a_sentence():
    assert penalty_of(quiet(2), tone("low", 0.4), quiet(0.3), tone("low", 0.4), quiet(0.15)) == 0
    assert penalty_of(noise(1), quiet(1.3), tone("low", 0.4), quiet(0.15)) == 1
    assert penalty_of(noise(0.8), quiet(1.6), tone("low", 0.4), quiet(0.15)) == 0


@pytest.mark.parametrize(
    ("below_db", "expected"), [(3, 2.0), (5, 2.0), (8, 1.5), (11, 1.0), (14, 0.5), (17, 0.0), (30, 0.0)]
)
def test_penalty_falls_linearly_with_the_level_of_the_surrounding_sound(below_db, expected):
    around = 0.5 * 10 ** (-below_db / 20)
    penalty = penalty_of(tone("low", 3, amplitude=around), tone("low", 0.4), tone("low", 0.15, amplitude=around))
    assert penalty == pytest.approx(expected, abs=1e-3)


def test_it_is_the_same_in_pieces_of_any_size_and_at_any_gain():
    signal = np.concatenate([noise(2.33, 0.1), tone("low", 0.41), noise(0.13, 0.15)])
    whole = penalty_of(signal)
    assert 0.5 < whole < 1.9
    assert penalty_of(0.01 * signal) == pytest.approx(whole, abs=1e-3)
    isolation = Isolation(RATE, WINDOW, HOP)
    isolation.push(noise(5))
    isolation.reset()
    for part in np.split(signal, np.sort(np.random.default_rng(1).integers(0, signal.size, 40))):
        isolation.push(part)
    assert isolation.penalty == pytest.approx(whole, abs=1e-9)


@pytest.mark.parametrize(("silence", "expected"), [(0.0, 2.0), (0.25, 1.5), (1.0, 0.0)])
def test_sound_that_was_taken_for_noise_counts_less(silence, expected):
    isolation = Isolation(RATE, WINDOW, HOP)
    isolation.push(np.concatenate([noise(3), tone("low", 0.4), noise(0.15)]))
    for _ in range(22):  # 2.2 s, until 0.8 s ago
        isolation.add_silence(silence)
    for _ in range(8):  # the windows of these hops contain the word
        isolation.add_silence(1.0 - silence)
    assert isolation.penalty == pytest.approx(expected)
    isolation.reset()
    isolation.push(noise(3))
    assert isolation.penalty == 2.0


def test_the_times_hold_for_any_hop():
    assert silence_hops(1600, 16_000) == (8, 30)
    assert silence_hops(800, 16_000) == (16, 60)
    assert silence_hops(16_000, 16_000) == (1, 3)
    assert silence_hops(48_000, 16_000) == (1, 2)


def test_confidence_is_lowered_in_logits():
    assert subtract_logits(0.3, 0.0) == 0.3
    assert subtract_logits(1.0, 8.0) == subtract_logits(1.0, 2 * MAX_ISOLATION) == 1.0
    assert 0 < subtract_logits(0.5, 2 * MAX_ISOLATION) < 1e-30
    assert subtract_logits(0.0, 8.0) == 0.0
    logit = np.log(0.9 / 0.1) - 2.5
    assert subtract_logits(0.9, 2.5) == pytest.approx(1 / (1 + np.exp(-logit)))


def test_a_listener_detects_a_word_that_stands_alone_but_not_in_a_sentence():
    sentence = [noise(3, 0.15), tone("low"), noise(3, 0.15)]
    alone = [quiet(3), tone("low"), quiet(3)]

    def words(parts, **settings):
        listener = Listener(ToneRecognizer(), source_rate=RATE, thresholds={"low": 0.5}, **settings)
        return [event.word for event in listener.push(np.concatenate(parts)) + listener.finish()]

    assert words(sentence, isolation=0) == words(alone, isolation=0) == words(alone) == ["low"]
    assert words(sentence) == []


def test_isolation_lowers_the_confidence_and_not_the_posteriors():
    without, with_isolation = (Listener(ToneRecognizer(), source_rate=RATE, isolation=logits) for logits in (0, 2))
    signal = np.concatenate([noise(3, 0.15), tone("low", 0.5)])
    without.push(signal), with_isolation.push(signal)
    np.testing.assert_array_equal(without.posteriors, with_isolation.posteriors)
    assert without.confidence == without.posteriors.max()
    isolation, padded = Isolation(RATE, WINDOW, HOP), np.pad(signal, (WINDOW, 0))
    isolation.push(HighPass(RATE).push(signal))
    for end in range(HOP, signal.size + 1, HOP):
        isolation.add_silence(ToneModel().probabilities(padded[None, end : end + WINDOW])[0, -1])
    expected = subtract_logits(without.confidence, 2 * isolation.penalty)
    assert expected < without.confidence - 0.1
    assert with_isolation.confidence == pytest.approx(expected, abs=1e-6)
    with_isolation.reset()
    assert with_isolation.confidence == with_isolation.posteriors.max()


def test_a_window_counts_as_noise_only_once_it_is_full(monkeypatch):
    added = []
    monkeypatch.setattr(Isolation, "add_silence", lambda _, probability: added.append(probability))
    Listener(ToneRecognizer(), source_rate=RATE).push(quiet(0.7))
    assert added == [0.0] * 4 + [1.0] * 3  # a window has five hops
