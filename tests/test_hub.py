"""`hf://` models, against a server on this machine that speaks the part of the Hub's API that is needed."""

import base64
import hashlib
import json
import os
import re
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from conftest import MakeModel, tone
from harken.errors import HarkenError
from harken.runtime.hub import HubModel, parse_hub_uri
from serving import write_clip

COMMIT = "a" * 40


class FakeHub(ThreadingHTTPServer):
    """Repositories in memory: files by name, under `OWNER/NAME`."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.repos: dict[str, dict[str, bytes]] = {}
        self.requests: list[str] = []
        self.lie = False  # send other bytes than the hash states

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"


class _Handler(BaseHTTPRequestHandler):
    server: FakeHub
    protocol_version = "HTTP/1.1"

    def log_message(self, *_: object) -> None:
        pass

    def answer(self, content: bytes, status: int = 200, **headers: str) -> None:
        self.send_response(status)
        for name, value in {"Content-Length": str(len(content)), **headers}.items():
            self.send_header(name.replace("_", "-"), value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content)

    def answer_json(self, content: Any, status: int = 200, **headers: str) -> None:
        self.answer(json.dumps(content).encode(), status, Content_Type="application/json", **headers)

    def do_HEAD(self) -> None:
        self.do_GET()

    def do_GET(self) -> None:
        self.server.requests.append(f"{self.command} {self.path}")
        found = re.fullmatch(r"/(?P<repo>[^/]+/[^/]+)/resolve/(?P<revision>[^/]+)/(?P<file>.+)", self.path)
        if not found or found["repo"] not in self.server.repos:
            self.answer_json({"error": "not found"}, 404, X_Error_Code="RepoNotFound")
        elif found["revision"] not in ("main", "v1", COMMIT):
            self.answer_json({"error": "no revision"}, 404, X_Error_Code="RevisionNotFound")
        elif found["file"] not in self.server.repos[found["repo"]]:
            self.answer_json({"error": "no entry"}, 404, X_Error_Code="EntryNotFound", X_Repo_Commit=COMMIT)
        else:
            content = self.server.repos[found["repo"]][found["file"]]
            etag = hashlib.sha256(content).hexdigest()
            sent = content[::-1] if self.server.lie else content
            self.answer(sent, ETag=f'"{etag}"', X_Repo_Commit=COMMIT, X_Linked_Etag=f'"{etag}"')

    def do_POST(self) -> None:
        self.server.requests.append(f"POST {self.path}")
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        if self.path == "/api/repos/create":
            if self.headers.get("Authorization") != "Bearer hf_right":
                self.answer_json({"error": "who are you"}, 401)
                return
            given = json.loads(body)
            name = f"{given.get('organization') or 'me'}/{given['name']}"
            self.server.repos.setdefault(name, {})
            self.answer_json({"url": f"{self.server.url}/{name}"})
        elif self.path == "/api/validate-yaml":
            self.answer_json({"errors": [], "warnings": []})
        elif "/preupload/" in self.path:
            files = [{**file, "uploadMode": "regular", "shouldIgnore": False} for file in json.loads(body)["files"]]
            self.answer_json({"files": files})
        elif found := re.fullmatch(r"/api/models/([^/]+/[^/]+)/commit/[^/]+", self.path):
            for line in map(json.loads, body.splitlines()):
                if line["key"] == "file":
                    self.server.repos[found[1]][line["value"]["path"]] = base64.b64decode(line["value"]["content"])
            url = f"{self.server.url}/{found[1]}/commit/{COMMIT}"
            self.answer_json({"commitUrl": url, "commitOid": COMMIT, "success": True})
        else:
            self.answer_json({"error": "unknown"}, 404)


@pytest.fixture
def hub() -> Iterator[FakeHub]:
    pytest.importorskip("huggingface_hub")
    server = FakeHub()
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield server
    server.shutdown()
    server.server_close()


def harken(cache: Path, endpoint: str, *words: object, token: str = "hf_right") -> tuple[int, str, str]:
    """Run the command line in a process of its own, because the Hub's library reads its settings when it is imported."""
    environment = {
        **{name: value for name, value in os.environ.items() if "proxy" not in name.lower()},
        "HF_ENDPOINT": endpoint,
        "HF_HOME": str(cache),
        "HF_TOKEN": token,
        "HF_HUB_DISABLE_XET": "1",
        "HF_HUB_DISABLE_PROGRESS_BARS": "1",
        "HF_HUB_ETAG_TIMEOUT": "2",
    }
    command = [sys.executable, "-m", "harken.cli.main", *map(str, words)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False, timeout=300)
    return done.returncode, done.stdout, done.stderr


@pytest.mark.parametrize(
    ("uri", "expected"),
    [
        ("hf://a/b", HubModel("a/b")),
        ("hf://a-1/b.c@v1.0", HubModel("a-1/b.c", "v1.0")),
        ("hf://a/b@refs/pr/1", HubModel("a/b", "refs/pr/1")),
    ],
)
def test_uris_are_read(uri: str, expected: HubModel) -> None:
    assert parse_hub_uri(uri) == expected


