"""`harken listen --save`: each detection and near miss as a clip."""

import csv
import errno
import os
from pathlib import Path

import numpy as np
import pytest
import soundfile

from harken.cli.live import listen
from harken.corpus.table import read_corpus
from harken.errors import HarkenError
from harken.runtime.clip_saver import ClipSaver
from harken.runtime.listener import Listener
from harken.runtime.wake_listener import WakeListener
from tones import RATE, WAKE_TONES, ToneRecognizer, quiet, tone

SETTINGS = {"hop_ms": 100, "smoothing_ms": 200, "refractory_ms": 500, "isolation": 0}
DETECTED, MISSED = 0.5, 0.03  # amplitudes of tones: the score of silence is 0.02


def stream(rate=RATE):
    """Return a detection of `low` at 2 s, a near miss of `high` at 5 s, and a detection of `high` at 8 s."""
    sound = quiet(9.5, rate)
    for word, at_s, amplitude in (("low", 2, DETECTED), ("high", 5, MISSED), ("high", 8, DETECTED)):
        played = tone(word, 0.4, rate, amplitude)
        sound[at_s * rate : at_s * rate + played.size] = played
    return sound


def save(folder, sound, *, chunk, rate=RATE):
    recognizer = ToneRecognizer()
    listener = Listener(recognizer, source_rate=rate, gate_db=-90, thresholds={"low": 0.6, "high": 0.6}, **SETTINGS)
    saver = ClipSaver(listener, rate, folder)
    events = []
    for start in range(0, sound.size, chunk):
        events += saver.push(sound[start : start + chunk])
    return events + saver.finish()


def rows(folder):
    with (folder / "clips.csv").open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


@pytest.mark.parametrize("rate", [RATE, 8_000, 44_100, 48_000])
def test_detections_and_near_misses_are_saved(tmp_path, rate):
    events = save(tmp_path, stream(rate), chunk=rate, rate=rate)
    assert [event.word for event in events] == ["low", "high"]
    found = rows(tmp_path)
    assert [(row["kind"], row["word"]) for row in found] == [
        ("detections", "low"),
        ("near_misses", "high"),
        ("detections", "high"),
    ]
    # The highest confidence of any hop, also where a resampler delivers the audio of several hops at once.
    assert [float(row["confidence"]) for row in found] == pytest.approx([0.952, 0.545, 0.952], abs=0.001)
    assert [row["second"] for row in found] == ["2.20", "5.40", "8.20"]
    for row in found:
        samples, own_rate = soundfile.read(tmp_path / row["file"])
        assert own_rate == rate
        assert samples.size == pytest.approx(0.5 * rate, abs=1)  # the model's window
        # The window contains nearly the whole tone of 0.4 s, although the word is detected as the tone begins.
        loud = np.flatnonzero(np.abs(samples) > 0.3 * np.abs(samples).max())
        assert loud[-1] - loud[0] > 0.3 * rate
        context, _ = soundfile.read(tmp_path / "context" / row["word"] / row["file"].rpartition("/")[2])
        assert context.size == pytest.approx(2.0 * rate, abs=2)  # a second, the window, half a second
        np.testing.assert_array_equal(context[rate : rate + samples.size], samples)


def test_the_chunks_do_not_matter(tmp_path):
    sound = stream()
    expected = None
    for chunk in (160, 1000, 8000, sound.size):
        folder = tmp_path / str(chunk)
        save(folder, sound, chunk=chunk)
        clips = [(row["word"], soundfile.read(folder / row["file"])[0].tobytes()) for row in rows(folder)]
        expected = expected or clips
        assert clips == expected


def test_the_detections_are_a_corpus(tmp_path):
    save(tmp_path, stream(), chunk=800)
    corpus = read_corpus([tmp_path / "detections"])
    assert corpus.words == ("high", "low")
    assert len({clip.speaker for clip in corpus.clips}) == 1


def test_a_word_at_the_start_or_the_end_is_saved(tmp_path):
    sound = np.concatenate([tone("low", 0.5), quiet(3), tone("high", 0.4)])
    events = save(tmp_path, sound, chunk=800)
    assert [event.word for event in events] == ["low", "high"]
    for row in rows(tmp_path):
        samples, _ = soundfile.read(tmp_path / row["file"])
        assert np.abs(samples).max() > 0.4


def test_listen_saves(tmp_path, capsys):
    soundfile.write(tmp_path / "talk.wav", stream(), RATE)
    settings = {"thresholds": {"low": 0.6, "high": 0.6}, "gate_db": -90, **SETTINGS}
    listen(ToneRecognizer(), str(tmp_path / "talk.wav"), settings=settings, save=tmp_path / "kept")
    assert len(rows(tmp_path / "kept")) == 3
    assert len(capsys.readouterr().out.splitlines()) == 2


