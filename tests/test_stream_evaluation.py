"""Labeled streams and the evaluation of a listener on them, with known answers."""

import json
import math
from contextlib import suppress
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import pytest
import soundfile

from harken.audio.clip import load_clip, to_int16
from harken.corpus.table import Clip
from harken.errors import HarkenError
from harken.evaluation.metrics import poisson_interval
from harken.evaluation.stream.audio import (
    BackgroundSection,
    StreamAudio,
    Utterance,
    keyword_clips,
    read_backgrounds,
    read_part,
    spoken_part,
)
from harken.evaluation.stream.evaluate import evaluate_run
from harken.evaluation.stream.listener_run import run_listener, source_of
from harken.runtime.listener_settings import ListenerSettings
from harken.runtime.modelfile import Card
from harken.tasks.recipe import find_recipe
from listener_runs import LABELS, make_run, make_utterance
from tones import RATE, ToneRecognizer, quiet, tone


def noise(seconds, level=0.01, seed=0):
    return (level * np.random.default_rng(seed).standard_normal(round(seconds * RATE))).astype(np.float32)


def spoken(word, amplitude=0.5):
    """Return half a second of audio with the word from 0.1 s to 0.4 s."""
    return np.concatenate([quiet(0.1), tone(word, amplitude=amplitude), quiet(0.1)])


@pytest.fixture
def clips(tmp_path):
    made = []
    for number, word in enumerate(("low", "high", "low", "high", "low", "high")):
        path = tmp_path / "words" / word / f"speaker_nohash_{number}.wav"
        path.parent.mkdir(parents=True, exist_ok=True)
        soundfile.write(path, spoken(word), RATE)
        made.append(Clip(path, word, "speaker"))
    return made


@pytest.fixture
def rooms(tmp_path):
    """Return three recordings of 8, 12 and 16 s of noise, in stereo at 16 kHz."""
    folder = tmp_path / "room"
    folder.mkdir()
    for number, seconds in enumerate((8, 12, 16)):
        wide = np.repeat(noise(seconds, seed=number), 2)
        soundfile.write(folder / f"{number}.wav", np.stack([wide, wide], axis=1), 2 * RATE)
    return sorted(folder.iterdir())


def read_sections(audio):
    return [(section, np.concatenate(list(pieces))) for section, pieces in audio.sections()]


def test_the_spoken_part_is_within_30_db_of_the_loudest_10_ms():
    clip = np.concatenate(
        [quiet(0.2), tone("low", 0.3), tone("low", 0.1, amplitude=0.5 * 10 ** (-29 / 20)), quiet(0.2)]
    )
    assert spoken_part(clip, RATE) == (1_600, 1_600 + 3_200)
    softer = np.concatenate(
        [quiet(0.2), tone("low", 0.3), tone("low", 0.1, amplitude=0.5 * 10 ** (-31 / 20)), quiet(0.2)]
    )
    assert spoken_part(softer, RATE) == (1_600, 1_600 + 2_400)
    assert spoken_part(tone("low", 0.0999), RATE) == (0, 799)


def test_a_stream_contains_each_clip_and_each_recording_once(clips, rooms):
    sections = read_sections(StreamAudio(clips, {"room": rooms}, RATE))
    utterances = [section for section, _ in sections if isinstance(section, Utterance)]
    assert sorted(utterance.clip for utterance in utterances) == sorted(clip.name for clip in clips)
    assert {utterance.background for utterance in utterances} == {"silence", "room"}
    assert sorted(section.path for section, _ in sections if isinstance(section, BackgroundSection)) == rooms
    for section, samples in sections:
        if isinstance(section, BackgroundSection):
            recorded, rest = np.split(samples, [samples.size - RATE])
            np.testing.assert_array_equal(recorded, to_int16(load_clip(section.path, RATE)) / np.float32(32768))
            assert not rest.any()


