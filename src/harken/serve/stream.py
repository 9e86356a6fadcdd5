"""Detect words in streams over WebSocket: 16-bit PCM in, events out.

run_listener   handle one connection from its handshake to its end
WakePhrase     the wake phrase after which commands count, if the server has one
"""

import asyncio
import json
import math
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
from starlette.websockets import WebSocket, WebSocketDisconnect, WebSocketState

from harken.errors import HarkenError
from harken.runtime.listener import Event, Listener
from harken.runtime.two_stage import StreamModel
from harken.runtime.wake_listener import WakeListener
from harken.serve.limits import Limits
from harken.serve.load import StreamLoad, StreamMeter
from harken.serve.metrics import Metrics
from harken.serve.security import SUBPROTOCOL
from harken.serve.workers import Workers

# Close codes: standard ones where one fits, and otherwise 4000 + the matching HTTP status.
NORMAL, STOPPING, INVALID_MESSAGE, NOT_PCM, INVALID_SETTINGS, TRY_AGAIN_LATER = 1000, 1001, 1003, 1007, 1008, 1013
IDLE, TOO_LONG = 4408, 4413

_SETTINGS = ("hop_ms", "smoothing_ms", "refractory_ms", "gate_db", "isolation")
_MIN_HOP_MS = 20.0  # with a shorter hop, a single stream could use a whole core
_READ_AHEAD_S = 5.0
_READ_AHEAD_MESSAGES = 1000
_MAX_REASON_BYTES = 120  # a close frame has space for 123


@dataclass(frozen=True)
class WakePhrase:
    """The wake phrase after which the words of the served model count.

    Attributes
    ----------
    recognizer
        Its model.
    command_s
        Time after the phrase during which words count, in seconds.
    """

    recognizer: StreamModel
    command_s: float

    def to_json(self) -> dict[str, Any]:
        """Return the phrases and the time, as clients get them."""
        return {"words": list(self.recognizer.card.words), "command_s": self.command_s}


class _CloseStream(Exception):  # noqa: N818 - not an error, but the end of a stream
    """Close the stream with this code and reason."""

    def __init__(self, code: int, reason: str) -> None:
        super().__init__(reason)
        self.code = code
        self.reason = reason


async def run_listener(
    socket: WebSocket,
    recognizer: StreamModel,
    limits: Limits,
    workers: Workers,
    metrics: Metrics,
    load: StreamLoad,
    wake: WakePhrase | None = None,
) -> None:
    """Handle one connection, and close it with a code and a reason unless the client closes it.

    Parameters
    ----------
    socket
        The connection, before its handshake. Its query contains the sample rate and the settings.
    recognizer
        The model or the streaming model.
    limits
        Limits on the number, duration and idle time of streams.
    workers
        Threads that run the network.
    metrics
        Counters to update.
    load
        The open streams and their cost.
    wake
        Wake phrase after which words count. Default: they always count.
    """
    await socket.accept(SUBPROTOCOL if SUBPROTOCOL in socket.scope["subprotocols"] else None)
    if metrics.streams >= limits.streams:
        await _close(socket, metrics, TRY_AGAIN_LATER, f"{limits.streams} streams are open already: try again later")
        return
    if load.is_full(time.monotonic()):
        full = f"this machine can process no more than the {metrics.streams} open streams: try again later"
        await _close(socket, metrics, TRY_AGAIN_LATER, full)
        return
    metrics.streams += 1
    meter = load.open(time.monotonic())
    try:
        await _process_stream(socket, recognizer, limits, workers, metrics, load, meter, wake)
        code, reason = NORMAL, ""
    except _CloseStream as close:
        code, reason = close.code, close.reason
    except WebSocketDisconnect as disconnect:
        code, reason = disconnect.code, ""
    finally:
        metrics.streams -= 1
        load.close(meter)
    await _close(socket, metrics, code, reason)


