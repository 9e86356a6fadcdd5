"""Commands that count only after a wake phrase. The words are tones, so that the expected events are known."""

import copy
import pickle

import numpy as np
import pytest

from harken import Event, HarkenError, Listener, Recognizer, StreamFile, WakeEvent, WakeListener, enroll, load_clip
from harken.evaluation.stream.audio import keyword_clips, spoken_part
from harken.runtime.wake_listener import counts
from tones import RATE, TONES, WAKE_TONES, ToneRecognizer, quiet, tone

_LEVEL = 0.05  # RMS of phrases and words


def make(*, rate=RATE, wake_rate=RATE, command_rate=RATE, command_s=5.0, wake_tones=None, **settings):
    wake = Listener(ToneRecognizer(tones=wake_tones or WAKE_TONES, rate=wake_rate), source_rate=rate)
    commands = Listener(ToneRecognizer(rate=command_rate), source_rate=rate, **settings)
    return WakeListener(wake, commands, command_s=command_s)


def at(times, seconds, rate=RATE):
    """Return a stream with words, each 0.3 s long, at the given times."""
    signal = quiet(seconds + 0.3, rate)
    for start_s, word in times:
        sound = tone(word, rate=rate)
        signal[round(start_s * rate) : round(start_s * rate) + sound.size] = sound
    return signal[: round(seconds * rate)]


def detect(listener, signal, cuts=()):
    events = [event for chunk in np.split(signal, cuts) for event in listener.push(chunk)]
    return events + listener.finish()


def words(events):
    return [(event.kind, event.word) for event in events]


def test_words_count_only_after_the_wake_phrase():
    signal = at([(1, "low"), (3, "bell"), (5, "low"), (7, "high"), (11, "low")], 13)
    events = detect(make(), signal)
    assert words(events) == [("wake", "bell"), ("command", "low"), ("command", "high")]
    bell = events[0]
    assert 3.0 < bell.end_s <= 3.5
    assert [event.until_s for event in events] == [bell.end_s + 5] * 3
    assert all(isinstance(event, WakeEvent) for event in events)


def test_a_further_wake_phrase_starts_the_time_again():
    events = detect(make(command_s=2), at([(1, "bell"), (2.5, "bell"), (4.2, "low"), (5.7, "high")], 8))
    assert words(events) == [("wake", "bell"), ("wake", "bell"), ("command", "low")]
    assert events[2].until_s == events[1].until_s == events[1].end_s + 2
    assert detect(make(command_s=2), at([(1, "bell"), (4.2, "low")], 8))[1:] == []


def test_a_command_that_begins_in_time_counts_when_it_is_detected_later():
    late = at([(1, "bell"), (3.0, "low")], 6)
    bell, low = detect(make(command_s=1.8), late)
    assert low.start_s < bell.until_s < low.end_s
    assert words(detect(make(command_s=1.5), late)) == [("wake", "bell")]


def test_a_shared_word_is_a_wake_phrase_at_first_and_a_command_when_it_is_repeated():
    def shared():
        return make(wake_tones={"low": TONES["low"]})

    assert words(detect(shared(), at([(1, "low"), (3, "high")], 6))) == [("wake", "low"), ("command", "high")]
    again = words(detect(shared(), at([(1, "low"), (3, "low")], 6)))
    assert again[0] == ("wake", "low")
    assert sorted(again[1:]) == [("command", "low"), ("wake", "low")]


def test_a_word_that_is_dropped_does_not_hold_off_the_first_command():
    signal = at([(1.0, "low"), (1.5, "bell"), (2.2, "high")], 6)
    listener = make(refractory_ms=3000)
    assert words(detect(listener, signal)) == [("wake", "bell"), ("command", "high")]
    # A command that counts does hold off the next one.
    signal = at([(1.5, "bell"), (2.5, "high"), (3.5, "low")], 6)
    assert words(detect(make(refractory_ms=3000), signal)) == [("wake", "bell"), ("command", "high")]


@pytest.mark.parametrize(
    ("word", "start_s", "end_s", "expected"),
    [
        ("stop", 9.8, 10.8, True),
        ("stop", 9.0, 10.0, False),  # detected at the same time as the wake phrase
        ("stop", 9.1, 10.1, True),
        ("stop", 14.9, 15.9, True),  # its window begins in time
        ("stop", 15.0, 16.0, False),
        ("wake up", 9.2, 10.2, False),  # the wake phrase itself, by the other model
        ("wake up", 10.0, 11.0, True),
    ],
)
def test_which_words_count(word, start_s, end_s, expected):
    wake_word = Event("wake up", 8.5, 10.0, 0.9)
    assert counts(Event(word, start_s, end_s, 0.9), wake_word, 15.0) == expected


