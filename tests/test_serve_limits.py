"""The limits of the server. A request that exceeds one gets an immediate answer of one line."""

import json
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from urllib.error import HTTPError
from urllib.request import Request, urlopen

import httpx
import numpy as np
import pytest

from harken.errors import HarkenError
from harken.serve.limits import Limits, with_limits
from harken.serve.predict import _check_length
from serving import LOW_LIMITS, RATE, Server, error_of, serving, wav
from test_clip import encoded, with_stated_length


@pytest.fixture(scope="module")
def limited_server() -> Iterator[Server]:
    with serving(*(part for name, value in LOW_LIMITS.items() for part in ("--limit", f"{name}={value}"))) as running:
        yield running


def test_a_body_that_is_too_large_is_refused(limited_server: Server) -> None:
    def parts() -> Iterator[bytes]:
        for _ in range(30):
            yield bytes(10_000)

    for body in (bytes(100_001), parts()):
        response = httpx.post(f"{limited_server.url}/v1/predict", content=body)
        assert response.status_code == 413
        assert "100,000 bytes" in error_of(response)


def test_a_client_that_sends_the_whole_body_first_gets_the_answer(limited_server: Server) -> None:
    def parts() -> Iterator[bytes]:
        for _ in range(90):
            yield bytes(100_000)

    for body in (bytes(9_000_000), parts()):
        # Unlike httpx, urllib reads no answer when the connection is reset while it sends.
        with pytest.raises(HTTPError) as refused:
            urlopen(Request(f"{limited_server.url}/v1/predict", data=body))
        assert refused.value.code == 413
        assert "100,000 bytes" in json.load(refused.value)["error"]


@pytest.mark.parametrize(
    ("headers", "shortest_s", "longest_s"),
    [
        ("Content-Length: 1000000", 1.5, 5),  # the client sends nothing: the server waits for 2 s
        ("Content-Length: 1000000\r\nExpect: 100-continue", 0, 1.5),
        ("Content-Length: 100000000", 0, 1.5),  # more than the server reads
    ],
)
def test_the_rest_of_a_body_that_is_too_large_is_awaited_within_limits(
    limited_server: Server, headers: str, shortest_s: float, longest_s: float
) -> None:
    host, port = limited_server.url.removeprefix("http://").split(":")
    times = []
    for _ in range(2):  # the machine may be busy once
        with socket.create_connection((host, int(port)), timeout=10) as client:
            started = time.monotonic()
            client.sendall(f"POST /v1/predict HTTP/1.1\r\nHost: localhost\r\n{headers}\r\n\r\n".encode())
            assert client.recv(100).startswith(b"HTTP/1.1 413 ")
            times.append(time.monotonic() - started)
    assert shortest_s < min(times) < longest_s


def test_no_more_than_64_mb_of_a_body_that_is_too_large_are_read(limited_server: Server) -> None:
    host, port = limited_server.url.removeprefix("http://").split(":")
    sent = 0
    with socket.create_connection((host, int(port)), timeout=10) as client:
        client.sendall(b"POST /v1/predict HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n")
        with suppress(BrokenPipeError, ConnectionResetError):
            while sent < 200:
                client.sendall(b"100000\r\n" + bytes(1 << 20) + b"\r\n")
                sent += 1
    assert sent < 100  # including what the buffers of the system hold


def test_a_clip_that_is_too_long_is_refused(limited_server: Server) -> None:
    response = httpx.post(f"{limited_server.url}/v1/predict", content=wav(np.zeros(2 * RATE + 1)))
    assert (response.status_code, "longer than 2 s" in error_of(response)) == (413, True)
    response = httpx.post(f"{limited_server.url}/v1/predict", content=wav(np.zeros((RATE, 6)), format="FLAC"))
    assert (response.status_code, "90,000 samples" in error_of(response)) == (413, True)


@pytest.mark.parametrize(("seconds", "status"), [(1, 200), (3, 413)])
def test_a_clip_of_unknown_length_is_measured(limited_server: Server, seconds: int, status: int) -> None:
    """A FLAC that was written to a pipe does not state its length."""
    noise = np.random.default_rng(0).normal(0, 0.01, seconds * RATE)
    content = with_stated_length(0, wav(noise, format="FLAC"))
    assert httpx.post(f"{limited_server.url}/v1/predict", content=content).status_code == status


def test_a_body_that_arrives_too_slowly_is_refused(limited_server: Server) -> None:
    def slow() -> Iterator[bytes]:
        for _ in range(20):
            yield b"RIFF"
            time.sleep(0.1)

    response = httpx.post(f"{limited_server.url}/v1/predict", content=slow())
    assert (response.status_code, "within 0.6 s" in error_of(response)) == (408, True)


def test_a_connection_whose_headers_arrive_too_slowly_is_closed(limited_server: Server) -> None:
    host, port = limited_server.url.removeprefix("http://").split(":")
    for start in (b"", b"POST /v1/predict HTTP/1.1\r\nHost: "):
        with socket.create_connection((host, int(port)), timeout=10) as stream:
            stream.sendall(start)
            started = time.monotonic()
            assert stream.recv(100) == b""
            assert 0.3 < time.monotonic() - started < 5


def test_a_busy_server_answers_immediately(limited_server: Server) -> None:
    url = f"{limited_server.url}/v1/predict"
    started = threading.Event()

    def slow() -> Iterator[bytes]:
        yield wav(np.zeros(RATE))
        started.set()
        time.sleep(0.4)

    first = threading.Thread(target=httpx.post, args=(url,), kwargs={"content": slow()})
    first.start()
    started.wait(10)
    time.sleep(0.1)
    response = httpx.post(url, content=wav(np.zeros(RATE)))
    first.join()
    assert (response.status_code, response.headers["Retry-After"]) == (503, "1")
    assert "try again" in error_of(response)
    assert httpx.post(url, content=wav(np.zeros(RATE))).status_code == 200


def test_connections_are_limited() -> None:
    with serving("--limit", "connections=3") as server, ExitStack() as connections:
        host, port = server.url.removeprefix("http://").split(":")
        for _ in range(3):
            connections.enter_context(socket.create_connection((host, int(port))))
        time.sleep(0.2)
        assert httpx.get(f"{server.url}/healthz").status_code == 503
        connections.close()
        time.sleep(0.2)
        assert httpx.get(f"{server.url}/healthz").status_code == 200


def test_limit_options_are_checked() -> None:
    assert with_limits(Limits(), ["streams=5", "idle_s=0.5"]) == Limits(streams=5, idle_s=0.5)
    for change, part in (
        ("many=5", "the limits are body_bytes"),
        ("streams=x", "a whole number"),
        ("idle_s=x", "must be a number"),
        ("idle_s=0", "a number above 0"),
        ("idle_s=inf", "a number above 0"),
    ):
        with pytest.raises(HarkenError, match=part):
            with_limits(Limits(), [change])


@pytest.mark.parametrize("kept", [0.4, 0.7])
def test_the_length_of_a_bad_mp3_is_checked_without_notes_on_stderr(
    kept: float, capfd: pytest.CaptureFixture[str]
) -> None:
    noise = np.random.default_rng(5).standard_normal(16_000) * 0.1
    whole = encoded(noise, 16_000, "MP3", None)
    _check_length(whole[: int(kept * len(whole))] + bytes(300), Limits())
    _check_length(bytes([0xFF, 0xFB, 0x90, 0x00]) * 500, Limits())
    assert capfd.readouterr().err == ""
