"""The server: its responses, and how it starts and stops."""

import base64
import io
import json
import os
import re
import shutil
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import numpy as np
import pytest
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import connect

from harken.runtime.listener_settings import ListenerSettings
from harken.runtime.recognizer import Recognizer
from harken.runtime.streamfile import StreamFile
from serving import RATE, Server, error_of, serving, synthesize, wav


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    with serving() as running:
        yield running


@pytest.fixture(scope="module")
def recognizer() -> Recognizer:
    return Recognizer("base")


@pytest.mark.parametrize(
    "encoding",
    [{}, {"format": "FLAC"}, {"format": "OGG", "subtype": "VORBIS"}, {"format": "MP3", "subtype": "MPEG_LAYER_III"}],
)
def test_a_clip_gets_the_same_prediction_as_in_python(
    server: Server, recognizer: Recognizer, encoding: dict[str, str]
) -> None:
    body = wav(synthesize("stop"), **encoding)
    expected = recognizer.predict(io.BytesIO(body))
    for request in ({"content": body}, {"files": {"file": ("stop.wav", body)}}):
        response = httpx.post(f"{server.url}/v1/predict", **request)
        assert response.status_code == 200
        prediction = response.json()
        assert (prediction["word"], prediction["reason"], prediction["label"]) == ("stop", None, "stop")
        assert prediction["probabilities"] == pytest.approx(expected.probabilities, abs=1e-6)


def test_a_clip_without_a_word_gets_a_reason(server: Server) -> None:
    prediction = httpx.post(f"{server.url}/v1/predict", content=wav(np.zeros(RATE))).json()
    assert (prediction["word"], prediction["reason"]) == (None, "silence")


@pytest.mark.parametrize(
    ("body", "status", "part"),
    [
        (b"", 422, "empty"),
        (b"no sound at all", 415, "format of the clip is not supported: send WAV, FLAC, OGG or MP3"),
        (b"PK\x03\x04" + bytes(40), 415, "not supported"),
        (wav(np.zeros(0)), 422, "no samples"),
        (wav(np.ones(4000))[:40], 422, "cut short|damaged"),
        (b"RIFF\xff\xff\xff\xffWAVEfmt " + bytes(60), 422, "."),
        (b"fLaC" + bytes(60), 422, "."),
        (wav(np.full(RATE, np.nan), subtype="FLOAT"), 422, "NaN"),
        (wav(np.zeros(RATE * 31)), 413, "longer than 30 s"),
        (wav(np.zeros(4000), rate=1000), 422, "."),
    ],
)
def test_invalid_clips_are_refused_with_one_line(server: Server, body: bytes, status: int, part: str) -> None:
    response = httpx.post(f"{server.url}/v1/predict", content=body)
    assert response.status_code == status, response.text
    assert re.search(part, error_of(response))


def test_invalid_forms_are_refused(server: Server) -> None:
    url = f"{server.url}/v1/predict"
    clip = wav(np.zeros(RATE))
    boundary = {"Content-Type": "multipart/form-data; boundary=x"}
    assert "has 0 fields `file`" in error_of(httpx.post(url, files={"other": clip}))
    assert "has 2 fields `file`" in error_of(httpx.post(url, files=[("file", clip), ("file", clip)]))
    for body in (b"", b"--x", b"--x\r\nnonsense\r\n\r\n", b"--y\r\n\r\n", b"--x\r\n" + b"A: b\r\n" * 3000):
        response = httpx.post(url, content=body, headers=boundary)
        assert response.status_code == 422, body
        assert "multipart" in error_of(response) or "fields" in error_of(response)
    assert httpx.post(url, content=clip, headers={"Content-Type": "multipart/form-data"}).status_code == 422
    many = b"--x\r\n\r\n\r\n" * 101 + b"--x--\r\n"
    assert "multipart" in error_of(httpx.post(url, content=many, headers=boundary))
    assert "compressed" in error_of(httpx.post(url, content=clip, headers={"Content-Encoding": "gzip"}))


def test_malicious_bodies_cause_no_server_error_and_do_not_affect_the_next_clip(server: Server) -> None:
    draws = np.random.default_rng(13)
    good = wav(synthesize("stop"))
    seeds = [good, wav(synthesize("stop"), format="FLAC"), wav(synthesize("stop"), format="OGG", subtype="VORBIS")]
    seeds.append(wav(synthesize("stop"), format="MP3", subtype="MPEG_LAYER_III"))
    statuses = set()
    with httpx.Client(base_url=server.url, timeout=30) as client:
        for number in range(2_000):
            body = bytearray(seeds[number % len(seeds)])
            for _ in range(1 + number % 7):
                head = 60 if number % 3 else len(body)
                at = int(draws.integers(head))
                match number % 4:
                    case 0:
                        body[at] = int(draws.integers(256))
                    case 1:
                        del body[at : at + int(draws.integers(1, 2000))]
                    case 2:
                        body[at:at] = draws.bytes(int(draws.integers(1, 50)))
                    case 3:
                        body[at : at + 4] = b"\xff\xff\xff\x7f"
                if not body:
                    break
            if number % 11 == 0:
                body = bytearray(draws.bytes(int(draws.integers(1, 4000))))
            response = client.post("/v1/predict", content=bytes(body))
            statuses.add(response.status_code)
            assert response.status_code < 500, (number, response.text)
    assert {200, 415, 422} <= statuses  # some bodies are still valid clips
    assert httpx.post(f"{server.url}/v1/predict", content=good).json()["word"] == "stop"


