"""Keeping up with live streams: refuse new ones in time, and close the newest if it still happens."""

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import Any

import numpy as np
import pytest
from anyio import ClosedResourceError
from starlette.testclient import TestClient
from starlette.websockets import WebSocketDisconnect

from conftest import MakeModel
from harken.runtime.recognizer import Recognizer
from harken.serve.app import create_app
from harken.serve.limits import Limits
from harken.serve.load import StreamLoad

RATE, CHUNK = 8000, 800  # samples, 0.1 s: one hop
SOUND = np.random.default_rng(0).integers(-9000, 9000, CHUNK).astype("<i2").tobytes()


def test_streams_are_accepted_while_there_is_time_for_them() -> None:
    load = StreamLoad(threads=2, cost=0.5, max_lag_s=1.0)
    meters = []
    while not load.is_full(0.0):
        meters.append(load.open(0.0))
    assert len(meters) == 3  # 4 x 0.5 s of 2 s would be all
    assert load.load == pytest.approx(0.75)
    for meter in meters:  # they turn out to be cheaper
        for second in range(100):
            meter.arrived(1.0, float(second))
            meter.processed(1.0, 0.1)
    assert load.load == pytest.approx(0.15, abs=0.02)
    assert not load.is_full(100.0)
    load.close(meters[0])
    assert load.load == pytest.approx(0.1, abs=0.02)


def test_a_single_stream_is_always_accepted() -> None:
    assert not StreamLoad(threads=1, cost=5.0, max_lag_s=1.0).is_full(0.0)


def test_the_newest_stream_is_closed_when_live_streams_are_behind() -> None:
    load = StreamLoad(threads=1, cost=0.01, max_lag_s=1.0)
    old, new = load.open(0.0), load.open(0.0)
    for meter in (old, new):
        meter.arrived(0.1, 10.0)
    assert load.lag(10.9) == pytest.approx(0.9)
    assert load.is_full(10.9)
    assert not load.must_close(new, 10.9)
    assert load.is_behind(11.1)
    assert not load.must_close(old, 11.1)
    assert load.must_close(new, 11.1)
    load.close(new)
    assert load.is_full(11.9)
    assert not load.must_close(old, 12.5)  # the last one stays
    old.processed(0.1, 0.001)
    assert load.lag(12.5) == 0.0
    assert load.is_full(60.0)  # it is not tried again at once
    assert not load.is_full(80.0)


def test_as_many_streams_are_closed_as_the_server_cannot_process() -> None:
    load = StreamLoad(threads=4, cost=0.01, max_lag_s=1.0)
    meters = [load.open(0.0) for _ in range(20)]
    for step in range(30):  # of 20 seconds of audio, it processes 10 in each second
        for meter in meters:
            meter.arrived(0.1, step / 10)
        for meter in meters[step % 2 :: 2]:
            load.processed(meter, 0.1, 0.001, step / 10 + 0.05)
    closed = [load.must_close(meter, 3.0) for meter in meters]
    assert closed == [False] * 8 + [True] * 12  # 80 % of ten are eight
    for meter in meters[8:]:
        load.close(meter)
    for meter in meters[:8]:  # they catch up
        for _ in range(15):
            load.processed(meter, 0.1, 0.001, 3.9)
    assert load.is_full(4.0)
    assert not any(load.must_close(meter, 4.0) for meter in meters[:8])


def test_the_lag_is_not_computed_for_each_message(monkeypatch: pytest.MonkeyPatch) -> None:
    load = StreamLoad(threads=4, cost=0.01, max_lag_s=1.0)
    meters = [load.open(0.0) for _ in range(20)]
    computed = []
    lag = load.lag
    monkeypatch.setattr(load, "lag", lambda now: computed.append(now) or lag(now))
    assert not any(load.must_close(meter, step / 50) for step in range(50) for meter in meters)
    assert len(computed) <= 11  # of 1000 messages in a second


