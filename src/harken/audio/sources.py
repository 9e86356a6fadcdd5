"""Where a stream comes from: a microphone, a file, or PCM through a pipe.

Source            chunks with their rate
open_file         an audio file, block by block
open_pcm          16-bit PCM, raw or as WAV, from an open pipe
open_microphone   an input device, through the package sounddevice
input_devices     the devices to choose from
"""

import io
import queue
import struct
import sys
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from harken.audio.clip import STREAMED_WAV_SIZE, open_blocks
from harken.errors import HarkenError

_CHUNK_S = 0.05
_FILE_CHUNK_S = 1.0
_BEHIND_S = 30.0  # of microphone audio that may wait to be heard
_PATIENCE_S = 5.0  # without a sample from the microphone
_PCM = (1, 0xFFFE)  # WAV's codes of integer PCM: plain, and with a longer header
_MOST_CHANNELS = 64  # that a Listener averages
_CODED = {b"fLaC": "FLAC", b"OggS": "OGG", b"ID3\x02": "MP3", b"ID3\x03": "MP3", b"ID3\x04": "MP3", b"RF64": "RF64"}


@dataclass(frozen=True)
class Source:
    """A stream under way.

    name : how messages call it. sample_rate : Hz. chunks : [samples, channels], floats or int16.
    """

    name: str
    sample_rate: int
    chunks: Iterator[NDArray[Any]]


@contextmanager
def open_file(path: Path) -> Iterator[Source]:
    """Open an audio file as a stream. Raises HarkenError as load_clip does; what is missing at its end, there."""
    with open_blocks(path, _FILE_CHUNK_S) as (rate, blocks):
        yield Source(str(path), rate, blocks)


@contextmanager
def open_pcm(
    pipe: io.BufferedIOBase, name: str, *, sample_rate: int | None, channels: int | None = None
) -> Iterator[Source]:
    """Open a pipe of 16-bit little-endian PCM; WAV, as `arecord` writes it unless told not to, states its own format.

    sample_rate : Hz, required of raw PCM. channels : interleaved; raw PCM has one unless said.
    Raises HarkenError when the rate is missing, what was said is not what a WAV header says, or it is no PCM.
    """
    start = _read(pipe, 12)
    if coded := _CODED.get(start[:4]):
        raise HarkenError(f"{name} is {coded}, not PCM: give the path of the file, or decode it first")
    left: int | None = None
    if start[:4] == b"RIFF" and start[8:] == b"WAVE":
        stated_channels, stated_rate, left = _wav_format(pipe, name)
        for option, said, stated in (("--rate", sample_rate, stated_rate), ("--channels", channels, stated_channels)):
            if said not in (None, stated):
                raise HarkenError(f"{name} is WAV with {option} {stated}, not {said}: leave {option} out")
        sample_rate, channels, start = stated_rate, stated_channels, b""
    if sample_rate is None:
        raise HarkenError(f"{name} is raw PCM, which does not say its sample rate: give --rate, in Hz")
    channels = 1 if channels is None else channels
    if not 1 <= channels <= _MOST_CHANNELS:
        raise HarkenError(f"{name} cannot have {channels} channels: harken takes 1 to {_MOST_CHANNELS}")
    width = 2 * channels
    size = max(width, round(_CHUNK_S * sample_rate) * width)

    def chunks() -> Iterator[NDArray[Any]]:
        held, remaining = start, left
        while True:
            whole = len(held) // width * width
            if whole:
                yield np.frombuffer(held[:whole], "<i2").astype(np.int16, copy=False).reshape(-1, channels)
            # A pipe gives what it has: waiting for a full chunk would make a slow stream late.
            more = pipe.read1(size if remaining is None else min(size, remaining))
            if not more:
                return
            remaining = None if remaining is None else remaining - len(more)
            held = held[whole:] + more

    yield Source(name, sample_rate, chunks())


