"""Detecting words in streams. The words are tones, so that the expected events are known."""

import json
import math
import subprocess
import sys

import numpy as np
import pytest

from harken.errors import HarkenError
from harken.runtime import streamfile
from harken.runtime.listener import Event, Listener
from harken.runtime.listener_settings import ListenerSettings
from harken.runtime.modelfile import Card
from harken.runtime.recognizer import Recognizer
from harken.runtime.wake_listener import WakeEvent
from tones import RATE, WINDOW, ToneModel, ToneRecognizer, quiet, tone


def stream(rate=RATE):
    """Return a stream of 5 s with `low` at 1.0 s and `high` at 3.0 s, each 0.3 s long."""
    silence = (1.0, 1.7, 1.7)
    parts = [quiet(silence[0], rate), tone("low", rate=rate), quiet(silence[1], rate), tone("high", rate=rate)]
    return np.concatenate([*parts, quiet(silence[2], rate)])


def detect(signal, cuts=(), rate=RATE, recognizer=None, **settings):
    listener = Listener(recognizer or ToneRecognizer(), source_rate=rate, **settings)
    events = [event for chunk in np.split(signal, cuts) for event in listener.push(chunk)]
    return events + listener.finish()


def test_each_word_is_detected_once_at_its_time():
    low, high = detect(stream())
    assert (low.word, high.word) == ("low", "high")
    assert 1.0 < low.end_s <= 1.5
    assert 3.0 < high.end_s <= 3.5
    assert low.end_s - low.start_s == WINDOW / RATE
    assert 0.8 <= low.confidence <= 1.0


def test_chunks_of_any_size_give_the_same_events():
    rng = np.random.default_rng(0)
    signal = stream() + (0.01 * rng.standard_normal(stream().size)).astype(np.float32)
    whole = detect(signal)
    assert len(whole) == 2
    assert detect(signal, np.arange(1, signal.size)) == whole
    for _ in range(5):
        assert detect(signal, np.sort(rng.integers(0, signal.size, 50))) == whole


@pytest.mark.parametrize("rate", [11_025, 44_100, 48_000])
def test_chunks_of_any_size_give_the_same_events_at_other_rates(rate):
    rng = np.random.default_rng(rate)
    signal = stream(rate) + (0.01 * rng.standard_normal(stream(rate).size)).astype(np.float32)
    whole = detect(signal, rate=rate)
    assert [event.word for event in whole] == ["low", "high"]
    assert detect(signal, np.sort(rng.integers(0, signal.size, 300)), rate=rate) == whole
    # Resampling does not change the times.
    assert [event.end_s for event in whole] == pytest.approx([event.end_s for event in detect(stream())], abs=0.101)


def test_a_wrong_sample_rate_does_not_give_the_words():
    assert [event.word for event in detect(stream(24_000), rate=RATE)] != ["low", "high"]


def test_pcm_floats_and_several_channels_give_the_same_events():
    pcm = (stream() * 32767).astype(np.int16)
    events = detect(pcm)
    assert events == detect(pcm / np.float32(32768))
    assert events == detect(np.stack([pcm, pcm], axis=1), cuts=[3, 100, 20_000])


def test_reset_forgets_the_stream():
    signal = np.random.default_rng(3).uniform(-0.02, 0.02, 20_000).astype(np.float32)
    signal[5_000:8_000] += tone("high", 3_000 / RATE)
    fresh = Listener(ToneRecognizer(), source_rate=RATE)
    used = Listener(ToneRecognizer(), source_rate=RATE)
    used.push(np.concatenate([stream(), tone("low", 0.41)]))  # leaves a word in the buffer, within the refractory time
    used.reset()
    assert (used.hops, used.skipped, used.seconds) == (0, 0, 0)
    assert used.push(signal) + used.finish() == fresh.push(signal) + fresh.finish() != []
    np.testing.assert_array_equal(used.posteriors, fresh.posteriors)
    assert (used.hops, used.skipped, used.seconds) == (fresh.hops, fresh.skipped, fresh.seconds)