@pytest.mark.parametrize("chunk", [400, 9_000])
def test_wake_phrases_and_commands_that_count_are_saved(tmp_path, chunk):
    sound = quiet(14)
    for word, at_s, amplitude in [
        ("high", 1, DETECTED), ("high", 2.5, MISSED), ("bell", 4, MISSED), ("bell", 6, DETECTED), ("low", 8, DETECTED),
        ("high", 9.5, MISSED), ("low", 12.5, DETECTED),
    ]:  # fmt: skip
        played = tone(word, 0.4, RATE, amplitude)
        sound[round(at_s * RATE) : round(at_s * RATE) + played.size] = played
    wake = Listener(ToneRecognizer({"bell": 0.6}, tones=WAKE_TONES), source_rate=RATE, gate_db=-90, **SETTINGS)
    thresholds = {"low": 0.6, "high": 0.6}
    commands = Listener(ToneRecognizer(), source_rate=RATE, gate_db=-90, thresholds=thresholds, **SETTINGS)
    saver = ClipSaver(WakeListener(wake, commands, command_s=5), RATE, tmp_path)
    events = []
    for start in range(0, sound.size, chunk):
        events += saver.push(sound[start : start + chunk])
    events += saver.finish()
    assert [event.word for event in events] == ["bell", "low"]
    assert sorted((row["kind"], row["word"], round(float(row["second"]))) for row in rows(tmp_path)) == [
        ("detections", "bell", 6),
        ("detections", "low", 8),
        ("near_misses", "bell", 4),
        ("near_misses", "high", 10),
    ]
    for row in rows(tmp_path):
        samples, _ = soundfile.read(tmp_path / row["file"])
        assert np.abs(samples).max() > 0.02


def test_a_folder_that_cannot_be_written_is_refused(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(HarkenError, match=r"--save .*choose a folder"):
        save(tmp_path / "file", quiet(1), chunk=800)


def test_a_word_that_leads_out_of_the_folder_is_refused(tmp_path):
    listener = Listener(ToneRecognizer(), source_rate=RATE, **SETTINGS)
    listener.settings.thresholds["../low"] = 0.5
    with pytest.raises(HarkenError, match="cannot be the name of a folder"):
        ClipSaver(listener, RATE, tmp_path)


def test_a_full_disk_leaves_no_list_without_its_header(tmp_path, monkeypatch):
    def fail(*_, **__):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patched:
        patched.setattr(Path, "open", fail)
        with pytest.raises(OSError, match=r"No space left on device: .*clips\.csv"):
            ClipSaver(Listener(ToneRecognizer(), source_rate=RATE), RATE, tmp_path / "saved")
    assert list((tmp_path / "saved").iterdir()) == []
    ClipSaver(Listener(ToneRecognizer(), source_rate=RATE), RATE, tmp_path / "saved")
    assert (tmp_path / "saved/clips.csv").read_text().startswith("file,kind,word")


@pytest.mark.skipif(os.name == "nt", reason="Windows has no limit on the size of files")
def test_a_full_disk_names_the_clip(tmp_path):
    import resource

    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (4096, limits[1]))
    try:
        with pytest.raises(OSError, match=r"File too large: .*nohash_0\.wav"):
            save(tmp_path, stream(), chunk=8000)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert not list(tmp_path.rglob("*.wav"))


def test_two_runs_that_begin_in_the_same_second_keep_the_clips_of_both(tmp_path, monkeypatch):
    monkeypatch.setattr("harken.runtime.clip_saver.time.strftime", lambda form: "20261129T120000")
    for _ in range(2):
        save(tmp_path, stream(), chunk=8000)
    files = [row["file"] for row in rows(tmp_path)]
    assert len(files) == len(set(files)) == 6
    assert all((tmp_path / file).is_file() for file in files)


def test_a_sound_that_keeps_a_word_detected_is_no_near_miss_of_it(tmp_path):
    save(tmp_path, np.concatenate([quiet(2), tone("low", 8, RATE, DETECTED), quiet(3)]), chunk=800)
    assert [(row["kind"], row["word"]) for row in rows(tmp_path)] == [("detections", "low")]


def test_a_near_miss_soon_after_another_word_is_saved(tmp_path):
    sound = quiet(6)
    for word, at_s, amplitude in (("low", 2, DETECTED), ("high", 3.2, MISSED)):
        played = tone(word, 0.4, RATE, amplitude)
        sound[round(at_s * RATE) : round(at_s * RATE) + played.size] = played
    save(tmp_path, sound, chunk=800)
    assert [(row["kind"], row["word"]) for row in rows(tmp_path)] == [("detections", "low"), ("near_misses", "high")]


def test_a_refused_chunk_changes_nothing(tmp_path):
    saver = ClipSaver(Listener(ToneRecognizer(), source_rate=RATE), RATE, tmp_path)
    with pytest.raises(HarkenError, match="a sample of 200"):
        saver.push(np.append(quiet(1), np.float32(200)))
    assert saver.finish() == []
    assert saver._received == 0