def test_the_same_seed_gives_the_same_stream(clips, rooms):
    first, again = (read_sections(StreamAudio(clips, {"room": rooms}, RATE, seed=3)) for _ in range(2))
    other = read_sections(StreamAudio(clips, {"room": rooms}, RATE, seed=4))
    assert [section for section, _ in first] == [section for section, _ in again]
    assert all(np.array_equal(one, two) for (_, one), (_, two) in zip(first, again, strict=True))
    assert [section for section, _ in first] != [section for section, _ in other]


@pytest.mark.parametrize("snr_db", [20.0, 0.0])
def test_words_have_the_wanted_signal_to_noise_ratio(clips, rooms, snr_db):
    placed = 0
    for section, samples in read_sections(StreamAudio(clips, {"room": rooms}, RATE, snrs_db=(snr_db,))):
        if isinstance(section, BackgroundSection):
            continue
        start, end = round(section.start_s * RATE), round(section.end_s * RATE)
        assert end - start == round(0.3 * RATE)
        around = np.concatenate([samples[100 : start - 900], samples[end + 900 : -100]])
        if section.background == "silence":
            assert section.snr_db is None
            assert not around.any()
            np.testing.assert_allclose(samples[start:end], tone(section.word), atol=2**-15)
        else:
            placed += 1
            signal = np.mean(tone(section.word) ** 2)
            assert section.snr_db == snr_db
            assert 10 * math.log10(signal / np.mean(around**2)) == pytest.approx(snr_db, abs=0.3)
            assert abs(samples[0]) < 1e-3  # The background fades in.
    assert placed == 3


def test_short_recordings_are_joined_and_digital_silence_is_skipped(clips, tmp_path):
    folder = tmp_path / "bursts"
    folder.mkdir()
    soundfile.write(folder / "burst.wav", noise(0.5), RATE)
    soundfile.write(folder / "nothing.wav", np.zeros(8 * RATE), RATE)
    audio = StreamAudio(clips, {"bursts": sorted(folder.iterdir())}, RATE, snrs_db=(10.0,))
    for section, samples in read_sections(audio):
        if isinstance(section, Utterance) and section.background == "bursts":
            assert np.abs(samples[:800]).max() > 0
    (folder / "burst.wav").unlink()
    with pytest.raises(HarkenError, match="digital silence"):
        read_sections(StreamAudio(clips, {"bursts": sorted(folder.iterdir())}, RATE))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"clips": []}, "--keywords"),
        ({"backgrounds": {}}, "--background"),
        ({"backgrounds": {"room": []}}, "room contains no recordings"),
        ({"snrs_db": ()}, "signal-to-noise"),
        ({"snrs_db": (math.nan,)}, "signal-to-noise"),
        ({"snrs_db": (7000.0,)}, "signal-to-noise"),
    ],
)
def test_a_stream_without_content_is_an_error(clips, rooms, change, message):
    with pytest.raises(HarkenError, match=message):
        StreamAudio(**({"clips": clips, "backgrounds": {"room": rooms}, "sample_rate": RATE} | change))


def test_words_and_false_alarms_are_found(clips, rooms, tmp_path):
    trap = np.concatenate([noise(5), tone("high") + noise(0.3), noise(4)])
    soundfile.write(tmp_path / "trap.wav", trap, RATE)
    audio = StreamAudio(clips, {"room": [*rooms, tmp_path / "trap.wav"]}, RATE, snrs_db=(20.0,))
    listener_run = run_listener(ToneRecognizer(), audio)
    evaluation = evaluate_run(listener_run)
    assert evaluation.miss_rate == 0.0
    assert (evaluation.outcome.confused, evaluation.outcome.repeated, evaluation.outcome.strays) == (0, 0, 0)
    assert listener_run.hours == pytest.approx((8 + 12 + 16 + 9.3) / 3600)
    (alarm,) = evaluation.false_alarms
    assert (alarm.word, alarm.path, alarm.background) == ("high", tmp_path / "trap.wav", "room")
    assert 5.0 < alarm.at_s < 5.6
    played = alarm.audio(RATE)
    start = round(alarm.at_s * RATE) - 12_000
    np.testing.assert_allclose(played, trap[start : start + 16_000], atol=2**-15)
    assert evaluation.false_alarms_per_hour == pytest.approx(3600 / 45.3)
    assert evaluation.false_alarms_per_hour_interval == poisson_interval(1, listener_run.hours)
    # A tone is detected before it ends, or at most one hop and the smoothing time later.
    assert evaluation.latencies_s.size == 6
    assert ((evaluation.latencies_s > -0.3) & (evaluation.latencies_s < 0.4)).all()
    assert 0 < evaluation.real_time_factor < 1
    assert listener_run.seconds == pytest.approx(len(listener_run.top) * listener_run.hop_s, abs=listener_run.hop_s)


