"""`hf://` models, against a server on this machine that speaks the part of the Hub's API that is needed."""

import base64
import hashlib
import json
import os
import re
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from conftest import MakeModel, tone
from harken.errors import HarkenError
from harken.runtime.hub import HubModel, fetch_model, parse_hub_uri
from serving import write_clip

COMMIT = "a" * 40


class FakeHub(ThreadingHTTPServer):
    """Repositories in memory: files by name, under `OWNER/NAME`."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.repos: dict[str, dict[str, bytes]] = {}
        self.requests: list[str] = []
        self.lie = False  # send other bytes than the hash states
        self.lfs_part_bytes: int | None = (
            None  # take files of `model.onnx` by LFS, in parts of this size; 0: in one part
        )
        self.stored: dict[str, bytes] = {}  # LFS objects by their hash
        self.xorbs: list[int] = []  # uncompressed bytes of each block that arrived by Xet
        self.denied: dict[str, int] = {}  # by the beginning of a path: the status that refuses it

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

    def denies(self) -> bool:
        """Answer with an error if the server is to refuse this path."""
        for start, status in self.server.denied.items():
            if self.path.startswith(start):
                self.answer_json({"error": "refused"}, status)
                return True
        return False

    def read_body(self) -> bytes:
        """Return the body, of a stated length or in chunks."""
        if self.headers.get("Transfer-Encoding") != "chunked":
            return self.rfile.read(int(self.headers.get("Content-Length", 0)))
        body = b""
        while size := int(self.rfile.readline(), 16):
            body += self.rfile.read(size)
            self.rfile.readline()
        self.rfile.readline()
        return body

    def lfs_upload(self, entry: dict[str, Any]) -> dict[str, Any]:
        """Return where to upload an object, as in the LFS batch API and with the Hub's own way for parts."""
        size, oid, part = entry["size"], entry["oid"], self.server.lfs_part_bytes
        header: dict[str, str] = {}
        if part:
            numbers = range(1, -(-size // part) + 1)
            header = {"chunk_size": str(part), **{str(n): f"{self.server.url}/lfs/{oid}/{n}" for n in numbers}}
        upload = {"href": f"{self.server.url}/lfs/{oid}", "header": header}
        return {
            "oid": oid,
            "size": size,
            "actions": {"upload": upload, "verify": {"href": f"{self.server.url}/verify"}},
        }

    def answer_xet(self, body: bytes) -> None:
        """Answer as the storage service of Xet, which takes blocks of chunks, and then the list of a file's blocks."""
        if "/xorbs/" in self.path:
            # Each chunk has a header of 8 bytes: version, packed size, scheme, size. A version over 1 starts the footer.
            at = size = 0
            while at < len(body) and body[at] <= 1:
                size += int.from_bytes(body[at + 5 : at + 8], "little")
                at += 8 + int.from_bytes(body[at + 1 : at + 4], "little")
            self.server.xorbs.append(size)
            self.answer_json({"was_inserted": True})
        elif self.path.endswith("/shards"):
            self.answer_json({"type": "result", "result": 1, "shard_hash": "0" * 64})
        else:  # the grant of an upload elsewhere: without it, blocks come here
            self.answer_json({}, 404)

    def do_PUT(self) -> None:
        self.server.requests.append(f"PUT {self.path}")
        body = self.read_body()
        if self.denies():
            return
        self.server.stored[self.path.removeprefix("/lfs/")] = body
        self.answer(b"", ETag=f'"{hashlib.sha256(body).hexdigest()}"')

    def do_HEAD(self) -> None:
        self.do_GET()

    def do_GET(self) -> None:
        self.server.requests.append(f"{self.command} {self.path}")
        if self.denies():
            return
        if "/xet-write-token/" in self.path:
            self.answer_json({"casUrl": f"{self.server.url}/xet", "accessToken": "x", "exp": int(time.time()) + 3600})
            return
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
        body = self.read_body()
        if self.denies():
            return
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
            large = "regular" if self.server.lfs_part_bytes is None else "lfs"
            files = [
                {**file, "uploadMode": large if file["path"] == "model.onnx" else "regular", "shouldIgnore": False}
                for file in json.loads(body)["files"]
            ]
            self.answer_json({"files": files})
        elif self.path.endswith(".git/info/lfs/objects/batch"):
            self.answer_json({"objects": [self.lfs_upload(entry) for entry in json.loads(body)["objects"]]})
        elif self.path.startswith("/xet/"):
            self.answer_xet(body)
        elif self.path.startswith("/lfs/"):  # all parts of an object have arrived
            oid = self.path.removeprefix("/lfs/")
            parts = [self.server.stored.pop(f"{oid}/{part['partNumber']}") for part in json.loads(body)["parts"]]
            self.server.stored[oid] = b"".join(parts)
            self.answer_json({})
        elif self.path == "/verify":
            asked = json.loads(body)
            content = self.server.stored.get(asked["oid"], b"")
            same = (hashlib.sha256(content).hexdigest(), len(content)) == (asked["oid"], asked["size"])
            self.answer_json({}, 200 if same else 422)
        elif found := re.fullmatch(r"/api/models/([^/]+/[^/]+)/commit/([^/]+)", self.path):
            if found[2] != "main":
                self.answer_json({"error": "no revision"}, 404, X_Error_Code="RevisionNotFound")
                return
            for line in map(json.loads, body.splitlines()):
                if line["key"] == "file":
                    self.server.repos[found[1]][line["value"]["path"]] = base64.b64decode(line["value"]["content"])
                elif line["key"] == "lfsFile":
                    content = self.server.stored.get(line["value"]["oid"], line["value"]["oid"].encode())
                    self.server.repos[found[1]][line["value"]["path"]] = content
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


_WITHOUT_WAITING = """
import sys, time
time.sleep = lambda seconds: None
from harken.cli.main import main
sys.exit(main())
"""


def harken(
    cache: Path, endpoint: str, *words: object, token: str = "hf_right", xet: bool = False, **more: str
) -> tuple[int, str, str]:
    """Run the command line in a process of its own, because the Hub's library reads its settings when it is imported.

    The library does not wait there between its attempts to reach the Hub, which takes half a minute otherwise.
    """
    environment = {
        **{name: value for name, value in os.environ.items() if "proxy" not in name.lower()},
        "HF_ENDPOINT": endpoint,
        "HF_HOME": str(cache),
        "HF_TOKEN": token,
        "HF_HUB_DISABLE_XET": "0" if xet else "1",
        "HF_HUB_DISABLE_PROGRESS_BARS": "1",
        "HF_HUB_ETAG_TIMEOUT": "2",
        **more,
    }
    command = [sys.executable, "-c", _WITHOUT_WAITING, *map(str, words)]
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
    "uri", ["hf://", "hf://a", "hf://a/b/c", "hf://a/b@", "hf://a/../b", "hf://a/b c", "hf://a/..@x", "hf://a--b/c"]
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


@pytest.mark.parametrize(
    ("cached", "terminal", "said"),
    [(False, True, "downloading hf://me/quarters from the Hub ...\n"), (True, True, ""), (False, False, "")],
)
def test_a_terminal_shows_what_is_waited_for(
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    make_model: MakeModel,
    cached: bool,
    terminal: bool,
    said: str,
) -> None:
    library = pytest.importorskip("huggingface_hub")
    model = make_model()
    monkeypatch.setattr(library, "hf_hub_download", lambda *_, **__: str(model))
    monkeypatch.setattr(library, "try_to_load_from_cache", lambda *_, **__: str(model) if cached else None)
    monkeypatch.setattr(sys.stderr, "isatty", lambda: terminal)
    assert fetch_model("hf://me/quarters") == model
    assert capsys.readouterr().err == said


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
    text = model_card(card, "x", "hf://a/x", license_id="mit", language=None, size=1)
    assert 'license: "mit"' in text
    assert "License: mit\n" in text
    for stated, expected in {
        "commercial use is not permitted": "other",
        "limited": "other",
        "MIT-0": "other",
        "the MIT License": "mit",
        "Apache 2.0; see below": "apache-2.0",
        "CC-BY-NC-4.0.": "cc-by-nc-4.0",
    }.items():
        _, card = open_model(make_model(license=stated), 1)
        text = model_card(card, "x", "hf://a/x", license_id=None, language=None, size=1)
        assert f'license: "{expected}"' in text
        assert f"License: {stated}\n" in text
    _, card = open_model(make_model(license="the speech embedding is Apache-2.0", enrolled=[]), 1)
    assert 'license: "other"' in model_card(card, "x", "hf://a/x", license_id=None, language=None, size=1)


def test_the_card_of_a_streaming_file_names_only_commands_that_take_it(make_model: MakeModel) -> None:
    from harken.export.hub import model_card
    from harken.runtime.modelfile import open_model

    _, card = open_model(make_model(state=100), 1)
    text = model_card(card, "x", "hf://a/x", license_id=None, language=None, size=1)
    assert "harken listen --model hf://a/x" in text
    assert "harken predict" not in text


def test_a_language_that_is_no_text_is_left_out(make_model: MakeModel) -> None:
    from harken.export.hub import model_card
    from harken.runtime.modelfile import open_model

    for language, line in {"de": 'language: ["de"]', 5: None}.items():
        _, card = open_model(make_model(language=language), 1)
        text = model_card(card, "x", "hf://a/x", license_id=None, language=None, size=1)
        assert next((found for found in text.splitlines() if found.startswith("language:")), None) == line


def test_only_a_bundled_model_is_english_by_default(hub: FakeHub, make_model: MakeModel, tmp_path: Path) -> None:
    own = make_model().rename(tmp_path / "tiny.onnx")
    for model, english in ((own, False), ("tiny", True)):
        code, _, error = harken(tmp_path / "cache", hub.url, "push", model, "hf://me/tiny")
        assert code == 0, error
        assert ('language: ["en"]' in hub.repos["me/tiny"]["README.md"].decode()) == english


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
    for url, words, part in cases:
        code, out, error = harken(tmp_path / "cache", url, *words)
        assert (code, out) == (2, ""), error
        assert part in error
        assert error.count("\n") == 1
    code, _, error = harken(tmp_path / "cache", hub.url, "push", make_model(), "hf://me/x", token="hf_wrong")
    assert code == 2
    assert "does not let you write there" in error


@pytest.mark.parametrize("part_bytes", [0, 1000])
def test_a_large_model_goes_by_lfs(hub: FakeHub, make_model: MakeModel, tmp_path: Path, part_bytes: int) -> None:
    # The Hub takes files named *.onnx this way, of any size: in one part, or in several.
    hub.lfs_part_bytes = part_bytes
    model = make_model(note="x" * 3000)
    code, _, error = harken(tmp_path / "cache", hub.url, "push", model, "hf://me/large")
    assert code == 0, error
    assert hub.repos["me/large"]["model.onnx"] == model.read_bytes()
    uploads = [request for request in hub.requests if request.startswith("PUT")]
    assert len(uploads) == (-(-model.stat().st_size // part_bytes) if part_bytes else 1)
    assert "POST /verify" in hub.requests


def test_a_large_model_goes_by_xet(hub: FakeHub, make_model: MakeModel, tmp_path: Path) -> None:
    pytest.importorskip("hf_xet")
    hub.lfs_part_bytes = 0
    model = make_model(note="x" * 3000)
    code, _, error = harken(tmp_path / "cache", hub.url, "push", model, "hf://me/large", xet=True)
    assert code == 0, error
    content = model.read_bytes()
    assert sum(hub.xorbs) == len(content)
    assert hub.repos["me/large"]["model.onnx"] == hashlib.sha256(content).hexdigest().encode()
    assert not any(request.startswith("PUT") for request in hub.requests)  # nothing goes by LFS

    hub.denied = {"/xet/": 403}
    model = make_model(note="y" * 3000)
    code, out, error = harken(tmp_path / "cache", hub.url, "push", model, "hf://me/large", xet=True)
    assert (code, out, error.count("\n")) == (2, "", 1), error
    assert "cannot be uploaded" in error


def test_what_fails_on_the_way_gets_one_line(hub: FakeHub, make_model: MakeModel, tmp_path: Path) -> None:
    model = make_model()
    hub.lfs_part_bytes = 0
    push, predict = ("push", model, "hf://me/x"), ("predict", "--model", "hf://me/x", "x.wav")
    cases: list[tuple[tuple[object, ...], dict[str, int], str]] = [
        (push, {"/api/repos/create": 403}, "does not let you write there"),
        (push, {"/me/x.git": 403}, "does not let you write there"),
        (push, {"/lfs/": 413}, "refused the upload (status 413)"),
        (("push", model, "hf://me/x@v9"), {}, "has no branch v9"),
        (predict, {"/me/x/resolve": 401}, "does not let you read it (status 401); run hf auth login"),
        (predict, {"/me/x/resolve": 403}, "does not let you read it (status 403); run hf auth login"),
        (predict, {"/me/x/resolve": 410}, "cannot send it now (status 410)"),
    ]
    for words, denied, part in cases:
        hub.denied = denied
        code, out, error = harken(tmp_path / "cache", hub.url, *words)
        assert (code, out) == (2, ""), error
        assert part in error
        assert error.count("\n") == 1
    assert "model.onnx" not in hub.repos["me/x"]  # nothing is committed before all is uploaded
    code, out, error = harken(tmp_path / "cache", "http://127.0.0.1:9", *push)
    assert (code, out, error.count("\n")) == (2, "", 1), error
    assert "check the connection" in error


@pytest.mark.parametrize("terminal", [False, True])
def test_a_name_that_the_library_refuses_gets_one_line(terminal: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("huggingface_hub")
    monkeypatch.setattr(sys.stderr, "isatty", lambda: terminal)
    with pytest.raises(HarkenError, match=r"^hf://-a/b cannot be downloaded"):
        fetch_model("hf://-a/b")
