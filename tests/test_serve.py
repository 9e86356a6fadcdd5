"""The service: what it answers, and how it refuses."""

import io
import json
import os
import re
import shutil
import socket
import ssl
import subprocess
import sys
import threading
import time
from base64 import urlsafe_b64encode
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
import soundfile
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.sync.client import connect

from harken.errors import HarkenError
from harken.listener import Listener
from harken.recognizer import Recognizer
from harken.serve.limits import Limits, with_limits
from harken.serve.security import Access
from harken.serve.server import is_loopback
from serving import Server, serving, voiced

RATE = 16_000
WORDS = ("left", "stop", "yes")

TIGHT = {
    **{"body_bytes": "100_000", "upload_s": 0.6, "header_s": 0.6, "clip_s": 2, "decoded_samples": 90_000},
    **{"requests": 1, "streams": 2, "message_bytes": 20_000, "stream_s": 1.5, "idle_s": 0.6},
}


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


def wav(samples: Any, rate: int = RATE, **kind: str) -> bytes:
    file = io.BytesIO()
    soundfile.write(file, samples, rate, **{"format": "WAV", "subtype": "PCM_16", **kind})
    return file.getvalue()


def line(answer: httpx.Response) -> str:
    """Return the one line of a refusal."""
    assert set(answer.json()) == {"error"}
    text: str = answer.json()["error"]
    assert "\n" not in text
    return text


def until_closed(stream: Any) -> tuple[int, str]:
    def read() -> None:
        while True:
            stream.recv(timeout=10)

    with pytest.raises(ConnectionClosed) as closed:
        read()
    frame = closed.value.rcvd
    assert frame is not None
    return frame.code, frame.reason


# Clips.


@pytest.mark.parametrize(
    "kind",
    [{}, {"format": "FLAC"}, {"format": "OGG", "subtype": "VORBIS"}, {"format": "MP3", "subtype": "MPEG_LAYER_III"}],
)
def test_a_clip_is_answered_as_in_python(server: Server, recognizer: Recognizer, kind: dict[str, str]) -> None:
    body = wav(voiced("stop"), **kind)
    expected = recognizer.predict(io.BytesIO(body))
    for sent in ({"content": body}, {"files": {"file": ("stop.wav", body)}}):
        answer = httpx.post(f"{server.url}/v1/predict", **sent)
        assert answer.status_code == 200
        found = answer.json()
        assert (found["word"], found["reason"], found["label"]) == ("stop", None, "stop")
        assert found["probabilities"] == pytest.approx(expected.probabilities, abs=1e-6)


def test_a_clip_without_a_word_says_why(server: Server) -> None:
    answer = httpx.post(f"{server.url}/v1/predict", content=wav(np.zeros(RATE))).json()
    assert (answer["word"], answer["reason"]) == (None, "silence")


@pytest.mark.parametrize(
    ("body", "status", "part"),
    [
        (b"", 422, "empty"),
        (b"no sound at all", 415, "of no format that is read: send WAV, FLAC, OGG and MP3"),
        (b"PK\x03\x04" + bytes(40), 415, "of no format"),
        (wav(np.zeros(0)), 422, "no samples"),
        (wav(np.ones(4000))[:40], 422, "cut short|damaged|no audio"),
        (b"RIFF\xff\xff\xff\xffWAVEfmt " + bytes(60), 422, "."),
        (b"fLaC" + bytes(60), 422, "."),
        (wav(np.full(RATE, np.nan), subtype="FLOAT"), 422, "NaN"),
        (wav(np.zeros(RATE * 31)), 413, "over 30 s"),
        (wav(np.zeros(4000), rate=1000), 422, "."),
    ],
)
def test_what_is_no_clip_is_refused_with_one_line(server: Server, body: bytes, status: int, part: str) -> None:
    answer = httpx.post(f"{server.url}/v1/predict", content=body)
    assert answer.status_code == status, answer.text
    assert re.search(part, line(answer))


def test_forms_that_are_none_are_refused(server: Server) -> None:
    url = f"{server.url}/v1/predict"
    clip = wav(np.zeros(RATE))
    boundary = {"Content-Type": "multipart/form-data; boundary=x"}
    assert "has 0 fields `file`" in line(httpx.post(url, files={"other": clip}))
    assert "has 2 fields `file`" in line(httpx.post(url, files=[("file", clip), ("file", clip)]))
    for body in (b"", b"--x", b"--x\r\nnonsense\r\n\r\n", b"--y\r\n\r\n", b"--x\r\n" + b"A: b\r\n" * 3000):
        answer = httpx.post(url, content=body, headers=boundary)
        assert answer.status_code == 422, body
        assert "multipart" in line(answer) or "fields" in line(answer)
    assert httpx.post(url, content=clip, headers={"Content-Type": "multipart/form-data"}).status_code == 422
    assert "compressed" in line(httpx.post(url, content=clip, headers={"Content-Encoding": "gzip"}))


