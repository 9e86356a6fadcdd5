"""Open a stream: a microphone, an audio file, or PCM from a pipe.

Source            an open stream: chunks and their sample rate
open_file         read an audio file as a stream
open_pcm          read PCM, raw or as WAV, from a pipe
open_microphone   record from an input device, through the package sounddevice
input_devices     list the input devices
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

from harken.audio.clip import check_channel, open_blocks
from harken.audio.completeness import STREAMED_WAV_SIZE
from harken.audio.mp3_frame import HEADER_BYTES, frame_length, is_same_stream
from harken.audio.pcm_format import PCM_FORMATS, FormatCheck
from harken.errors import HarkenError
from harken.extras import install_command

_CHUNK_S = 0.05
_FILE_CHUNK_S = 1.0
_MAX_BACKLOG_S = 30.0  # microphone audio that can wait to be processed
_SILENT_DEVICE_S = 5.0  # longest time without data from the microphone
_EXTENSIBLE = 0xFFFE  # WAV format code: the code is in the header's extension
# WAV format code (1: integers, 3: floats) and bits
_WAV_FORMATS = {(1, 16): "s16", (1, 32): "s32", (3, 32): "f32"}
_MAX_CHANNELS = 64  # the same limit as in harken.audio.resampler
_OTHER_FORMATS = {
    b"fLaC": "FLAC",
    b"OggS": "OGG",
    b"ID3\x02": "MP3",
    b"ID3\x03": "MP3",
    b"ID3\x04": "MP3",
    b"RF64": "RF64",
}


@dataclass(frozen=True)
class Source:
    """An open stream.

    Attributes
    ----------
    name
        Name of the stream in messages.
    sample_rate
        Sample rate in Hz.
    chunks
        Iterator over the audio: arrays [samples, channels] of floats, or of integers as full-scale PCM.
    """

    name: str
    sample_rate: int
    chunks: Iterator[NDArray[Any]]


@contextmanager
def open_file(path: Path, *, channel: int | None = None) -> Iterator[Source]:
    """Open an audio file as a stream.

    Parameters
    ----------
    path
        File of any format that `load_clip` reads.
    channel
        Number of the only channel to use, from 1.

    Yields
    ------
    Source
        The open stream. Its chunks are one second long.

    Raises
    ------
    HarkenError
        In the same cases as `load_clip`. Errors inside the file are raised when the reading reaches them. A file that is
        cut short is an error after its last chunk.
    """
    with open_blocks(path, _FILE_CHUNK_S) as (rate, blocks):
        yield Source(str(path), rate, _only_channel(blocks, channel, str(path)))


def _only_channel(chunks: Iterator[NDArray[Any]], channel: int | None, name: str) -> Iterator[NDArray[Any]]:
    for chunk in chunks:
        check_channel(channel, chunk.shape[1], name)
        yield chunk if channel is None else chunk[:, channel - 1 : channel]


@contextmanager
def open_pcm(
    pipe: io.BufferedIOBase,
    name: str,
    *,
    sample_rate: int | None,
    channels: int | None = None,
    channel: int | None = None,
    pcm_format: str | None = None,
) -> Iterator[Source]:
    """Open a pipe of little-endian PCM as a stream.

    Raw PCM does not say its format, so `sample_rate` is required. A note on standard error says if the samples look like
    another format. A WAV header states the format. `arecord` writes WAV by
    default.

    Parameters
    ----------
    pipe
        Open binary stream, for example standard input.
    name
        Name of the stream in messages.
    sample_rate
        Sample rate in Hz. Required for raw PCM. For WAV it must be the rate in the header, or None.
    channels
        Number of interleaved channels. Default: 1 for raw PCM, and the number in the header for WAV.
    channel
        Number of the only channel to use, from 1.
    pcm_format
        `s16`, `s32` (signed integers) or `f32` (floats). Default: `s16` for raw PCM, and that in the header for WAV.

    Yields
    ------
    Source
        The open stream.

    Raises
    ------
    HarkenError
        If the sample rate is missing, if an argument differs from the WAV header, or if the stream is not PCM.
    """
    start = _read(pipe, 12)
    other = _OTHER_FORMATS.get(start[:4])
    if length := frame_length(start):  # sound can look like this, too, but not twice at this distance
        start += _read(pipe, length + HEADER_BYTES - len(start))
        other = "MP3" if is_same_stream(start, start[length:]) else None
    if other:
        raise HarkenError(f"{name} is {other}, not PCM: pass the path of the file, or decode it first")
    if pcm_format is not None and pcm_format not in PCM_FORMATS:
        raise HarkenError(f"--format {pcm_format}: give {', '.join(PCM_FORMATS)}")
    data_bytes: int | None = None
    is_raw = True
    if start[:4] == b"RIFF" and start[8:] == b"WAVE":
        wav_channels, wav_rate, wav_format, data_bytes = _read_wav_header(pipe, name)
        for option, given, stated in (
            ("--rate", sample_rate, wav_rate),
            ("--channels", channels, wav_channels),
            ("--format", pcm_format, wav_format),
        ):
            if given not in (None, stated):
                raise HarkenError(f"{name} is WAV with {option} {stated}, not {given}: remove {option}")
        sample_rate, channels, pcm_format, start = wav_rate, wav_channels, wav_format, b""
        is_raw = False
    if sample_rate is None:
        raise HarkenError(f"{name} is raw PCM, which does not state its sample rate: add --rate, in Hz")
    channels = 1 if channels is None else channels
    if not 1 <= channels <= _MAX_CHANNELS:
        raise HarkenError(f"{name} cannot have {channels} channels: use 1 to {_MAX_CHANNELS}")
    check_channel(channel, channels, name)
    pcm_format = pcm_format or "s16"
    kind = PCM_FORMATS[pcm_format]
    check = FormatCheck(pcm_format, channels) if is_raw else None
    frame_bytes = kind.itemsize * channels
    chunk_bytes = max(frame_bytes, round(_CHUNK_S * sample_rate) * frame_bytes)

    def chunks() -> Iterator[NDArray[Any]]:
        buffered, remaining = start, data_bytes
        while True:
            whole = len(buffered) // frame_bytes * frame_bytes
            if whole:
                if check is not None and (likely := check.push(buffered[:whole])) is not None:
                    print(f"harken: {name} looks like --format {likely}, not {pcm_format}", file=sys.stderr)
                yield (
                    np.frombuffer(buffered[:whole], kind)
                    .astype(kind.newbyteorder("="), copy=False)
                    .reshape(-1, channels)
                )
            # read1 returns what the pipe has now. Waiting for a full chunk would delay a slow stream.
            more = pipe.read1(chunk_bytes if remaining is None else min(chunk_bytes, remaining))
            if not more:
                return
            remaining = None if remaining is None else remaining - len(more)
            buffered = buffered[whole:] + more

    yield Source(name, sample_rate, _only_channel(chunks(), channel, name))


def _read_wav_header(pipe: io.BufferedIOBase, name: str) -> tuple[int, int, str, int | None]:
    """Read a WAV header up to its samples. Return channels, rate, format, and the number of data bytes if known."""
    wav_format: tuple[int, int, str] | None = None
    while len(header := _read(pipe, 8)) == 8:
        kind, size = header[:4], struct.unpack("<I", header[4:])[0]
        if kind == b"data" and wav_format:
            return *wav_format, size if 0 < size < STREAMED_WAV_SIZE else None
        if kind == b"data":
            break
        content = _read(pipe, size + size % 2)
        if kind == b"fmt " and len(content) >= 16:
            code, channels, rate, _, _, bits = struct.unpack("<HHIIHH", content[:16])
            if code == _EXTENSIBLE and len(content) >= 26:
                code = struct.unpack("<H", content[24:26])[0]
            if (code, bits) not in _WAV_FORMATS or channels < 1:
                raise HarkenError(
                    f"{name} is WAV with {bits} bits and format {code}: pass 16-bit PCM (arecord -f S16_LE)"
                )
            wav_format = channels, rate, _WAV_FORMATS[code, bits]
    raise HarkenError(f"{name} is WAV with an incomplete header: record it again")


def _read(pipe: io.BufferedIOBase, size: int) -> bytes:
    """Read `size` bytes, or fewer at the end of the stream."""
    content = b""
    while len(content) < size and (more := pipe.read(size - len(content))):
        content += more
    return content


@contextmanager
def open_microphone(device: str | None = None, *, channel: int | None = None) -> Iterator[Source]:
    """Open a microphone or another input device as a stream, at its default sample rate.

    A device that cannot record a single channel, such as a microphone array, is opened with all of its channels.

    Parameters
    ----------
    device
        Number of the device, or a part of its name. Default: the system's default input device.
    channel
        Number of the only channel to use, from 1.

    Yields
    ------
    Source
        The open stream. Its chunks are 50 ms long.

    Raises
    ------
    HarkenError
        If sounddevice or the PortAudio library is missing, or if the device does not exist or cannot be opened. While
        reading the chunks: if the device sends no data for 5 seconds, or if processing falls 30 seconds behind.
    """
    sounddevice = _import_sounddevice()
    recorded: queue.Queue[NDArray[np.float32]] = queue.Queue(round(_MAX_BACKLOG_S / _CHUNK_S))
    queue_overflowed = threading.Event()
    loss_reported = threading.Event()

    def store(chunk: NDArray[np.float32], _frames: int, _time: object, status: object) -> None:
        if status and not loss_reported.is_set():
            loss_reported.set()
            print("harken: some samples from the microphone were lost, because this machine is busy", file=sys.stderr)
        try:
            recorded.put_nowait(chunk.copy())
        except queue.Full:
            queue_overflowed.set()

    try:
        selected = int(device) if device is not None and device.isdecimal() else device
        info = sounddevice.query_devices(selected, "input")
        rate = round(info["default_samplerate"])
        check_channel(channel, info["max_input_channels"], info["name"])

        def open_stream(channels: int) -> Any:
            return sounddevice.InputStream(
                samplerate=rate,
                device=selected,
                channels=channels,
                dtype="float32",
                blocksize=round(_CHUNK_S * rate),
                callback=store,
            )

        try:
            # Not all channels where fewer suffice: a virtual device offers 32 or more.
            stream = open_stream(channel or 1)
        except sounddevice.PortAudioError:
            if info["max_input_channels"] <= (channel or 1):
                raise
            stream = open_stream(min(info["max_input_channels"], _MAX_CHANNELS))
    except (sounddevice.PortAudioError, ValueError) as error:
        which = "no microphone can be opened" if device is None else f"the microphone {device} cannot be opened"
        raise HarkenError(
            f"{which} ({_one_line(error)}): choose a device from `harken listen --devices`, or pass a file"
        ) from error

    def chunks() -> Iterator[NDArray[Any]]:
        while True:
            try:
                yield recorded.get(timeout=_SILENT_DEVICE_S)
            except queue.Empty:
                raise HarkenError(f"{info['name']} no longer sends audio: plug it in again") from None
            if queue_overflowed.is_set():
                raise HarkenError(
                    f"{info['name']} records faster than this machine can process: choose a smaller model"
                )

    with ExitStack() as opened:
        try:
            opened.enter_context(stream)
        except sounddevice.PortAudioError as error:
            stream.close()
            raise HarkenError(
                f"{info['name']} does not start ({_one_line(error)}): close other programs that record from it"
            ) from error
        yield Source(str(info["name"]), rate, _only_channel(chunks(), channel, info["name"]))


def input_devices() -> list[str]:
    """Return a line of text for each input device: its number, name, and default sample rate.

    Raises
    ------
    HarkenError
        If sounddevice or the PortAudio library is missing, or if there is no input device.
    """
    sounddevice = _import_sounddevice()
    default = sounddevice.default.device[0]
    lines = [
        f"{number:3}  {device['name']}, {device['default_samplerate']:.0f} Hz{' (default)' if number == default else ''}"
        for number, device in enumerate(sounddevice.query_devices())
        if device["max_input_channels"] > 0
    ]
    if not lines:
        raise HarkenError("no microphone found: plug one in, or pass a file")
    return lines


def _import_sounddevice() -> Any:
    try:
        import sounddevice
    except ImportError as error:
        raise HarkenError(f"a microphone needs the package sounddevice: run {install_command('listen')}") from error
    except OSError as error:  # the package is installed, but not the library
        raise HarkenError(
            "a microphone needs the PortAudio library: on Debian and Ubuntu, run apt install libportaudio2; "
            "with Homebrew, brew install portaudio"
        ) from error
    return sounddevice


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split()).rstrip(".")
