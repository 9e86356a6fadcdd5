import errno
import os
import shutil
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest
import soundfile

from conftest import TEN_WORDS, tone
from harken.cache import default_cache
from harken.corpus import decode
from harken.corpus import pack as packing
from harken.corpus.pack import pack
from harken.corpus.table import Clip, read_corpus
from harken.errors import HarkenError

RATE = 8_000


@pytest.fixture
def cache(tmp_path):
    return tmp_path / "cache"


@pytest.fixture
def clips(tmp_path):
    """Write twenty clips of 100 samples. All samples of clip n are 100 n."""
    found = []
    for number in range(20):
        path = tmp_path / "corpus" / "yes" / f"{number:02}.wav"
        path.parent.mkdir(parents=True, exist_ok=True)
        soundfile.write(path, np.full(100, 100 * number, np.int16), RATE)
        found.append(Clip(path, "yes", ""))
    return found


@pytest.fixture
def decoded(monkeypatch):
    """Return a list that receives the names of decoded clips."""
    names, load, lock = [], decode.load_clip, threading.Lock()

    def record_name(path, rate):
        with lock:
            names.append(Path(path).stem)
        return load(path, rate)

    monkeypatch.setattr(decode, "load_clip", record_name)
    return names


def rows(packed):
    return np.concatenate(packed.shards)


def packs(cache):
    return sorted(path for path in cache.iterdir() if path.is_dir())


def test_rows_are_16_bit_and_padded_or_cut_at_the_end(tmp_path, cache):
    loud = np.array([0.5, -0.25, 1.5, -2.0, 0.0], np.float32)
    for name, samples in (("short", loud[:3]), ("exact", loud[:4]), ("long", loud)):
        soundfile.write(tmp_path / f"{name}.wav", samples, RATE, subtype="FLOAT")
    clips = [Clip(tmp_path / f"{name}.wav", "yes", "") for name in ("long", "exact", "short")]

    packed = pack(clips, sample_rate=RATE, samples=4, cache=cache)

    assert rows(packed).tolist() == [
        [16384, -8192, 32767, -32768],
        [16384, -8192, 32767, -32768],
        [16384, -8192, 32767, 0],
    ]
    assert rows(packed).dtype == np.int16
    assert packed.lengths.tolist() == [5, 4, 3]
    assert (len(packed), packed.samples, packed.sample_rate, packed.unreadable) == (3, 4, RATE, ())
    assert isinstance(packed.shards[0], np.memmap)
    assert not packed.shards[0].flags.writeable


def test_centered_clips_are_in_the_middle_of_their_rows_and_cut_around_the_loud_part(tmp_path, cache):
    long = np.zeros(100, np.float32)
    long[70:80] = 0.5
    soundfile.write(tmp_path / "long.wav", long, RATE, subtype="FLOAT")
    soundfile.write(tmp_path / "short.wav", long[68:82], RATE, subtype="FLOAT")
    clips = [Clip(tmp_path / f"{name}.wav", "yes", "") for name in ("long", "short")]
    plain = pack(clips, sample_rate=RATE, samples=40, cache=cache)
    centered = pack(clips, sample_rate=RATE, samples=40, centered=True, cache=cache)
    assert not rows(plain)[0].any()  # the loud part was after the cut
    assert [np.flatnonzero(row)[[0, -1]].tolist() for row in rows(centered)] == [[16, 25], [15, 24]]
    assert len(packs(cache)) == 2


def test_clips_are_resampled_and_lengths_count_at_the_new_rate(tmp_path, cache):
    soundfile.write(tmp_path / "a.wav", tone(500, 1.0, 16_000), 16_000)
    soundfile.write(tmp_path / "b.wav", tone(500, 0.5, 44_100), 44_100)
    packed = pack([Clip(tmp_path / f"{n}.wav", "yes", "") for n in "ab"], sample_rate=RATE, samples=6_000, cache=cache)
    assert packed.lengths.tolist() == [8_000, 4_000]
    for row, length in zip(rows(packed), (6_000, 4_000), strict=True):
        np.testing.assert_allclose(row[100:3_900] / 32768, tone(500, 1.0, RATE)[100:3_900], atol=2e-3)
        assert not row[length:].any()