def test_hostile_bodies_are_never_its_own_fault_and_the_next_clip_is_answered(server: Server) -> None:
    draws = np.random.default_rng(13)
    good = wav(voiced("stop"))
    seeds = [good, wav(voiced("stop"), format="FLAC"), wav(voiced("stop"), format="OGG", subtype="VORBIS")]
    seeds.append(wav(voiced("stop"), format="MP3", subtype="MPEG_LAYER_III"))
    statuses = set()
    with httpx.Client(base_url=server.url, timeout=30) as client:
        for number in range(5_000):
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
            answer = client.post("/v1/predict", content=bytes(body))
            statuses.add(answer.status_code)
            assert answer.status_code < 500, (number, answer.text)
    assert {200, 415, 422} <= statuses  # some stay clips
    assert httpx.post(f"{server.url}/v1/predict", content=good).json()["word"] == "stop"


# Limits.


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


# Streams.


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
        assert "there is no word hello" in json.loads(stream.recv())["error"]
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


# Access.


def test_a_token_is_asked_for() -> None:
    with serving("--token", "s3cret+word", "--origin", "https://example.org") as server:
        for path in ("/v1/model", "/metrics"):
            refused = httpx.get(server.url + path)
            assert (refused.status_code, refused.headers["WWW-Authenticate"]) == (401, "Bearer")
            assert "Authorization: Bearer" in line(refused)
            assert httpx.get(server.url + path, headers={"Authorization": "Bearer wrong"}).status_code == 401
            right = {"Authorization": b"Bearer s3cret+word"}
            assert httpx.get(server.url + path, headers=right).status_code == 200
        for path in ("/healthz", "/", "/docs", "/openapi.json", "/page/main.js"):
            assert httpx.get(server.url + path).status_code == 200
        with pytest.raises(InvalidStatus) as refused_stream, connect(f"{server.socket}?rate=16000"):
            pass
        assert refused_stream.value.response.status_code == 401
        bearer = "bearer." + urlsafe_b64encode(b"s3cret+word").decode().rstrip("=")
        with connect(f"{server.socket}?rate=16000", subprotocols=["harken", bearer]) as stream:  # type: ignore[list-item]
            assert stream.subprotocol == "harken"
            assert json.loads(stream.recv())["type"] == "ready"
        there = {"Origin": "https://example.org"}
        assert (
            httpx.get(f"{server.url}/healthz", headers=there).headers["Access-Control-Allow-Origin"] == there["Origin"]
        )
        asked = httpx.options(f"{server.url}/v1/predict", headers=there)
        assert (asked.status_code, asked.headers["Access-Control-Allow-Headers"]) == (
            204,
            "Authorization, Content-Type",
        )


def test_pages_of_others_and_names_of_others_are_kept_out(server: Server) -> None:
    for headers in ({"Origin": "https://evil.example"}, {"Host": "evil.example"}, {"Origin": "null"}):
        answer = httpx.get(f"{server.url}/v1/model", headers=headers)
        assert answer.status_code == 403
        line(answer)
    with pytest.raises(InvalidStatus), connect(f"{server.socket}?rate=16000", origin="https://evil.example"):  # type: ignore[arg-type]
        pass
    assert httpx.get(f"{server.url}/v1/model", headers={"Origin": server.url}).status_code == 200


def test_access_is_checked() -> None:
    with pytest.raises(HarkenError, match="without spaces"):
        Access(token=" ")
    for origin in ("example.org", "https://example.org/", "ftp://example.org", "https://"):
        with pytest.raises(HarkenError, match="write it as https://HOST"):
            Access(origins=(origin,))
    assert [is_loopback(host) for host in ("127.0.0.1", "::1", "localhost", "0.0.0.0", "example.org")] == [
        1,
        1,
        1,
        0,
        0,
    ]


def test_it_speaks_https(tmp_path: Path) -> None:
    cert, key = tmp_path / "cert.pem", tmp_path / "key.pem"
    asked = "req -x509 -newkey rsa:2048 -nodes -days 2 -subj /CN=localhost -addext subjectAltName=IP:127.0.0.1"
    made = subprocess.run(["openssl", *asked.split(), "-keyout", key, "-out", cert], capture_output=True)
    if made.returncode:
        pytest.skip("openssl, which makes the certificate, is not here")
    with serving("--tls-cert", str(cert), "--tls-key", str(key)) as server:
        assert server.url.startswith("https://")
        trusted = ssl.create_default_context(cafile=cert)
        assert httpx.get(f"{server.url}/healthz", verify=trusted).json() == {"status": "ok"}