@pytest.mark.parametrize(
    "uri", ["hf://", "hf://a", "hf://a/b/c", "hf://a/b@", "hf://a/../b", "hf://a/b c", "hf://a/..@x"]
)
def test_bad_uris_are_refused(uri: str) -> None:
    with pytest.raises(HarkenError, match="hf://OWNER/NAME"):
        parse_hub_uri(uri)


def test_a_model_is_pushed_fetched_cached_and_checked(hub: FakeHub, make_model: MakeModel, tmp_path: Path) -> None:
    model = make_model(validation_accuracy=0.91, license="Apache-2.0", language="en", corpus=["speech_commands"])
    cache = tmp_path / "cache"
    code, out, error = harken(cache, hub.url, "push", model, "hf://me/quarters")
    assert code == 0, error
    assert out.strip() == f"{hub.url}/me/quarters/commit/{COMMIT}"
    assert hub.repos["me/quarters"]["model.onnx"] == model.read_bytes()

    clip = write_clip(tmp_path / "clip.wav", tone(300, 1.0, 8000), 8000)
    expected = harken(cache, hub.url, "predict", "--json", "--model", model, clip)
    predict = ("predict", "--json", "--model", "hf://me/quarters", clip)
    fetched = harken(cache, hub.url, *predict)
    assert fetched == expected
    assert fetched[0] == 0, fetched[2]
    # The second time only the hash is asked for; without a connection, not even that.
    hub.requests.clear()
    assert harken(cache, hub.url, *predict) == expected
    assert [request for request in hub.requests if request.startswith("GET") and "resolve" in request] == []
    assert harken(cache, "http://127.0.0.1:9", *predict) == expected

    blob = next((cache / "hub").rglob("snapshots/*/model.onnx")).resolve()
    blob.write_bytes(blob.read_bytes()[:-1] + b"x")
    code, _, error = harken(cache, hub.url, *predict)
    assert code == 2
    assert "is damaged" in error


def test_the_card_is_what_the_hub_reads(make_model: MakeModel) -> None:
    yaml = pytest.importorskip("yaml")
    from harken.export.hub import model_card
    from harken.runtime.modelfile import open_model

    fields = {"validation_accuracy": 0.9123, "licence": "Apache-2.0; see below", "corpus": ["speech_commands"]}
    _, card = open_model(make_model(**fields, parameters=1234), 1)
    text = model_card(card, "quarters", "hf://me/quarters", license_id=None, language="en", size=2048)
    _, header, body = text.split("---\n", 2)
    metadata = yaml.safe_load(header)
    assert metadata["library_name"] == "harken"
    assert metadata["pipeline_tag"] == "audio-classification"
    assert "keyword-spotting" in metadata["tags"]
    assert metadata["license"] == "apache-2.0"
    assert metadata["language"] == ["en"]
    assert metadata["datasets"] == ["google/speech_commands"]
    assert metadata["labels"] == ["yes", "no", "_unknown_", "_silence_"]
    assert metadata["model-index"][0]["results"][0]["metrics"][0]["value"] == 0.9123
    assert "harken predict --model hf://me/quarters clip.wav" in body
    assert "1,234" in body


def test_a_license_that_is_not_known_is_other(make_model: MakeModel) -> None:
    from harken.export.hub import model_card
    from harken.runtime.modelfile import open_model

    _, card = open_model(make_model(license="mine"), 1)
    assert 'license: "other"' in model_card(card, "x", "hf://a/x", license_id=None, language=None, size=1)
    assert 'license: "mit"' in model_card(card, "x", "hf://a/x", license_id="mit", language=None, size=1)


def test_what_the_hub_refuses_gets_one_line(hub: FakeHub, make_model: MakeModel, tmp_path: Path) -> None:
    hub.repos["me/empty"] = {"README.md": b""}
    hub.repos["me/good"] = {"model.onnx": make_model().read_bytes()}
    cases = [
        (hub.url, ("predict", "--model", "hf://me/gone", "x.wav"), "does not exist, or is private"),
        (hub.url, ("predict", "--model", "hf://me/empty", "x.wav"), "contains no model.onnx"),
        (hub.url, ("predict", "--model", "hf://me/good@v9", "x.wav"), "no revision v9"),
        (hub.url, ("predict", "--model", "hf://me", "x.wav"), "write it as hf://OWNER/NAME"),
        ("http://127.0.0.1:9", ("predict", "--model", "hf://me/good", "x.wav"), "the Hub cannot be reached"),
        (hub.url, ("push", "nothing", "hf://me/x"), "neither a model file nor a bundled model"),
    ]
    for endpoint, words, part in cases:
        code, out, error = harken(tmp_path / "cache", endpoint, *words)
        assert (code, out) == (2, ""), error
        assert part in error
        assert error.count("\n") == 1
    code, _, error = harken(tmp_path / "cache", hub.url, "push", make_model(), "hf://me/x", token="hf_wrong")
    assert code == 2
    assert "does not let you write there" in error
