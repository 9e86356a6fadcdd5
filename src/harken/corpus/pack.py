"""Decode and resample clips once, and store them as memory-mapped int16 shards (a pack).

pack           clips -> PackedClips, from the cache if the same clips were packed before
PackedClips    rows of int16 samples, and the length of each row

A pack is a folder in the cache, named after the content of its clips. It contains `shard-0.npy`, `shard-1.npy`, … (rows x
samples, at most 2 GB each), `lengths.npy`, `digests.npy` and `index.json`. It is built in a folder `….partial`, named after
the fingerprint of the files, and renamed when it is complete. A file lock makes a second run wait for the first. A run after
an interruption continues where that one stopped.
"""

import hashlib
import json
import os
import re
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
from harken.corpus.decode import DIGEST_BYTES, Block, Decoders, PackLayout, RowWriter, Unreadable, content_digest
from harken.corpus.table import Clip, Clips
from harken.corpus.walk import FileRow, combine_digests, file_row, fingerprint
from harken.errors import HarkenError
from harken.files import replacing
from harken.progress import progress

_FORMAT = 2  # increase it when packed samples change, so that old packs are not used
_SHARD_BYTES = 2_000_000_000
_BLOCK = 64  # clips that a process decodes at a time; few, so that the last block does not take long
_INDEX_INTERVAL_S = 0.2  # time between two updates of the index
_SYNC_INTERVAL_S = 0.2
_PACK_NAME = re.compile(rf"[0-9a-f]{{{2 * DIGEST_BYTES}}}")
_CLIPS_PER_PROCESS = 500  # with fewer clips, starting a process takes longer than the work


@dataclass(frozen=True)
class PackedClips:
    """Clips as rows of int16 samples.

    Attributes
    ----------
    shards
        Memory maps, [rows, samples] each. The rows are numbered over all shards.
    lengths
        Samples of each clip before it was padded or cut, [rows]. 0 for a clip that could not be read.
    sample_rate
        In Hz.
    unreadable
        (row, reason) for each clip that could not be read. These rows are silent.
    """

    shards: tuple[NDArray[np.int16], ...]
    lengths: NDArray[np.int32]
    sample_rate: int
    unreadable: tuple[tuple[int, str], ...]

    def __len__(self) -> int:
        return len(self.lengths)

    @property
    def samples(self) -> int:
        """Number of samples in a row."""
        return int(self.shards[0].shape[1])


def pack(
    clips: Sequence[Clip], *, sample_rate: int, samples: int, centered: bool = False, cache: Path | None = None
) -> PackedClips:
    """Pack clips into rows of the same length. Shorter clips are padded with zeros at the end, longer ones are cut.

    Clips that cannot be read are listed in the result.

    Parameters
    ----------
    clips
        Clips to pack.
    sample_rate
        Sample rate of the rows, in Hz.
    samples
        Samples in a row.
    centered
        Place clips in the middle of their rows, and cut longer ones around their loudest part.
    cache
        Folder for packs. Default: harken's cache folder.

    Raises
    ------
    HarkenError
        If no clip can be read, or the cache cannot be written.
    """
    if not clips:
        raise HarkenError("no clips to pack: choose a corpus that contains some")
    cache = cache or default_cache()
    try:
        cache.mkdir(parents=True, exist_ok=True)
        return _pack(clips, sample_rate, samples, centered, cache)
    except OSError as error:
        raise HarkenError(
            f"cannot write to the cache {cache}: {error.strerror}; set HARKEN_CACHE to a writable folder"
        ) from error


def _pack(clips: Sequence[Clip], sample_rate: int, samples: int, centered: bool, cache: Path) -> PackedClips:
    settings = f"{_FORMAT} {sample_rate} {samples}{' centered' * centered}"
    # Unchanged files are not read again: a link, named after the fingerprint of the files, leads to the pack.
    name = _fingerprint_of(settings, clips)
    link = cache / f"{name}.link"
    if (packed := _follow(link)) is not None:
        return packed
    with FileLock(cache / f"{name}.lock"):
        if (packed := _follow(link)) is not None:  # another run has built the pack while this one waited
            return packed
        folder = _find_same_content(settings, clips, sample_rate, samples, cache)
        folder = folder or _build(cache / f"{name}.partial", settings, clips, sample_rate, samples, centered)
        if not _has_missing_files(folder):
            with replacing(link) as temporary:
                temporary.write_text(folder.name)
    return _open(folder)


def _has_missing_files(folder: Path) -> bool:
    """Return whether some file had no readable content at all. Another time it may, for example on a network disk."""
    unreadable = [row for row, _ in json.loads((folder / "index.json").read_text())["unreadable"]]
    nothing = np.frombuffer(content_digest(os.devnull), np.uint8)
    return bool((np.load(folder / "digests.npy")[unreadable] == nothing).all(axis=1).any())


def _follow(link: Path) -> PackedClips | None:
    """Open the pack that a link leads to, if there is one."""
    if not link.is_file():
        return None
    # After a power failure, the link may be empty, which would stand for the whole cache.
    name = link.read_text(errors="replace")
    return _open_if_complete(link.parent / name) if _PACK_NAME.fullmatch(name) else None


def _open_if_complete(folder: Path) -> PackedClips | None:
    """Open a pack. If files of it are missing, remove it, so that it is built again."""
    if not folder.is_dir():
        return None
    try:
        return _open(folder)
    except (OSError, ValueError, KeyError):
        shutil.rmtree(folder, ignore_errors=True)
        return None


