"""Every kind of problem is found in a corpus made to hold it, and a sound corpus holds none."""

import shutil

import numpy as np
import pytest
import soundfile

from harken.corpus import decode, problems
from harken.corpus.decode import DIGEST_BYTES, Block, PackForm, RowWriter
from harken.corpus.problems import CLIPPED_MS, KINDS, SHORT_S, SILENT_DB, inspect
from harken.corpus.table import read_corpus

RATE = 16_000


def tone(hertz, *, seconds=1.0, peak=0.5, rate=RATE):
    return peak * np.sin(2 * np.pi * hertz * np.arange(round(seconds * rate)) / rate)


@pytest.fixture
def sound(tmp_path):
    """Write one clip; a corpus of two words with one sound clip each stands there already."""

    def write(name, samples, rate=RATE):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        soundfile.write(path, samples, rate)
        return path

    write("no/a.wav", tone(300))
    write("yes/a.wav", tone(400))
    return write


def found(folder):
    return {
        (problem.kind, f"{problem.clip.word}/{problem.clip.path.name}")
        for problem in inspect(read_corpus([folder])).problems
    }


def test_a_sound_corpus_has_no_problems_and_exact_measures(sound, tmp_path):
    sound("yes/b.wav", tone(1000, seconds=0.75, peak=0.1, rate=8_000), 8_000)
    inspection = inspect(read_corpus([tmp_path]))
    assert inspection.problems == ()
    np.testing.assert_allclose(inspection.durations_s, [1.0, 1.0, 0.75])
    np.testing.assert_allclose(inspection.sample_rates, [16_000, 16_000, 8_000])
    np.testing.assert_allclose(inspection.peaks_db, [-6.02, -6.02, -20.0], atol=0.01)


def test_unreadable(sound, tmp_path):
    (tmp_path / "no" / "empty.wav").write_bytes(b"")
    (tmp_path / "no" / "text.wav").write_bytes(b"a letter, not a recording")
    inspection = inspect(read_corpus([tmp_path]))
    assert [(p.kind, p.clip.path.name) for p in inspection.problems] == [
        ("unreadable", "empty.wav"),
        ("unreadable", "text.wav"),
    ]
    assert inspection.problems[0].detail == "is empty: copy or record it again"
    assert np.isnan(inspection.durations_s).tolist() == [False, True, True, False]


def test_a_fault_of_a_decoder_is_one_clips(sound, tmp_path, monkeypatch):
    bad = sound("no/bad.wav", tone(500))

    def faulty(load_clip):
        def load(source, rate):
            if str(source) == str(bad):
                raise ValueError("array is too big")
            return load_clip(source, rate)

        return load

    monkeypatch.setattr(problems, "load_clip", faulty(problems.load_clip))
    (problem,) = inspect(read_corpus([tmp_path])).problems
    assert (problem.kind, problem.clip.path.name) == ("unreadable", "bad.wav")
    assert problem.detail == "cannot be decoded (array is too big): convert it to WAV"

    monkeypatch.setattr(decode, "load_clip", faulty(decode.load_clip))
    pack = tmp_path / "pack"
    pack.mkdir()
    for name, row in (("shard-0", np.zeros((2, RATE), np.int16)), ("lengths", np.zeros(2, np.int32))):
        np.save(pack / f"{name}.npy", row)
    np.save(pack / "digests.npy", np.zeros((2, DIGEST_BYTES), np.uint8))
    with RowWriter(PackForm(str(pack), 1, 2, RATE, RATE)) as writer:
        ((row, reason),) = writer.write(Block(0, (str(bad), str(tmp_path / "no" / "a.wav"))))
    assert (row, reason) == (0, f"{bad} cannot be decoded (array is too big): convert it to WAV")
    assert np.load(pack / "lengths.npy").tolist() == [0, RATE]


@pytest.mark.parametrize(("above_db", "silent"), [(1, False), (-1, True)])
def test_silent_is_below_the_threshold_whatever_the_offset(sound, tmp_path, above_db, silent):
    quiet = np.zeros(RATE)
    # A sine's level is its peak less 3.01 dB; it fills several frames of 30 ms.
    quiet[4_000:8_000] = tone(1000, seconds=0.25, peak=10 ** ((SILENT_DB + above_db + 3.01) / 20))
    sound("no/quiet.wav", quiet + 0.1)
    assert found(tmp_path) == ({("silent", "no/quiet.wav")} if silent else set())


def test_silence_is_no_problem_in_the_folder_for_it(sound, tmp_path):
    sound("_silence_/a.wav", np.zeros(RATE))
    sound("_silence_/b.wav", np.zeros(RATE - 1))
    assert found(tmp_path) == set()


def test_digital_silence_has_the_floor_as_its_peak(sound, tmp_path):
    sound("no/zero.wav", np.zeros(RATE))
    inspection = inspect(read_corpus([tmp_path]))
    assert [(p.kind, p.detail) for p in inspection.problems] == [("silent", "−96 dB")]
    np.testing.assert_allclose(inspection.peaks_db[1], -96.3)


@pytest.mark.parametrize(("milliseconds", "clipped"), [(CLIPPED_MS, True), (CLIPPED_MS - 0.125, False)])
def test_clipped_is_time_at_full_scale(sound, tmp_path, milliseconds, clipped):
    samples = tone(200)
    # Apart from one another, as lossy coding leaves them.
    samples[100 : 100 + 40 * round(milliseconds * RATE / 1000) : 40] = 1.0
    sound("no/loud.wav", samples)
    assert found(tmp_path) == ({("clipped", "no/loud.wav")} if clipped else set())


@pytest.mark.parametrize(("seconds", "short"), [(SHORT_S, False), (SHORT_S - 0.01, True)])
def test_too_short(sound, tmp_path, seconds, short):
    sound("no/short.wav", tone(200, seconds=seconds))
    assert found(tmp_path) == ({("too short", "no/short.wav")} if short else set())


def test_doubled_is_found_across_formats_and_rests_on_the_samples(sound, tmp_path):
    samples = np.rint(tone(700) * 32767).astype(np.int16)
    sound("no/b.wav", samples)
    sound("yes/b.flac", samples)
    inspection = inspect(read_corpus([tmp_path]))
    assert {(p.kind, p.clip.word, p.same_as[0].word) for p in inspection.problems} == {
        ("doubled", "no", "yes"),
        ("doubled", "yes", "no"),
    }


def test_two_silent_clips_are_silent_but_not_doubled(sound, tmp_path):
    sound("no/zero.wav", np.zeros(RATE))
    sound("yes/zero.wav", np.zeros(RATE))
    assert found(tmp_path) == {("silent", "no/zero.wav"), ("silent", "yes/zero.wav")}


def test_repeated_names_the_clip_that_counts(sound, tmp_path):
    shutil.copy(tmp_path / "no" / "a.wav", tmp_path / "no" / "again.wav")
    (problem,) = inspect(read_corpus([tmp_path])).of_kind("repeated")
    assert (problem.clip.path.name, problem.same_as[0].path.name) == ("again.wav", "a.wav")


def test_the_worst_of_a_kind_comes_first_and_kinds_in_their_order(sound, tmp_path):
    for seconds in (0.4, 0.2, 0.3):
        sound(f"no/{seconds}.wav", tone(200, seconds=seconds))
    sound("no/zero.wav", np.zeros(RATE))
    problems = inspect(read_corpus([tmp_path])).problems
    assert [p.detail for p in problems] == ["−96 dB", "0.20 s", "0.30 s", "0.40 s"]
    assert [list(KINDS).index(p.kind) for p in problems] == sorted(list(KINDS).index(p.kind) for p in problems)
