"""The limits of the service: each is answered at once, in one line."""

import socket
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack

import httpx
import numpy as np
import pytest

from harken.errors import HarkenError
from harken.serve.limits import Limits, with_limits
from serving import RATE, TIGHT, Server, line, serving, wav


@pytest.fixture(scope="module")
def tight() -> Iterator[Server]:
    with serving(*(part for name, value in TIGHT.items() for part in ("--limit", f"{name}={value}"))) as running:
        yield running


def test_too_many_bytes_are_refused_before_they_are_read(tight: Server) -> None:
    def parts() -> Iterator[bytes]:
        for _ in range(30):
            yield bytes(10_000)

    for body in (bytes(100_001), parts()):
        answer = httpx.post(f"{tight.url}/v1/predict", content=body)
        assert answer.status_code == 413
        assert "100,000 bytes" in line(answer)


def test_too_long_a_clip_is_refused_by_its_header(tight: Server) -> None:
    answer = httpx.post(f"{tight.url}/v1/predict", content=wav(np.zeros(2 * RATE + 1)))
    assert (answer.status_code, "over 2 s" in line(answer)) == (413, True)
    answer = httpx.post(f"{tight.url}/v1/predict", content=wav(np.zeros((RATE, 6)), format="FLAC"))
    assert (answer.status_code, "90,000 samples" in line(answer)) == (413, True)


def test_a_slow_body_is_given_up(tight: Server) -> None:
    def slow() -> Iterator[bytes]:
        for _ in range(20):
            yield b"RIFF"
            time.sleep(0.1)

    answer = httpx.post(f"{tight.url}/v1/predict", content=slow())
    assert (answer.status_code, "within 0.6 s" in line(answer)) == (408, True)


def test_a_slow_head_loses_its_connection(tight: Server) -> None:
    host, port = tight.url.removeprefix("http://").split(":")
    for sent in (b"", b"POST /v1/predict HTTP/1.1\r\nHost: "):
        with socket.create_connection((host, int(port)), timeout=10) as stream:
            stream.sendall(sent)
            started = time.monotonic()
            assert stream.recv(100) == b""
            assert 0.3 < time.monotonic() - started < 5


def test_overload_is_answered_at_once(tight: Server) -> None:
    begun = threading.Event()

    def held() -> Iterator[bytes]:
        yield wav(np.zeros(RATE))
        begun.set()
        time.sleep(0.4)

    first = threading.Thread(target=httpx.post, args=(f"{tight.url}/v1/predict",), kwargs={"content": held()})
    first.start()
    begun.wait(10)
    time.sleep(0.1)
    answer = httpx.post(f"{tight.url}/v1/predict", content=wav(np.zeros(RATE)))
    first.join()
    assert (answer.status_code, answer.headers["Retry-After"]) == (503, "1")
    assert "try again" in line(answer)
    assert httpx.post(f"{tight.url}/v1/predict", content=wav(np.zeros(RATE))).status_code == 200


def test_connections_are_limited() -> None:
    with serving("--limit", "connections=3") as server, ExitStack() as held:
        host, port = server.url.removeprefix("http://").split(":")
        for _ in range(3):
            held.enter_context(socket.create_connection((host, int(port))))
        time.sleep(0.2)
        assert httpx.get(f"{server.url}/healthz").status_code == 503
        held.close()
        time.sleep(0.2)
        assert httpx.get(f"{server.url}/healthz").status_code == 200


def test_limits_are_checked() -> None:
    assert with_limits(Limits(), ["streams=5", "idle_s=0.5"]) == Limits(streams=5, idle_s=0.5)
    for change, part in (
        ("many=5", "the limits are body_bytes"),
        ("streams=x", "a whole number"),
        ("idle_s=x", "must be a number"),
        ("idle_s=0", "a number over 0"),
        ("idle_s=inf", "a number over 0"),
    ):
        with pytest.raises(HarkenError, match=part):
            with_limits(Limits(), [change])
