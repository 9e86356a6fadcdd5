"""The service: what it answers, and how it begins and ends."""

import io
import os
import re
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import numpy as np
import pytest
from websockets.sync.client import connect

from harken.runtime.listener import ListenerSettings
from harken.runtime.recognizer import Recognizer
from harken.runtime.streamfile import StreamFile
from serving import RATE, Server, line, serving, voiced, wav


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    with serving() as running:
        yield running


@pytest.fixture(scope="module")
def recognizer() -> Recognizer:
    return Recognizer("base")


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
    many = b"--x\r\n\r\n\r\n" * 101 + b"--x--\r\n"
    assert "multipart" in line(httpx.post(url, content=many, headers=boundary))
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


def test_the_card_tells_the_thresholds_of_what_hears_the_streams() -> None:
    form = ListenerSettings.of_card(StreamFile("base.stream").card).to_json()
    assert form["thresholds"] != ListenerSettings.of_card(Recognizer("base").card).thresholds
    with serving("--streaming", "base.stream") as server:
        assert httpx.get(f"{server.url}/v1/model").json()["listener"] == form


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
