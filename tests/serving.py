"""Helpers for the tests of `harken serve`: start a server, and create clips to send to it."""

import io
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
import soundfile
import soxr
from numpy.typing import NDArray
from websockets.exceptions import ConnectionClosed

RATE = 16_000

LOW_LIMITS = {
    **{"body_bytes": "100_000", "upload_s": 0.6, "header_s": 0.6, "clip_s": 2, "decoded_samples": 90_000},
    **{"requests": 1, "streams": 2, "message_bytes": 20_000, "stream_s": 1.5, "idle_s": 0.6},
}


@dataclass(frozen=True)
class Server:
    """A running server. Its URL has no slash at the end."""

    url: str
    process: subprocess.Popen[str]

    @property
    def socket(self) -> str:
        """URL of the streams, without the query."""
        return self.url.replace("http", "ws", 1) + "/v1/listen"


@contextmanager
def serving(*options: str, model: str | Path = "base") -> Iterator[Server]:
    """Run `harken serve` on a free port until the block ends. Raise AssertionError with its output if it fails to start."""
    command = [sys.executable, "-m", "harken.cli.main", "serve", "--port", "0", "--model", str(model), *options]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stderr is not None
    url = process.stdout.readline().strip()
    if not url:
        raise AssertionError(process.stderr.read())
    try:
        yield Server(url, process)
    finally:
        process.terminate()
        process.wait(30)
        process.stdout.close()
        process.stderr.close()


def synthesize(word: str, rate: int = 16_000, *, before_s: float = 0.25, after_s: float = 0.35) -> NDArray[np.float32]:
    """Return a word in a natural synthetic voice, with very soft noise before and after it."""
    from harken.synth.voices import find_voice

    samples, voice_rate = find_voice("piper-joe").speak(word, seed=1)
    speech = np.asarray(soxr.resample(samples, voice_rate, rate), np.float32)
    clip = np.pad(speech, (round(before_s * rate), round(after_s * rate)))
    return clip + np.random.default_rng(1).normal(0, 2e-4, clip.size).astype(np.float32)


def write_clip(path: Path, samples: NDArray[np.float32], rate: int = 16_000) -> Path:
    """Write a WAV file of 16-bit PCM and return its path."""
    soundfile.write(path, np.clip(samples, -1, 1), rate, subtype="PCM_16")
    return path


def wav(samples: Any, rate: int = RATE, **kind: str) -> bytes:
    file = io.BytesIO()
    soundfile.write(file, samples, rate, **{"format": "WAV", "subtype": "PCM_16", **kind})
    return file.getvalue()


def error_of(response: httpx.Response) -> str:
    """Return the error message of a response, which must be one line."""
    assert set(response.json()) == {"error"}
    message: str = response.json()["error"]
    assert "\n" not in message
    return message


def read_until_closed(stream: Any) -> tuple[int, str]:
    """Read all messages of a stream, and return the code and reason with which the server closed it."""

    def read() -> None:
        while True:
            stream.recv(timeout=10)

    with pytest.raises(ConnectionClosed) as closed:
        read()
    frame = closed.value.rcvd
    assert frame is not None
    return frame.code, frame.reason
