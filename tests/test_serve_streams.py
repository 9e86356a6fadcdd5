"""Detecting words in streams over WebSocket."""

import json
import time
from collections.abc import Iterator
from contextlib import suppress
from typing import Any

import httpx
import numpy as np
import pytest
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import connect

from harken.runtime.listener import Listener
from harken.runtime.recognizer import Recognizer
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
    return [{"type": "event", **vars(event)} for event in events]


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
        assert "there is a threshold for hello" in json.loads(stream.recv())["error"]
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
