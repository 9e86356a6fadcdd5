"""Any clip in, float32 mono at a wanted rate out.

load_clip       a file, a file object, or an array with its rate -> float32 [samples]
to_int16        float samples -> 16-bit PCM
clip_rate       the sample rate a file was recorded at, in Hz
clip_name       how messages call a source
ReadFile        a path whose bytes are at hand
AUDIO_SUFFIXES  the file endings that a folder is searched for
"""

import io
import os
from pathlib import Path
from typing import IO, Any

import numpy as np
import soundfile
import soxr
from numpy.typing import NDArray

from harken.errors import HarkenError
from harken.flac import read_flac
from harken.wav import read_wav

AUDIO_SUFFIXES = frozenset({".wav", ".flac", ".ogg", ".opus", ".mp3"})
LOWEST_RATE = 4_000
HIGHEST_RATE = 192_000

AudioSource = str | os.PathLike[str] | IO[bytes] | NDArray[Any]
"""What load_clip takes: a path, an open binary file, or an array [samples] or [samples, channels]."""


class ReadFile(os.PathLike[str]):
    """A path whose bytes have been read, for whoever wants them for more than the samples."""

    def __init__(self, path: str, content: bytes) -> None:
        self.path = path
        self.content = content

    def __fspath__(self) -> str:
        return self.path

    def __str__(self) -> str:
        return self.path


STREAMED_WAV = 0x7FFF_0000  # programs that write WAV into a pipe state this size or more, since they do not know it
_OGG_END_OF_STREAM = 0x04
_OGG_LONGEST_PAGE = 65_307
_MP3_FRAME = 1152  # samples