RATES = [
    (RATE, RATE, RATE),
    (44_100, RATE, RATE),
    (RATE, 2 * RATE, RATE),
    (11_025, RATE, 2 * RATE),
    (48_000, 2 * RATE, RATE),
]


@pytest.mark.parametrize(("rate", "wake_rate", "command_rate"), RATES)
def test_chunks_of_any_size_give_the_same_events(rate, wake_rate, command_rate):
    rng = np.random.default_rng(rate)
    signal = at([(1, "low"), (2, "bell"), (2.5, "low"), (4.7, "high"), (6, "bell"), (7.9, "low")], 10, rate)
    signal += (0.02 * rng.standard_normal(signal.size)).astype(np.float32)

    def fresh():
        return make(rate=rate, wake_rate=wake_rate, command_rate=command_rate, command_s=2.2)

    whole = detect(fresh(), signal)
    assert {kind for kind, _ in words(whole)} == {"wake", "command"}
    assert [event.end_s for event in whole] == sorted(event.end_s for event in whole)
    for size in (97, 1000, rate):
        assert detect(fresh(), signal, range(size, signal.size, size)) == whole
    for _ in range(3):
        assert detect(fresh(), signal, np.sort(rng.integers(0, signal.size, 60))) == whole


def test_sound_before_a_command_lowers_its_confidence_only_outside_of_the_time():
    noise = (0.1 * np.random.default_rng(2).standard_normal(12 * RATE)).astype(np.float32)
    signal = noise + at([(4, "bell"), (6, "low")], 12)
    alone = Listener(ToneRecognizer({"low": 0.4, "high": 0.4}), source_rate=RATE, isolation=5)
    assert [event.word for event in alone.push(signal) + alone.finish()] == []
    wake = Listener(ToneRecognizer({"bell": 0.4}, tones=WAKE_TONES), source_rate=RATE, isolation=0)
    listener = WakeListener(wake, alone, command_s=5)
    assert words(detect(listener, signal)) == [("wake", "bell"), ("command", "low")]
    listener = WakeListener(wake, alone, command_s=0.5)
    assert words(detect(listener, signal)) == [("wake", "bell")]


def test_the_time_left_is_reported():
    listener = make(command_s=2)
    assert listener.until_s is None
    (bell,) = listener.push(at([(1, "bell")], 2))
    assert listener.seconds == 2
    assert listener.until_s == bell.until_s == bell.end_s + 2
    listener.push(quiet(1.5))
    assert listener.until_s is None
    listener.reset()
    assert (listener.seconds, listener.until_s) == (0, None)
    assert words(detect(listener, at([(1, "low"), (2, "bell"), (3, "high")], 5))) == [
        ("wake", "bell"),
        ("command", "high"),
    ]


@pytest.mark.parametrize("wake_hop_ms", [100, 240])
def test_finish_detects_what_silence_after_the_stream_would_show(wake_hop_ms):
    """Also a wake phrase and a command that are both detected only in that silence."""
    signal = at([(1.1, "bell"), (1.3, "low")], 1.7)
    both_late = 0  # the smoothing makes both words late
    for size in range(round(1.1 * RATE), signal.size, 400):
        listener, longer = (
            WakeListener(
                Listener(
                    ToneRecognizer({"bell": 0.6}, tones=WAKE_TONES),
                    source_rate=RATE,
                    hop_ms=wake_hop_ms,
                    smoothing_ms=500,
                ),
                Listener(ToneRecognizer({"low": 0.5}), source_rate=RATE, smoothing_ms=500),
            )
            for _ in range(2)
        )
        before = listener.push(signal[:size])
        last = listener.finish()
        both_late += words(last) == [("wake", "bell"), ("command", "low")]
        assert listener.seconds == size / RATE
        assert all(event.end_s <= listener.seconds for event in last)
        silence = np.zeros(2 * RATE, np.float32)
        assert words(before + last) == words(longer.push(np.concatenate([signal[:size], silence])) + longer.finish())
    assert both_late > 0


def test_a_command_at_the_very_end_is_detected_and_a_finished_stream_takes_no_more():
    listener = make()
    signal = at([(1, "bell"), (2.5, "low")], 2.65)
    events = listener.push(signal)
    assert words(events + listener.finish()) == [("wake", "bell"), ("command", "low")]
    with pytest.raises(HarkenError, match="reset"):
        listener.push(quiet(1))