def test_audio_that_comes_faster_than_it_is_spoken_has_no_lag() -> None:
    load = StreamLoad(threads=1, cost=0.01, max_lag_s=1.0)
    meter = load.open(0.0)
    for _ in range(50):
        meter.arrived(0.1, 0.0)
    assert load.lag(1.5) == 0.0
    assert load.lag(4.0) == pytest.approx(4.0)  # now it should be over


class SlowServer:
    """An application whose network takes a fixed time per hop."""

    def __init__(self, model: Any, hop_s: float, monkeypatch: pytest.MonkeyPatch, **limits: float) -> None:
        recognizer = Recognizer(model)
        original = recognizer.model.probabilities
        self.hop_s = hop_s

        def slow(windows: Any) -> Any:
            time.sleep(self.hop_s)
            return original(windows)

        monkeypatch.setattr(recognizer.model, "probabilities", slow)
        self.app = create_app(recognizer, limits=Limits(**limits), threads=1)  # type: ignore[arg-type]


@pytest.fixture
def slow_server(make_model: MakeModel, monkeypatch: pytest.MonkeyPatch) -> Callable[..., SlowServer]:
    return lambda hop_s, **limits: SlowServer(make_model(), hop_s, monkeypatch, **limits)


@pytest.fixture
def speaking() -> Iterator[Callable[[Any], None]]:
    """Return a function that speaks into a stream as a microphone does, until the test ends."""
    stopped = threading.Event()
    threads = []

    def speak(stream: Any) -> None:
        with suppress(RuntimeError, ClosedResourceError):  # the stream was closed, or the test is over
            while not stopped.wait(0.1):
                stream.send_bytes(SOUND)

    def start(stream: Any) -> None:
        threads.append(threading.Thread(target=speak, args=(stream,)))
        threads[-1].start()

    yield start
    stopped.set()
    for thread in threads:
        thread.join()


def test_a_stream_that_would_be_too_much_is_refused(slow_server: Callable[..., SlowServer]) -> None:
    server, url = slow_server(0.05), f"ws://127.0.0.1/v1/listen?rate={RATE}"
    with TestClient(server.app, base_url="http://127.0.0.1") as client:
        assert client.get("/healthz").json() == {"status": "ok"}
        with client.websocket_connect(url) as first:
            assert first.receive_json()["type"] == "ready"
            assert client.get("/healthz").json() == {"status": "full"}
            with client.websocket_connect(url) as second, pytest.raises(WebSocketDisconnect) as refused:
                second.receive_json()
            assert (refused.value.code, "no more than the 1 open streams" in refused.value.reason) == (1013, True)


def test_the_newest_stream_is_closed_when_the_server_is_too_slow(
    slow_server: Callable[..., SlowServer], speaking: Callable[[Any], None]
) -> None:
    server, url = slow_server(0.001, lag_s=0.4), f"ws://127.0.0.1/v1/listen?rate={RATE}&posteriors=true"
    server.hop_s = 0.06
    states = set()
    with (
        TestClient(server.app, base_url="http://127.0.0.1") as client,
        client.websocket_connect(url) as first,
        client.websocket_connect(url) as second,
    ):
        speaking(first)
        speaking(second)

        def receive_until_closed() -> None:
            while True:
                second.receive_json()
                states.add(client.get("/healthz").json()["status"])

        with pytest.raises(WebSocketDisconnect) as closed:
            receive_until_closed()
        assert (closed.value.code, "too slow for all open streams" in closed.value.reason) == (1013, True)
        assert "full" in states
        for _ in range(20):  # the other one goes on
            assert first.receive_json()["type"] in ("ready", "posteriors", "event")
        metrics = client.get("/metrics").text
        assert 'harken_stream_lag_seconds{quantile="0.5"}' in metrics
        assert 'harken_streams_closed_total{code="1013"} 1' in metrics
        assert 0.2 < float(metrics.split("\nharken_stream_load ")[1].split()[0]) < 1.2