def test_the_figures_are_plain_values(clips, rooms):
    audio = StreamAudio(clips, {"room": rooms}, RATE)
    evaluation = evaluate_run(run_listener(ToneRecognizer(), audio, isolation=0))
    figures = json.loads(json.dumps(evaluation.to_json(), allow_nan=False))
    assert figures["hours"] == pytest.approx(36 / 3600)
    assert figures["false_alarms_per_hour"] == 0
    assert figures["false_alarms_per_hour_interval"][0] == 0
    assert figures["miss_rate"] == 0
    assert figures["latency_s"] == pytest.approx(np.median(evaluation.latencies_s))
    assert figures["real_time_factor"] > 0
    assert 0 < figures["skipped"] < 1
    assert {entry["word"]: entry["words"] for entry in figures["by_word"]} == {"low": 3, "high": 3}
    assert sum(entry["words"] for entry in figures["by_snr"]) == 6
    assert figures["by_snr"][0]["snr_db"] is None


@pytest.mark.parametrize("refractory_ms", [0.0, 350.0, 2_000.0])
def test_replayed_thresholds_give_the_events_of_a_listener(clips, rooms, refractory_ms):
    audio = StreamAudio(clips, {"room": rooms}, RATE, snrs_db=(0.0,))
    for threshold in (0.05, 0.5, 0.9):
        settings = ListenerSettings(thresholds={"low": threshold, "high": 0.3}, refractory_ms=refractory_ms)
        listener_run = run_listener(ToneRecognizer(), audio, **vars(settings))
        hops = listener_run.hops_of_events(settings.thresholds)
        replayed = [
            (LABELS[listener_run.top[hop]], pytest.approx((hop + 1) * 0.1), listener_run.scores[hop]) for hop in hops
        ]
        assert [(event.word, event.end_s, event.confidence) for event in listener_run.events] == replayed
        assert replayed


def test_a_stream_at_another_sample_rate_is_an_error(clips, rooms):
    with pytest.raises(HarkenError, match="16000"):
        run_listener(ToneRecognizer(), StreamAudio(clips, {"room": rooms}, 16_000))


def test_each_event_counts_once():
    utterances = [
        make_utterance("low", 10.0, 10.5),
        make_utterance("high", 20.0, 20.5),
        make_utterance("low", 30.0, 30.5),
    ]
    background_sections = [
        BackgroundSection("room", Path("a.wav"), 40.0, 50.0),
        BackgroundSection("room", Path("b.wav"), 51.0, 61.0),
    ]
    events = [
        (5.0, "low", 0.9),  # stray: neither in a word nor in background without words
        (10.4, "low", 0.7),  # found before its end
        (10.6, "high", 0.9),  # confused, although the word was already found
        (10.9, "low", 0.9),  # repeated
        (20.3, "low", 0.9),  # confused
        (21.5, "high", 0.9),  # found at the last moment
        (31.6, "low", 0.9),  # stray, since it is too late
        (40.1, "high", 0.6),  # false alarm
        (50.9, "low", 0.8),  # false alarm caused by the end of the first recording
        (55.0, "_unknown_", 1.0),  # not a word
        (56.0, "low", 0.4),  # below its threshold
    ]
    evaluation = evaluate_run(make_run(events, utterances, background_sections))
    outcome = evaluation.outcome
    assert (outcome.missed, outcome.false_alarms) == (1, 2)
    assert (outcome.confused, outcome.repeated, outcome.strays) == (2, 1, 2)
    np.testing.assert_allclose(evaluation.latencies_s, [-0.1, 1.0], atol=1e-9)
    assert evaluation.miss_rate == pytest.approx(1 / 3)
    found = [(alarm.word, alarm.path.name, round(alarm.at_s, 6)) for alarm in evaluation.false_alarms]
    assert found == [("low", "a.wav", 10.9), ("high", "a.wav", 0.1)]
    assert evaluation.false_alarms_per_hour == pytest.approx(2 / (20 / 3600))


