"""One client of a Wyoming server.

Connection   answer the messages of a client until it leaves
Streams      the number of streams that are open on the server
"""

import asyncio
import logging
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from wyoming.error import Error
from wyoming.event import Event, Eventable, async_write_event
from wyoming.ping import Pong
from wyoming.wake import Detection, NotDetected

from harken.runtime.listener import Event as DetectedWord
from harken.runtime.listener import Listener
from harken.serve.limits import Limits
from harken.serve.workers import Workers
from harken.serve.wyoming_messages import AudioFormat, ProtocolError, read_message
from harken.serve.wyoming_models import WakeWords

_MAX_PIECE_S = 1.0  # a longer chunk is processed in pieces, so that clients take turns
_MAX_NAMES = 100  # maximum in one `detect`

logger = logging.getLogger(__name__)


class Streams:
    """Counter of the open streams, with a limit.

    Parameters
    ----------
    limit
        Maximum number of open streams.
    """

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self.open = 0

    def try_to_open(self) -> bool:
        """Count a new stream. Return False if the limit is reached."""
        if self.open >= self._limit:
            return False
        self.open += 1
        return True

    def close(self) -> None:
        """Count a stream that has ended."""
        self.open -= 1


@dataclass
class _Stream:
    """A stream of audio, with the listeners that process it."""

    format: AudioFormat
    listeners: list[tuple[Listener, Mapping[str, str]]]  # each with the name to report for each word
    rest: bytes = b""  # the beginning of a frame whose end has not arrived yet
    samples: int = 0
    timestamp: int = 0  # of the last chunk, in milliseconds
    detected: bool = False