def test_audio_is_resampled_once_for_two_models_of_one_rate(monkeypatch):
    pushed = []
    from harken.audio.resampler import Resampler

    original = Resampler.push
    monkeypatch.setattr(Resampler, "push", lambda self, chunk: pushed.append(self.target_rate) or original(self, chunk))
    make(rate=44_100).push(quiet(1, 44_100))
    assert pushed == [RATE]
    make(rate=44_100, wake_rate=2 * RATE).push(quiet(1, 44_100))
    assert pushed == [RATE, 2 * RATE, RATE]


def test_a_bad_chunk_changes_nothing():
    signal = at([(1, "bell"), (2, "low")], 4)
    listener = make()
    events = listener.push(signal[:10_000])
    with pytest.raises(HarkenError, match="NaN or infinite"):
        listener.push(np.full(100, np.nan, np.float32))
    assert events + listener.push(signal[10_000:]) + listener.finish() == detect(make(), signal)


def test_copies_begin_a_new_stream(make_model):
    wake = Listener(Recognizer(make_model()), source_rate=RATE)
    commands = Listener(
        Recognizer(make_model(labels=["up", "down", "_unknown_", "_silence_"], thresholds=None)), source_rate=RATE
    )
    listener = WakeListener(wake, commands, command_s=3)
    listener.push(tone("low", 2.0))
    seconds = listener.seconds
    for copied in (pickle.loads(pickle.dumps(listener)), copy.deepcopy(listener), copy.copy(listener)):
        assert listener.seconds == seconds > 0
        assert (copied.command_s, copied.seconds, copied.until_s) == (3, 0, None)
        assert copied.commands.settings == commands.settings


def test_real_commands_right_after_a_real_phrase_are_detected(
    tmp_path, wake_phrases, speech_commands, background_noise
):
    rng = np.random.default_rng(0)
    takes = sorted((wake_phrases / "snowboy").glob("*.ogg"))[:17]
    enroll("snowboy", takes[:5], out=tmp_path / "snowboy.onnx", stream=tmp_path / "snowboy.stream.onnx")
    wake, recognizer = StreamFile(tmp_path / "snowboy.stream.onnx"), Recognizer("base")
    clips = keyword_clips(recognizer.card, [str(speech_commands)], "validation")
    noises = sorted((background_noise / "rain").glob("*.ogg"))
    woken = found = found_alone = 0
    for take in takes[5:]:
        phrase, clip = spoken(take), clips[int(rng.integers(len(clips)))]
        pause = rng.uniform(0.5, 1.2)
        signal = np.concatenate([quiet(3, 16_000), phrase, quiet(pause, 16_000), spoken(clip.path), quiet(2, 16_000)])
        noise = np.resize(load_clip(noises[int(rng.integers(len(noises)))], 16_000), signal.size)
        signal += noise * np.float32(_LEVEL / 2 / np.sqrt(np.mean(noise**2)))  # 6 dB below the words
        listener = WakeListener(Listener(wake, source_rate=16_000), Listener(recognizer, source_rate=16_000))
        events = listener.push(signal) + listener.finish()
        woken += any(event.kind == "wake" for event in events)
        found += ("command", clip.word) in words(events)
        alone = Listener(recognizer, source_rate=16_000)
        found_alone += clip.word in [event.word for event in alone.push(signal) + alone.finish()]
    assert woken >= 9
    assert found >= 7
    assert found >= found_alone  # neither the phrase nor the noise before a command lowers its confidence


def spoken(path):
    """Return the spoken part of a recording at a fixed level, with a little of the sound around it."""
    samples = load_clip(path, 16_000)
    first, last = spoken_part(samples, 16_000)
    samples = samples[max(0, first - 800) : last + 480]
    return samples * np.float32(_LEVEL / np.sqrt(np.mean(samples**2)))


def listener_of(tones, rate=RATE):
    return Listener(ToneRecognizer(tones=tones), source_rate=rate)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"command_s": 0}, "command_s=0 must be a number of seconds above 0"),
        ({"command_s": -1}, "command_s=-1"),
        ({"command_s": float("nan")}, "command_s=nan"),
        ({"command_s": float("inf")}, "command_s=inf"),
        ({"command_s": "5"}, "command_s='5'"),
        ({"command_s": 4000}, "at most 3600"),
        ({"wake": listener_of(WAKE_TONES, 16_000)}, "the wake listener takes audio at 16000 Hz"),
        ({"wake": listener_of(TONES)}, r"the same words \(low, high\): use a wake model with another phrase"),
        ({"wake": ToneRecognizer(tones=WAKE_TONES)}, "pass a Listener"),
    ],
)
def test_what_cannot_work_is_refused(arguments, message):
    with pytest.raises(HarkenError, match=message):
        WakeListener(**{"wake": listener_of(WAKE_TONES), "commands": listener_of(TONES), **arguments})