def test_replayed_events_respect_the_refractory_time():
    events = [(41.0, "low", 0.6), (41.5, "high", 0.9), (42.0, "low", 0.9), (43.0, "low", 0.9)]
    background_sections = [BackgroundSection("room", Path("a.wav"), 40.0, 50.0)]
    listener_run = make_run(events, [make_utterance("low", 1, 2)], background_sections, refractory_hops=10)
    assert listener_run.hops_of_events({"low": 0.5, "high": 0.5}).tolist() == [409, 419, 429]
    assert listener_run.hops_of_events({"low": 0.7, "high": 0.5}).tolist() == [414, 429]


def test_a_word_that_stays_is_one_replayed_event():
    stays = [(20 + index / 10, "low", 0.9) for index in range(30)]
    listener_run = make_run([*stays, (23, "high", 0.9), (23.2, "high", 0.9)], refractory_hops=10)
    assert listener_run.hops_of_events({"low": 0.5, "high": 0.5}).tolist() == [199, 229]
    assert listener_run.hops_of_events({"low": 0.95, "high": 0.5}).tolist() == [229]


def test_misses_are_grouped():
    utterances = [
        make_utterance("low", 10, 10.5, 20.0),
        make_utterance("high", 20, 20.5, 5.0),
        make_utterance("low", 30, 30.5, 5.0),
    ]
    background_sections = [BackgroundSection("room", Path("a.wav"), 40.0, 50.0)]
    evaluation = evaluate_run(make_run([(10.5, "low", 0.9), (20.6, "high", 0.9)], utterances, background_sections))
    groups = evaluation.misses_by(lambda utterance: utterance.snr_db)
    assert [(group.value, group.words, group.missed) for group in groups] == [(20.0, 1, 0), (5.0, 2, 1)]


def test_the_trade_off_includes_the_operating_point():
    rng = np.random.default_rng(0)
    utterances = [make_utterance("low", start, start + 0.5) for start in range(10, 100, 4)]
    events = [
        (start + 0.7, "low", score) for start, score in zip(range(10, 100, 4), rng.uniform(0.2, 1, 23), strict=True)
    ]
    events += [(200 + 2 * index, "low", score) for index, score in enumerate(rng.uniform(0, 0.9, 100))]
    listener_run = make_run(events, utterances, [BackgroundSection("room", Path("a.wav"), 150.0, 450.0)], seconds=500)
    evaluation = evaluate_run(listener_run)
    curve = evaluation.trade_off
    operating_point = int(np.flatnonzero(curve.shifts == 0)[0])
    assert curve.missed[operating_point] == evaluation.miss_rate
    assert curve.false_alarms_per_hour[operating_point] == evaluation.false_alarms_per_hour
    assert (np.diff(curve.missed) >= 0).all()
    assert (np.diff(curve.false_alarms_per_hour) <= 0).all()
    assert curve.missed[0] == 0.0
    assert curve.false_alarms_per_hour[-1] == 0.0


def test_only_thresholds_may_change_after_a_run():
    listener_run = make_run([], [make_utterance("low", 1, 2)], [BackgroundSection("room", Path("a.wav"), 40.0, 50.0)])
    stricter = replace(listener_run.settings, thresholds={"low": 0.9, "high": 0.9})
    assert evaluate_run(listener_run, stricter).outcome.missed == 1
    with pytest.raises(HarkenError, match="run the listener again"):
        evaluate_run(listener_run, replace(stricter, smoothing_ms=100))