class Connection:
    """Answer the messages of one client.

    Parameters
    ----------
    reader, writer
        Connection to the client.
    words
        Wake words of the server.
    limits
        Limits on messages and times.
    workers
        Threads that run the networks and open model files.
    streams
        Counter of the open streams of all clients.
    name
        Name of the client in the log.

    Attributes
    ----------
    last_message : float
        Time of the last complete message, by `time.monotonic`.
    """

    def __init__(
        self,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        *,
        words: WakeWords,
        limits: Limits,
        workers: Workers,
        streams: Streams,
        name: str,
    ) -> None:
        self._reader = reader
        self._writer = writer
        self._words = words
        self._limits = limits
        self._workers = workers
        self._streams = streams
        self._name = name
        self._names: list[str] | None = None  # wake words that the client asks for
        self._stream: _Stream | None = None
        self.last_message = time.monotonic()

    async def run(self) -> None:
        """Answer messages until the client leaves, or sends something that is not a message."""
        logger.debug("%s: connected", self._name)
        try:
            while (message := await self._next_message()) is not None:
                self.last_message = time.monotonic()
                await self._handle(message)
        except ProtocolError as error:
            logger.warning("%s: disconnected: %s", self._name, error)
            await self._try_to_send_error(str(error), "protocol")
        except (OSError, TimeoutError) as error:
            logger.debug("%s: connection lost: %s", self._name, error)
        finally:
            self._end_stream()
            logger.debug("%s: left", self._name)

    def close(self) -> None:
        """Close the connection at once."""
        self._writer.transport.abort()

    async def _next_message(self) -> Event | None:
        reading = asyncio.ensure_future(
            read_message(self._reader, max_payload=self._limits.message_bytes, timeout_s=self._limits.header_s)
        )
        try:
            if self._stream is not None:
                await asyncio.wait([reading], timeout=self._limits.idle_s)
                if not reading.done():
                    # The client may stay connected for hours without audio, but its stream must not count toward the limit.
                    logger.debug("%s: no audio for %g s: the stream has ended", self._name, self._limits.idle_s)
                    self._end_stream()
            return await reading
        finally:
            reading.cancel()

    async def _handle(self, message: Event) -> None:
        kind, data = message.type, message.data
        if kind != "audio-chunk":
            logger.debug("%s: %s %s", self._name, kind, data)
        match kind:
            case "describe":
                await self._send(await self._workers.run(self._words.info))
            case "ping":
                await self._send(Pong(text=data["text"] if isinstance(data.get("text"), str) else None))
            case "detect":
                self._names = _names_of(data)
                if self._stream is not None:
                    self._stream.listeners = await self._listeners(self._stream.format)
            case "audio-start":
                await self._start_stream(AudioFormat.of(data))
            case "audio-chunk":
                await self._process_chunk(AudioFormat.of(data), message.payload or b"", data.get("timestamp"))
            case "audio-stop":
                await self._stop_stream()

    async def _start_stream(self, audio_format: AudioFormat) -> _Stream:
        self._end_stream()
        if not self._streams.try_to_open():
            raise ProtocolError("too many streams are open: try again later")
        try:
            self._stream = _Stream(audio_format, await self._listeners(audio_format))
        except BaseException:
            self._streams.close()
            raise
        return self._stream

    def _end_stream(self) -> None:
        if self._stream is not None:
            self._stream = None
            self._streams.close()

    async def _listeners(self, audio_format: AudioFormat) -> list[tuple[Listener, Mapping[str, str]]]:
        selection = await self._workers.run(self._words.select, self._names)
        if selection.unknown:
            known = ", ".join(word.name for word in self._words.words) or "none"
            text = f"no wake word is called {', '.join(selection.unknown)}; there are {known}"
            logger.warning(
                "%s: no wake word is called %r", self._name, selection.unknown
            )  # %r: no line breaks of a client
            await self._send(Error(text=text, code="unknown-wake-word"))
        return [
            (await self._workers.run(self._words.listener, model, names, audio_format.rate), names)
            for model, names in selection.answers.items()
        ]

    async def _process_chunk(self, audio_format: AudioFormat, audio: bytes, timestamp: Any) -> None:
        stream = self._stream
        if stream is None or stream.format.rate != audio_format.rate:
            stream = await self._start_stream(audio_format)
        elif stream.format != audio_format:
            stream.format, stream.rest = audio_format, b""
        audio = stream.rest + audio
        whole = len(audio) - len(audio) % audio_format.frame_bytes
        stream.rest = audio[whole:]
        stream.timestamp = timestamp if isinstance(timestamp, int) else 1000 * stream.samples // audio_format.rate
        samples = audio_format.decode(audio[:whole])
        piece = round(_MAX_PIECE_S * audio_format.rate)
        for start in range(0, len(samples), piece):
            part = samples[start : start + piece]
            stream.samples += len(part)
            for listener, names in stream.listeners:
                await self._report(stream, await self._workers.run(listener.push, part), names)

    async def _stop_stream(self) -> None:
        stream = self._stream
        if stream is None:
            await self._send(NotDetected())
            return
        for listener, names in stream.listeners:
            await self._report(stream, await self._workers.run(listener.finish), names)
        self._end_stream()
        if not stream.detected:
            await self._send(NotDetected())

    async def _report(self, stream: _Stream, words: list[DetectedWord], names: Mapping[str, str]) -> None:
        for word in words:
            if word.word in names:
                stream.detected = True
                logger.info("%s: %r, confidence %.5f", self._name, names[word.word], word.confidence)
                await self._send(Detection(name=names[word.word], timestamp=stream.timestamp))

    async def _send(self, answer: Eventable) -> None:
        async with asyncio.timeout(self._limits.header_s):  # if the client does not read
            await async_write_event(answer.event(), self._writer)

    async def _try_to_send_error(self, text: str, code: str) -> None:
        try:
            await self._send(Error(text=text, code=code))
        except (OSError, TimeoutError):
            self.close()


def _names_of(data: Mapping[str, Any]) -> list[str] | None:
    names = data.get("names")
    if names is None:
        return None
    if not isinstance(names, list) or len(names) > _MAX_NAMES or not all(isinstance(name, str) for name in names):
        raise ProtocolError(f"the names of `detect` must be a list of at most {_MAX_NAMES} texts")
    return list(names)
