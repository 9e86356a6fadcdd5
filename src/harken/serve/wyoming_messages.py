"""Read and check the messages of the Wyoming protocol.

A message is a line of JSON. Further JSON and binary data can follow. The line contains their lengths.

read_message    read the next message of a client, within limits
AudioFormat     sample rate, width and channels of raw audio
ProtocolError   a client sent something that is not a message
"""

import asyncio
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from wyoming.event import Event

from harken.audio.clip import MAX_SAMPLE_RATE, MIN_SAMPLE_RATE

MAX_JSON_BYTES = 2**16  # maximum for the line, and for the further JSON
_MAX_CHANNELS = 64  # the same limit as in harken.audio.resampler
_WIDTHS = (1, 2, 3, 4)  # bytes in a sample


class ProtocolError(Exception):
    """A client sent something that is not a message of the protocol. The connection cannot continue."""


async def read_message(reader: asyncio.StreamReader, *, max_payload: int, timeout_s: float) -> Event | None:
    """Read the next message.

    Parameters
    ----------
    reader
        Connection to the client. Its limit on the length of a line applies.
    max_payload
        Maximum size of the binary data, in bytes.
    timeout_s
        Maximum time for the message to arrive after its first line, in seconds.

    Returns
    -------
    Event or None
        The message. None if the connection has ended, even in the middle of a message.

    Raises
    ------
    ProtocolError
        If the client sends anything else, too much, or too slowly.
    """
    try:
        line = await reader.readuntil(b"\n")
    except asyncio.IncompleteReadError:
        return None
    except asyncio.LimitOverrunError as error:
        raise ProtocolError(f"a message begins with more than {MAX_JSON_BYTES} bytes without a line break") from error
    header = _read_json(line)
    kind, data = header.get("type"), header.get("data") or {}
    if not isinstance(kind, str) or not isinstance(data, dict):
        raise ProtocolError("a message has no type, or its data is not an object")
    data_bytes = _length(header, "data_length", MAX_JSON_BYTES)
    payload_bytes = _length(header, "payload_length", max_payload)
    try:
        async with asyncio.timeout(timeout_s):
            if data_bytes:
                data = data | _read_json(await reader.readexactly(data_bytes))
            payload = await reader.readexactly(payload_bytes) if payload_bytes else None
    except asyncio.IncompleteReadError:
        return None
    except TimeoutError as error:
        raise ProtocolError(f"a message was not complete after {timeout_s:g} s") from error
    return Event(kind, data, payload)


def _read_json(text: bytes) -> dict[str, Any]:
    try:
        content = json.loads(text)
        json.dumps(content, ensure_ascii=False).encode()  # half of a surrogate pair could not be sent back
    except (ValueError, RecursionError) as error:
        raise ProtocolError("a message is not JSON in UTF-8") from error
    if not isinstance(content, dict):
        raise ProtocolError("a message is not a JSON object")
    return content


def _length(header: Mapping[str, Any], name: str, most: int) -> int:
    value = 0 if header.get(name) is None else header[name]
    if not _is_whole(value) or not 0 <= value <= most:
        raise ProtocolError(f"a message states a {name} that is not a number from 0 to {most}")
    return int(value)


def _is_whole(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


@dataclass(frozen=True)
class AudioFormat:
    """Format of raw audio.

    Attributes
    ----------
    rate
        Sample rate in Hz.
    width
        Bytes in a sample: 1 (unsigned), or 2, 3 or 4 (signed, little-endian).
    channels
        Number of interleaved channels.
    """

    rate: int
    width: int
    channels: int

    @classmethod
    def of(cls, data: Mapping[str, Any]) -> "AudioFormat":
        """Return the format that a message states.

        Raises
        ------
        ProtocolError
            If it is missing or out of range.
        """
        rate, width, channels = (data.get(name) for name in ("rate", "width", "channels"))
        if not (_is_whole(rate) and _is_whole(width) and _is_whole(channels)):
            raise ProtocolError("audio states no rate, width and channels: they must be whole numbers")
        found = cls(int(rate or 0), int(width or 0), int(channels or 0))
        if not MIN_SAMPLE_RATE <= found.rate <= MAX_SAMPLE_RATE:
            raise ProtocolError(
                f"audio has a rate of {found.rate} Hz: it must be {MIN_SAMPLE_RATE} to {MAX_SAMPLE_RATE} Hz"
            )
        if found.width not in _WIDTHS:
            raise ProtocolError(f"audio has samples of {found.width} bytes: there must be 1 to 4")
        if not 1 <= found.channels <= _MAX_CHANNELS:
            raise ProtocolError(f"audio has {found.channels} channels: there must be 1 to {_MAX_CHANNELS}")
        return found

    @property
    def frame_bytes(self) -> int:
        """Bytes in one sample of all channels."""
        return self.width * self.channels

    def decode(self, audio: bytes) -> NDArray[Any]:
        """Return whole frames as an array [samples, channels]: int16 as it is, and float32 for all other widths."""
        if self.width == 2:
            return np.frombuffer(audio, "<i2").astype(np.int16, copy=False).reshape(-1, self.channels)
        if self.width == 1:
            samples = (np.frombuffer(audio, np.uint8).astype(np.float32) - 128.0) / np.float32(2**7)
        elif self.width == 3:
            # The three bytes become the upper ones of an int32.
            wide = np.zeros((len(audio) // 3, 4), np.uint8)
            wide[:, 1:] = np.frombuffer(audio, np.uint8).reshape(-1, 3)
            samples = wide.view("<i4")[:, 0].astype(np.float32) / np.float32(2**31)
        else:
            samples = np.frombuffer(audio, "<i4").astype(np.float32) / np.float32(2**31)
        return samples.reshape(-1, self.channels)