def load_clip(source: AudioSource, sample_rate: int, *, source_rate: int | None = None) -> NDArray[np.float32]:
    """Read a clip as float32 mono at `sample_rate` Hz; full scale is 1.0.

    Channels are averaged. Resampling is soxr's high quality (band-limited); the result has ceil(samples * ratio)
    samples, as librosa's has wherever its floating-point product is exact. Integer arrays are taken as full-scale PCM
    of their width. An open file is read from where it stands to its end, and left open.

    Parameters
    ----------
    source : WAV (8, 16, 24, 32 bits, float), FLAC, OGG or MP3 by path or as an open binary file, or an array
        [samples] or [samples, channels].
    sample_rate : the wanted rate in Hz, 4,000 to 192,000.
    source_rate : the rate of an array in Hz. Required for an array and refused for a file, which states its own.

    Raises
    ------
    HarkenError : the source is missing, a folder, empty, cut short, not audio, or holds NaN or infinity; or a rate
        is missing or out of range. An MP3 whose first frame does not state its length may be cut short unnoticed.
    """
    name = clip_name(source)
    _check_rate(sample_rate, "the wanted sample rate")
    if isinstance(source, np.ndarray):
        if source_rate is None:
            raise HarkenError(f"{name}: an array does not say its sample rate: pass source_rate=, in Hz")
        samples, rate = _from_array(source, name), source_rate
    else:
        if source_rate is not None:
            raise HarkenError(f"{name}: a file states its own sample rate: leave source_rate out")
        samples, rate = _from_file(source, name)
    _check_rate(rate, f"{name}: the sample rate")
    if samples.size == 0:
        raise HarkenError(f"{name} holds no samples: record it again")
    mono = samples if samples.ndim == 1 else samples.mean(axis=1, dtype=np.float32)
    if rate == sample_rate:
        return np.ascontiguousarray(mono)
    wanted = -(-mono.size * int(sample_rate) // int(rate))  # a numpy integer of 32 bits would overflow
    resampled = soxr.resample(mono, rate, sample_rate)
    if resampled.size < wanted:
        resampled = np.pad(resampled, (0, wanted - resampled.size))
    return np.ascontiguousarray(resampled[:wanted], dtype=np.float32)


def to_int16(waveform: NDArray[np.float32]) -> NDArray[np.int16]:
    """Return float samples, full scale 1.0, as 16-bit PCM, rounded; what is beyond full scale is clipped."""
    scaled = waveform * np.float32(32768.0)
    np.rint(scaled, out=scaled)
    return np.clip(scaled, -32768, 32767, out=scaled).astype(np.int16)


def clip_name(source: AudioSource) -> str:
    """Return how messages call a source: the path, a file object's name, or "array"."""
    if isinstance(source, np.ndarray):
        return "array"
    if isinstance(source, str | os.PathLike):
        return str(source)
    return str(getattr(source, "name", "audio stream"))


def clip_rate(path: str | Path) -> int:
    """Return the sample rate, in Hz, that a file was recorded at. Raises HarkenError when it cannot be read."""
    name = str(path)
    with _opened(path, name):
        try:
            return int(soundfile.info(path).samplerate)
        except (soundfile.LibsndfileError, TypeError) as error:
            raise _not_audio(name) from error


def _from_array(array: NDArray[Any], name: str) -> NDArray[np.float32]:
    if array.ndim not in (1, 2):
        raise HarkenError(f"{name} has {array.ndim} dimensions: pass [samples] or [samples, channels]")
    if array.ndim == 2 and 0 < array.shape[0] < array.shape[1]:
        raise HarkenError(f"{name} has more channels than samples, {array.shape}: pass [samples, channels], transposed")
    if array.dtype.kind == "f":
        return _finite(array.astype(np.float32, copy=False), name)
    if array.dtype.kind == "i":
        return (array / -float(np.iinfo(array.dtype).min)).astype(np.float32)
    if array.dtype == np.uint8:  # 8-bit PCM is unsigned, with 128 as zero
        return (array.astype(np.float32) - 128.0) / 128.0
    raise HarkenError(f"{name} is of type {array.dtype}: pass floats, signed integers or 8-bit PCM")


def _from_file(source: str | os.PathLike[str] | IO[bytes], name: str) -> tuple[NDArray[np.float32], int]:
    with _opened(source, name) as raw:
        path = os.fspath(source) if isinstance(source, str | os.PathLike) else None
        # An open file may be an upload: strangers' bytes are left to libsndfile, which is tested against malice.
        if path is not None and (quick := _read_quickly(raw)) is not None:
            return quick[0].astype(np.float32) / np.float32(32768.0), quick[1]
        try:
            # libsndfile reads a path itself, which is faster than through Python.
            with soundfile.SoundFile(raw if path is None else path) as file:
                samples = file.read(dtype="float32")
                if not _is_complete(file, raw, len(samples)):
                    raise HarkenError(f"{name} is cut short: copy or record it again")
                return _finite(samples, name), file.samplerate
        except (soundfile.LibsndfileError, TypeError) as error:
            raise _not_audio(name) from error


def _finite(samples: NDArray[np.float32], name: str) -> NDArray[np.float32]:
    if not np.isfinite(samples).all():
        raise HarkenError(f"{name} holds NaN or infinite samples: export it again from its source")
    return samples


def _read_quickly(raw: IO[bytes]) -> tuple[NDArray[np.int16], int] | None:
    """Read the two forms that corpora come in without libsndfile; None for any other, and for what is not whole."""
    if (samples := read_wav(raw)) is None:
        raw.seek(0)
        samples = read_flac(raw)
    return samples


def _opened(source: str | os.PathLike[str] | IO[bytes], name: str) -> IO[bytes]:
    """Open a path, or take what a file object holds into memory; refuse what holds nothing."""
    if not isinstance(source, str | os.PathLike):
        content = source.read() if hasattr(source, "read") else None
        if not isinstance(content, bytes):
            raise HarkenError(f"{name} is no binary file: open it in binary mode, or pass a path or an array")
        if not content:
            raise HarkenError(f"{name} is empty or read to its end: go back to its start, or record it again")
        return io.BytesIO(content)
    if isinstance(source, ReadFile) and source.content:
        return io.BytesIO(source.content)
    path = Path(source)
    try:
        if path.is_dir():
            raise HarkenError(f"{name} is a folder: name an audio file")
        raw = path.open("rb")
    except FileNotFoundError as error:
        raise HarkenError(f"{name} does not exist: check the path") from error
    except OSError as error:
        raise HarkenError(f"{name} cannot be opened: {error.strerror}; check the path and its permissions") from error
    if os.fstat(raw.fileno()).st_size == 0:
        raw.close()
        raise HarkenError(f"{name} is empty: copy or record it again")
    return raw


def _is_complete(file: soundfile.SoundFile, raw: IO[bytes], samples: int) -> bool:
    """Whether a file reaches as far as its header says; libsndfile itself reads one that is cut short in silence."""
    if file.format in ("WAV", "WAVEX", "RF64"):
        return _wav_is_complete(file.extra_info)
    if file.format == "OGG":
        return _ogg_is_complete(raw)
    if file.format == "MP3" and _mp3_states_length(raw):
        # Some encoders count the frame that states the length as well.
        return bool(samples >= file.frames - _MP3_FRAME)
    return True


def _wav_is_complete(libsndfile_log: str) -> bool:
    # Such as `data : 32000 (should be 15978)`: what the header states, and what there is. Only RF64 logs the whole
    # file; a wrong size of a whole WAV is common and harmless.
    for line in libsndfile_log.splitlines():
        stated, differs, held = line.partition("(should be")
        if differs and stated.strip().startswith(("data", "Riff size")):
            size = int(stated.split(":")[1])
            if int(held.strip(" )")) < size < STREAMED_WAV:
                return False
    return True


def _ogg_is_complete(raw: IO[bytes]) -> bool:
    """Whether the last page is whole and marked as the end of the stream."""
    raw.seek(max(0, raw.seek(0, os.SEEK_END) - _OGG_LONGEST_PAGE))
    tail = raw.read()
    start = tail.rfind(b"OggS")
    page = tail[start:]
    if start < 0 or len(page) < 27:
        return False
    segments = page[26]
    return bool(page[5] & _OGG_END_OF_STREAM) and len(page) >= 27 + segments + sum(page[27 : 27 + segments])


def _mp3_states_length(raw: IO[bytes]) -> bool:
    """Whether the first frame holds the number of frames; without it a decoder guesses the length from the bit rate."""
    raw.seek(0)
    header = raw.read(10)
    start = 0
    if header.startswith(b"ID3"):
        for seven_bits in header[6:10]:
            start = start << 7 | seven_bits
        start += 10
    raw.seek(start)
    first = raw.read(64)  # the tag lies 13 to 38 bytes into the frame
    return b"Xing" in first or b"Info" in first


def _check_rate(rate: int, what: str) -> None:
    if not LOWEST_RATE <= rate <= HIGHEST_RATE or rate != int(rate):
        raise HarkenError(f"{what} is {rate} Hz: harken takes whole numbers from {LOWEST_RATE} to {HIGHEST_RATE} Hz")


def _not_audio(name: str) -> HarkenError:
    return HarkenError(
        f"{name} is not audio that can be read (damaged, cut short, or no WAV, FLAC, OGG or MP3): "
        "copy it again, or convert it to WAV"
    )
