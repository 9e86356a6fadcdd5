"""The container image, as far as it can be tested without Docker: what the files say, and the health check."""

import asyncio
import http.server
import os
import re
import shlex
import subprocess
import sys
import threading
import tomllib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from conftest import MakeModel

ROOT = Path(__file__).parents[1]
HEALTH = ROOT / "docker" / "health.py"


def instructions() -> list[tuple[str, str]]:
    """Return the instructions of the Dockerfile, with their continuation lines joined."""
    text = re.sub(r"^\s*#.*\n", "", (ROOT / "Dockerfile").read_text(), flags=re.MULTILINE)
    lines = re.sub(r"\\\n\s*", " ", text).splitlines()
    return [(line.split(None, 1)[0], line.split(None, 1)[1]) for line in lines if line.strip()]


def stages() -> list[list[tuple[str, str]]]:
    found: list[list[tuple[str, str]]] = []
    for instruction in instructions():
        if instruction[0] == "FROM":
            found.append([])
        if found:
            found[-1].append(instruction)
    return found


def test_the_image_has_two_stages_and_only_the_runtime() -> None:
    known = {"ARG", "FROM", "WORKDIR", "RUN", "COPY", "ENV", "USER", "EXPOSE", "HEALTHCHECK", "ENTRYPOINT", "CMD"}
    assert {name for name, _ in instructions()} <= known
    build, runtime = stages()
    assert [text for name, text in runtime if name == "RUN"] == []  # nothing is installed in the second stage
    assert ("COPY", "--from=build /opt/harken /opt/harken") in runtime
    installed = [text for name, text in build if name == "RUN" and text.startswith("pip --python /opt/harken install")]
    extras = re.search(r'"\.\[(.+)\]"', installed[0])
    assert extras
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    requirements = project["dependencies"] + [
        requirement for extra in extras[1].split(",") for requirement in project["optional-dependencies"][extra]
    ]
    names = {re.split(r"[<>=\[;]", requirement)[0] for requirement in requirements}
    assert names.isdisjoint({"torch", "lightning", "onnx", "scipy", "scikit-learn", "matplotlib", "piper-tts"})
    assert {"onnxruntime", "fastapi", "wyoming", "zeroconf"} <= names


def test_the_image_runs_without_root_and_without_writing() -> None:
    runtime = dict(stages()[1])
    assert re.fullmatch(r"\d+:\d+", runtime["USER"])  # numbers, so that Kubernetes can check that it is not root
    assert not runtime["USER"].startswith("0:")
    environment = dict(part.split("=", 1) for part in shlex.split(runtime["ENV"]))
    assert environment["HARKEN_HOST"] == "0.0.0.0"
    assert environment["HARKEN_CACHE"].startswith("/tmp")
    assert environment["PYTHONDONTWRITEBYTECODE"] == "1"
    assert runtime["ENTRYPOINT"] == '["harken"]'
    assert "health.py" in runtime["HEALTHCHECK"]


def test_what_is_copied_exists_and_is_not_ignored() -> None:
    kept = [line[1:] for line in (ROOT / ".dockerignore").read_text().splitlines() if line.startswith("!")]
    for name, text in instructions():
        if name == "COPY" and not text.startswith("--from"):
            for source in text.split()[:-1]:
                assert (ROOT / source).exists(), source
                assert source.removeprefix("./") in kept, source


def test_compose_starts_both() -> None:
    yaml = pytest.importorskip("yaml")
    services = yaml.safe_load((ROOT / "compose.yaml").read_text())["services"]
    assert services["serve"]["command"] == ["serve"]
    assert services["wyoming"]["command"][0] == "wyoming"
    for service in services.values():
        assert service["read_only"]
        assert service["tmpfs"] == ["/tmp"]
        assert service["cap_drop"] == ["ALL"]
    assert services["serve"]["ports"] == ["127.0.0.1:8000:8000"]  # only this machine, since there is no token


def test_the_commands_of_compose_parse(monkeypatch: pytest.MonkeyPatch) -> None:
    yaml = pytest.importorskip("yaml")
    from typer.main import get_command

    from harken.cli.main import app

    group = get_command(app)
    monkeypatch.setenv("HARKEN_HOST", "0.0.0.0")
    for service in yaml.safe_load((ROOT / "compose.yaml").read_text())["services"].values():
        name, *options = service["command"]
        command = group.commands[name]  # type: ignore[attr-defined]
        context = command.make_context(name, list(options))
        if name == "serve":
            assert context.params["host"] == "0.0.0.0"


def healthy(http_port: int, wyoming_port: int) -> bool:
    environment = {name: value for name, value in os.environ.items() if "proxy" not in name.lower()}
    command = [sys.executable, str(HEALTH), str(http_port), str(wyoming_port)]
    return subprocess.run(command, check=False, env=environment, timeout=60).returncode == 0


@contextmanager
def web_server(status: int) -> Iterator[int]:
    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(status)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    with http.server.HTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield server.server_address[1]
        server.shutdown()


def test_health_over_http() -> None:
    with web_server(200) as good, web_server(500) as bad:
        assert healthy(good, 1)
        assert not healthy(bad, 1)
        assert not healthy(1, good)  # answers, but not in the Wyoming protocol
    assert not healthy(1, 1)


def test_health_of_a_wyoming_server(make_model: MakeModel) -> None:
    pytest.importorskip("wyoming")
    from harken.serve.limits import Limits
    from harken.serve.wyoming_models import WakeWords
    from harken.serve.wyoming_server import Address, WyomingServer

    async def run() -> None:
        server = WyomingServer(WakeWords([str(make_model())]), limits=Limits(), threads=1)
        async with server.listening(Address("tcp", "127.0.0.1", 0)) as port:
            assert await asyncio.to_thread(healthy, 1, port)
        server.close()

    asyncio.run(run())
