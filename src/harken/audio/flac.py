"""Short FLAC files by dr_flac (the package miniaudio), which takes half of libsndfile's time for the same samples.

read_flac   an open file -> int16 samples and rate, or None: libsndfile is to read it, and to say what is wrong

Only what is decoded whole is taken. miniaudio comes with harken[flac]; without it every file is left to libsndfile.
"""

from functools import cache
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

_LONGEST = 1 << 24  # samples of all channels; dr_flac takes memory for what the header states before it reads on
_START = b"fLaC"
_STREAM_INFO = b"\0\0\x22"  # the length of the first block, whose type is 0, and 0x80 where no other follows
_HEADER = 42  # bytes, to the end of that block


def read_flac(file: IO[bytes]) -> tuple[NDArray[np.int16], int] | None:
    """Return 16-bit samples ([samples], or [samples, channels] of several) and the rate in Hz.

    file : at its start. None where it is no FLAC, has other than 16 bits, is long, does not state its length, is
    damaged or cut short, or miniaudio is not installed.
    """
    head = file.read(_HEADER)
    if not head.startswith(_START) or len(head) < _HEADER or head[4] & 0x7F or head[5:8] != _STREAM_INFO:
        return None
    # 20 bits of rate, 3 of channels - 1, 5 of bits a sample - 1, 36 of samples a channel: RFC 9639, section 8.2.
    fields = int.from_bytes(head[18:26])
    rate, channels, bits, samples = (
        fields >> 44,
        (fields >> 41 & 7) + 1,
        (fields >> 36 & 31) + 1,
        fields & (1 << 36) - 1,
    )
    if bits != 16 or not 0 < samples * channels <= _LONGEST or (miniaudio := _miniaudio()) is None:
        return None
    file.seek(0)
    try:
        decoded = miniaudio.flac_read_s16(file.read())
    except miniaudio.MiniaudioError:
        return None
    if (decoded.num_frames, decoded.nchannels, decoded.sample_rate) != (samples, channels, rate):
        return None  # dr_flac leaves out a frame that is damaged
    flat: NDArray[np.int16] = np.frombuffer(decoded.samples, np.int16)
    return (flat if channels == 1 else flat.reshape(samples, channels)), rate


@cache
def _miniaudio() -> Any:
    try:
        import miniaudio
    except (ImportError, OSError):  # OSError: a system on which its library does not load
        return None
    return miniaudio
