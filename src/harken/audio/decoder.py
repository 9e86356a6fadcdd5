"""Decode audio files with libsndfile, block by block, and without libmpg123's messages.

Decoder          a file that is read from start to end
may_be_mp3       check whether libsndfile may pass a file to libmpg123
libsndfile_path  a path as soundfile can open it
"""

import os
import re
import tempfile
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, nullcontext, suppress
from typing import IO

import numpy as np
import soundfile
from numpy.typing import NDArray

_MP3_IN_WAV = b"\x55\x00"
_LIBMPG123_NOTE = re.compile(rb"(Note|Warning): |\[src/libmpg123/|\s*$")
_mp3_lock = threading.Lock()


class Decoder(soundfile.SoundFile):  # type: ignore[misc]
    """A file that libsndfile reads from start to end, block by block.

    soundfile normally seeks to its current position after each block, which breaks two formats. libmpg123 loses the data
    that the next frame of an MP3 borrows from earlier frames. A FLAC that does not state its length has no end to seek to.
    """

    def __init__(self, file: str | bytes | os.PathLike[str] | IO[bytes], *, mp3: bool) -> None:
        self._filter_stderr = _suppress_libmpg123_notes if mp3 else nullcontext
        with self._filter_stderr():
            super().__init__(file)

    def seekable(self) -> bool:
        return False

    def read_block(self, frames: int) -> NDArray[np.float32]:
        """Return the next samples [frames, channels]; fewer at the end."""
        with self._filter_stderr():
            block: NDArray[np.float32] = self.read(frames, dtype="float32", always_2d=True)
        return block


def may_be_mp3(raw: IO[bytes]) -> bool:
    """Return whether libsndfile may pass a file to libmpg123, as it does with every format it does not know."""
    raw.seek(0)
    head = raw.read(22)
    raw.seek(0)
    if head[:4] in (b"RIFF", b"RF64"):
        return head[12:16] != b"fmt " or head[20:22] == _MP3_IN_WAV
    return head[:4] not in (b"fLaC", b"OggS")


@contextmanager
def _suppress_libmpg123_notes() -> Iterator[None]:
    """Remove libmpg123's messages from standard error. They do not say which file they are about.

    The file descriptor is redirected for all threads, so only one MP3 is decoded at a time. What other threads write in
    the meantime is written to standard error at the end.
    """
    with _mp3_lock, ExitStack() as cleanup:
        with suppress(OSError):  # no standard error, or no folder for temporary files
            captured = cleanup.enter_context(tempfile.TemporaryFile(buffering=0))
            saved_stderr = os.dup(2)
            cleanup.callback(_restore_stderr, saved_stderr, captured)
            os.dup2(captured.fileno(), 2)
        yield


def _restore_stderr(saved_stderr: int, captured: IO[bytes]) -> None:
    os.dup2(saved_stderr, 2)
    os.close(saved_stderr)
    captured.seek(0)
    for line in captured.read().splitlines(keepends=True):
        if not _LIBMPG123_NOTE.match(line):
            os.write(2, line)


def libsndfile_path(path: str | os.PathLike[str]) -> str | bytes:
    """Return a path as soundfile can open it. It cannot encode names that are not text."""
    return os.fspath(path) if os.name == "nt" else os.fsencode(path)
