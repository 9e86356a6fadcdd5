"""Plain WAV files without libsndfile, which takes longer to open one than to read a second of speech.

read_wav    an open file -> int16 samples and rate, or None: libsndfile is to read it, and to say what is wrong

Plain is the form that nearly every recorder writes: 16-bit PCM, one `fmt ` chunk of 16 bytes, then `data` to the end of
the file, as many bytes as it states.
"""

import struct
from typing import IO

import numpy as np
from numpy.typing import NDArray

_HEADER = struct.Struct("<4sI4s4sIHHIIHH4sI")
_PCM = 1


def read_wav(file: IO[bytes]) -> tuple[NDArray[np.int16], int] | None:
    """Return 16-bit samples ([samples], or [samples, channels] of several) and the rate in Hz. file : at its start."""
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