def test_a_finished_stream_accepts_no_more_audio():
    listener = Listener(ToneRecognizer(), source_rate=RATE)
    listener.finish()
    with pytest.raises(HarkenError, match="reset"):
        listener.push(quiet(1))
    listener.reset()
    assert [event.word for event in listener.push(stream())] == ["low", "high"]


def test_finish_detects_a_word_at_the_very_end():
    listener = Listener(ToneRecognizer(), source_rate=RATE)
    assert listener.push(np.concatenate([quiet(1), tone("low", 0.15)])) == []
    (event,) = listener.finish()
    assert event.word == "low"
    assert event.start_s < event.end_s == pytest.approx(1.15)


def test_an_invalid_chunk_is_refused_and_does_not_change_the_stream():
    listener = Listener(ToneRecognizer(), source_rate=RATE)
    events = listener.push(stream()[:10_000])
    broken = np.full(100, np.inf, np.float32)
    with pytest.raises(HarkenError, match="NaN or infinite"):
        listener.push(broken)
    assert events + listener.push(stream()[10_000:]) + listener.finish() == detect(stream())


def test_posteriors_are_averaged_over_the_smoothing_time():
    # The hop is 125 ms and four hops are averaged. After two hops of a tone, two of the four are silence.
    listener = Listener(ToneRecognizer(), source_rate=RATE, hop_ms=125, smoothing_ms=500, thresholds={"low": 1.0})
    model = ToneModel()
    signal = tone("low", 0.25)
    listener.push(signal)
    first = model.probabilities(np.pad(signal[:1_000], (3_000, 0))[None])[0]
    second = model.probabilities(np.pad(signal, (2_000, 0))[None])[0]
    silence = np.float32([0, 0, 0, 1])
    np.testing.assert_allclose(listener.posteriors, (first + second + 2 * silence) / 4, atol=1e-6)


def test_smoothing_suppresses_a_very_short_sound():
    click = np.concatenate([quiet(1), tone("low", 0.1), quiet(1)])
    assert len(detect(click, smoothing_ms=0)) == 1
    assert detect(click, smoothing_ms=1_000) == []


def test_refractory_time_applies_to_all_words():
    signal = np.concatenate([quiet(1), tone("low"), quiet(0.4), tone("high"), quiet(2)])
    assert [event.word for event in detect(signal, refractory_ms=0)][-1] == "high"
    assert [event.word for event in detect(signal, refractory_ms=500)] == ["low", "high"]
    assert [event.word for event in detect(signal, refractory_ms=2_000)] == ["low"]
    first, second = detect(np.concatenate([tone("low", 1.0), tone("high", 3.0)]), refractory_ms=1_700, isolation=0)
    assert (first.word, second.word) == ("low", "high")
    assert second.end_s - first.end_s == pytest.approx(1.7)


def test_a_word_that_stays_over_its_threshold_is_one_event():
    assert [event.word for event in detect(tone("low", 6.0), refractory_ms=500, isolation=0)] == ["low"]
    again = np.concatenate([tone("low", 2.0), quiet(2), tone("low", 2.0)])
    assert [event.word for event in detect(again, refractory_ms=500, isolation=0)] == ["low", "low"]


def test_settings_of_numpy_can_be_stored():
    settings = Listener(ToneRecognizer(), source_rate=RATE, thresholds={"low": np.float32(0.5)}).settings
    assert json.loads(json.dumps(settings.to_json()))["thresholds"]["low"] == 0.5


def test_thresholds_can_be_changed_while_listening():
    listener = Listener(ToneRecognizer(), source_rate=RATE)
    listener.set_thresholds({"low": 1.0})
    events = listener.push(stream()[: 2 * RATE])
    listener.set_thresholds({"low": 0.1})
    events += listener.push(stream()) + listener.finish()
    assert [event.word for event in events] == ["low", "high"]
    assert listener.settings.thresholds["low"] == 0.1
    with pytest.raises(HarkenError, match="thresholds: the model does not know middle; its words are high, low"):
        listener.set_thresholds({"middle": 0.5})
    with pytest.raises(HarkenError, match="from 0 to 1"):
        listener.set_thresholds({"low": 1.5})
    assert listener.settings.thresholds["low"] == 0.1


