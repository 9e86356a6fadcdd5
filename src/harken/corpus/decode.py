"""Clips into rows of int16: decoded, resampled, padded or cut, and written into the shards of a pack.

RowWriter   writes blocks of clips, in this process
Decoders    several processes that do, block after block, beside this one

Threads would not do: much of a clip's half millisecond is spent in Python, where only one thread runs at a time. The
processes are programs of their own (`python -m harken.corpus.decode`) that import no more than reading clips takes; what
`multiprocessing` starts would import the caller's script again, and that would have to be written for it.
"""

import hashlib
import json
import os
import queue
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from harken.audio.clip import ReadFile, load_clip, to_int16
from harken.errors import HarkenError

DIGEST_BYTES = 16


@dataclass(frozen=True)
class PackForm:
    """Where a pack is built, and what its rows are: `rows_per_shard` of `samples` each at `sample_rate` Hz."""

    folder: str
    shards: int
    rows_per_shard: int
    samples: int
    sample_rate: int


@dataclass(frozen=True)
class Block:
    """Clips for the rows from `first` on."""

    first: int
    paths: tuple[str, ...]


Unreadable = list[tuple[int, str]]  # rows whose clips could not be read, and why


class _ArrayFile:
    """An array on disk, `.npy`, whose rows are written by their place.

    Through its file, not a memory map: there each new page costs a fault, ten times the time.
    """

    def __init__(self, path: Path) -> None:
        array = np.lib.format.open_memmap(path, mode="r")
        self._start = array.offset
        self._row_bytes = array.nbytes // len(array)
        self._file = path.open("r+b")

    def write(self, first: int, rows: NDArray[Any]) -> None:
        self._file.seek(self._start + first * self._row_bytes)
        self._file.write(rows.tobytes())
        self._file.flush()

    def sync(self) -> None:
        os.fsync(self._file.fileno())

    def close(self) -> None:
        self._file.close()


class RowWriter:
    """Writes clips into the files of a pack: `shard-N.npy`, `lengths.npy` and `digests.npy`, which exist already.

    To be used in a `with` statement, at whose end its files are closed.
    """

    def __init__(self, form: PackForm) -> None:
        self.form = form
        folder = Path(form.folder)
        self._shards = [_ArrayFile(folder / f"shard-{number}.npy") for number in range(form.shards)]
        self._lengths = _ArrayFile(folder / "lengths.npy")
        self._digests = _ArrayFile(folder / "digests.npy")

    def __enter__(self) -> "RowWriter":
        return self

    def __exit__(self, *_: object) -> None:
        for file in self._files:
            file.close()

    @property
    def _files(self) -> tuple[_ArrayFile, ...]:
        return (*self._shards, self._lengths, self._digests)

    def write(self, block: Block) -> Unreadable:
        """Write a block's rows, lengths and digests of content; a clip that cannot be read leaves a silent row."""
        rows = np.zeros((len(block.paths), self.form.samples), np.int16)
        lengths = np.zeros(len(block.paths), np.int32)
        digests = np.zeros((len(block.paths), DIGEST_BYTES), np.uint8)
        unreadable = []
        for place, path in enumerate(block.paths):
            content = _content(path)
            digests[place] = np.frombuffer(_digest(content), np.uint8)
            try:
                clip = load_clip(ReadFile(path, content), self.form.sample_rate)
            except HarkenError as error:
                unreadable.append((block.first + place, str(error)))
                continue
            except OSError:  # the disk's fault, not the clip's
                raise
            except Exception as error:  # a fault of a decoder costs its clip, not the pack
                unreadable.append((block.first + place, f"{path} cannot be decoded ({error}): convert it to WAV"))
                continue
            kept = clip[: self.form.samples]
            rows[place, : kept.size] = to_int16(kept)
            lengths[place] = clip.size
        shard, start = divmod(block.first, self.form.rows_per_shard)
        self._shards[shard].write(start, rows)
        self._lengths.write(block.first, lengths)
        self._digests.write(block.first, digests)
        return unreadable

    def sync(self) -> None:
        """Bring to disk what was written, by this process and by others."""
        for file in self._files:
            file.sync()


