"""The packed corpus: every clip once decoded, resampled and laid into memory-mapped int16 shards.

pack          clips -> PackedClips, from the cache where the same content was packed before
PackedClips   rows of int16 samples, and each row's length

A pack is a folder named after the content of its clips: `shard-0.npy`, `shard-1.npy`, … (rows x samples, at most 2 GB
each), `lengths.npy`, `digests.npy` and `index.json`. It is built in a folder `….partial`, named after how the clips' files
look, under a file lock, and renamed when whole, so that a second run waits for the first, and a run after an
interruption goes on where it stopped.
"""

import hashlib
import json
import os
import shutil
import threading
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import Any

import numpy as np
from filelock import FileLock
from numpy.typing import NDArray

from harken.cache import default_cache
from harken.corpus.decode import DIGEST_BYTES, Block, Decoders, PackForm, RowWriter, Unreadable, content_digest
from harken.corpus.table import Clip, Clips
from harken.corpus.walk import Row, joined, looks, row_of
from harken.errors import HarkenError
from harken.files import replacing
from harken.progress import progress

_FORMAT = 2  # raise it when packed samples change, so that old packs are not read
_SHARD_BYTES = 2_000_000_000
_BLOCK = 64  # clips that a process decodes at a time: few, so that none waits long for the last
_NOTED_EVERY = 0.2  # seconds: how far the work has come
_SYNCED_EVERY = 0.2  # seconds
_CLIPS_PER_PROCESS = 500  # under half a second of work: no more than starting a process takes


@dataclass(frozen=True)
class PackedClips:
    """Clips as rows of int16 samples.

    shards : memory maps, each [rows, samples]; row r of the whole is row r - sum(rows of earlier shards).
    lengths : [rows] samples of each clip at `sample_rate` before it was padded or cut; 0 where it could not be read.
    unreadable : (row, reason) of the clips that could not be read; their rows are silent.
    """

    shards: tuple[NDArray[np.int16], ...]
    lengths: NDArray[np.int32]
    sample_rate: int
    unreadable: tuple[tuple[int, str], ...]

    def __len__(self) -> int:
        return len(self.lengths)

    @property
    def samples(self) -> int:
        """Samples a row."""
        return int(self.shards[0].shape[1])


def pack(clips: Sequence[Clip], *, sample_rate: int, samples: int, cache: Path | None = None) -> PackedClips:
    """Pack clips at `sample_rate` Hz into rows of `samples`: shorter ones padded with zeros at the end, longer ones cut.

    Clips that cannot be read are noted, not fatal, unless none can. Raises HarkenError when no clip can be read or the
    cache cannot be written.
    """
    if not clips:
        raise HarkenError("there is no clip to pack: choose a corpus that holds some")
    cache = cache or default_cache()
    try:
        cache.mkdir(parents=True, exist_ok=True)
        return _pack(clips, sample_rate, samples, cache)
    except OSError as error:
        raise HarkenError(
            f"cannot write the cache {cache}: {error.strerror}; set HARKEN_CACHE to a folder that can be"
        ) from error


def _pack(clips: Sequence[Clip], sample_rate: int, samples: int, cache: Path) -> PackedClips:
    form = f"{_FORMAT} {sample_rate} {samples}"
    # Files that look untouched are not read again: a note under their names, sizes and times leads to the pack.
    look = _hash_of_looks(form, clips)
    note = cache / f"{look}.link"
    if (packed := _noted(note)) is not None:
        return packed
    with FileLock(cache / f"{look}.lock"):
        if (packed := _noted(note)) is not None:  # another run has built it while this one waited
            return packed
        folder = _packed_elsewhere(form, clips, sample_rate, samples, cache)
        folder = folder or _build(cache / f"{look}.partial", form, clips, sample_rate, samples)
        if not _of_missing(folder):
            with replacing(note) as temporary:
                temporary.write_text(folder.name)
    return _open(folder)


def _of_missing(folder: Path) -> bool:
    """Whether nothing could be read of some file: another time it may, though it looks the same, on a network's disk, say."""
    unreadable = [row for row, _ in json.loads((folder / "index.json").read_text())["unreadable"]]
    nothing = np.frombuffer(content_digest(os.devnull), np.uint8)
    return bool((np.load(folder / "digests.npy")[unreadable] == nothing).all(axis=1).any())


def _noted(note: Path) -> PackedClips | None:
    folder = note.parent / note.read_text() if note.is_file() else note
    return _opened(folder)


def _opened(folder: Path) -> PackedClips | None:
    """Open a folder that is a pack. One that somebody has cleared a part of is removed, to be built again."""
    if not folder.is_dir():
        return None
    try:
        return _open(folder)
    except (OSError, ValueError, KeyError):
        shutil.rmtree(folder, ignore_errors=True)
        return None


def _packed_elsewhere(form: str, clips: Sequence[Clip], sample_rate: int, samples: int, cache: Path) -> Path | None:
    """Return the pack of the same content under other names or times. Only a pack of as many clips is a reason to look."""
    alike = any(
        _form_of(index) == [len(clips), sample_rate, samples]
        for index in cache.glob("*/index.json")
        if not index.parent.suffix
    )
    if not alike:
        return None
    folder = cache / _hash_of_content(form, [content_digest(clip.path) for clip in clips])
    return folder if _opened(folder) is not None else None


def _form_of(index: Path) -> object:
    with suppress(OSError, ValueError):
        return json.loads(index.read_text()).get("form")
    return None