def test_the_model_card_the_page_and_the_api_description_are_served(server: Server, recognizer: Recognizer) -> None:
    card = httpx.get(f"{server.url}/v1/model").json()
    assert card["labels"] == list(recognizer.labels)
    assert card["thresholds"] == dict(recognizer.card.thresholds)
    page = httpx.get(server.url)
    assert "default-src 'none'" in page.headers["Content-Security-Policy"]
    assert "unsafe" not in page.headers["Content-Security-Policy"]
    assert httpx.get(f"{server.url}/page/main.js").headers["Content-Type"].startswith("text/javascript")
    paths = httpx.get(f"{server.url}/openapi.json").json()["paths"]
    assert set(paths) == {"/v1/predict", "/v1/model", "/healthz", "/metrics"}
    for path in ("/page/app.py", "/page/../app.py", "/page/%2e%2e%2fapp.py", "/nothing"):
        assert httpx.get(server.url + path).status_code == 404
    refused = httpx.get(f"{server.url}/v1/predict")
    assert (refused.status_code, refused.headers["Allow"]) == (405, "POST")
    assert error_of(refused)


@pytest.mark.parametrize("path", ["/", "/healthz"])
def test_load_balancers_can_probe_with_head(server: Server, path: str) -> None:
    whole, head = httpx.get(server.url + path), httpx.head(server.url + path)
    assert (head.status_code, head.content) == (200, b"")
    for name in ("Content-Type", "Content-Length", "Content-Security-Policy"):
        assert head.headers[name] == whole.headers[name]


def test_the_listener_settings_in_the_card_are_those_of_the_streaming_model() -> None:
    settings = ListenerSettings.from_card(StreamFile("base.stream").card).to_json()
    assert settings["thresholds"] != ListenerSettings.from_card(Recognizer("base").card).thresholds
    with serving("--streaming", "base.stream") as server:
        card = httpx.get(f"{server.url}/v1/model").json()
        assert card["listener"] == settings
        assert card["fields"]["sensitivity"]["stream"] == StreamFile("base.stream").card.fields["sensitivity"]["stream"]


def test_the_card_has_the_thresholds_of_the_sensitivity() -> None:
    strict = Recognizer("tiny", sensitivity=0.2).card
    with serving("--sensitivity", "0.2", model="tiny") as server:
        card = httpx.get(f"{server.url}/v1/model").json()
        with connect(f"{server.socket}?rate={RATE}") as stream:
            ready = json.loads(stream.recv())
    assert card["sensitivity"] == 0.2
    assert card["thresholds"] == dict(strict.thresholds) != dict(Recognizer("tiny").card.thresholds)
    assert card["listener"] == ready["settings"] == ListenerSettings.from_card(strict).to_json()


def test_requests_and_streams_are_counted(server: Server) -> None:
    def metric(name: str) -> float:
        lines = httpx.get(f"{server.url}/metrics").text.splitlines()
        return float(next((text.split()[-1] for text in lines if text.startswith(name)), 0))

    name = 'harken_answers_total{path="/v1/predict",status="200"}'
    before = metric(name), metric("harken_predict_seconds_count")
    httpx.post(f"{server.url}/v1/predict", content=wav(np.zeros(RATE)))
    assert (metric(name), metric("harken_predict_seconds_count")) == (before[0] + 1, before[1] + 1)
    with connect(f"{server.socket}?rate=16000") as stream:
        stream.recv()
        assert metric("harken_streams ") == 1