def _wav_format(pipe: io.BufferedIOBase, name: str) -> tuple[int, int, int | None]:
    """Read a WAV header up to its samples; return channels, rate, and bytes of samples where they are known."""
    found: tuple[int, int] | None = None
    while len(header := _read(pipe, 8)) == 8:
        kind, size = header[:4], struct.unpack("<I", header[4:])[0]
        if kind == b"data" and found:
            return *found, size if 0 < size < STREAMED_WAV_SIZE else None
        if kind == b"data":
            break
        content = _read(pipe, size + size % 2)
        if kind == b"fmt " and len(content) >= 16:
            code, channels, rate, _, _, bits = struct.unpack("<HHIIHH", content[:16])
            if code not in _PCM or bits != 16 or channels < 1:
                raise HarkenError(f"{name} is WAV of {bits} bits, format {code}: pass 16-bit PCM (arecord -f S16_LE)")
            found = channels, rate
    raise HarkenError(f"{name} begins as WAV and has no whole header: record it again")


def _read(pipe: io.BufferedIOBase, size: int) -> bytes:
    """Read `size` bytes, or what there is before the end."""
    content = b""
    while len(content) < size and (more := pipe.read(size - len(content))):
        content += more
    return content


@contextmanager
def open_microphone(device: str | None = None) -> Iterator[Source]:
    """Open an input device at its own rate.

    device : its number, or a part of its name; else the system's default.
    Raises HarkenError when sounddevice or the PortAudio library is missing, there is no such device, or it falls silent.
    """
    sounddevice = _sounddevice()
    waiting: queue.Queue[NDArray[np.float32]] = queue.Queue(round(_BEHIND_S / _CHUNK_S))
    behind = threading.Event()
    told = threading.Event()

    def take(chunk: NDArray[np.float32], _frames: int, _time: object, status: object) -> None:
        if status and not told.is_set():
            told.set()
            print("harken: the microphone lost some samples: this machine is busy", file=sys.stderr)
        try:
            waiting.put_nowait(chunk.copy())
        except queue.Full:
            behind.set()

    try:
        wanted = int(device) if device is not None and device.isdecimal() else device
        found = sounddevice.query_devices(wanted, "input")
        rate = round(found["default_samplerate"])
        stream = sounddevice.InputStream(
            samplerate=rate, device=wanted, channels=1, dtype="float32", blocksize=round(_CHUNK_S * rate), callback=take
        )
    except (sounddevice.PortAudioError, ValueError) as error:
        which = (
            "there is no microphone that can be opened" if device is None else f"no microphone {device} can be opened"
        )
        raise HarkenError(
            f"{which} ({_line(error)}): choose one of `harken listen --devices`, or name a file"
        ) from error

    def chunks() -> Iterator[NDArray[Any]]:
        while True:
            try:
                yield waiting.get(timeout=_PATIENCE_S)
            except queue.Empty:
                raise HarkenError(f"{found['name']} has fallen silent: plug it in again") from None
            if behind.is_set():
                raise HarkenError(f"{found['name']} is faster than this machine can listen: choose a smaller model")

    with ExitStack() as opened:
        try:
            opened.enter_context(stream)
        except sounddevice.PortAudioError as error:
            stream.close()
            raise HarkenError(
                f"{found['name']} does not start ({_line(error)}): end what else records from it"
            ) from error
        yield Source(str(found["name"]), rate, chunks())


def input_devices() -> list[str]:
    """Return a line for each input device: number, name, rate. Raises HarkenError as open_microphone does, or if none is."""
    sounddevice = _sounddevice()
    default = sounddevice.default.device[0]
    lines = [
        f"{number:3}  {device['name']}, {device['default_samplerate']:.0f} Hz{' (default)' if number == default else ''}"
        for number, device in enumerate(sounddevice.query_devices())
        if device["max_input_channels"] > 0
    ]
    if not lines:
        raise HarkenError("no microphone found: plug one in, or listen to a file")
    return lines


def _sounddevice() -> Any:
    try:
        import sounddevice
    except ImportError as error:
        raise HarkenError("a microphone needs the package sounddevice: run pip install 'harken[listen]'") from error
    except OSError as error:  # the package is there, its library is not
        raise HarkenError(
            "a microphone needs the PortAudio library: on Debian and Ubuntu, run apt install libportaudio2; "
            "with Homebrew, brew install portaudio"
        ) from error
    return sounddevice


def _line(error: Exception) -> str:
    return " ".join(str(error).split()).rstrip(".")
