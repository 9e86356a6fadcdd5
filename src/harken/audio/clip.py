"""Read any clip as float32 mono at the sample rate you want.

load_clip       read a file, a file object, or an array as float32 [samples]
open_blocks     read a long file block by block
peak_of         return the highest magnitude of float samples
is_number       check whether a value is a real number
in_16_bits      round float samples to what 16-bit PCM can hold
to_int16        convert float samples to 16-bit PCM
clip_rate       return the sample rate of a file, in Hz
clip_name       return the name of a source for messages
InMemoryFile    a path whose content has already been read
AUDIO_SUFFIXES  file name suffixes that count as audio when a folder is searched
UNREADABLE_SUFFIXES  suffixes of audio that harken cannot read
"""

import io
import os
from collections.abc import Iterator
from contextlib import contextmanager
from numbers import Real
from pathlib import Path
from typing import IO, Any

import numpy as np
import soundfile
import soxr
from numpy.typing import NDArray

from harken.audio.channels import mix_channels
from harken.audio.completeness import is_complete
from harken.audio.decoder import Decoder, libsndfile_path, may_be_mp3
from harken.audio.flac import read_flac
from harken.audio.wav import complete_header, read_wav
from harken.errors import HarkenError

AUDIO_SUFFIXES = frozenset(
    {
        *(".wav", ".flac", ".ogg", ".oga", ".opus", ".mp3"),
        *(".aif", ".aiff", ".aifc", ".au", ".snd", ".caf", ".w64", ".rf64"),
    }
)
UNREADABLE_SUFFIXES = frozenset(
    {
        ".m4a",
        ".m4b",
        ".mp4",
        ".aac",
        ".wma",
        ".amr",
        ".awb",
        ".3gp",
        ".webm",
        ".weba",
        ".mka",
        ".ac3",
        ".ape",
        ".wv",
        ".ra",
    }
)
MIN_SAMPLE_RATE = 4_000
MAX_SAMPLE_RATE = 192_000
MAX_AMPLITUDE = 100.0
"""Highest magnitude of a float sample, where full scale is 1.0.

It is above the peak of any real mix, and below that of 16-bit values that were converted to floats without scaling.
"""

AudioSource = str | os.PathLike[str] | IO[bytes] | NDArray[Any]
"""What `load_clip` accepts: a path, an open binary file, or an array [samples] or [samples, channels]."""


class InMemoryFile(os.PathLike[str]):
    """A path whose content has already been read, so that `load_clip` does not read the file again.

    Parameters
    ----------
    path
        Path of the file, used in messages.
    content
        Bytes of the whole file.
    """

    def __init__(self, path: str, content: bytes) -> None:
        self.path = path
        self.content = content

    def __fspath__(self) -> str:
        return self.path

    def __str__(self) -> str:
        return self.path


PCM_TYPES = "pass floats, int16 or int32 PCM, or 8-bit PCM as uint8"
# Samples of all channels. A header can state any length, and the memory is allocated before the samples are read.
_MAX_BLOCK_SAMPLES = 1 << 24
LENGTH_UNKNOWN = 1 << 62  # libsndfile reports at least this length for a FLAC that was written to a pipe