def test_keyword_clips_are_of_the_models_words(tiny_corpus):
    card = Card(("yes", "stop", "_unknown_"), 16_000, 16_000, {}, {})
    clips = keyword_clips(card, [str(tiny_corpus)], "all")
    assert {clip.word for clip in clips} == {"yes", "stop"}
    assert len(clips) == 20
    with pytest.raises(HarkenError, match="--split all"):
        keyword_clips(card, [str(tiny_corpus)], "validation")
    recipe = asdict(find_recipe("v12"))
    validating = keyword_clips(replace(card, fields={"recipe": recipe}), [str(tiny_corpus)], "validation")
    assert sorted((clip.word, clip.speaker) for clip in validating) == [
        (word, speaker) for word in ("stop", "yes") for speaker in ("00000000", "00000007")
    ]
    with pytest.raises(HarkenError, match="no clips of the model's words"):
        keyword_clips(Card(("hello",), 16_000, 16_000, {}, {}), [str(tiny_corpus)], "all")


def test_keyword_clips_of_a_side_are_of_half_of_the_speakers(tiny_corpus):
    card = Card(("yes", "stop", "_unknown_"), 16_000, 16_000, {}, {})
    sides = {side: keyword_clips(card, [f"{tiny_corpus}:{side}"], "all") for side in ("thresholds", "measure")}
    speakers = {side: {clip.speaker for clip in clips} for side, clips in sides.items()}
    assert all(speakers.values())
    assert not speakers["thresholds"] & speakers["measure"]
    every = keyword_clips(card, [str(tiny_corpus)], "all")
    assert sorted(clip.name for clips in sides.values() for clip in clips) == sorted(clip.name for clip in every)
    with pytest.raises(HarkenError, match="not of the same side"):
        keyword_clips(card, [f"{tiny_corpus}:measure", str(tiny_corpus)], "all")
    with pytest.raises(HarkenError, match="two sides"):
        keyword_clips(card, [f"{tiny_corpus}:train"], "all")


def test_backgrounds_are_folders_or_one_group_of_their_speakers(tmp_path):
    folder = tmp_path / "speech"
    folder.mkdir()
    for name in ("84-1-1", "2412-1-1", "3170-1-1", "8842-1-1"):
        soundfile.write(folder / f"{name}.wav", noise(0.1), RATE)
    assert {name: len(paths) for name, paths in read_backgrounds([str(folder)]).items()} == {"speech": 4}
    (measuring,) = read_backgrounds([f"{folder}:measure"]).values()
    assert [path.stem for path in measuring] == ["3170-1-1", "8842-1-1"]
    assert len(read_backgrounds([f"{folder}:measure", f"{folder}:thresholds"])) == 2
    (folder / "3170-1-1.wav").rename(tmp_path / "elsewhere.wav")
    (folder / "8842-1-1.wav").unlink()
    with pytest.raises(HarkenError, match=r"speech contains recordings, but of no speaker on the side measure: add"):
        read_backgrounds([f"{folder}:measure"])
    for overlapping in ([str(folder), f"{folder}:thresholds"], [str(folder), f"{folder.parent}/./{folder.name}"]):
        with pytest.raises(HarkenError, match=r"contain the same recording, .*: give it once"):
            read_backgrounds(overlapping)
    for missing, message in ((tmp_path / "gone", "does not exist"), (tmp_path / "speech:middle", "does not exist")):
        with pytest.raises(HarkenError, match=message):
            read_backgrounds([str(missing)])
    (tmp_path / "empty").mkdir()
    with pytest.raises(HarkenError, match="empty contains no recordings"):
        read_backgrounds([str(tmp_path / "empty")])


def test_read_part_of_a_recording_with_a_header_without_its_size_or_channels_in_antiphase(tmp_path):
    signal = np.concatenate([quiet(1), tone("low", 2), quiet(1)])
    path = tmp_path / "talk.wav"
    soundfile.write(path, np.stack([signal, -signal], axis=1), RATE)
    expected = signal[4_000:20_000]
    np.testing.assert_allclose(read_part(path, 0.5, 2.5, RATE), expected, atol=2**-14)
    content = bytearray(path.read_bytes())
    content[4:8] = content[40:44] = bytes(4)  # the recorder was cut off
    path.write_bytes(content)
    np.testing.assert_allclose(read_part(path, 0.5, 2.5, RATE), expected, atol=2**-14)


