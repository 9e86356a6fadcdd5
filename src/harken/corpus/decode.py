"""Decode clips into rows of int16 samples: resampled, padded or cut, and written into the shards of a pack.

PackLayout        the shape and the folder of a pack
Block             some clips and their place in the pack
RowWriter         write blocks of clips in this process
Decoders          write blocks of clips in several processes as well
loud_start        where to cut a long clip
content_digest    the digest of a file's content

Processes are used instead of threads, because much of a clip's half millisecond is spent in Python, where only one thread
runs at a time. Each process runs `python -m harken.corpus.decode` and imports only what reading clips needs. A process
started by `multiprocessing` would also import the caller's script, which would have to be prepared for that.
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

from harken.audio.clip import InMemoryFile, load_clip, to_int16
from harken.errors import HarkenError

DIGEST_BYTES = 16
_OUTER_ENERGY = 0.05  # share of a clip's energy before its loud part, and after it


@dataclass(frozen=True)
class PackLayout:
    """The folder of a pack in the making, and its shape.

    Attributes
    ----------
    folder
        Where its files are.
    shards
        Number of shards.
    rows_per_shard
        Number of rows in a shard; the last one can have fewer.
    samples
        Samples in a row.
    sample_rate
        In Hz.
    centered
        Whether a clip is placed in the middle of its row, and a longer one is cut around its loudest part. Otherwise it is
        placed at the start of its row, and its end is cut off.
    """

    folder: str
    shards: int
    rows_per_shard: int
    samples: int
    sample_rate: int
    centered: bool = False


@dataclass(frozen=True)
class Block:
    """The paths of the clips for the rows from `first` on."""

    first: int
    paths: tuple[str, ...]


Unreadable = list[tuple[int, str]]  # rows of clips that could not be read, each with the reason


class _ArrayFile:
    """An array on disk (`.npy`) whose rows can be written.

    It is written as a file. In a memory map each new page would cause a page fault, which takes ten times as long.
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
    """Write clips into the files of a pack: `shard-N.npy`, `lengths.npy` and `digests.npy`, which must exist.

    Use it in a `with` statement, which closes the files at its end.
    """

    def __init__(self, layout: PackLayout) -> None:
        self.layout = layout
        folder = Path(layout.folder)
        self._shards = [_ArrayFile(folder / f"shard-{number}.npy") for number in range(layout.shards)]
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
        """Write the rows, lengths and content digests of a block.

        Returns
        -------
        list of (int, str)
            Rows of clips that could not be read, each with the reason. These rows are silent.
        """
        rows = np.zeros((len(block.paths), self.layout.samples), np.int16)
        lengths = np.zeros(len(block.paths), np.int32)
        digests = np.zeros((len(block.paths), DIGEST_BYTES), np.uint8)
        unreadable = []
        for number, path in enumerate(block.paths):
            content = _read_content(path)
            digests[number] = np.frombuffer(_digest(content), np.uint8)
            try:
                clip = load_clip(InMemoryFile(path, content), self.layout.sample_rate)
            except HarkenError as error:
                unreadable.append((block.first + number, str(error)))
                continue
            except OSError:  # a fault of the disk and not of the clip
                raise
            except Exception as error:  # a failure of a decoder concerns only its clip
                unreadable.append((block.first + number, f"{path} cannot be decoded ({error}): convert it to WAV"))
                continue
            first = loud_start(clip, self.layout.samples) if self.layout.centered else 0
            kept = clip[first : first + self.layout.samples]
            place = (self.layout.samples - kept.size) // 2 if self.layout.centered else 0
            rows[number, place : place + kept.size] = to_int16(kept)
            lengths[number] = clip.size
        shard, start = divmod(block.first, self.layout.rows_per_shard)
        self._shards[shard].write(start, rows)
        self._lengths.write(block.first, lengths)
        self._digests.write(block.first, digests)
        return unreadable

    def sync(self) -> None:
        """Flush to disk what this and other processes have written."""
        for file in self._files:
            file.sync()