async def _process_stream(
    socket: WebSocket,
    recognizer: StreamModel,
    limits: Limits,
    workers: Workers,
    metrics: Metrics,
    load: StreamLoad,
    meter: StreamMeter,
    wake: WakePhrase | None,
) -> None:
    query = socket.query_params
    if unknown := sorted(query.keys() - {"rate", "posteriors", *_SETTINGS}):
        known = ", ".join(("rate", "posteriors", *_SETTINGS))
        raise _CloseStream(INVALID_SETTINGS, f"unknown query parameter {unknown[0]}: the parameters are {known}")
    if query.get("posteriors", "false") not in ("true", "false"):
        raise _CloseStream(INVALID_SETTINGS, "posteriors must be true or false")
    try:
        settings = {name: float(query[name]) for name in _SETTINGS if name in query}
        rate = int(query.get("rate", ""))
    except ValueError as error:
        raise _CloseStream(
            INVALID_SETTINGS, "the query needs the sample rate in Hz, as ?rate=16000, and numbers for all settings"
        ) from error
    if settings.get("hop_ms", math.inf) < _MIN_HOP_MS:
        raise _CloseStream(
            INVALID_SETTINGS, f"hop_ms={settings['hop_ms']:g} is too short: it must be {_MIN_HOP_MS:g} or more"
        )
    try:
        listener = await workers.run(partial(make_listener, recognizer, wake, rate, settings))
    except HarkenError as error:
        raise _CloseStream(INVALID_SETTINGS, str(error)) from error
    commands = _commands_of(listener)
    ready = {"type": "ready", "labels": commands.labels, "settings": commands.settings.to_json()}
    await socket.send_json(ready if wake is None else {**ready, "wake": wake.to_json()})
    messages = _Messages(socket, meter, rate)
    try:
        await _process_messages(messages, socket, listener, limits, workers, metrics, load, rate)
    finally:
        await messages.close()


def make_listener(
    recognizer: StreamModel, wake: WakePhrase | None, source_rate: int, settings: dict[str, float]
) -> Listener | WakeListener:
    """Return the listener of a new stream. The settings are those of the served model, not of the wake phrase.

    Raises
    ------
    HarkenError
        If a setting is out of range, or the two models have the same words.
    """
    listener = Listener(recognizer, source_rate=source_rate, **settings)  # type: ignore[arg-type]
    if wake is None:
        return listener
    return WakeListener(Listener(wake.recognizer, source_rate=source_rate), listener, command_s=wake.command_s)


def _commands_of(listener: Listener | WakeListener) -> Listener:
    return listener.commands if isinstance(listener, WakeListener) else listener


class _Messages:
    """The messages of a stream, read as they arrive, so that it is known how long each has waited.

    Only audio of a few seconds is read ahead. Then a client that is too fast has to wait.
    """

    def __init__(self, socket: WebSocket, meter: StreamMeter, rate: int) -> None:
        self.meter = meter
        self._socket = socket
        self._rate = rate
        self._queue: asyncio.Queue[Any] = asyncio.Queue()
        self._queued_s = 0.0
        self._taken = asyncio.Event()
        self._reader = asyncio.create_task(self._read())

    async def _read(self) -> None:
        while True:
            message = await self._socket.receive()
            seconds = self.seconds(message)
            if message.get("bytes"):
                self.meter.arrived(seconds, time.monotonic())
            self._queued_s += seconds
            self._queue.put_nowait(message)
            if message["type"] == "websocket.disconnect":
                return
            while self._queued_s > _READ_AHEAD_S or self._queue.qsize() > _READ_AHEAD_MESSAGES:
                self._taken.clear()
                await self._taken.wait()

    def seconds(self, message: Any) -> float:
        """Return the length of the audio in a message."""
        return len(message.get("bytes") or b"") / 2 / self._rate

    async def receive(self) -> Any:
        """Return the next message."""
        message = await self._queue.get()
        self._queued_s -= self.seconds(message)
        self._taken.set()
        return message

    async def close(self) -> None:
        """Stop reading."""
        self._reader.cancel()
        with suppress(asyncio.CancelledError, RuntimeError):  # RuntimeError: the socket was closed in the meantime
            await self._reader


