"""A server of its own process for the tests of `harken serve`, and what they say to it."""

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

TIGHT = {
    **{"body_bytes": "100_000", "upload_s": 0.6, "header_s": 0.6, "clip_s": 2, "decoded_samples": 90_000},
    **{"requests": 1, "streams": 2, "message_bytes": 20_000, "stream_s": 1.5, "idle_s": 0.6},
}


@dataclass(frozen=True)
class Server:
    """url : without a slash at its end."""

    url: str
    process: subprocess.Popen[str]

    @property
    def socket(self) -> str:
        """The address of its streams, to which the query is added."""
        return self.url.replace("http", "ws", 1) + "/v1/listen"


@contextmanager
def serving(*options: str, model: str | Path = "base") -> Iterator[Server]:
    """Run `harken serve` on a free port until the end of the block."""
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


def voiced(word: str, rate: int = 16_000, *, before_s: float = 0.25, after_s: float = 0.35) -> NDArray[np.float32]:
    """Return a word in a natural synthetic voice, with near silence around it."""
    from harken.synth.voices import voice_named

    samples, own = voice_named("piper-joe").speak(word, seed=1)
    said = np.asarray(soxr.resample(samples, own, rate), np.float32)
    clip = np.pad(said, (round(before_s * rate), round(after_s * rate)))
    return clip + np.random.default_rng(1).normal(0, 2e-4, clip.size).astype(np.float32)


def write_clip(path: Path, samples: NDArray[np.float32], rate: int = 16_000) -> Path:
    """Write 16-bit PCM and return its path."""
    soundfile.write(path, np.clip(samples, -1, 1), rate, subtype="PCM_16")
    return path


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
