"""Any clip in, float32 mono at a wanted rate out.

load_clip       a file, a file object, or an array with its rate -> float32 [samples]
open_blocks     a file too long to hold whole, block by block
peak_of         the highest magnitude of float samples
is_number       whether a value can be compared with one
to_int16        float samples -> 16-bit PCM
clip_rate       the sample rate a file was recorded at, in Hz
clip_name       how messages call a source
ReadFile        a path whose bytes are at hand
AUDIO_SUFFIXES  the file endings that a folder is searched for
"""

import io
import os
import re
import tempfile
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, nullcontext, suppress
from numbers import Real
from pathlib import Path
from typing import IO, Any

import numpy as np
import soundfile
import soxr
from numpy.typing import NDArray

from harken.audio.flac import read_flac
from harken.audio.wav import read_wav
from harken.errors import HarkenError

AUDIO_SUFFIXES = frozenset({".wav", ".flac", ".ogg", ".opus", ".mp3"})
MIN_SAMPLE_RATE = 4_000
MAX_SAMPLE_RATE = 192_000
MAX_AMPLITUDE = 100.0
"""How far over full scale a float sample may be: more than any mix clips by, less than 16-bit values taken as floats."""

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


STREAMED_WAV_SIZE = (
    0x7FFF_0000  # programs that write WAV into a pipe state this size or more, since they do not know it
)
_OGG_END_OF_STREAM = 0x04
_OGG_LONGEST_PAGE = 65_307
_MP3_FRAME = 1152  # samples
_MP3_IN_WAV = b"\x55\x00"
_AT_ONCE = 1 << 24  # samples of all channels; a header may state any number, and memory is taken before they are read
_LENGTH_UNKNOWN = 1 << 62  # what libsndfile says of a FLAC that was written into a pipe, and more
_OF_LIBMPG123 = re.compile(rb"(Note|Warning): |\[src/libmpg123/|\s*$")
_one_at_a_time = threading.Lock()


def load_clip(source: AudioSource, sample_rate: int, *, source_rate: int | None = None) -> NDArray[np.float32]:
    """Read a clip as float32 mono at `sample_rate` Hz; full scale is 1.0.

    Channels are averaged. Resampling is soxr's high quality (band-limited); the result has ceil(samples * ratio)
    samples, as librosa's has wherever its floating-point product is exact. Integer arrays are taken as full-scale PCM
    of their width; floats may be over full scale, to 100. An open file is read from where it stands to its end, and left
    open.

    Parameters
    ----------
    source : WAV (8, 16, 24, 32 bits, float), FLAC, OGG or MP3 by path or as an open binary file, or an array
        [samples] or [samples, channels].
    sample_rate : the wanted rate in Hz, 4,000 to 192,000.
    source_rate : the rate of an array in Hz. Required for an array and refused for a file, which states its own.

    Raises
    ------
    HarkenError : the source is missing, a folder, empty, damaged, cut short, not audio, or holds NaN, infinity or what
        is far over full scale; or a rate is missing or out of range. An MP3 whose first frame does not state its length,
        or a FLAC that was written into a pipe, may be cut short unnoticed.
    """
    name = clip_name(source)
    _check_rate(sample_rate, "the wanted sample rate")
    if not isinstance(source, np.ndarray | str | os.PathLike) and not hasattr(source, "read"):
        # The numbers of a list say nothing of their full scale.
        raise HarkenError(
            f"{name} is no clip: pass a path, an open binary file, or an array, as numpy.float32(samples)"
        )
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
    return str(getattr(source, "name", "audio stream" if hasattr(source, "read") else type(source).__name__))


def clip_rate(path: str | Path) -> int:
    """Return the sample rate, in Hz, that a file was recorded at. Raises HarkenError when it cannot be read."""
    name = str(path)
    with _opened(path, name) as raw, _decoder(raw, path, name) as file:
        return int(file.samplerate)


@contextmanager
def open_blocks(path: str | Path, seconds: float) -> Iterator[tuple[int, Iterator[NDArray[np.float32]]]]:
    """Open a file; yield its rate in Hz, and its samples [samples, channels] in blocks of so many seconds.

    Raises HarkenError as load_clip does: what is wrong with a block when it comes, what is missing at the end there.
    """
    name = str(path)
    with _opened(path, name) as raw, _decoder(raw, path, name) as file:
        _check_rate(file.samplerate, f"{name}: the sample rate")
        yield int(file.samplerate), _blocks(file, raw, name, round(seconds * file.samplerate))


def peak_of(samples: NDArray[np.floating[Any]]) -> float:
    """Return the highest magnitude of samples, NaN if one of them is; 0 of none."""
    return max(float(samples.max(initial=0.0)), -float(samples.min(initial=0.0)))


def is_number(value: object) -> bool:
    """Whether a value is a real number, of Python's or numpy's."""
    return isinstance(value, Real)