def content_digest(path: str | Path) -> bytes:
    """Return the BLAKE2b digest of a file's bytes; of one that cannot be read, that of none."""
    return _digest(_content(path))


def _content(path: str | Path) -> bytes:
    try:
        with open(path, "rb") as file:  # noqa: PTH123 - ten thousand times: a Path costs more than the hash
            return file.read()
    except OSError:
        return b""


def _digest(content: bytes) -> bytes:
    return hashlib.blake2b(content, digest_size=DIGEST_BYTES).digest()


class Decoders:
    """Processes that write blocks of clips; to be used in a `with` statement, at whose end none is left."""

    def __init__(self, form: PackForm, count: int) -> None:
        command = [sys.executable, "-m", "harken.corpus.decode", json.dumps(asdict(form))]
        # The child finds harken where this process found it, installed or not.
        root = str(Path(__file__).parents[2])
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, [root, os.environ.get("PYTHONPATH")]))}
        self._processes: list[subprocess.Popen[bytes]] = []
        try:
            for _ in range(count):
                pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.DEVNULL}
                self._processes.append(subprocess.Popen(command, **pipes, env=environment))  # type: ignore[call-overload]
        except OSError:  # of processes or of memory there are no more
            self.__exit__()
            raise

    def __enter__(self) -> "Decoders":
        return self

    def __exit__(self, *_: object) -> None:
        for process in self._processes:
            process.kill()  # what it had half done is done again: only whole blocks are noted
            process.wait()
            for pipe in (process.stdin, process.stdout):
                assert pipe is not None
                with suppress(OSError):  # it had ended before the last block was sent to it
                    pipe.close()

    def write(self, blocks: Sequence[Block], here: RowWriter) -> Iterator[tuple[Block, Unreadable]]:
        """Write blocks and yield each, with what of it could not be read, as it is done: in any order.

        here : writes those that this process takes itself, rather than watch the others start and work.
        Raises HarkenError when a process ends before its time.
        """
        waiting: queue.SimpleQueue[Block] = queue.SimpleQueue()
        for block in blocks[len(self._processes) :]:
            waiting.put(block)
        done: queue.SimpleQueue[tuple[Block, Unreadable | None]] = queue.SimpleQueue()
        for process, block in zip(self._processes, blocks, strict=False):  # so that each gets one
            threading.Thread(target=_feed, args=(process, block, waiting, done), daemon=True).start()
        for _ in blocks:
            block, unreadable = _next(waiting, done, here)
            if unreadable is None:
                raise HarkenError("a process that decodes clips was ended: start again, it goes on where it stopped")
            yield block, unreadable


def _next(
    waiting: "queue.SimpleQueue[Block]", done: "queue.SimpleQueue[tuple[Block, Unreadable | None]]", here: RowWriter
) -> tuple[Block, Unreadable | None]:
    """Return a block that a process has written; if none has, one written here; at the end, wait for one."""
    with suppress(queue.Empty):
        return done.get_nowait()
    try:
        block = waiting.get_nowait()
    except queue.Empty:
        return done.get()
    return block, here.write(block)


def _feed(
    process: "subprocess.Popen[bytes]",
    block: Block,
    waiting: "queue.SimpleQueue[Block]",
    done: "queue.SimpleQueue[tuple[Block, Unreadable | None]]",
) -> None:
    assert process.stdin is not None
    assert process.stdout is not None
    while True:
        try:
            process.stdin.write(json.dumps([block.first, block.paths]).encode() + b"\n")
            process.stdin.flush()
            answer = process.stdout.readline()
            done.put((block, [(row, reason) for row, reason in json.loads(answer)]))
        except (OSError, ValueError):  # a broken pipe, a closed one, or half an answer
            done.put((block, None))
            return
        try:
            block = waiting.get_nowait()
        except queue.Empty:
            return


def _serve(form: PackForm, blocks: Iterator[bytes]) -> None:
    with RowWriter(form) as writer:
        for line in blocks:
            first, paths = json.loads(line)
            sys.stdout.write(json.dumps(writer.write(Block(first, tuple(paths)))) + "\n")
            sys.stdout.flush()


if __name__ == "__main__":
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the whole group; whoever started this one ends it
    _serve(PackForm(**json.loads(sys.argv[1])), iter(sys.stdin.buffer.readline, b""))