def test_thresholds_in_the_call_precede_those_in_the_model_file():
    soft = np.concatenate([quiet(1), tone("low", amplitude=0.2), quiet(1), tone("high", amplitude=0.2), quiet(1)])
    strict = ToneRecognizer({"low": 0.99, "high": 0.5})
    assert [event.word for event in detect(soft, recognizer=strict)] == ["high"]
    tuned = ToneRecognizer({"low": 0.99, "high": 0.5}, listener={"thresholds": {"low": 0.5, "high": 0.99}})
    assert [event.word for event in detect(soft, recognizer=tuned)] == ["low"]
    assert [event.word for event in detect(soft, recognizer=tuned, thresholds={"high": 0.5})] == ["low", "high"]
    assert ListenerSettings.from_card(ToneRecognizer({"low": 0.3}).card).thresholds == {"low": 0.3, "high": 0.8}


def test_only_the_most_probable_class_is_detected():
    both = np.concatenate([quiet(1), tone("low", 0.6) + tone("high", 0.6, amplitude=0.3), quiet(1)])
    words = [event.word for event in detect(both, thresholds={"low": 0.1, "high": 0.1}, refractory_ms=0)]
    assert set(words) == {"low"}


def test_the_energy_gate_skips_the_network_and_changes_no_event():
    rng = np.random.default_rng(4)
    signal = np.concatenate([stream(), quiet(10), stream()])
    signal += (3e-5 * rng.standard_normal(signal.size)).astype(np.float32)  # the noise of a microphone
    gated, ungated = ToneRecognizer(), ToneRecognizer()
    events = detect(signal, recognizer=gated)
    assert len(events) == 4
    assert [(event.word, event.end_s) for event in events] == [
        (event.word, event.end_s) for event in detect(signal, recognizer=ungated, gate_db=-math.inf)
    ]
    listener = Listener(ToneRecognizer(), source_rate=RATE)
    listener.push(signal)
    # Each of the four words is in the window during the three hops that it lasts, and for four more hops. The high-pass
    # filter rings for one more.
    assert listener.hops == 200
    assert listener.skipped == 200 - 4 * (3 + 1 + 4)
    assert ungated.model.windows - gated.model.windows >= listener.skipped


def test_level_and_length_of_the_stream_are_reported():
    listener = Listener(ToneRecognizer(), source_rate=RATE)
    assert listener.level_db == -math.inf
    listener.push(quiet(0.5))
    assert listener.level_db == -math.inf
    listener.push(np.full(1600, 0.05, np.float32))  # an offset has no level, except for a click where it starts
    assert listener.level_db < -100
    listener.push(tone("low", 0.25, amplitude=0.1) + np.float32(0.05))
    assert listener.level_db == pytest.approx(-20.0, abs=0.1)
    assert listener.seconds == pytest.approx(0.95)


@pytest.mark.parametrize(("hertz", "amplitude"), [(0, 0.001), (0, 0.03), (50, 0.03), (60, 0.03)])
def test_an_offset_or_a_hum_hides_no_word_and_does_not_open_the_gate(hertz, amplitude):
    signal = np.concatenate([quiet(3), 0.2 * stream(), quiet(3)])
    hum = (amplitude * np.cos(2 * np.pi * hertz * np.arange(signal.size) / RATE)).astype(np.float32)
    settings = {"thresholds": {"low": 0.3, "high": 0.3}, "gate_db": -40}
    events = detect(signal, **settings)
    assert len(events) == 2
    listener = Listener(ToneRecognizer(), source_rate=RATE, **settings)
    for _ in range(2):  # the filter is reset with the listener
        listener.reset()
        found = [event for part in np.array_split(signal + hum, 77) for event in listener.push(part)]
        assert [(event.word, event.end_s) for event in found] == [(event.word, event.end_s) for event in events]
        # The start of an offset is a click, which is in the window for five hops.
        assert listener.skipped >= listener.hops - 2 * (3 + 1 + 4) - 5