def test_the_same_clips_are_decoded_only_once(clips, cache, decoded):
    first = pack(clips, sample_rate=RATE, samples=100, cache=cache)
    assert sorted(decoded) == [clip.path.stem for clip in clips]
    decoded.clear()
    again = pack(clips, sample_rate=RATE, samples=100, cache=cache)
    assert decoded == []
    np.testing.assert_array_equal(rows(again), rows(first))
    np.testing.assert_array_equal(again.lengths, first.lengths)


def test_a_touched_or_moved_clip_is_not_decoded_again(clips, cache, decoded, tmp_path):
    pack(clips, sample_rate=RATE, samples=100, cache=cache)
    decoded.clear()
    os.utime(clips[3].path, (1, 1))
    shutil.move(clips[4].path, tmp_path / "moved.wav")
    moved = [*clips[:4], Clip(tmp_path / "moved.wav", "yes", ""), *clips[5:]]
    packed = pack(moved, sample_rate=RATE, samples=100, cache=cache)
    assert decoded == []
    assert len(packs(cache)) == 1
    assert rows(packed)[4, 0] == 400


def test_changed_content_gets_a_new_pack(clips, cache):
    pack(clips, sample_rate=RATE, samples=100, cache=cache)
    soundfile.write(clips[3].path, np.full(100, -7, np.int16), RATE)  # of the same size as before
    packed = pack(clips, sample_rate=RATE, samples=100, cache=cache)
    assert rows(packed)[3].tolist() == [-7] * 100
    assert len(packs(cache)) == 2


def test_a_table_and_a_list_of_clips_share_a_pack(clips, cache, decoded):
    table = read_corpus([clips[0].path.parents[1]], cache=cache).clips
    assert list(table) == clips
    pack(clips, sample_rate=RATE, samples=100, cache=cache)
    decoded.clear()
    packed = pack(table, sample_rate=RATE, samples=100, cache=cache)
    assert decoded == []
    assert rows(packed)[:, 0].tolist() == [100 * number for number in range(20)]
    assert len(list(cache.glob("*.link"))) == 1


@pytest.mark.parametrize("damaged", ["", "..", "0" * 31])
def test_a_damaged_link_removes_nothing(clips, cache, damaged):
    pack(clips, sample_rate=RATE, samples=100, cache=cache)
    (cache / "other").mkdir()
    (link,) = cache.glob("*.link")
    kept = {*cache.iterdir(), *cache.parent.iterdir()}
    whole = link.read_text()
    link.write_text(damaged)
    assert len(pack(clips, sample_rate=RATE, samples=100, cache=cache)) == 20
    assert kept <= {*cache.iterdir(), *cache.parent.iterdir()}
    assert link.read_text() == whole


def test_a_clip_changed_in_place_is_packed_again(clips, cache):
    root = clips[0].path.parents[1]
    pack(read_corpus([root], cache=cache).clips, sample_rate=RATE, samples=100, cache=cache)
    status = clips[3].path.stat()
    with clips[3].path.open("r+b") as file:
        file.seek(44)
        file.write(np.full(100, -7, "<i2").tobytes())
    os.utime(clips[3].path, ns=(status.st_atime_ns, status.st_mtime_ns + 1))
    packed = pack(read_corpus([root], cache=cache).clips, sample_rate=RATE, samples=100, cache=cache)
    assert rows(packed)[3].tolist() == [-7] * 100


