"""Check whether an audio file is as long as its header says. libsndfile reads a file that is cut short without an error.

is_complete        compare a file with its header
STREAMED_WAV_SIZE  smallest size that stands for an unknown one in the header of a WAV
"""

import logging
import math
import os
import re
from typing import IO

import soundfile

STREAMED_WAV_SIZE = 0x7FFF_0000  # a program that writes WAV to a pipe does not know the size, and states this or more
_log = logging.getLogger(__name__)
_missing_noted = False
_TOLERATED_S = 0.01  # some recorders state a few samples more than they write
_OGG_END_OF_STREAM = 0x04
_OGG_MAX_PAGE_BYTES = 65_307
_MP3_FRAME = 1152  # samples
# A line of libsndfile's log with a size in the header and the actual size, of WAV, RF64, AIFF, AU or W64. Other lines can
# contain any text: that of comments in the file.
_SIZE_LINE = re.compile(
    r"\s*(data|Riff size|SSND|Data Size|riff)\s*:\s*(0x[0-9A-Fa-f]+|[0-9]+) \(should be (0x[0-9A-Fa-f]+|[0-9]+)\)\s*"
)
_SAMPLE_BYTES = {"PCM_U8": 1, "PCM_S8": 1, "PCM_16": 2, "PCM_24": 3, "PCM_32": 4, "FLOAT": 4, "DOUBLE": 8}


def is_complete(file: soundfile.SoundFile, raw: IO[bytes], name: str, samples: int) -> bool:
    """Return whether a file is as long as its header says.

    Parameters
    ----------
    file
        The file, read to its end.
    raw
        The same file, open for reading in binary mode. Its position is changed.
    name
        Name of the file in messages.
    samples
        Number of samples that were read, of each channel.
    """
    if file.format in ("WAV", "WAVEX", "RF64", "AIFF", "AU", "W64"):
        read_bytes = samples * file.channels * _SAMPLE_BYTES.get(file.subtype, 0)
        missing_s = _missing_seconds(file.extra_info, samples / file.samplerate, read_bytes)
        if 0 < missing_s <= _TOLERATED_S:
            _note_missing(name, missing_s)
        return missing_s <= _TOLERATED_S
    if file.format == "OGG":
        return _ogg_is_complete(raw)
    if file.format == "MP3" and _mp3_states_length(raw):
        # Some encoders also count the frame that states the length.
        return bool(samples >= file.frames - _MP3_FRAME)
    return True


def _note_missing(name: str, missing_s: float) -> None:
    """Log that a file is a little shorter than its header states. Only the first one is a warning: a corpus has thousands."""
    global _missing_noted
    level = logging.DEBUG if _missing_noted else logging.WARNING
    _missing_noted = True
    _log.log(level, "%s is %.1f ms shorter than its header states: read to its end", name, 1000 * missing_s)


def _missing_seconds(libsndfile_log: str, seconds: float, read_bytes: int) -> float:
    """Return how much of a file is missing by its header, in seconds. `seconds` and at least `read_bytes` are there."""
    # Example of a line: `data : 32000 (should be 15978)`, the size in the header and the actual size. Only RF64 and W64 log
    # the size of the whole file. In a WAV, a wrong size of the whole file is common and harmless.
    for line in libsndfile_log.splitlines():
        if found := _SIZE_LINE.fullmatch(line):
            # For RF64, a wrong data size is logged in hexadecimal.
            stated_size, actual_size = int(found[2], 0), int(found[3], 0)
            # A comment can also be such a line, with an actual size that is too small.
            if read_bytes <= actual_size < stated_size < STREAMED_WAV_SIZE:
                return seconds * (stated_size - actual_size) / actual_size if actual_size else math.inf
    return 0.0


def _ogg_is_complete(raw: IO[bytes]) -> bool:
    """Return whether the last page is complete and marked as the end of the stream."""
    raw.seek(max(0, raw.seek(0, os.SEEK_END) - _OGG_MAX_PAGE_BYTES))
    tail = raw.read()
    start = tail.rfind(b"OggS")
    page = tail[start:]
    if start < 0 or len(page) < 27:
        return False
    segments = page[26]
    return bool(page[5] & _OGG_END_OF_STREAM) and len(page) >= 27 + segments + sum(page[27 : 27 + segments])


def _mp3_states_length(raw: IO[bytes]) -> bool:
    """Return whether the first frame states the number of frames. Without it, decoders guess the length by the bit rate."""
    raw.seek(0)
    header = raw.read(10)
    start = 0
    if header.startswith(b"ID3"):
        for seven_bits in header[6:10]:
            start = start << 7 | seven_bits
        start += 10
    raw.seek(start)
    first = raw.read(64)  # the tag is 13 to 38 bytes into the frame
    return b"Xing" in first or b"Info" in first