def _open(folder: Path) -> PackedClips:
    index = json.loads((folder / "index.json").read_text())
    shards = tuple(np.load(folder / name, mmap_mode="r") for name in index["shards"])
    return PackedClips(
        shards=shards,
        lengths=np.load(folder / "lengths.npy"),
        sample_rate=index["sample_rate"],
        unreadable=tuple((row, reason) for row, reason in index["unreadable"]),
    )


def _build(partial: Path, form: str, clips: Sequence[Clip], sample_rate: int, samples: int) -> Path:
    """Build a pack in the folder `partial`, or go on with it, and return the folder that it was renamed to."""
    partial.mkdir(exist_ok=True)
    rows_per_shard = max(_BLOCK, _SHARD_BYTES // (2 * samples) // _BLOCK * _BLOCK)
    starts = range(0, len(clips), rows_per_shard)
    for i, start in enumerate(starts):
        _make(partial / f"shard-{i}.npy", (min(rows_per_shard, len(clips) - start), samples), np.int16)
    _make(partial / "lengths.npy", (len(clips),), np.int32)
    _make(partial / "digests.npy", (len(clips), DIGEST_BYTES), np.uint8)
    index = partial / "index.json"
    state: dict[str, Any] = {
        "shards": [f"shard-{i}.npy" for i in range(len(starts))],
        "sample_rate": sample_rate,
        "form": [len(clips), sample_rate, samples],
        "unreadable": [],
        "done": 0,
    }
    if index.is_file():
        state = json.loads(index.read_text())
    places = PackForm(str(partial), len(starts), rows_per_shard, samples, sample_rate)
    paths = clips.paths if isinstance(clips, Clips) else [str(clip.path) for clip in clips]
    blocks = [Block(start, tuple(paths[start : start + _BLOCK])) for start in range(state["done"], len(clips), _BLOCK)]
    early: dict[int, tuple[Block, Unreadable]] = {}  # done before an earlier one is
    noted = time.monotonic()
    with RowWriter(places) as writer:
        try:
            with _writing(places, writer, blocks) as written:
                for block, unreadable in progress(written, "packing", total=len(blocks)):
                    early[block.first] = (block, unreadable)
                    while state["done"] in early:
                        block, unreadable = early.pop(state["done"])
                        state["unreadable"] += unreadable
                        state["done"] += len(block.paths)
                    if time.monotonic() - noted >= _NOTED_EVERY:
                        writer.sync()  # what is noted as done must be so after a power cut too
                        _note(index, state)
                        noted = time.monotonic()
        finally:
            writer.sync()
            _note(index, state)
    if len(state["unreadable"]) == len(clips):
        shutil.rmtree(partial)  # another day, or another libsndfile, may read them
        raise HarkenError(f"none of {len(clips)} clips can be read; the first: {state['unreadable'][0][1]}")
    folder = partial.parent / _hash_of_content(form, [np.load(partial / "digests.npy").tobytes()])
    if folder.is_dir():  # a run on copies of the same clips was quicker
        shutil.rmtree(partial)
    else:
        partial.rename(folder)
    return folder


def _note(index: Path, state: dict[str, Any]) -> None:
    with replacing(index) as temporary:
        temporary.write_text(json.dumps(state))


@contextmanager
def _writing(
    places: PackForm, writer: RowWriter, blocks: Sequence[Block]
) -> Iterator[Iterable[tuple[Block, Unreadable]]]:
    """Give the blocks as they are written: by processes where there are enough clips to be worth starting them."""
    processes = min(os.cpu_count() or 1, sum(len(block.paths) for block in blocks) // _CLIPS_PER_PROCESS)
    if processes < 2:
        yield ((block, writer.write(block)) for block in blocks)
    else:
        with Decoders(places, processes - 1) as decoders, _syncing(writer):
            yield decoders.write(blocks, writer)


@contextmanager
def _syncing(writer: RowWriter) -> Iterator[None]:
    """Bring to disk what is written while more of it is, so that little is left to wait for at the end."""
    ended = threading.Event()

    def sync() -> None:
        while not ended.wait(_SYNCED_EVERY):
            writer.sync()

    thread = threading.Thread(target=sync)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()


def _make(path: Path, shape: tuple[int, ...], dtype: type[np.generic]) -> None:
    """Make an array of zeros on disk, unless it is there."""
    if path.is_file():
        return
    with replacing(path) as temporary:
        np.lib.format.open_memmap(temporary, mode="w+", dtype=dtype, shape=shape)
        if hasattr(os, "posix_fallocate"):  # on a full disk fail here, rather than be killed at some later write
            with temporary.open("r+b") as file:
                os.posix_fallocate(file.fileno(), 0, temporary.stat().st_size)


# A clip that cannot be read has a place in both hashes: it is noted when its turn comes to be decoded.


def _hash_of_looks(form: str, clips: Sequence[Clip]) -> str:
    if isinstance(clips, Clips):  # looked at when they were listed
        return joined(form, clips.looks)
    return joined(form, (looks(map(_row, group)) for _, group in groupby(clips, lambda clip: clip.word)))


def _row(clip: Clip) -> Row:
    return row_of(*os.path.split(clip.path.absolute()))


def _hash_of_content(form: str, digests: Sequence[bytes]) -> str:
    return hashlib.blake2b(form.encode() + b"".join(digests), digest_size=DIGEST_BYTES).hexdigest()
