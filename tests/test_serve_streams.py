"""Detecting words in streams over WebSocket."""

import asyncio
import json
import logging
import time
from collections.abc import Iterator
from contextlib import suppress
from typing import Any
from unittest.mock import Mock

import httpx
import numpy as np
import pytest
import uvicorn
from uvicorn.server import ServerState
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import connect

from harken.runtime.listener import Listener
from harken.runtime.recognizer import Recognizer
from harken.serve.app import create_app
from harken.serve.limits import Limits
from harken.serve.protocols import websocket_protocol
from serving import LOW_LIMITS, Server, read_until_closed, serving, synthesize

WORDS = ("left", "stop", "yes")


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    with serving() as running:
        yield running


@pytest.fixture(scope="module")
def limited_server() -> Iterator[Server]:
    with serving(*(part for name, value in LOW_LIMITS.items() for part in ("--limit", f"{name}={value}"))) as running:
        yield running


@pytest.fixture(scope="module")
def recognizer() -> Recognizer:
    return Recognizer("base")


def expected_events(recognizer: Recognizer, pcm: Any, rate: int) -> list[dict[str, Any]]:
    listener = Listener(recognizer, source_rate=rate, thresholds=dict.fromkeys(recognizer.card.words, 0.5))
    events = listener.push(pcm) + listener.finish()
    return [{"type": "event", **event.to_json()} for event in events]


@pytest.mark.parametrize("rate", [16_000, 48_000])
def test_a_stream_gives_the_same_events_as_a_listener(server: Server, recognizer: Recognizer, rate: int) -> None:
    sound = np.concatenate([synthesize(word, rate, after_s=1.0) for word in WORDS])
    pcm = np.clip(np.round(sound * 32768), -32768, 32767).astype("<i2")
    expected = expected_events(recognizer, pcm, rate)
    assert [event["word"] for event in expected] == list(WORDS)
    with connect(f"{server.socket}?rate={rate}&posteriors=true") as stream:
        ready = json.loads(stream.recv())
        assert ready["type"] == "ready"
        assert ready["labels"] == list(recognizer.labels)
        thresholds = dict.fromkeys(recognizer.card.words, 0.5)
        stream.send(json.dumps({"type": "thresholds", "thresholds": thresholds}))
        assert json.loads(stream.recv())["settings"]["thresholds"] == thresholds
        for start in range(0, pcm.size, 1999):
            stream.send(pcm[start : start + 1999].tobytes())
        stream.send(json.dumps({"type": "finish"}))
        messages = [json.loads(text) for text in stream]
    assert messages[-1] == {"type": "end", "seconds": pytest.approx(sound.size / rate, abs=1e-3)}
    assert [m for m in messages if m["type"] == "event"] == expected
    posteriors = [m for m in messages if m["type"] == "posteriors"]
    assert len(posteriors) > 20
    assert all(abs(sum(m["posteriors"]) - 1) < 0.01 for m in posteriors)


def test_empty_messages_are_no_audio_that_waits(server: Server) -> None:
    with connect(f"{server.socket}?rate=16000") as stream:
        stream.recv()
        for _ in range(20):
            stream.send(b"")
        time.sleep(1.2)  # longer than the lag that is allowed
        stream.send(bytes(3200))
        assert httpx.get(f"{server.url}/healthz").status_code == 200
        stream.send(json.dumps({"type": "finish"}))
        assert json.loads(stream.recv()) == {"type": "end", "seconds": pytest.approx(0.1)}


def test_thresholds_can_be_changed_while_listening(server: Server) -> None:
    sound = np.concatenate([synthesize(word, after_s=1.0) for word in WORDS])
    pcm = np.clip(np.round(sound * 32768), -32768, 32767).astype("<i2").tobytes()
    with connect(f"{server.socket}?rate=16000") as stream:
        stream.recv()
        stream.send(json.dumps({"type": "thresholds", "thresholds": {"stop": 1.0, "left": 1.0, "yes": 0.5}}))
        assert json.loads(stream.recv())["settings"]["thresholds"]["stop"] == 1.0
        stream.send(json.dumps({"type": "thresholds", "thresholds": {"hello": 1.0}}))
        assert "thresholds: the model does not know hello" in json.loads(stream.recv())["error"]
        stream.send(json.dumps({"type": "thresholds", "thresholds": {"stop": 7}}))
        assert "must be from 0 to 1" in json.loads(stream.recv())["error"]
        stream.send(pcm)
        stream.send(json.dumps({"type": "finish"}))
        words = [m["word"] for m in map(json.loads, stream) if m["type"] == "event"]
    assert words == ["yes"]


