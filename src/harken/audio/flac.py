"""Read short FLAC files with dr_flac (the package miniaudio), which takes half of libsndfile's time.

read_flac   return an open file's int16 samples and sample rate, or None if libsndfile has to read it

The samples are the same as libsndfile's. A file that cannot be decoded completely is left to libsndfile, which reports
what is wrong with it. miniaudio is installed with harken[flac]. Without it, libsndfile reads all files.
"""

from functools import cache
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

_MAX_SAMPLES = 1 << 24  # of all channels; dr_flac allocates memory for the length in the header before it reads on
_MAGIC = b"fLaC"
_STREAM_INFO_LENGTH = b"\0\0\x22"  # of the first metadata block; its type is 0, or 0x80 if no other block follows
_HEADER_BYTES = 42  # up to the end of that block


def read_flac(file: IO[bytes]) -> tuple[NDArray[np.int16], int] | None:
    """Read a short 16-bit FLAC.

    Parameters
    ----------
    file
        Open binary file at its start.

    Returns
    -------
    tuple of ndarray and int, or None
        The samples, int16 [samples] or [samples, channels], and the sample rate in Hz. None if the file is not FLAC,
        does not have 16 bits, is too long, does not state its length, is damaged or cut short, or if miniaudio is not
        installed.
    """
    head = file.read(_HEADER_BYTES)
    if not head.startswith(_MAGIC) or len(head) < _HEADER_BYTES or head[4] & 0x7F or head[5:8] != _STREAM_INFO_LENGTH:
        return None
    # 20 bits sample rate, 3 bits channels - 1, 5 bits bits per sample - 1, 36 bits samples per channel: RFC 9639,
    # section 8.2.
    fields = int.from_bytes(head[18:26])
    rate, channels, bits, samples = (
        fields >> 44,
        (fields >> 41 & 7) + 1,
        (fields >> 36 & 31) + 1,
        fields & (1 << 36) - 1,
    )
    if bits != 16 or not 0 < samples * channels <= _MAX_SAMPLES or (miniaudio := _miniaudio()) is None:
        return None
    file.seek(0)
    try:
        decoded = miniaudio.flac_read_s16(file.read())
    except miniaudio.MiniaudioError:
        return None
    if (decoded.num_frames, decoded.nchannels, decoded.sample_rate) != (samples, channels, rate):
        return None  # dr_flac skips damaged frames
    flat: NDArray[np.int16] = np.frombuffer(decoded.samples, np.int16)
    return (flat if channels == 1 else flat.reshape(samples, channels)), rate


@cache
def _miniaudio() -> Any:
    try:
        import miniaudio
    except (ImportError, OSError):  # OSError: its library does not load on this system
        return None
    return miniaudio