def test_times_and_memory_stay_exact_in_a_long_stream():
    listener = Listener(ToneRecognizer(), source_rate=RATE, refractory_ms=0.0)
    buffer_bytes = listener._buffer.nbytes
    listener.push(quiet(3_600))
    (event,) = [event for event in listener.push(stream()) if event.word == "low"][:1]
    (alone,) = [event for event in detect(stream(), refractory_ms=0.0) if event.word == "low"][:1]
    assert event.end_s - 3_600 == pytest.approx(alone.end_s, abs=1e-9)
    assert listener._buffer.nbytes == buffer_bytes


def test_settings_can_be_stored_as_json():
    settings = ListenerSettings(thresholds={"low": 0.25, "high": 1.0}, smoothing_ms=200, gate_db=-math.inf)
    stored = json.loads(json.dumps(settings.to_json()))
    assert stored["gate_db"] is None
    assert ListenerSettings.from_card(ToneRecognizer(listener=stored).card) == settings


def test_stored_settings_without_isolation_use_none():
    tuned = ToneRecognizer(listener={"hop_ms": 50.0, "thresholds": {"low": 0.5}})
    assert ListenerSettings.from_card(tuned.card).isolation == 0
    assert ListenerSettings.from_card(ToneRecognizer(listener={"hop_ms": 50.0}).card).isolation == 5
    assert Listener(tuned, source_rate=RATE, isolation=3).settings.isolation == 3


def test_the_settings_of_the_model_file_are_the_defaults(make_model):
    path = make_model(listener={"hop_ms": 50.0, "thresholds": {"no": 0.9}, "isolation": 2.0})
    listener = Listener(Recognizer(path), source_rate=16_000)
    assert listener.settings == ListenerSettings(thresholds={"yes": 0.5, "no": 0.9}, hop_ms=50.0, isolation=2.0)
    signal = np.concatenate([quiet(0.5, 16_000), tone("low", 0.25, 16_000, amplitude=1.0), quiet(0.5, 16_000)])
    whole = listener.push(signal) + listener.finish()
    assert [event.word for event in whole] == ["yes"]  # the first quarter of the window, which the tone reaches last
    listener.reset()
    parts = [event for part in np.split(signal, [7, 3_000, 11_111]) for event in listener.push(part)]
    assert parts + listener.finish() == whole
    assert all(isinstance(event, Event) for event in whole)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"hop_ms": 0}, "hop_ms"),
        ({"hop_ms": 600}, "at most the window of 500 ms"),
        ({"hop_ms": 0.01}, "at least one sample"),
        ({"smoothing_ms": -1}, "smoothing_ms"),
        ({"refractory_ms": 1e308}, "must be at most 3.6e.06, an hour"),
        ({"smoothing_ms": 1e9}, "smoothing_ms=1000000000.0 must be at most 10000"),
        ({"refractory_ms": math.nan}, "refractory_ms"),
        ({"gate_db": 3}, "full scale"),
        ({"thresholds": {"low": 1.5}}, "threshold of low"),
        ({"thresholds": {"middle": 0.5}}, "middle"),
        ({"source_rate": 100}, "sample rate"),
        ({"source_rate": None}, "source_rate=None: pass the sample rate"),
        ({"source_rate": "16000"}, "source_rate='16000': pass the sample rate"),
        ({"hop_ms": "a"}, "hop_ms='a' is not a number"),
        ({"gate_db": "-60"}, "gate_db='-60' is not a number"),
        ({"isolation": -1}, "isolation=-1.0 must be 0 or more"),
        ({"isolation": math.inf}, "isolation=inf"),
        ({"isolation": 41}, "isolation=41.0 must be at most 40: it is in logits"),
        ({"isolation": "4"}, "isolation='4' is not a number"),
        ({"thresholds": {"low": None}}, "threshold of low is None"),
        ({"thresholds": {"low": "0.5"}}, "threshold of low is '0.5'"),
        ({"thresholds": 0.5}, r"thresholds=0\.5: pass a dict of words"),
    ],
)
def test_invalid_settings_are_refused(settings, message):
    with pytest.raises(HarkenError, match=message):
        Listener(ToneRecognizer(), **({"source_rate": RATE} | settings))


