"""Each kind of problem is found in a corpus that contains it, and none in a corpus without problems."""

import shutil

import numpy as np
import pytest
import soundfile

from harken.corpus import decode, problems
from harken.corpus.decode import DIGEST_BYTES, Block, PackLayout, RowWriter
from harken.corpus.problems import CLIPPED_MS, KINDS, SHORT_S, SILENT_DB, inspect
from harken.corpus.table import read_corpus

RATE = 16_000


def tone(hertz, *, seconds=1.0, peak=0.5, rate=RATE):
    return peak * np.sin(2 * np.pi * hertz * np.arange(round(seconds * rate)) / rate)


@pytest.fixture
def write_clip(tmp_path):
    """Return a function that writes a clip into a corpus, which has two words with one good clip each."""

    def write(name, samples, rate=RATE):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        soundfile.write(path, samples, rate)
        return path

    write("no/a.wav", tone(300))
    write("yes/a.wav", tone(400))
    return write


def problems_in(folder):
    return {
        (problem.kind, f"{problem.clip.word}/{problem.clip.path.name}")
        for problem in inspect(read_corpus([folder])).problems
    }


def test_a_good_corpus_has_no_problems_and_exact_measurements(write_clip, tmp_path):
    write_clip("yes/b.wav", tone(1000, seconds=0.75, peak=0.1, rate=8_000), 8_000)
    inspection = inspect(read_corpus([tmp_path]))
    assert inspection.problems == ()
    np.testing.assert_allclose(inspection.durations_s, [1.0, 1.0, 0.75])
    np.testing.assert_allclose(inspection.sample_rates, [16_000, 16_000, 8_000])
    np.testing.assert_allclose(inspection.peaks_db, [-6.02, -6.02, -20.0], atol=0.01)


def test_unreadable(write_clip, tmp_path):
    (tmp_path / "no" / "empty.wav").write_bytes(b"")
    (tmp_path / "no" / "text.wav").write_bytes(b"a letter, not a recording")
    inspection = inspect(read_corpus([tmp_path]))
    assert [(p.kind, p.clip.path.name) for p in inspection.problems] == [
        ("unreadable", "empty.wav"),
        ("unreadable", "text.wav"),
    ]
    assert inspection.problems[0].detail == "is empty: copy or record it again"
    assert np.isnan(inspection.durations_s).tolist() == [False, True, True, False]


def test_a_failure_of_a_decoder_concerns_only_its_clip(write_clip, tmp_path, monkeypatch):
    bad = write_clip("no/bad.wav", tone(500))

    def failing(load_clip):
        def load(source, rate):
            if str(source) == str(bad):
                raise ValueError("array is too big")
            return load_clip(source, rate)

        return load

    monkeypatch.setattr(problems, "load_clip", failing(problems.load_clip))
    (problem,) = inspect(read_corpus([tmp_path])).problems
    assert (problem.kind, problem.clip.path.name) == ("unreadable", "bad.wav")
    assert problem.detail == "cannot be decoded (array is too big): convert it to WAV"

    monkeypatch.setattr(decode, "load_clip", failing(decode.load_clip))
    pack = tmp_path / "pack"
    pack.mkdir()
    for name, row in (("shard-0", np.zeros((2, RATE), np.int16)), ("lengths", np.zeros(2, np.int32))):
        np.save(pack / f"{name}.npy", row)
    np.save(pack / "digests.npy", np.zeros((2, DIGEST_BYTES), np.uint8))
    with RowWriter(PackLayout(str(pack), 1, 2, RATE, RATE)) as writer:
        ((row, reason),) = writer.write(Block(0, (str(bad), str(tmp_path / "no" / "a.wav"))))
    assert (row, reason) == (0, f"{bad} cannot be decoded (array is too big): convert it to WAV")
    assert np.load(pack / "lengths.npy").tolist() == [0, RATE]


