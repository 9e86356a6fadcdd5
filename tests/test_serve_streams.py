"""Streams of the service."""

import json
import time
from collections.abc import Iterator
from contextlib import suppress
from typing import Any

import numpy as np
import pytest
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import connect

from harken.runtime.listener import Listener
from harken.runtime.recognizer import Recognizer
from serving import TIGHT, Server, serving, until_closed, voiced

WORDS = ("left", "stop", "yes")


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    with serving() as running:
        yield running


@pytest.fixture(scope="module")
def tight() -> Iterator[Server]:
    with serving(*(part for name, value in TIGHT.items() for part in ("--limit", f"{name}={value}"))) as running:
        yield running


@pytest.fixture(scope="module")
def recognizer() -> Recognizer:
    return Recognizer("base")


def listened(recognizer: Recognizer, pcm: Any, rate: int) -> list[dict[str, Any]]:
    listener = Listener(recognizer, source_rate=rate, thresholds=dict.fromkeys(recognizer.card.words, 0.5))
    events = listener.push(pcm) + listener.finish()
    return [{"type": "event", **vars(event)} for event in events]


@pytest.mark.parametrize("rate", [16_000, 48_000])
def test_a_stream_has_the_events_of_a_listener(server: Server, recognizer: Recognizer, rate: int) -> None:
    sound = np.concatenate([voiced(word, rate, after_s=1.0) for word in WORDS])
    pcm = np.clip(np.round(sound * 32768), -32768, 32767).astype("<i2")
    expected = listened(recognizer, pcm, rate)
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


def test_thresholds_move_while_it_listens(server: Server) -> None:
    sound = np.concatenate([voiced(word, after_s=1.0) for word in WORDS])
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
        ("", "state the rate"),
        ("?rate=fast", "state the rate"),
        ("?rate=1", "a sample rate of 1 Hz"),
        ("?rate=16000&hop_ms=1", "too short"),
        ("?rate=16000&hop_ms=nan", "hop_ms"),
        ("?rate=16000&gate_db=7", "gate_db"),
        ("?rate=16000&hop_ms=5000", "hop_ms"),
    ],
)
def test_a_stream_that_asks_for_the_impossible_is_closed(server: Server, query: str, part: str) -> None:
    with connect(server.socket + query) as stream:
        code, reason = until_closed(stream)
    assert code == 1008
    assert part in reason


def test_what_is_no_pcm_closes_a_stream(server: Server) -> None:
    for sent, code in ((b"abc", 1007), ("[]", 1003), ("{", 1003), ('{"type": "thresholds", "thresholds": 1}', 1003)):
        with connect(f"{server.socket}?rate=16000") as stream:
            stream.recv()
            stream.send(sent)
            assert until_closed(stream)[0] == code


def test_a_stream_has_limits(tight: Server) -> None:
    address = f"{tight.socket}?rate=16000"
    with connect(address) as idle:
        assert until_closed(idle) == (4408, "no audio came for 0.6 s: connect again")
    with connect(address) as long:
        with suppress(ConnectionClosed):
            for _ in range(60):
                long.send(bytes(3200))
                time.sleep(0.05)
        assert until_closed(long)[0] == 4413
    with connect(address) as hasty, suppress(ConnectionClosed):  # what comes faster than it is heard
        deadline = time.monotonic() + 20
        while time.monotonic() < deadline:
            hasty.send(bytes(16_000))
    assert until_closed(hasty)[0] == 4413
    with connect(address) as heavy:
        heavy.recv()
        heavy.send(bytes(30_000))
        assert until_closed(heavy)[0] == 1009
    with connect(address) as one, connect(address) as two:
        one.recv()
        two.recv()
        with connect(address) as third:
            code, reason = until_closed(third)
        assert (code, "2 streams are open" in reason) == (1013, True)