@pytest.mark.parametrize(
    ("options", "part"),
    [
        (["--tls-cert", "no.pem"], "go together"),
        (["--tls-cert", "no.pem", "--tls-key", "no.pem"], "no certificate and its key"),
        (["--host", "300.1.1.1", "--token", "t"], "no such address"),
        (["--limit", "streams=0"], "a number over 0"),
        (["--token", ""], "without spaces"),
        (["--model", "nowhere.onnx"], "nowhere.onnx"),
    ],
)
def test_bad_options_are_refused_in_one_line(options: list[str], part: str) -> None:
    with pytest.raises(AssertionError) as refused, serving(*options):
        pass
    assert part in str(refused.value)
    assert str(refused.value).count("\n") == 1


def test_a_port_that_is_taken_is_refused(server: Server) -> None:
    with pytest.raises(AssertionError, match="give another --port"), serving("--port", server.url.rpartition(":")[2]):
        pass


# Around.


def test_the_card_the_page_and_the_description(server: Server, recognizer: Recognizer) -> None:
    card = httpx.get(f"{server.url}/v1/model").json()
    assert card["labels"] == list(recognizer.labels)
    assert card["thresholds"] == dict(recognizer.card.thresholds)
    page = httpx.get(server.url)
    assert "default-src 'none'" in page.headers["Content-Security-Policy"]
    assert "unsafe" not in page.headers["Content-Security-Policy"]
    assert httpx.get(f"{server.url}/page/main.js").headers["Content-Type"].startswith("text/javascript")
    described = httpx.get(f"{server.url}/openapi.json").json()["paths"]
    assert set(described) == {"/v1/predict", "/v1/model", "/healthz", "/metrics"}
    for path in ("/page/app.py", "/page/../app.py", "/page/%2e%2e%2fapp.py", "/nothing"):
        assert httpx.get(server.url + path).status_code == 404
    assert httpx.get(f"{server.url}/v1/predict").status_code == 405


def test_it_counts(server: Server) -> None:
    def counted(name: str) -> float:
        lines = httpx.get(f"{server.url}/metrics").text.splitlines()
        return float(next((text.split()[-1] for text in lines if text.startswith(name)), 0))

    name = 'harken_answers_total{path="/v1/predict",status="200"}'
    before = counted(name), counted("harken_predict_seconds_count")
    httpx.post(f"{server.url}/v1/predict", content=wav(np.zeros(RATE)))
    assert (counted(name), counted("harken_predict_seconds_count")) == (before[0] + 1, before[1] + 1)
    with connect(f"{server.socket}?rate=16000") as stream:
        stream.recv()
        assert counted("harken_streams ") == 1


def test_nothing_that_was_sent_reaches_the_disk_or_the_log(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
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


def test_sigterm_lets_what_has_begun_end(tmp_path: Path) -> None:
    with serving() as server:
        answers = []
        begun = threading.Event()

        def slow() -> Iterator[bytes]:
            body = wav(voiced("stop"))
            yield body[:1000]
            begun.set()
            time.sleep(1)
            yield body[1000:]

        asking = threading.Thread(target=lambda: answers.append(httpx.post(f"{server.url}/v1/predict", content=slow())))
        asking.start()
        begun.wait(10)
        time.sleep(0.2)
        os.kill(server.process.pid, 15)
        asking.join()
        assert answers[0].json()["word"] == "stop"
        assert server.process.wait(15) == 0
        with pytest.raises(httpx.ConnectError):
            httpx.get(server.url)


def test_sigterm_does_not_wait_for_streams_without_end() -> None:
    with serving("--limit", "drain_s=1") as server, connect(f"{server.socket}?rate=16000") as stream:
        stream.recv()
        os.kill(server.process.pid, 15)
        started = time.monotonic()
        assert server.process.wait(20) == 0
        assert time.monotonic() - started < 10


def test_schemathesis_finds_no_fault_of_the_servers_own(server: Server) -> None:
    st = shutil.which("st", path=str(Path(sys.executable).parent))
    if st is None:
        pytest.skip("schemathesis, which makes requests out of the description, is not installed")
    asked = ["--checks", "not_a_server_error", "--max-examples", "40", "--generation-database", "none"]
    found = subprocess.run([st, "run", f"{server.url}/openapi.json", *asked], capture_output=True, text=True)
    assert found.returncode == 0, found.stdout
    assert "4 passed" in found.stdout
