"""Read plain WAV files without libsndfile, and complete the headers of recordings that were cut off.

read_wav          return an open file's int16 samples and sample rate, or None if libsndfile has to read it
complete_header   state the size of the samples in a header that was never completed

libsndfile takes longer to open a WAV file than to read a second of speech.

A plain WAV file is what nearly every recorder writes: 16-bit PCM, one `fmt ` chunk of 16 bytes, then a `data` chunk that
ends with the file and has the length that it states.
"""

import io
import os
import struct
from collections.abc import Mapping
from typing import IO, Any, cast

import numpy as np
from numpy.typing import NDArray

_HEADER = struct.Struct("<4sI4s4sIHHIIHH4sI")
_PCM = 1
_CHUNK = struct.Struct("<4sI")
_RF64_SIZE_BYTES = 16  # sizes of the file and of the samples, at the start of the chunk `ds64`
_MAX_CHUNKS = 1000  # a recording has a few; a crafted file could have a million
_UP_TO_THE_END = struct.pack("<I", 0xFFFF_FFFF)  # a size that libsndfile takes for unknown


def read_wav(file: IO[bytes]) -> tuple[NDArray[np.int16], int] | None:
    """Read a plain 16-bit WAV.

    Parameters
    ----------
    file
        Open binary file at its start.

    Returns
    -------
    tuple of ndarray and int, or None
        The samples, int16 [samples] or [samples, channels], and the sample rate in Hz. None if the file is not a plain,
        complete WAV.
    """
    head = file.read(_HEADER.size)
    if len(head) < _HEADER.size:
        return None
    riff, _, wave, fmt, fmt_bytes, code, channels, rate, _, frame, bits, data, data_bytes = _HEADER.unpack(head)
    if (riff, wave, fmt, fmt_bytes, code, bits, data) != (b"RIFF", b"WAVE", b"fmt ", 16, _PCM, 16, b"data"):
        return None
    if channels == 0 or frame != 2 * channels or data_bytes == 0 or data_bytes % frame:
        return None
    # Not `read(data_bytes)`: it allocates what the header states, and a recorder in a pipe states 2 GB.
    content = file.read()
    if len(content) != data_bytes:
        return None
    flat: NDArray[np.int16] = np.frombuffer(content, "<i2").astype(np.int16, copy=False)
    return (flat if channels == 1 else flat.reshape(-1, channels)), rate


def complete_header(file: IO[bytes]) -> IO[bytes] | None:
    """Return a WAV whose size of the samples is 0, with the size "up to the end". Return None for all other files.

    A recorder writes the size when the recording ends. If it is cut off before, the size stays 0.

    Parameters
    ----------
    file
        Open binary file: of the file system, or in memory. Its position is set to the start.
    """
    size_at = _unwritten_size(file)
    file.seek(0)
    if size_at is None:
        return None
    # In an RF64 file, the sizes are elsewhere, and 0 as well: libsndfile shall not look for them.
    return cast(IO[bytes], _Overlay(file, {0: b"RIFF", size_at: _UP_TO_THE_END}))


class _Overlay(io.RawIOBase):
    """A file in which some bytes read differently, by their place."""

    def __init__(self, file: IO[bytes], patches: Mapping[int, bytes]) -> None:
        self._file = file
        self._patches = patches

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        return self._file.seek(offset, whence)

    def tell(self) -> int:
        return self._file.tell()

    def readinto(self, buffer: Any) -> int:
        start, view = self.tell(), memoryview(buffer).cast("B")
        content = self._file.read(len(view))
        view[: len(content)] = content
        for place, patch in self._patches.items():
            for offset, byte in enumerate(patch, place - start):
                if 0 <= offset < len(content):
                    view[offset] = byte
        return len(content)


def _unwritten_size(file: IO[bytes]) -> int | None:
    """Return the place of a size of the samples that is 0 although samples follow."""
    end = file.seek(0, os.SEEK_END)
    file.seek(0)
    head = file.read(12)
    if len(head) < 12 or head[:4] not in (b"RIFF", b"RF64") or head[8:] != b"WAVE":
        return None
    place, data_bytes = 12, -1
    for _ in range(_MAX_CHUNKS):
        if place + _CHUNK.size > end:
            break
        file.seek(place)
        kind, size = _CHUNK.unpack(file.read(_CHUNK.size))
        if kind == b"ds64":
            data_bytes = int.from_bytes(file.read(_RF64_SIZE_BYTES)[8:], "little")
        place += _CHUNK.size
        if kind == b"data":
            unwritten = size == 0 or (head[:4] == b"RF64" and data_bytes == 0)
            return place - 4 if unwritten and place < end and not _are_chunks(file, place, end) else None
        place += size + size % 2
    return None


def _are_chunks(file: IO[bytes], place: int, end: int) -> bool:
    """Return whether the rest of a file is a sequence of chunks, and not samples. Only the first thousand are checked."""
    for _ in range(_MAX_CHUNKS):
        if place + _CHUNK.size > end:
            return place in (end, end + 1)
        file.seek(place)
        kind, size = _CHUNK.unpack(file.read(_CHUNK.size))
        if not kind.isalnum() and not kind.strip().isalnum():
            return False
        place += _CHUNK.size + size + size % 2
    return True