@pytest.mark.parametrize("stored", [["low"], {"hop": 3}, {"thresholds": 3}, {"hop_ms": "soon"}, {"hop_ms": -4}])
def test_invalid_settings_in_a_model_file_are_refused(stored):
    with pytest.raises(HarkenError, match="listener"):
        Listener(ToneRecognizer(listener=stored), source_rate=RATE)


def test_the_runtime_imports_nothing_heavy():
    heavy = "{'torch', 'matplotlib', 'sklearn', 'sounddevice'}"
    code = f"import sys, harken.runtime.listener, harken.cli.live; print(*{heavy} & set(sys.modules))"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.strip() == ""


def test_events_are_rounded_for_json():
    event = WakeEvent("stop", 1.00049, 2.0006, 0.98765432, "command", 7.123456)
    assert event.to_json() == {
        "word": "stop", "start_s": 1.0, "end_s": 2.001, "confidence": 0.9877, "kind": "command", "until_s": 7.123
    }  # fmt: skip


@pytest.mark.parametrize("recognizer", ["base", None, Recognizer])
def test_a_listener_requires_a_recognizer(recognizer):
    with pytest.raises(HarkenError, match=r"is not a recognizer: pass a Recognizer, a StreamFile or a TwoStage"):
        Listener(recognizer, source_rate=RATE)


@pytest.mark.parametrize("chunk", [np.array([1e300]), np.full(10, -3.0e4, np.float32), np.full((5, 2), 101.0)])
@pytest.mark.filterwarnings("error")
def test_chunks_far_over_full_scale_are_refused(chunk):
    listener = Listener(ToneRecognizer(), source_rate=RATE)
    with pytest.raises(HarkenError, match=r"^a chunk contains a sample of .*; divide int16 by 32768$"):
        listener.push(chunk)
    assert listener.push(np.full(10, 4.0)) == []  # clipped, as a mix can be
    assert listener.seconds == 10 / RATE


@pytest.mark.parametrize(
    ("fields", "labels", "message"),
    [
        ({}, ("low",), "metadata `step` and `state` of .* are not sizes"),
        ({"step": "x", "state": 5}, ("low",), "metadata `step` and `state` of .* are not sizes"),
        ({"step": 80, "state": 4}, ("low",), r"shape of `state` is .* metadata says \[N, 4\]"),
        ({"step": 79, "state": 5}, ("low",), r"shape of `waveform` is .* metadata says \[N, 79\]"),
        ({"step": 80, "state": 5}, ("low", "high"), r"shape of `probabilities` is .* metadata says \[N, 2\]"),
    ],
)
def test_a_streaming_model_with_wrong_metadata_is_refused(monkeypatch, tmp_path, fields, labels, message):
    class Node:
        def __init__(self, name, *shape):
            self.name, self.shape = name, shape

    class Session:
        def get_inputs(self):
            return [Node("waveform", "N", 80), Node("state", "N", 5)]

        def get_outputs(self):
            return [Node("probabilities", "N", 1), Node("next_state", "N", 5)]

    def open_with(fields, labels):
        card = Card(labels, RATE, WINDOW, {}, fields)
        monkeypatch.setattr(streamfile, "open_model", lambda path, threads: (Session(), card))
        path = tmp_path / "model.stream.onnx"
        path.touch()
        return streamfile.StreamFile(path)

    assert open_with({"step": 80, "state": 5}, ("low",)).start().shape == (1, 5)
    with pytest.raises(HarkenError, match=message):
        open_with(fields, labels)