def _find_same_content(
    settings: str, clips: Sequence[Clip], sample_rate: int, samples: int, cache: Path
) -> Path | None:
    """Return a pack of files with the same content but other names or times.

    Their content is only read if there is a pack with the same number of clips.
    """
    same_shape = any(
        _shape_of(index) == [len(clips), sample_rate, samples]
        for index in cache.glob("*/index.json")
        if not index.parent.suffix
    )
    if not same_shape:
        return None
    folder = cache / _hash_of_content(settings, [content_digest(clip.path) for clip in clips])
    return folder if _open_if_complete(folder) is not None else None


def _shape_of(index: Path) -> object:
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


def _build(partial: Path, settings: str, clips: Sequence[Clip], sample_rate: int, samples: int, centered: bool) -> Path:
    """Build a pack in the folder `partial`, or continue building it. Return its final folder."""
    partial.mkdir(exist_ok=True)
    rows_per_shard = max(_BLOCK, _SHARD_BYTES // (2 * samples) // _BLOCK * _BLOCK)
    starts = range(0, len(clips), rows_per_shard)
    for i, start in enumerate(starts):
        _create_array(partial / f"shard-{i}.npy", (min(rows_per_shard, len(clips) - start), samples), np.int16)
    _create_array(partial / "lengths.npy", (len(clips),), np.int32)
    _create_array(partial / "digests.npy", (len(clips), DIGEST_BYTES), np.uint8)
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
    layout = PackLayout(str(partial), len(starts), rows_per_shard, samples, sample_rate, centered)
    paths = clips.paths if isinstance(clips, Clips) else [str(clip.path) for clip in clips]
    blocks = [Block(start, tuple(paths[start : start + _BLOCK])) for start in range(state["done"], len(clips), _BLOCK)]
    early: dict[int, tuple[Block, Unreadable]] = {}  # blocks written before an earlier one
    updated = time.monotonic()
    with RowWriter(layout) as writer:
        try:
            with _write_blocks(layout, writer, blocks) as written:
                for block, unreadable in progress(written, "packing", total=len(blocks)):
                    early[block.first] = (block, unreadable)
                    while state["done"] in early:
                        block, unreadable = early.pop(state["done"])
                        state["unreadable"] += unreadable
                        state["done"] += len(block.paths)
                    if time.monotonic() - updated >= _INDEX_INTERVAL_S:
                        writer.sync()  # rows that the index counts as done must survive a power failure
                        _write_index(index, state)
                        updated = time.monotonic()
        finally:
            writer.sync()
            _write_index(index, state)
    if len(state["unreadable"]) == len(clips):
        shutil.rmtree(partial)  # a later run, or another libsndfile, may be able to read them
        raise HarkenError(f"none of the {len(clips)} clips can be read; the first: {state['unreadable'][0][1]}")
    folder = partial.parent / _hash_of_content(settings, [np.load(partial / "digests.npy").tobytes()])
    if folder.is_dir():  # another run has packed copies of the same clips in the meantime
        shutil.rmtree(partial)
    else:
        partial.rename(folder)
    return folder


def _write_index(index: Path, state: dict[str, Any]) -> None:
    with replacing(index) as temporary:
        temporary.write_text(json.dumps(state))


@contextmanager
def _write_blocks(
    layout: PackLayout, writer: RowWriter, blocks: Sequence[Block]
) -> Iterator[Iterable[tuple[Block, Unreadable]]]:
    """Yield an iterator over the written blocks. If there are many clips, several processes write them."""
    processes = min(os.cpu_count() or 1, sum(len(block.paths) for block in blocks) // _CLIPS_PER_PROCESS)
    if processes < 2:
        yield ((block, writer.write(block)) for block in blocks)
    else:
        with Decoders(layout, processes - 1) as decoders, _sync_in_background(writer):
            yield decoders.write(blocks, writer)


@contextmanager
def _sync_in_background(writer: RowWriter) -> Iterator[None]:
    """Flush written rows to disk while others are written, so that little is left to flush at the end."""
    ended = threading.Event()

    def sync() -> None:
        while not ended.wait(_SYNC_INTERVAL_S):
            writer.sync()

    thread = threading.Thread(target=sync)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()


def _create_array(path: Path, shape: tuple[int, ...], dtype: type[np.generic]) -> None:
    """Create an array of zeros on disk, unless it exists."""
    if path.is_file():
        return
    with replacing(path) as temporary:
        np.lib.format.open_memmap(temporary, mode="w+", dtype=dtype, shape=shape)
        if hasattr(os, "posix_fallocate"):  # so that a full disk fails here and does not kill a later write
            with temporary.open("r+b") as file:
                os.posix_fallocate(file.fileno(), 0, temporary.stat().st_size)


# Both hashes include clips that cannot be read. Those are reported when they are decoded.


def _fingerprint_of(settings: str, clips: Sequence[Clip]) -> str:
    if isinstance(clips, Clips):  # known since the files were listed
        return combine_digests(settings, clips.fingerprints)
    groups = groupby(clips, lambda clip: clip.word)
    return combine_digests(settings, (fingerprint(map(_file_row, group)) for _, group in groups))


def _file_row(clip: Clip) -> FileRow:
    return file_row(*os.path.split(clip.path.absolute()))


def _hash_of_content(settings: str, digests: Sequence[bytes]) -> str:
    return hashlib.blake2b(settings.encode() + b"".join(digests), digest_size=DIGEST_BYTES).hexdigest()