@pytest.mark.parametrize(
    ("query", "part"),
    [
        ("", "needs the sample rate"),
        ("?rate=fast", "needs the sample rate"),
        ("?rate=1", "the sample rate is 1 Hz"),
        ("?rate=16000&hop_ms=1", "too short"),
        ("?rate=16000&hop_ms=nan", "hop_ms"),
        ("?rate=16000&gate_db=7", "gate_db"),
        ("?rate=16000&hop_ms=5000", "hop_ms"),
    ],
)
def test_a_stream_with_invalid_settings_is_closed(server: Server, query: str, part: str) -> None:
    with connect(server.socket + query) as stream:
        code, reason = read_until_closed(stream)
    assert code == 1008
    assert part in reason


def test_invalid_messages_close_a_stream(server: Server) -> None:
    for message, code in ((b"abc", 1007), ("[]", 1003), ("{", 1003), ('{"type": "thresholds", "thresholds": 1}', 1003)):
        with connect(f"{server.socket}?rate=16000") as stream:
            stream.recv()
            stream.send(message)
            assert read_until_closed(stream)[0] == code


def test_a_message_that_is_too_long_before_the_first_answer_is_counted_and_logs_no_error(
    caplog: pytest.LogCaptureFixture,
) -> None:
    limits = Limits(message_bytes=20_000)
    app = create_app(Recognizer("tiny"), limits=limits)

    async def send_at_once() -> tuple[bytes, str]:
        config = uvicorn.Config(app, ws_max_size=limits.message_bytes, lifespan="off", log_level="critical")
        config.load()
        server: Any = websocket_protocol(limits)
        state = ServerState()
        protocol = server(config, state, {})
        transport = Mock(spec=asyncio.Transport)
        transport.get_extra_info.return_value = None
        transport.is_closing.return_value = False
        written = bytearray()

        def write(data: bytes) -> None:
            written.extend(data)
            if data.startswith(b"HTTP/1.1 101"):  # the client sends as soon as it may
                frame = b"\x82\xfe" + (30_000).to_bytes(2) + bytes(4) + bytes(30_000)
                asyncio.get_running_loop().call_soon(protocol.data_received, frame)

        transport.write = write
        protocol.connection_made(transport)
        protocol.data_received(
            b"GET /v1/listen?rate=16000 HTTP/1.1\r\nhost: localhost\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
            b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n"
        )
        await asyncio.gather(*state.tasks)
        async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://localhost") as client:
            return bytes(written), (await client.get("/metrics")).text

    with caplog.at_level(logging.ERROR):
        written, metrics = asyncio.run(send_at_once())
    assert b"exceeds limit of 20000 bytes" in written
    assert b"ready" not in written
    assert 'harken_streams_closed_total{code="1009"} 1' in metrics
    assert "harken_streams 0" in metrics
    assert caplog.text == ""


@pytest.mark.parametrize("first", [0, 20])
def test_a_message_that_is_too_long_is_counted_with_its_code(first: int) -> None:
    with serving("--limit", "message_bytes=20000", model="tiny") as server:
        for _ in range(5):
            with connect(f"{server.socket}?rate=16000&posteriors=true&hop_ms=20") as stream:
                for _ in range(first):
                    stream.send(bytes(16_000))
                stream.send(bytes(30_000))
                assert read_until_closed(stream)[0] == 1009
        deadline = time.monotonic() + 10
        while "harken_streams 0" not in (metrics := httpx.get(f"{server.url}/metrics").text):
            assert time.monotonic() < deadline
            time.sleep(0.05)
        assert [line for line in metrics.splitlines() if line.startswith("harken_streams_closed_total")] == [
            'harken_streams_closed_total{code="1009"} 5'
        ]
        server.process.terminate()
        assert server.process.communicate(timeout=30) == ("", "")


def test_streams_are_limited(limited_server: Server) -> None:
    url = f"{limited_server.socket}?rate=16000"
    with connect(url) as idle:
        assert read_until_closed(idle) == (4408, "no audio arrived for 0.6 s: connect again")
    with connect(url) as long:
        with suppress(ConnectionClosed):
            for _ in range(60):
                long.send(bytes(3200))
                time.sleep(0.05)
        assert read_until_closed(long)[0] == 4413
    with connect(url) as fast, suppress(ConnectionClosed):  # audio that arrives faster than it is processed
        deadline = time.monotonic() + 20
        while time.monotonic() < deadline:
            fast.send(bytes(16_000))
    assert read_until_closed(fast)[0] == 4413
    with connect(url) as oversized:
        oversized.recv()
        oversized.send(bytes(30_000))
        assert read_until_closed(oversized)[0] == 1009
    with connect(url) as one, connect(url) as two:
        one.recv()
        two.recv()
        with connect(url) as third:
            code, reason = read_until_closed(third)
        assert (code, "2 streams are open" in reason) == (1013, True)
