"""Read plain WAV files without libsndfile, which takes longer to open one than to read a second of speech.

read_wav    return an open file's int16 samples and sample rate, or None if libsndfile has to read it

A plain WAV file is what nearly every recorder writes: 16-bit PCM, one `fmt ` chunk of 16 bytes, then a `data` chunk that
ends with the file and has the length that it states.
"""

import struct
from typing import IO

import numpy as np
from numpy.typing import NDArray

_HEADER = struct.Struct("<4sI4s4sIHHIIHH4sI")
_PCM = 1


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
    content = file.read(data_bytes)
    if len(content) != data_bytes or file.read(1):
        return None
    flat: NDArray[np.int16] = np.frombuffer(content, "<i2").astype(np.int16, copy=False)
    return (flat if channels == 1 else flat.reshape(-1, channels)), rate