def _from_array(array: NDArray[Any], name: str) -> NDArray[np.float32]:
    if array.ndim not in (1, 2):
        raise HarkenError(f"{name} has {array.ndim} dimensions: pass [samples] or [samples, channels]")
    if array.ndim == 2 and 0 < array.shape[0] < array.shape[1]:
        raise HarkenError(f"{name} has more channels than samples, {array.shape}: pass [samples, channels], transposed")
    if array.dtype.kind == "f":
        return _within_scale(array, name).astype(np.float32, copy=False)
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
        with _decoder(raw, path, name) as file:
            # One more than there are, so that the first block is the last.
            parts = list(_blocks(file, raw, name, min(file.frames + 1, _AT_ONCE // file.channels)))
            samples = parts[0] if len(parts) == 1 else np.concatenate(parts)
            return samples[:, 0] if file.channels == 1 else samples, file.samplerate


class _Decoder(soundfile.SoundFile):  # type: ignore[misc]
    """A file that libsndfile reads from its start to its end, block after block.

    soundfile seeks after each block, to where it stands. libmpg123 then lacks what the next frame of an MP3 borrows from
    those before, and a FLAC that does not state its length has no end to seek to.
    """

    def __init__(self, file: str | os.PathLike[str] | IO[bytes], *, mp3: bool) -> None:
        self._quietly = _quietly if mp3 else nullcontext
        with self._quietly():
            super().__init__(file)

    def seekable(self) -> bool:
        return False

    def take(self, frames: int) -> NDArray[np.float32]:
        """Return the next samples [frames, channels]; fewer at the end."""
        with self._quietly():
            block: NDArray[np.float32] = self.read(frames, dtype="float32", always_2d=True)
        return block


def _decoder(raw: IO[bytes], path: str | os.PathLike[str] | None, name: str) -> _Decoder:
    try:
        # libsndfile reads a path itself, which is faster than through Python.
        return _Decoder(raw if path is None else path, mp3=_may_be_mp3(raw))
    except (soundfile.LibsndfileError, TypeError) as error:  # TypeError: a name that says it has no header
        raise _not_audio(name) from error


def _blocks(file: _Decoder, raw: IO[bytes], name: str, frames: int) -> Iterator[NDArray[np.float32]]:
    """Yield the samples [frames, channels] to the end, and refuse a file that ends before it says."""
    done = 0
    while True:
        try:
            block = file.take(frames)
        except soundfile.LibsndfileError as error:
            where = f" from {done / file.samplerate:.1f} s on" if done else ""
            raise HarkenError(f"{name} is damaged or cut short{where}: copy it again") from error
        done += len(block)
        if len(block):
            yield _within_scale(block, name)
        if len(block) < frames:
            break
    if not _is_complete(file, raw, done):
        raise HarkenError(f"{name} is cut short: copy or record it again")
    if done < file.frames < _LENGTH_UNKNOWN and file.format != "MP3":
        raise HarkenError(f"{name} is damaged: it states {file.frames:,} samples and holds {done:,}; copy it again")
    if not done:
        raise HarkenError(f"{name} holds no samples: record it again")


def _may_be_mp3(raw: IO[bytes]) -> bool:
    """Whether libsndfile may hand a file to libmpg123: it does so with all that it does not know."""
    raw.seek(0)
    head = raw.read(22)
    raw.seek(0)
    if head[:4] in (b"RIFF", b"RF64"):
        return head[12:16] != b"fmt " or head[20:22] == _MP3_IN_WAV
    return head[:4] not in (b"fLaC", b"OggS")


@contextmanager
def _quietly() -> Iterator[None]:
    """Keep libmpg123 from writing to standard error, where its notes name no file.

    The descriptor is that of all threads: what others write meanwhile follows at the end, and one MP3 is decoded at a time.
    """
    with _one_at_a_time, ExitStack() as at_end:
        with suppress(OSError):  # there is no standard error, or no folder for a file
            said = at_end.enter_context(tempfile.TemporaryFile(buffering=0))
            kept = os.dup(2)
            at_end.callback(_restore, kept, said)
            os.dup2(said.fileno(), 2)
        yield


def _restore(kept: int, said: IO[bytes]) -> None:
    os.dup2(kept, 2)
    os.close(kept)
    said.seek(0)
    for line in said.read().splitlines(keepends=True):
        if not _OF_LIBMPG123.match(line):
            os.write(2, line)


def _within_scale(samples: NDArray[Any], name: str) -> NDArray[Any]:
    peak = peak_of(samples)
    if peak <= MAX_AMPLITUDE:
        return samples
    if not np.isfinite(peak):
        raise HarkenError(f"{name} holds NaN or infinite samples: export it again from its source")
    raise HarkenError(f"{name} holds a sample of {peak:.3g}: floats must be within ±1; divide int16 by 32768")


def _read_quickly(raw: IO[bytes]) -> tuple[NDArray[np.int16], int] | None:
    """Read the two forms that corpora come in without libsndfile; None for any other, and for what is not whole."""
    if (samples := read_wav(raw)) is None:
        raw.seek(0)
        samples = read_flac(raw)
    return samples


def _opened(source: str | os.PathLike[str] | IO[bytes], name: str) -> IO[bytes]:
    """Open a path, or take what a file object holds into memory; refuse what holds nothing."""
    if not isinstance(source, str | os.PathLike):
        content = source.read()
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
    except ValueError as error:
        raise HarkenError(f"{name!r} is no path: a name holds no NUL") from error
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
            # RF64 writes a wrong size of its data in hexadecimal.
            size, there = int(stated.split(":")[1], 0), int(held.strip(" )"), 0)
            if there < size < STREAMED_WAV_SIZE:
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
    if not is_number(rate) or not MIN_SAMPLE_RATE <= rate <= MAX_SAMPLE_RATE or rate != int(rate):
        raise HarkenError(
            f"{what} is {rate!r} Hz: harken takes whole numbers from {MIN_SAMPLE_RATE} to {MAX_SAMPLE_RATE} Hz"
        )


def _not_audio(name: str) -> HarkenError:
    return HarkenError(
        f"{name} is not audio that can be read (damaged, cut short, or no WAV, FLAC, OGG or MP3): "
        "copy it again, or convert it to WAV"
    )