async def _process_messages(
    messages: _Messages,
    socket: WebSocket,
    listener: Listener | WakeListener,
    limits: Limits,
    workers: Workers,
    metrics: Metrics,
    load: StreamLoad,
    rate: int,
) -> None:
    commands = _commands_of(listener)
    send_posteriors = socket.query_params.get("posteriors") == "true"
    now = asyncio.get_running_loop().time
    end, too_long = now() + limits.stream_s, f"the stream is longer than {limits.stream_s:g} s: connect again"
    idle_end = now() + limits.idle_s
    while True:
        try:
            async with asyncio.timeout_at(min(end, idle_end)):
                message = await messages.receive()
        except TimeoutError as error:
            if now() >= end:
                raise _CloseStream(TOO_LONG, too_long) from error
            raise _CloseStream(IDLE, f"no audio arrived for {limits.idle_s:g} s: connect again") from error
        if now() >= end:  # the timeout above never fires if messages arrive faster than they are processed
            raise _CloseStream(TOO_LONG, too_long)
        if message["type"] == "websocket.disconnect":
            raise WebSocketDisconnect(message["code"])
        if message.get("server_stops"):
            await _finish(listener, socket, workers, metrics)
            raise _CloseStream(STOPPING, "the server is stopping: connect again later")
        if message.get("bytes") is not None:
            pcm = message["bytes"]
            if len(pcm) % 2:
                raise _CloseStream(NOT_PCM, f"a message of {len(pcm)} bytes is not 16-bit PCM: send whole samples")
            if not pcm:  # it keeps the connection alive, and is no audio
                continue
            idle_end = now() + limits.idle_s
            hops_before = commands.hops
            events, busy_s = await workers.run(_timed_push, listener, pcm)
            seconds = messages.seconds(message)
            load.processed(messages.meter, seconds, busy_s, time.monotonic())
            metrics.audio_s += seconds
            await _send_events(socket, events, metrics)
            if send_posteriors and commands.hops > hops_before:
                await socket.send_json(_posteriors_message(listener))
            if load.must_close(messages.meter, time.monotonic()):
                raise _CloseStream(TRY_AGAIN_LATER, "this machine is too slow for all open streams: try again later")
        elif await _handle_text(message.get("text") or "", commands, socket):
            await _finish(listener, socket, workers, metrics)
            return


async def _finish(listener: Listener | WakeListener, socket: WebSocket, workers: Workers, metrics: Metrics) -> None:
    await _send_events(socket, await workers.run(listener.finish), metrics)
    await socket.send_json({"type": "end", "seconds": listener.seconds})


def _timed_push(listener: Listener | WakeListener, pcm: bytes) -> tuple[Sequence[Event], float]:
    start = time.perf_counter()
    return listener.push(np.frombuffer(pcm, "<i2")), time.perf_counter() - start


async def _handle_text(text: str, listener: Listener, socket: WebSocket) -> bool:
    """Execute the command in a text message, and return whether it ends the stream."""
    try:
        command = json.loads(text)
        json.dumps(command, ensure_ascii=False).encode()  # half of a surrogate pair could not be sent back
        if command == {"type": "finish"}:
            return True
        if set(command) == {"type", "thresholds"} and command["type"] == "thresholds":
            listener.set_thresholds({str(word): float(value) for word, value in command["thresholds"].items()})
            await socket.send_json({"type": "settings", "settings": listener.settings.to_json()})
            return False
    except HarkenError as error:
        await socket.send_json({"type": "error", "error": str(error)})
        return False
    except (ValueError, TypeError, AttributeError, RecursionError, OverflowError):
        pass  # not a valid message
    raise _CloseStream(
        INVALID_MESSAGE, 'send text as {"type": "thresholds", "thresholds": {...}} or as {"type": "finish"}'
    )


async def _send_events(socket: WebSocket, events: Sequence[Event], metrics: Metrics) -> None:
    for event in events:
        metrics.words[event.word] += 1
        await socket.send_json({"type": "event", **event.to_json()})


def _posteriors_message(listener: Listener | WakeListener) -> dict[str, Any]:
    commands = _commands_of(listener)
    level = commands.level_db
    message = {
        "type": "posteriors",
        "at_s": commands.hops * commands.hop / commands.sample_rate,
        "level_db": level if level > -math.inf else None,  # JSON has no infinity
        "posteriors": [round(float(value), 4) for value in commands.posteriors],
        "confidence": round(commands.confidence, 4),
    }
    return {**message, "until_s": listener.until_s} if isinstance(listener, WakeListener) else message


async def _close(socket: WebSocket, metrics: Metrics, code: int, reason: str) -> None:
    if WebSocketState.DISCONNECTED not in (socket.client_state, socket.application_state):
        try:
            await socket.close(code, reason.encode()[:_MAX_REASON_BYTES].decode(errors="ignore"))
        except WebSocketDisconnect as disconnect:  # it was closed in the meantime
            code = disconnect.code
    metrics.closed[code] += 1