@pytest.mark.parametrize("change", [{"sample_rate": 16_000}, {"samples": 50}, {"clips": slice(None, None, -1)}])
def test_another_rate_length_or_order_is_another_pack(clips, cache, change):
    pack(clips, sample_rate=RATE, samples=100, cache=cache)
    changed = {"sample_rate": RATE, "samples": 100} | change
    packed = pack(clips[changed.pop("clips", slice(None))], **changed, cache=cache)
    assert len(packs(cache)) == 2
    assert packed.samples == changed["samples"]
    assert packed.lengths.tolist() == [100 * changed["sample_rate"] // RATE] * 20


def test_several_shards_contain_the_rows_in_order(clips, cache, monkeypatch):
    monkeypatch.setattr(packing, "_BLOCK", 4)
    monkeypatch.setattr(packing, "_SHARD_BYTES", 8 * 2 * 100 + 150)  # eight rows and a bit
    packed = pack(clips, sample_rate=RATE, samples=100, cache=cache)
    assert [shard.shape for shard in packed.shards] == [(8, 100), (8, 100), (4, 100)]
    assert rows(packed)[:, 0].tolist() == [100 * number for number in range(20)]
    assert [path.name for path in sorted(packs(cache)[0].glob("shard-*"))] == [f"shard-{i}.npy" for i in range(3)]


def test_unreadable_clips_are_listed_and_their_rows_are_silent(clips, cache):
    clips[2].path.write_bytes(b"not audio")
    clips[5].path.write_bytes(b"")
    clips[7].path.unlink()
    packed = pack(clips, sample_rate=RATE, samples=100, cache=cache)
    assert [row for row, _ in packed.unreadable] == [2, 5, 7]
    for row, reason in packed.unreadable:
        assert str(clips[row].path) in reason
        assert packed.lengths[row] == 0
        assert not rows(packed)[row].any()
    assert np.count_nonzero(packed.lengths) == 17
    again = pack(clips, sample_rate=RATE, samples=100, cache=cache)
    assert again.unreadable == packed.unreadable


def test_a_restored_clip_is_packed(clips, cache):
    content = clips[7].path.read_bytes()
    clips[7].path.unlink()
    pack(clips, sample_rate=RATE, samples=100, cache=cache)
    clips[7].path.write_bytes(content)
    assert pack(clips, sample_rate=RATE, samples=100, cache=cache).unreadable == ()


def test_a_file_without_readable_content_is_tried_again(clips, cache, monkeypatch):
    read, load = decode._read_content, decode.load_clip

    def failing_load(file, rate):
        if file.path == str(clips[7].path):
            raise HarkenError("the disk does not answer")
        return load(file, rate)

    with monkeypatch.context() as failing:
        failing.setattr(decode, "_read_content", lambda path: b"" if path == str(clips[7].path) else read(path))
        failing.setattr(decode, "load_clip", failing_load)
        assert len(pack(clips, sample_rate=RATE, samples=100, cache=cache).unreadable) == 1
    assert pack(clips, sample_rate=RATE, samples=100, cache=cache).unreadable == ()


@pytest.mark.parametrize("name", ["shard-0.npy", "lengths.npy", "index.json"])
@pytest.mark.parametrize("damage", ["gone", "half"])
def test_an_incomplete_pack_is_built_again(clips, cache, name, damage):
    whole = rows(pack(clips, sample_rate=RATE, samples=100, cache=cache))
    part = packs(cache)[0] / name
    content = part.read_bytes()
    part.unlink()
    if damage == "half":
        part.write_bytes(content[: len(content) // 2])
    np.testing.assert_array_equal(rows(pack(clips, sample_rate=RATE, samples=100, cache=cache)), whole)


def test_nothing_is_kept_if_no_clip_can_be_read(clips, cache):
    for clip in clips:
        clip.path.write_bytes(b"not audio")
    with pytest.raises(
        HarkenError, match=f"^none of the 20 clips can be read; the first: {clips[0].path} is not a readable"
    ):
        pack(clips, sample_rate=RATE, samples=100, cache=cache)
    assert packs(cache) == []


def test_an_empty_list_is_refused(cache):
    with pytest.raises(HarkenError, match="no clips to pack"):
        pack([], sample_rate=RATE, samples=100, cache=cache)


@pytest.mark.parametrize("error", [KeyboardInterrupt, OSError(errno.ENOSPC, "No space left on device")])
def test_an_interrupted_run_continues_where_it_stopped(clips, cache, monkeypatch, decoded, error):
    whole = pack(clips, sample_rate=RATE, samples=100, cache=cache / "whole")
    decoded.clear()
    monkeypatch.setattr(packing, "_BLOCK", 4)
    record_name = decode.load_clip

    def failing(path, rate):
        if Path(path).stem == "09":
            raise error
        return record_name(path, rate)

    monkeypatch.setattr(decode, "load_clip", failing)
    with pytest.raises((KeyboardInterrupt, HarkenError)):
        pack(clips, sample_rate=RATE, samples=100, cache=cache)
    assert packs(cache)[0].suffix == ".partial"
    decoded.clear()

    monkeypatch.setattr(decode, "load_clip", record_name)
    packed = pack(clips, sample_rate=RATE, samples=100, cache=cache)

    assert sorted(decoded) == [f"{number:02}" for number in range(8, 20)]
    np.testing.assert_array_equal(rows(packed), rows(whole))
    np.testing.assert_array_equal(packed.lengths, whole.lengths)
    assert [path.suffix for path in packs(cache) if path.name != "whole"] == [""]


def test_unreadable_clips_are_still_listed_after_an_interruption(clips, cache, monkeypatch):
    monkeypatch.setattr(packing, "_BLOCK", 4)
    clips[1].path.write_bytes(b"not audio")
    load = decode.load_clip

    def failing(path, rate):
        if Path(path).stem == "09":
            raise KeyboardInterrupt
        return load(path, rate)

    monkeypatch.setattr(decode, "load_clip", failing)
    with pytest.raises(KeyboardInterrupt):
        pack(clips, sample_rate=RATE, samples=100, cache=cache)
    monkeypatch.setattr(decode, "load_clip", load)
    packed = pack(clips, sample_rate=RATE, samples=100, cache=cache)
    assert [row for row, _ in packed.unreadable] == [1]


def test_a_full_disk_is_reported_and_leaves_no_broken_pack(clips, cache, monkeypatch):
    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(os, "posix_fallocate", full)
        with pytest.raises(
            HarkenError, match=f"^cannot write to the cache {cache}: No space left on device; set HARKEN_CACHE"
        ):
            pack(clips, sample_rate=RATE, samples=100, cache=cache)
    assert len(pack(clips, sample_rate=RATE, samples=100, cache=cache)) == 20


def test_a_cache_that_cannot_be_created_is_named(clips, tmp_path):
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(HarkenError, match=f"^cannot write to the cache {tmp_path / 'file' / 'cache'}: "):
        pack(clips, sample_rate=RATE, samples=100, cache=tmp_path / "file" / "cache")


def test_packing_prints_nothing_in_a_pipe(clips, cache, capfd):
    pack(clips, sample_rate=RATE, samples=100, cache=cache)
    assert capfd.readouterr() == ("", "")


def test_the_cache_is_where_the_user_sets_it(monkeypatch, tmp_path, clips):
    monkeypatch.setenv("HARKEN_CACHE", str(tmp_path / "mine"))
    assert default_cache() == tmp_path / "mine"
    pack(clips, sample_rate=RATE, samples=100)
    assert len(packs(tmp_path / "mine")) == 1
    monkeypatch.delenv("HARKEN_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    assert default_cache() == tmp_path / "xdg" / "harken"
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    assert default_cache() == tmp_path / "home" / ".cache" / "harken"


SLOW_PACKING = """
import sys, time
from pathlib import Path
from harken.corpus import decode, pack as packing
from harken.corpus.table import read_corpus

load = decode.load_clip
def slow(path, rate):
    time.sleep(0.02)
    print(Path(path).stem, flush=True)
    return load(path, rate)

decode.load_clip, packing._BLOCK, packing._INDEX_INTERVAL_S = slow, 4, 0
packed = packing.pack(read_corpus([sys.argv[1]]).clips, sample_rate=8000, samples=100, cache=Path(sys.argv[2]))
print("packed", int(packed.lengths.sum()), sum(int(shard.sum(dtype=int)) for shard in packed.shards))
"""


def start_packing(clips, cache):
    corpus = clips[0].path.parents[1]
    command = [sys.executable, "-c", SLOW_PACKING, str(corpus), str(cache)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def test_two_processes_at_once_build_one_pack(clips, cache):
    both = [start_packing(clips, cache) for _ in range(2)]
    outputs = [process.communicate(timeout=300) for process in both]
    assert [process.returncode for process in both] == [0, 0], outputs
    lines = [line for out, _ in outputs for line in out.splitlines()]
    assert sorted(line for line in lines if not line.startswith("packed")) == [f"{number:02}" for number in range(20)]
    total = sum(100 * 100 * number for number in range(20))
    assert [line for line in lines if line.startswith("packed")] == [f"packed 2000 {total}"] * 2
    assert len(packs(cache)) == 1


def test_a_killed_process_leaves_rows_for_the_next_one(clips, cache, decoded):
    process = start_packing(clips, cache)
    for line in process.stdout:
        if line.strip() == "10":
            process.kill()
            break
    process.communicate()
    packed = pack(clips, sample_rate=RATE, samples=100, cache=cache)
    assert min(decoded) == "08"
    assert len(decoded) == 12
    assert rows(packed)[:, 99].tolist() == [100 * number for number in range(20)]


@pytest.fixture
def several_processes(monkeypatch):
    """Use two processes for twenty clips already."""
    monkeypatch.setattr(packing, "_BLOCK", 4)
    monkeypatch.setattr(packing, "_CLIPS_PER_PROCESS", 10)
    monkeypatch.setattr(os, "cpu_count", lambda: 2)


def test_several_processes_write_the_same_as_one(clips, cache, monkeypatch, several_processes, decoded):
    clips[9].path.write_bytes(b"not audio")
    packed = pack(clips, sample_rate=RATE, samples=100, cache=cache / "two")
    assert len(decoded) < 20  # not all of them here
    decoded.clear()
    with monkeypatch.context() as patch:
        patch.setattr(packing, "_CLIPS_PER_PROCESS", 1000)
        alone = pack(clips, sample_rate=RATE, samples=100, cache=cache / "one")
    assert len(decoded) == 20
    np.testing.assert_array_equal(rows(packed), rows(alone))
    np.testing.assert_array_equal(packed.lengths, alone.lengths)
    assert packed.unreadable == alone.unreadable
    assert packs(cache / "one")[0].name == packs(cache / "two")[0].name


def test_an_ended_process_is_reported_and_its_work_repeated(clips, cache, monkeypatch, several_processes, capfd):
    class Dying(decode.Decoders):
        def write(self, blocks, here):
            results = super().write(blocks, here)
            yield next(results)
            for process in self._processes:
                process.kill()
                process.wait()
            yield from results

    for clip in clips[4:]:  # slow enough not to be done before
        soundfile.write(clip.path, np.zeros(2_000_000, np.int16), 48_000)
    with monkeypatch.context() as patch:
        patch.setattr(packing, "Decoders", Dying)
        with pytest.raises(HarkenError, match=r"^a process that decodes clips was ended: run the command again"):
            pack(clips, sample_rate=RATE, samples=100, cache=cache)
    assert packs(cache)[0].suffix == ".partial"
    packed = pack(clips, sample_rate=RATE, samples=100, cache=cache)
    assert np.count_nonzero(packed.lengths) == 20
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize(("both", "kept"), [(False, 8_538), (True, 14_642)])
def test_the_tutorials_clips_of_the_real_corpus(speech_commands, request, both, kept, tmp_path):
    folders = [speech_commands, *([request.getfixturevalue("speech_commands_more")] if both else [])]
    clips = read_corpus(folders).of_words(TEN_WORDS).clips
    began = time.process_time()
    packed = pack(clips, sample_rate=8_000, samples=8_000, cache=tmp_path)
    print(f"{len(clips):,} clips packed in {time.process_time() - began:.0f} s of CPU")
    assert packed.unreadable == ()
    assert np.count_nonzero(packed.lengths == 8_000) == kept
    assert packed.lengths.max() <= 8_000
    assert Path(packed.shards[0].filename).stat().st_size > 8_000 * 2 * kept
