"""Streams over WebSocket: 16-bit PCM in, words out.

run_listener   one connection from its handshake to its end
"""

import asyncio
import json
import math
from dataclasses import asdict
from functools import partial
from typing import Any

import numpy as np
from starlette.websockets import WebSocket, WebSocketDisconnect, WebSocketState

from harken.errors import HarkenError
from harken.runtime.listener import Event, Listener
from harken.runtime.recognizer import Recognizer
from harken.runtime.streamfile import StreamFile
from harken.serve.limits import Limits
from harken.serve.metrics import Metrics
from harken.serve.security import SUBPROTOCOL
from harken.serve.workers import Workers

# RFC 6455's where one fits, else of the range for applications, after HTTP's statuses.
NORMAL, UNREADABLE, NOT_PCM, UNFIT, FULL = 1000, 1003, 1007, 1008, 1013
IDLE, TOO_LONG = 4408, 4413

_NUMBERS = ("hop_ms", "smoothing_ms", "refractory_ms", "gate_db", "isolation")
_SHORTEST_HOP_MS = 20.0  # a shorter one would let a single stream take a core
_REASON_BYTES = 120  # a close frame has room for 123


class _Closed(Exception):  # noqa: N818 - it is an end, no error
    """The stream ends with this code and reason."""

    def __init__(self, code: int, reason: str) -> None:
        super().__init__(reason)
        self.code = code
        self.reason = reason


async def run_listener(
    socket: WebSocket, recognizer: Recognizer | StreamFile, limits: Limits, workers: Workers, metrics: Metrics
) -> None:
    """Hear one connection out, and close it with a code and a reason where it does not close itself."""
    await socket.accept(SUBPROTOCOL if SUBPROTOCOL in socket.scope["subprotocols"] else None)
    if metrics.streams >= limits.streams:
        await _close(
            socket, metrics, FULL, f"{limits.streams} streams are open, and no more are taken: try again later"
        )
        return
    metrics.streams += 1
    try:
        await _hear(socket, recognizer, limits, workers, metrics)
        code, reason = NORMAL, ""
    except _Closed as closed:
        code, reason = closed.code, closed.reason
    except WebSocketDisconnect as gone:
        code, reason = gone.code, ""
    finally:
        metrics.streams -= 1
    await _close(socket, metrics, code, reason)


async def _hear(
    socket: WebSocket, recognizer: Recognizer | StreamFile, limits: Limits, workers: Workers, metrics: Metrics
) -> None:
    query = socket.query_params
    try:
        numbers = {name: float(query[name]) for name in _NUMBERS if name in query}
        rate = int(query.get("rate", ""))
    except ValueError as error:
        raise _Closed(
            UNFIT, "state the rate of the samples in Hz, as /v1/listen?rate=16000; all others are numbers"
        ) from error
    if numbers.get("hop_ms", math.inf) < _SHORTEST_HOP_MS:
        raise _Closed(UNFIT, f"hop_ms={numbers['hop_ms']:g} is too short: {_SHORTEST_HOP_MS:g} or more")
    try:
        listener = await workers.run(partial(Listener, recognizer, source_rate=rate, **numbers))  # type: ignore[arg-type]
    except HarkenError as error:
        raise _Closed(UNFIT, str(error)) from error
    await socket.send_json({"type": "ready", "labels": listener.labels, "settings": listener.settings.to_json()})
    shows = query.get("posteriors") == "true"
    now = asyncio.get_running_loop().time
    end, too_long = now() + limits.stream_s, f"the stream has lasted {limits.stream_s:g} s: connect again"
    idle_end = now() + limits.idle_s
    while True:
        try:
            async with asyncio.timeout_at(min(end, idle_end)):
                message = await socket.receive()
        except TimeoutError as error:
            if now() >= end:
                raise _Closed(TOO_LONG, too_long) from error
            raise _Closed(IDLE, f"no audio came for {limits.idle_s:g} s: connect again") from error
        if now() >= end:  # where messages come faster than they are heard, the timeout above never has its turn
            raise _Closed(TOO_LONG, too_long)
        if message["type"] == "websocket.disconnect":
            raise WebSocketDisconnect(message["code"])
        if message.get("bytes") is not None:
            pcm = message["bytes"]
            if len(pcm) % 2:
                raise _Closed(NOT_PCM, f"a message of {len(pcm)} bytes is no 16-bit PCM: send whole samples")
            if pcm:
                idle_end = now() + limits.idle_s
            before = listener.hops
            events = await workers.run(listener.push, np.frombuffer(pcm, "<i2"))
            metrics.audio_s += len(pcm) / 2 / rate
            await _tell(socket, events, metrics)
            if shows and listener.hops > before:
                await socket.send_json(_state(listener))
        elif await _command(message.get("text") or "", listener, socket):
            await _tell(socket, await workers.run(listener.finish), metrics)
            await socket.send_json({"type": "end", "seconds": listener.seconds})
            return


async def _command(text: str, listener: Listener, socket: WebSocket) -> bool:
    """Obey a text message; return whether it ends the stream."""
    try:
        command = json.loads(text)
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
        pass  # it is none of ours
    raise _Closed(UNREADABLE, 'a text message is {"type": "thresholds", "thresholds": {...}} or {"type": "finish"}')


async def _tell(socket: WebSocket, events: list[Event], metrics: Metrics) -> None:
    for event in events:
        metrics.words[event.word] += 1
        await socket.send_json({"type": "event", **asdict(event)})


def _state(listener: Listener) -> dict[str, Any]:
    level = listener.level_db
    return {
        "type": "posteriors",
        "at_s": listener.hops * listener.hop / listener.sample_rate,
        "level_db": level if level > -math.inf else None,  # JSON has no infinity
        "posteriors": [round(float(value), 4) for value in listener.posteriors],
        "confidence": round(listener.confidence, 4),
    }


async def _close(socket: WebSocket, metrics: Metrics, code: int, reason: str) -> None:
    metrics.closed[code] += 1
    if WebSocketState.DISCONNECTED not in (socket.client_state, socket.application_state):
        await socket.close(code, reason.encode()[:_REASON_BYTES].decode(errors="ignore"))
