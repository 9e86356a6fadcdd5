"""`harken wyoming`: its sockets, and what it refuses."""

import asyncio
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("wyoming")

from wyoming.client import AsyncClient

from conftest import MakeModel, Run
from wyoming_client import LISTENER, answers, burst, names, send_audio


@pytest.fixture
def model(make_model: MakeModel, tmp_path: Path) -> Path:
    return make_model(tmp_path / "quarters.onnx", listener=LISTENER)


def test_the_command_serves_a_unix_socket(model: Path, tmp_path: Path) -> None:
    path = tmp_path / "wake.sock"
    command = [sys.executable, "-m", "harken.cli.main", "wyoming", "--uri", f"unix://{path}", "--model", str(model)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stderr is not None
    assert process.stdout.readline().strip() == f"unix://{path}"

    async def talk() -> None:
        async with AsyncClient.from_uri(f"unix://{path}") as client:
            await send_audio(client, burst())
            assert names(await answers(client)) == ["no"]

    try:
        asyncio.run(talk())
        again = subprocess.run(command, capture_output=True, text=True, check=False)
        assert again.returncode == 2
        assert f"another server listens at {path}" in again.stderr
    finally:
        process.send_signal(signal.SIGTERM)
    _, log = process.communicate(timeout=60)
    assert process.returncode == 0
    assert "client 1: 'no', confidence" in log
    assert not path.exists()


def test_the_command_serves_a_pipe(model: Path) -> None:
    command = [
        sys.executable,
        "-m",
        "harken.cli.main",
        "wyoming",
        "--uri",
        "stdio://",
        "--model",
        str(model),
        "--debug",
    ]
    asked = b'{"type": "ping"}\n{"type": "describe"}\n'
    result = subprocess.run(command, input=asked, capture_output=True, check=False, timeout=120)
    assert result.returncode == 0, result.stderr
    assert b'"type": "pong"' in result.stdout
    assert b'"phrase": "yes"' in result.stdout
    assert b"DEBUG" in result.stderr


@pytest.mark.parametrize(
    ("options", "part"),
    [
        (["--uri", "http://x:1"], "write it as tcp://HOST:PORT"),
        (["--uri", "tcp://0.0.0.0"], "write it as tcp://HOST:PORT"),
        (["--uri", "tcp://0.0.0.0:99999"], "write it as tcp://HOST:PORT"),
        (["--uri", "unix://"], "write it as tcp://HOST:PORT"),
        (["--uri", "tcp://256.0.0.1:0"], "no address 256.0.0.1"),
        (["--uri", "tcp://192.0.2.1:0"], "no address 192.0.2.1"),  # of nobody's network, for documentation
        (["--uri", "unix:///nowhere/at/all"], "cannot create the socket"),
        (["--uri", f"unix://{__file__}"], "is a file and not a socket"),
        (["--model", "nothing"], "neither a model file nor a bundled model"),
        (["--custom-model-dir", "/nowhere"], "--custom-model-dir /nowhere is not a folder"),
        pytest.param(
            ["--custom-model-dir", "x" * 300],
            "x cannot be opened: File name too long",
            marks=pytest.mark.skipif(os.name == "nt", reason="Windows reports another error"),
        ),
        (["--threshold", "high"], "write it as a number"),
        (["--threshold", "2"], "must be from 0 to 1"),
        (["--threshold", "hello=0.5"], "no model has this word"),
        (["--limit", "clip_s=3"], "the limits are connections"),
        (["--log-format", "%(nothing)"], "--log-format"),
        (["--log-format", "%(nothing)s", "--uri", "nowhere"], "--log-format"),
        (["--log-format", "%(message)d", "--uri", "nowhere"], "--log-format"),
        (["--zeroconf", "--uri", "tcp://127.0.0.1:0"], "other machines"),
        (["--zeroconf", "a.b"], "without dots"),
        (["--zeroconf", "--uri", "stdio://"], "other machines"),
    ],
)
def test_bad_options_get_one_line(run: Run, options: list[str], part: str) -> None:
    code, _, error = run("wyoming", *options)
    assert code == 2
    assert error.count("\n") <= 2  # the log line of the model may come first
    assert part in error