@pytest.mark.parametrize(("rate", "channels"), [(4_000, 1), (4_000, 2), (6_000, 1), (11_025, 2)])
def test_background_can_have_a_lower_rate_than_the_model(clips, tmp_path, rate, channels):
    sound = np.random.default_rng(0).normal(0, 0.1, (20 * rate, channels))
    (tmp_path / "low").mkdir()
    soundfile.write(tmp_path / "low/room.wav", sound, rate)
    for seed in range(10):
        audio = StreamAudio(clips, read_backgrounds([str(tmp_path / "low")]), RATE, seed=seed)
        for section, pieces in audio.sections():
            samples = np.concatenate(list(pieces))
            assert not isinstance(section, Utterance) or samples.size > section.end_s * RATE


def test_the_current_folder_has_its_own_name(tmp_path, monkeypatch):
    soundfile.write(tmp_path / "talk.wav", noise(3), RATE)
    monkeypatch.chdir(tmp_path)
    assert [*read_backgrounds(["."])] == [tmp_path.name]


def test_read_part_of_a_recording(tmp_path):
    signal = noise(3)
    soundfile.write(tmp_path / "talk.wav", signal, RATE)
    np.testing.assert_allclose(read_part(tmp_path / "talk.wav", 1.0, 2.5, RATE), signal[8_000:20_000], atol=2**-15)
    np.testing.assert_allclose(read_part(tmp_path / "talk.wav", -1.0, 9.0, RATE), signal, atol=2**-15)
    assert read_part(tmp_path / "talk.wav", 1.0, 2.0, 16_000).size == 16_000
    with pytest.raises(HarkenError, match="no samples"):
        read_part(tmp_path / "talk.wav", 5.0, 6.0, RATE)


@pytest.mark.parametrize(
    ("first", "second", "same"),
    [("84-121123-0001.flac", "84-121550-0002.ogg", True), ("84-1-1.flac", "85-1-1.flac", False),
     ("1-977-A-39.wav", "1-977-B-39.wav", True), ("1-977-A-39.wav", "1-978-A-39.wav", False), ("rain.wav", "rain.wav", True)],
)  # fmt: skip
def test_recordings_of_one_speaker_or_one_noise_have_one_source(first, second, same):
    assert (source_of(Path(first)) == source_of(Path("elsewhere", second))) == same


def test_names_that_are_not_utf8_are_told_apart(tiny_corpus, tmp_path):
    first, second = (name.decode(errors="surrogateescape") for name in (b"caf\xe9", b"caf\xe8"))
    assert source_of(Path(f"{first}-1.wav")) == source_of(Path(f"{first}-2.wav")) != source_of(Path(f"{second}-1.wav"))
    clip = next((tiny_corpus / "yes").glob("*.wav"))
    (tmp_path / "yes").mkdir()
    try:
        (tmp_path / "yes" / f"{first}.wav").write_bytes(clip.read_bytes())
    except OSError:
        pytest.skip("this file system has only names in UTF-8")
    card = Card(("yes", "no"), 16_000, 16_000, {}, {})
    found = []
    for side in ("thresholds", "measure"):
        with suppress(HarkenError):
            found += keyword_clips(card, [f"{tmp_path}:{side}"], "all")
    assert [clip.path.stem for clip in found] == [first]


def test_an_evaluation_says_how_many_sources_the_thresholds_were_chosen_on():
    sections = tuple(
        BackgroundSection("talk", Path(f"{name}-1.wav"), 30.0 * name, 30.0 * name + 20) for name in range(3)
    )
    run = replace(
        make_run([], [make_utterance("low", 95, 96)], list(sections)),
        tuned_on=frozenset({source_of(Path("1-7.wav")), "elsewhere"}),
    )
    figures = evaluate_run(run).to_json()
    assert (figures["sources"], figures["sources_tuned_on"]) == (3, 1)
