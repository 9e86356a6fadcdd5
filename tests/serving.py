"""A server of its own process for the tests of `harken serve`."""

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import soundfile
import soxr
from numpy.typing import NDArray


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
    command = [sys.executable, "-m", "harken.cli", "serve", "--port", "0", "--model", str(model), *options]
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
