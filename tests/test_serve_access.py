"""Access to the server: tokens, origins, hosts, and HTTPS."""

import json
import ssl
import subprocess
from base64 import urlsafe_b64encode
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from starlette.datastructures import Headers
from websockets.exceptions import InvalidStatus
from websockets.sync.client import connect

from harken.errors import HarkenError
from harken.serve.loopback import is_loopback
from harken.serve.security import Access
from serving import Server, error_of, serving


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    with serving() as running:
        yield running


def test_a_token_is_required() -> None:
    with serving("--token", "s3cret+word", "--origin", "https://example.org") as server:
        for path in ("/v1/model", "/metrics"):
            refused = httpx.get(server.url + path)
            assert (refused.status_code, refused.headers["WWW-Authenticate"]) == (401, "Bearer")
            assert "Authorization: Bearer" in error_of(refused)
            assert httpx.get(server.url + path, headers={"Authorization": "Bearer wrong"}).status_code == 401
            correct = {"Authorization": b"Bearer s3cret+word"}
            assert httpx.get(server.url + path, headers=correct).status_code == 200
        for path in ("/healthz", "/", "/docs", "/openapi.json", "/page/main.js"):
            assert httpx.get(server.url + path).status_code == 200
        with pytest.raises(InvalidStatus) as refused_stream, connect(f"{server.socket}?rate=16000"):
            pass
        assert refused_stream.value.response.status_code == 401
        bearer = "bearer." + urlsafe_b64encode(b"s3cret+word").decode().rstrip("=")
        with connect(f"{server.socket}?rate=16000", subprotocols=["harken", bearer]) as stream:  # type: ignore[list-item]
            assert stream.subprotocol == "harken"
            assert json.loads(stream.recv())["type"] == "ready"
        origin = {"Origin": "https://example.org"}
        response = httpx.get(f"{server.url}/healthz", headers=origin)
        assert response.headers["Access-Control-Allow-Origin"] == origin["Origin"]
        preflight = httpx.options(f"{server.url}/v1/predict", headers=origin)
        assert preflight.status_code == 204
        assert preflight.headers["Access-Control-Allow-Headers"] == "Authorization, Content-Type"


def test_other_origins_and_hosts_are_refused(server: Server) -> None:
    for headers in (
        {"Origin": "https://evil.example"},
        {"Host": "evil.example"},
        {"Origin": "null"},
        {"Origin": "http://["},
    ):
        response = httpx.get(f"{server.url}/v1/model", headers=headers)
        assert response.status_code == 403
        assert error_of(response)
    with pytest.raises(InvalidStatus), connect(f"{server.socket}?rate=16000", origin="https://evil.example"):  # type: ignore[arg-type]
        pass
    assert httpx.get(f"{server.url}/v1/model", headers={"Origin": server.url}).status_code == 200


@pytest.mark.parametrize(
    ("given", "sent"),
    [
        ("https://Example.org", "https://example.org"),
        ("https://example.org:443", "https://example.org"),
        ("http://example.org:80", "http://example.org"),
        ("http://example.org:443", "http://example.org:443"),
    ],
)
def test_an_origin_is_compared_as_browsers_send_it(given: str, sent: str) -> None:
    access = Access(origins=(given,))
    assert access.origins == (sent,)
    assert access.refusal("/", Headers({"host": "localhost", "origin": sent})) is None


def test_invalid_tokens_and_origins_are_refused() -> None:
    with pytest.raises(HarkenError, match="without spaces"):
        Access(token=" ")
    for origin in ("example.org", "https://example.org/", "ftp://example.org", "https://", "http://["):
        with pytest.raises(HarkenError, match="write it as https://HOST"):
            Access(origins=(origin,))


def test_all_addresses_of_this_machine_are_answered() -> None:
    for host, allowed in (
        ("127.0.0.2:8000", True),
        ("[::1]:8000", True),
        ("localhost", True),
        ("127.0.0.1.evil", False),
    ):
        assert (Access().refusal("/v1/model", Headers({"host": host})) is None) == allowed


def test_spaces_around_a_token_do_not_matter() -> None:
    access = Access(token="abc")
    offered = "bearer." + urlsafe_b64encode(b"abc ").decode().rstrip("=")
    for headers in ({"authorization": "Bearer abc "}, {"sec-websocket-protocol": f"harken, {offered}"}):
        assert access.refusal("/v1/model", Headers({"host": "localhost", **headers})) is None


def test_loopback_hosts_are_recognized() -> None:
    assert all(map(is_loopback, ("127.0.0.1", "::1", "localhost")))
    assert not any(map(is_loopback, ("0.0.0.0", "example.org")))


def test_https_is_supported(tmp_path: Path) -> None:
    cert, key = tmp_path / "cert.pem", tmp_path / "key.pem"
    options = "req -x509 -newkey rsa:2048 -nodes -days 2 -subj /CN=localhost -addext subjectAltName=IP:127.0.0.1"
    result = subprocess.run(["openssl", *options.split(), "-keyout", key, "-out", cert], capture_output=True)
    if result.returncode:
        pytest.skip("openssl, which creates the certificate, is not installed")
    with serving("--tls-cert", str(cert), "--tls-key", str(key)) as server:
        assert server.url.startswith("https://")
        trusted = ssl.create_default_context(cafile=cert)
        assert httpx.get(f"{server.url}/healthz", verify=trusted).json() == {"status": "ok"}


@pytest.mark.parametrize(
    ("options", "part"),
    [
        (["--tls-cert", "no.pem"], "belong together"),
        (["--tls-cert", "no.pem", "--tls-key", "no.pem"], "not a certificate and its key"),
        (["--host", "300.1.1.1", "--token", "t"], "no such address"),
        (["--host", "a..b", "--token", "t"], "no such address"),
        (["--limit", "streams=0"], "a number above 0"),
        (["--token", ""], "without spaces"),
        (["--model", "nowhere.onnx"], "nowhere.onnx"),
    ],
)
def test_invalid_options_are_refused_with_one_line(options: list[str], part: str) -> None:
    with pytest.raises(AssertionError) as refused, serving(*options):
        pass
    assert part in str(refused.value)
    assert str(refused.value).count("\n") == 1


def test_a_port_in_use_is_refused(server: Server) -> None:
    with pytest.raises(AssertionError, match="choose another --port"), serving("--port", server.url.rpartition(":")[2]):
        pass