def load_clip(
    source: AudioSource, sample_rate: int, *, source_rate: int | None = None, channel: int | None = None
) -> NDArray[np.float32]:
    """Read a clip as float32 mono at a sample rate.

    Channels are averaged, except for those that do not agree with the first (see `harken.audio.channels`).
    The clip is resampled with soxr's high quality setting (band-limited). The result has ceil(samples * ratio) samples, as in
    librosa, except where the product in librosa has a rounding error.

    Integer arrays are read as full-scale PCM of their width. Float samples may exceed full scale, up to 100. An open file
    is read from its current position to its end, and is not closed. A WAV whose header states no samples, because its
    recorder was cut off, is read to its end.

    Parameters
    ----------
    source
        Path or open binary file of a WAV (8, 16, 24, 32 bits, float), FLAC, OGG or MP3. Or an array [samples] or
        [samples, channels].
    sample_rate
        Sample rate of the result in Hz, 4,000 to 192,000.
    source_rate
        Sample rate of an array in Hz. Required for an array, and not allowed for a file, which contains its own.
    channel
        Number of the only channel to use, from 1.

    Returns
    -------
    ndarray of float32
        The clip [samples]. Full scale is 1.0.

    Raises
    ------
    HarkenError
        If the source is missing, a folder, empty, damaged, cut short, or not audio. If it contains NaN, infinity, or
        samples above 100. If a sample rate is missing or out of range. Some files can be cut short without an error:
        a WAV that lacks at most 10 ms, an MP3 whose first frame does not state its length, and a FLAC that was written
        to a pipe.
    """
    name = clip_name(source)
    _check_rate(sample_rate, "the requested sample rate")
    if not isinstance(source, np.ndarray | str | os.PathLike) and not hasattr(source, "read"):
        # A list of numbers does not say what its full scale is.
        raise HarkenError(
            f"{name} is not a clip: pass a path, an open binary file, or an array, for example numpy.float32(samples)"
        )
    if isinstance(source, np.ndarray):
        if source_rate is None:
            raise HarkenError(f"{name} has no sample rate: pass source_rate=, in Hz")
        samples, rate = _from_array(source, name), source_rate
    else:
        if source_rate is not None:
            raise HarkenError(f"{name}: a file contains its own sample rate: remove source_rate")
        samples, rate = _from_file(source, name)
    _check_rate(rate, f"{name}: the sample rate")
    if samples.size == 0:
        raise HarkenError(f"{name} contains no samples: record it again")
    mono = _one_channel(samples, channel, name)
    if rate == sample_rate:
        return np.ascontiguousarray(mono)
    length = -(-mono.size * int(sample_rate) // int(rate))  # int(): a 32-bit numpy integer would overflow
    resampled = soxr.resample(mono, rate, sample_rate)
    if resampled.size < length:
        resampled = np.pad(resampled, (0, length - resampled.size))
    return np.ascontiguousarray(resampled[:length], dtype=np.float32)


def _one_channel(samples: NDArray[np.float32], channel: int | None, name: str) -> NDArray[np.float32]:
    channels = 1 if samples.ndim == 1 else samples.shape[1]
    check_channel(channel, channels, name)
    if samples.ndim == 1:
        return samples
    if channel is not None or channels == 1:
        return samples[:, (channel or 1) - 1]
    return mix_channels(samples)


def check_channel(channel: int | None, channels: int, name: str) -> None:
    """Raise an error if a recording with this number of channels does not have the channel."""
    if channel is not None and not 1 <= channel <= channels:
        has = "one channel" if channels == 1 else f"{channels} channels"
        raise HarkenError(f"{name} has {has}, so there is no channel {channel}: choose 1 to {channels}")


def in_16_bits(waveform: NDArray[np.floating[Any]]) -> NDArray[np.float32]:
    """Return float samples rounded and clipped to what 16-bit PCM can hold."""
    return to_int16(waveform).astype(np.float32) / np.float32(32768.0)


def to_int16(waveform: NDArray[np.floating[Any]]) -> NDArray[np.int16]:
    """Convert float samples to 16-bit PCM.

    Samples are rounded. Samples beyond full scale (1.0) are clipped.
    """
    scaled = waveform * np.float32(32768.0)
    np.rint(scaled, out=scaled)
    return np.clip(scaled, -32768, 32767, out=scaled).astype(np.int16)


def clip_name(source: AudioSource) -> str:
    """Return the name of a source for messages: the path, a file object's name, or "array"."""
    if isinstance(source, np.ndarray):
        return "array"
    if isinstance(source, str | os.PathLike):
        return str(source)
    return str(getattr(source, "name", "audio stream" if hasattr(source, "read") else type(source).__name__))


def clip_rate(path: str | Path) -> int:
    """Return the sample rate of a file in Hz.

    Raises
    ------
    HarkenError
        If the file cannot be read.
    """
    name = str(path)
    with _open_raw(path, name) as raw, _open_decoder(raw, path, name) as file:
        return int(file.samplerate)


@contextmanager
def open_blocks(path: str | Path, seconds: float) -> Iterator[tuple[int, Iterator[NDArray[np.float32]]]]:
    """Open a file and read it block by block.

    Parameters
    ----------
    path
        File of any format that `load_clip` reads.
    seconds
        Length of a block. The last block can be shorter.

    Yields
    ------
    tuple of int and iterator
        The sample rate in Hz, and an iterator over the blocks, float32 [samples, channels].

    Raises
    ------
    HarkenError
        In the same cases as `load_clip`. Errors inside the file are raised when the reading reaches them. A file that is
        cut short is an error after its last block.
    """
    name = str(path)
    with _open_raw(path, name) as raw, _open_decoder(raw, path, name) as file:
        _check_rate(file.samplerate, f"{name}: the sample rate")
        yield int(file.samplerate), _blocks(file, raw, name, round(seconds * file.samplerate))


def peak_of(samples: NDArray[np.floating[Any]]) -> float:
    """Return the highest magnitude of samples: NaN if any sample is NaN, and 0 for an empty array."""
    return max(float(samples.max(initial=0.0)), -float(samples.min(initial=0.0)))


def is_number(value: object) -> bool:
    """Return whether a value is a real number, a Python or a NumPy one."""
    return isinstance(value, Real)


def _from_array(array: NDArray[Any], name: str) -> NDArray[np.float32]:
    if array.ndim not in (1, 2):
        raise HarkenError(f"{name} has {array.ndim} dimensions: pass [samples] or [samples, channels]")
    if array.ndim == 2 and 0 < array.shape[0] < array.shape[1]:
        raise HarkenError(f"{name} has more channels than samples, {array.shape}: transpose it to [samples, channels]")
    if array.dtype.kind == "f":
        _check_amplitude(array, name)
    if (samples := from_pcm(array)) is None:
        raise HarkenError(f"{name} has the type {array.dtype}: {PCM_TYPES}")
    return samples


def from_pcm(array: NDArray[Any]) -> NDArray[np.float32] | None:
    """Convert floats, PCM of 8 to 32 bits in signed integers, or 8-bit PCM in uint8 to float32. Full scale is 1.0.

    Return None for other types. int64 is one of them: no recording has it, but NumPy makes it of Python's integers, and 16-bit
    samples would then be silence.
    """
    if array.dtype.kind == "f":
        return array.astype(np.float32, copy=False)
    if array.dtype == np.int16:
        return array.astype(np.float32) / np.float32(32768.0)
    if array.dtype.kind == "i" and array.dtype.itemsize <= 4:
        return (array / -float(np.iinfo(array.dtype).min)).astype(np.float32)
    if array.dtype == np.uint8:  # 8-bit PCM is unsigned: 128 is zero
        return (array.astype(np.float32) - 128.0) / 128.0
    return None


def _from_file(source: str | os.PathLike[str] | IO[bytes], name: str) -> tuple[NDArray[np.float32], int]:
    with _open_raw(source, name) as raw:
        path = os.fspath(source) if isinstance(source, str | os.PathLike) else None
        # An open file can be an upload. Untrusted bytes are left to libsndfile, which is tested against malicious files.
        if path is not None and (plain := _read_plain(raw)) is not None:
            return plain[0].astype(np.float32) / np.float32(32768.0), plain[1]
        with _open_decoder(raw, None if isinstance(source, InMemoryFile) else path, name) as file:
            # Ask for one sample more than the file has, so that the first block is also the last.
            blocks = list(_blocks(file, raw, name, min(file.frames + 1, _MAX_BLOCK_SAMPLES // file.channels)))
            samples = blocks[0] if len(blocks) == 1 else np.concatenate(blocks)
            return samples[:, 0] if file.channels == 1 else samples, file.samplerate


def _open_decoder(raw: IO[bytes], path: str | os.PathLike[str] | None, name: str) -> Decoder:
    try:
        if (completed := complete_header(raw)) is not None:
            return Decoder(completed, mp3=False)
        # libsndfile opens a path itself, which is faster than reading through Python.
        return Decoder(raw if path is None else libsndfile_path(path), mp3=may_be_mp3(raw))
    except (soundfile.LibsndfileError, TypeError) as error:  # TypeError: the file name stands for a headerless format
        raise _not_audio(name) from error


def _blocks(file: Decoder, raw: IO[bytes], name: str, frames: int) -> Iterator[NDArray[np.float32]]:
    """Yield all samples in blocks [frames, channels], and raise an error if the file ends too early."""
    samples_read = 0
    while True:
        try:
            block = file.read_block(frames)
        except soundfile.LibsndfileError as error:
            where = f" after {samples_read / file.samplerate:.1f} s" if samples_read else ""
            raise HarkenError(f"{name} is damaged or cut short{where}: copy it again") from error
        samples_read += len(block)
        if len(block):
            yield _check_amplitude(block, name)
        if len(block) < frames:
            break
    if not is_complete(file, raw, name, samples_read):
        raise HarkenError(f"{name} is cut short: copy or record it again")
    if samples_read < file.frames < LENGTH_UNKNOWN and file.format != "MP3":
        raise HarkenError(
            f"{name} is damaged: its header states {file.frames:,} samples, but it contains {samples_read:,}; copy it again"
        )
    if not samples_read:
        raise HarkenError(f"{name} contains no samples: record it again")


def _check_amplitude(samples: NDArray[Any], name: str) -> NDArray[Any]:
    peak = peak_of(samples)
    if peak <= MAX_AMPLITUDE:
        return samples
    if not np.isfinite(peak):
        raise HarkenError(f"{name} contains NaN or infinite samples: export it again from its source")
    raise HarkenError(f"{name} contains a sample of {peak:.3g}: floats must be within ±1; divide int16 by 32768")


def _read_plain(raw: IO[bytes]) -> tuple[NDArray[np.int16], int] | None:
    """Read a plain 16-bit WAV or FLAC without libsndfile, which is faster. Return None for any other file."""
    if (samples := read_wav(raw)) is None:
        raw.seek(0)
        samples = read_flac(raw)
    return samples


def _open_raw(source: str | os.PathLike[str] | IO[bytes], name: str) -> IO[bytes]:
    """Open a path, or read a file object into memory. Raise an error if it is empty."""
    if not isinstance(source, str | os.PathLike):
        content = source.read()
        if not isinstance(content, bytes):
            raise HarkenError(f"{name} is not a binary file: open it in binary mode, or pass a path or an array")
        if not content:
            raise HarkenError(f"{name} is empty or was read to its end: seek to its start, or record it again")
        return io.BytesIO(content)
    if isinstance(source, InMemoryFile) and source.content:
        return io.BytesIO(source.content)
    path = Path(source)
    try:
        if path.is_dir():
            raise HarkenError(f"{name} is a folder: name an audio file")
        raw = path.open("rb")
    except FileNotFoundError as error:
        raise HarkenError(f"{name} does not exist: check the path") from error
    except ValueError as error:
        raise HarkenError(f"{name!r} is not a path: remove the NUL character") from error
    except OSError as error:
        raise HarkenError(f"{name} cannot be opened: {error.strerror}; check the path and its permissions") from error
    if os.fstat(raw.fileno()).st_size == 0:
        raw.close()
        raise HarkenError(f"{name} is empty: copy or record it again")
    return raw


def _check_rate(rate: int, what: str) -> None:
    if not is_number(rate) or not MIN_SAMPLE_RATE <= rate <= MAX_SAMPLE_RATE or rate != int(rate):
        raise HarkenError(
            f"{what} is {rate!r} Hz: it must be a whole number from {MIN_SAMPLE_RATE} to {MAX_SAMPLE_RATE} Hz"
        )


def _not_audio(name: str) -> HarkenError:
    if (suffix := Path(name).suffix.lower()) in UNREADABLE_SUFFIXES:
        return HarkenError(
            f"{name}: harken cannot read {suffix}; convert it, for example with ffmpeg -i {name} clip.wav"
        )
    return HarkenError(
        f"{name} is not a readable audio file (damaged, cut short, or not WAV, FLAC, OGG or MP3): "
        "copy it again, or convert it to WAV"
    )