def test_no_client_data_is_written_to_the_disk_or_the_log(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    with serving() as server:
        httpx.post(f"{server.url}/v1/predict", files={"file": ("secret-name.wav", wav(np.zeros(25 * RATE)))})
        httpx.post(f"{server.url}/v1/predict", content=b"secret body")
        with connect(f"{server.socket}?rate=16000") as stream:
            stream.recv()
            stream.send(bytes(3200))
        server.process.terminate()
        out, err = server.process.communicate(timeout=30)
        assert (out, err) == ("", "")
        assert server.process.returncode == 0
    assert not list(tmp_path.iterdir())


def test_requests_in_progress_are_answered_after_sigterm(tmp_path: Path) -> None:
    with serving() as server:
        responses = []
        started = threading.Event()

        def slow() -> Iterator[bytes]:
            body = wav(synthesize("stop"))
            yield body[:1000]
            started.set()
            time.sleep(1)
            yield body[1000:]

        url = f"{server.url}/v1/predict"
        client = threading.Thread(target=lambda: responses.append(httpx.post(url, content=slow())))
        client.start()
        started.wait(10)
        time.sleep(0.2)
        os.kill(server.process.pid, 15)
        client.join()
        assert responses[0].json()["word"] == "stop"
        assert server.process.wait(15) == 0
        with pytest.raises(httpx.ConnectError):
            httpx.get(server.url)


def test_streams_end_with_their_last_events_after_sigterm() -> None:
    with serving() as server, connect(f"{server.socket}?rate={RATE}") as stream:
        assert json.loads(stream.recv())["type"] == "ready"
        stream.send((synthesize("stop", after_s=0.0) * 32767).astype("<i2").tobytes())
        os.kill(server.process.pid, 15)
        started = time.monotonic()
        event, end = (json.loads(message) for message in (stream.recv(), stream.recv()))
        assert (event["word"], end["type"]) == ("stop", "end")
        with pytest.raises(ConnectionClosed) as closed:
            stream.recv()
        assert closed.value.rcvd is not None
        assert (closed.value.rcvd.code, closed.value.rcvd.reason) == (
            1001,
            "the server is stopping: connect again later",
        )
        assert server.process.wait(20) == 0
        assert time.monotonic() - started < 10


def send_without_reading(client: socket.socket, frame: bytes) -> None:
    """Send until the connection is cut off, for a minute at most: how much the buffers of a system hold differs."""
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        client.sendall(frame)


def test_a_client_that_does_not_read_does_not_keep_its_stream() -> None:
    with serving("--limit", "idle_s=1", "--limit", "streams=1") as server:
        address = (httpx.URL(server.url).host, httpx.URL(server.url).port or 0)
        with socket.socket() as client:
            client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            client.connect(address)
            key = base64.b64encode(bytes(16)).decode()
            client.sendall(
                f"GET /v1/listen?rate={RATE} HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
                f"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: {key}\r\n\r\n".encode()
            )
            message = b'{"type": "thresholds", "thresholds": {}}'
            frame = bytes([0x81, 0x80 | len(message)]) + bytes(4) + message  # masked with zeros
            client.settimeout(30)
            with pytest.raises((BrokenPipeError, ConnectionResetError)):  # the server answers until it cuts off
                send_without_reading(client, frame)
        # The place is free again. The connection ends a moment before its stream does.
        deadline = time.monotonic() + 10
        while streams_of(server) and time.monotonic() < deadline:
            time.sleep(0.05)
        with connect(f"{server.socket}?rate={RATE}") as stream:
            assert json.loads(stream.recv())["type"] == "ready"


def streams_of(server: Server) -> int:
    """Return the number of open streams."""
    (line,) = re.findall(r"^harken_streams (\S+)$", httpx.get(f"{server.url}/metrics").text, re.M)
    return int(float(line))


def test_a_full_server_answers_in_json() -> None:
    with serving("--limit", "connections=2") as server:
        url = httpx.URL(server.url)
        with socket.create_connection((url.host, url.port or 0)), socket.create_connection((url.host, url.port or 0)):
            response = httpx.get(f"{server.url}/healthz")
            assert response.status_code == 503
            assert response.json() == {"error": "the server has 2 open connections already: try again in a second"}
            assert response.headers["Retry-After"] == "1"
            assert response.headers["X-Content-Type-Options"] == "nosniff"
        assert httpx.get(f"{server.url}/healthz").status_code == 200


@pytest.mark.parametrize(
    ("query", "reason"),
    [
        ("hop=50", "unknown query parameter hop: the parameters are rate, "),
        ("posteriors=1", "posteriors must be true or false"),
    ],
)
def test_parameters_that_would_be_ignored_are_refused(server: Server, query: str, reason: str) -> None:
    with connect(f"{server.socket}?rate={RATE}&{query}") as stream, pytest.raises(ConnectionClosed) as closed:
        stream.recv()
    assert closed.value.rcvd is not None
    assert closed.value.rcvd.code == 1008
    assert closed.value.rcvd.reason.startswith(reason)


def test_schemathesis_finds_no_server_error(server: Server) -> None:
    st = shutil.which("st", path=str(Path(sys.executable).parent))
    if st is None:
        pytest.skip("schemathesis, which generates requests from the API description, is not installed")
    options = ["--checks", "not_a_server_error", "--max-examples", "40", "--generation-database", "none"]
    result = subprocess.run([st, "run", f"{server.url}/openapi.json", *options], capture_output=True, text=True)
    assert result.returncode == 0, result.stdout
    assert "4 passed" in result.stdout