def loud_start(clip: NDArray[np.float32], samples: int) -> int:
    """Return where to cut `samples` from a clip, so that the middle of its energy is in the middle of them.

    The middle is halfway between the moments at which 5 % and 95 % of the energy have passed.
    """
    if clip.size <= samples:
        return 0
    energy = np.cumsum(np.square(clip, dtype=np.float64))
    start, end = np.searchsorted(energy, (_OUTER_ENERGY * energy[-1], (1 - _OUTER_ENERGY) * energy[-1]))
    return int(np.clip((start + end - samples) // 2, 0, clip.size - samples))


def content_digest(path: str | Path) -> bytes:
    """Return the BLAKE2b digest of a file's content, or the digest of no bytes if it cannot be read."""
    return _digest(_read_content(path))


def _read_content(path: str | Path) -> bytes:
    try:
        with open(path, "rb") as file:  # noqa: PTH123 - creating a Path takes longer than the hash
            return file.read()
    except OSError:
        return b""


def _digest(content: bytes) -> bytes:
    return hashlib.blake2b(content, digest_size=DIGEST_BYTES).digest()


class Decoders:
    """Processes that write blocks of clips. Use it in a `with` statement, which ends them.

    Parameters
    ----------
    layout
        The pack to write to.
    count
        Number of processes to start.
    """

    def __init__(self, layout: PackLayout, count: int) -> None:
        command = [sys.executable, "-m", "harken.corpus.decode", json.dumps(asdict(layout))]
        # The child processes find harken in the same place as this one, whether it is installed or not.
        root = str(Path(__file__).parents[2])
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, [root, os.environ.get("PYTHONPATH")]))}
        self._processes: list[subprocess.Popen[bytes]] = []
        try:
            for _ in range(count):
                pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.DEVNULL}
                self._processes.append(subprocess.Popen(command, **pipes, env=environment))  # type: ignore[call-overload]
        except OSError:  # no more processes or memory
            self.__exit__()
            raise

    def __enter__(self) -> "Decoders":
        return self

    def __exit__(self, *_: object) -> None:
        for process in self._processes:
            process.kill()  # an unfinished block is written again by the next run, since only whole blocks are recorded
            process.wait()
            for pipe in (process.stdin, process.stdout):
                assert pipe is not None
                with suppress(OSError):  # it ended before the last block was sent
                    pipe.close()

    def write(self, blocks: Sequence[Block], own_writer: RowWriter) -> Iterator[tuple[Block, Unreadable]]:
        """Write blocks. Yield each as soon as it is written, in any order, with its clips that could not be read.

        Parameters
        ----------
        blocks
            Blocks to write.
        own_writer
            Writes the blocks that this process takes itself while the others work.

        Raises
        ------
        HarkenError
            If a process ends early.
        """
        waiting: queue.SimpleQueue[Block] = queue.SimpleQueue()
        for block in blocks[len(self._processes) :]:
            waiting.put(block)
        done: queue.SimpleQueue[tuple[Block, Unreadable | None]] = queue.SimpleQueue()
        for process, block in zip(self._processes, blocks, strict=False):  # each process gets one block first
            threading.Thread(target=_feed, args=(process, block, waiting, done), daemon=True).start()
        for _ in blocks:
            block, unreadable = _next_written(waiting, done, own_writer)
            if unreadable is None:
                raise HarkenError(
                    "a process that decodes clips was ended: run the command again, and it continues where it stopped"
                )
            yield block, unreadable


def _next_written(
    waiting: "queue.SimpleQueue[Block]",
    done: "queue.SimpleQueue[tuple[Block, Unreadable | None]]",
    own_writer: RowWriter,
) -> tuple[Block, Unreadable | None]:
    """Return a block that a process has written. If there is none, write a waiting block here, or wait if none is left."""
    with suppress(queue.Empty):
        return done.get_nowait()
    try:
        block = waiting.get_nowait()
    except queue.Empty:
        return done.get()
    return block, own_writer.write(block)


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
        except (OSError, ValueError):  # a broken pipe, a closed pipe, or an incomplete answer
            done.put((block, None))
            return
        try:
            block = waiting.get_nowait()
        except queue.Empty:
            return


def _serve(layout: PackLayout, blocks: Iterator[bytes]) -> None:
    with RowWriter(layout) as writer:
        for line in blocks:
            first, paths = json.loads(line)
            sys.stdout.write(json.dumps(writer.write(Block(first, tuple(paths)))) + "\n")
            sys.stdout.flush()


if __name__ == "__main__":
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the whole group; the parent process ends this one
    _serve(PackLayout(**json.loads(sys.argv[1])), iter(sys.stdin.buffer.readline, b""))
