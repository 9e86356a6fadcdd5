"""Who may speak to the service, and from where."""

import json
import ssl
import subprocess
from base64 import urlsafe_b64encode
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from websockets.exceptions import InvalidStatus
from websockets.sync.client import connect

from harken.errors import HarkenError
from harken.serve.security import Access
from harken.serve.server import is_loopback
from serving import Server, line, serving


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    with serving() as running:
        yield running


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
    for headers in (
        {"Origin": "https://evil.example"},
        {"Host": "evil.example"},
        {"Origin": "null"},
        {"Origin": "http://["},
    ):
        answer = httpx.get(f"{server.url}/v1/model", headers=headers)
        assert answer.status_code == 403
        line(answer)
    with pytest.raises(InvalidStatus), connect(f"{server.socket}?rate=16000", origin="https://evil.example"):  # type: ignore[arg-type]
        pass
    assert httpx.get(f"{server.url}/v1/model", headers={"Origin": server.url}).status_code == 200


def test_access_is_checked() -> None:
    with pytest.raises(HarkenError, match="without spaces"):
        Access(token=" ")
    for origin in ("example.org", "https://example.org/", "ftp://example.org", "https://", "http://["):
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