@pytest.mark.parametrize(("above_db", "silent"), [(1, False), (-1, True)])
def test_clips_below_the_threshold_are_silent_whatever_their_offset(write_clip, tmp_path, above_db, silent):
    quiet = np.zeros(RATE)
    # The level of a sine is 3.01 dB below its peak. It fills several frames of 30 ms.
    quiet[4_000:8_000] = tone(1000, seconds=0.25, peak=10 ** ((SILENT_DB + above_db + 3.01) / 20))
    write_clip("no/quiet.wav", quiet + 0.1)
    assert problems_in(tmp_path) == ({("silent", "no/quiet.wav")} if silent else set())


def test_silence_is_no_problem_in_its_own_folder(write_clip, tmp_path):
    write_clip("_silence_/a.wav", np.zeros(RATE))
    write_clip("_silence_/b.wav", np.zeros(RATE - 1))
    assert problems_in(tmp_path) == set()


def test_the_peak_of_digital_silence_is_the_floor(write_clip, tmp_path):
    write_clip("no/zero.wav", np.zeros(RATE))
    inspection = inspect(read_corpus([tmp_path]))
    assert [(p.kind, p.detail) for p in inspection.problems] == [("silent", "−96 dB")]
    np.testing.assert_allclose(inspection.peaks_db[1], -96.3)


@pytest.mark.parametrize(("milliseconds", "clipped"), [(CLIPPED_MS, True), (CLIPPED_MS - 0.125, False)])
def test_clipped_is_time_at_full_scale(write_clip, tmp_path, milliseconds, clipped):
    samples = tone(200)
    # Separate samples, as after lossy coding.
    samples[100 : 100 + 40 * round(milliseconds * RATE / 1000) : 40] = 1.0
    write_clip("no/loud.wav", samples)
    assert problems_in(tmp_path) == ({("clipped", "no/loud.wav")} if clipped else set())


@pytest.mark.parametrize(("seconds", "short"), [(SHORT_S, False), (SHORT_S - 0.01, True)])
def test_too_short(write_clip, tmp_path, seconds, short):
    write_clip("no/short.wav", tone(200, seconds=seconds))
    assert problems_in(tmp_path) == ({("too short", "no/short.wav")} if short else set())


def test_conflicting_clips_are_found_by_their_samples_across_formats(write_clip, tmp_path):
    samples = np.rint(tone(700) * 32767).astype(np.int16)
    write_clip("no/b.wav", samples)
    write_clip("yes/b.flac", samples)
    inspection = inspect(read_corpus([tmp_path]))
    assert {(p.kind, p.clip.word, p.same_as[0].word) for p in inspection.problems} == {
        ("conflicting", "no", "yes"),
        ("conflicting", "yes", "no"),
    }


def test_two_silent_clips_are_not_conflicting(write_clip, tmp_path):
    write_clip("no/zero.wav", np.zeros(RATE))
    write_clip("yes/zero.wav", np.zeros(RATE))
    assert problems_in(tmp_path) == {("silent", "no/zero.wav"), ("silent", "yes/zero.wav")}


def test_a_duplicate_names_the_clip_that_is_kept(write_clip, tmp_path):
    shutil.copy(tmp_path / "no" / "a.wav", tmp_path / "no" / "again.wav")
    (problem,) = inspect(read_corpus([tmp_path])).of_kind("duplicate")
    assert (problem.clip.path.name, problem.same_as[0].path.name) == ("again.wav", "a.wav")


def test_problems_are_ordered_by_kind_and_the_worst_comes_first(write_clip, tmp_path):
    for seconds in (0.4, 0.2, 0.3):
        write_clip(f"no/{seconds}.wav", tone(200, seconds=seconds))
    write_clip("no/zero.wav", np.zeros(RATE))
    problems = inspect(read_corpus([tmp_path])).problems
    assert [p.detail for p in problems] == ["−96 dB", "0.20 s", "0.30 s", "0.40 s"]
    assert [list(KINDS).index(p.kind) for p in problems] == sorted(list(KINDS).index(p.kind) for p in problems)
