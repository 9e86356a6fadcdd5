"""Measure `harken serve`: clips per second, the latency of clips at half that rate, and streams in real time.

python benchmarks/serve.py [--model base] [--streaming base.stream] [--streams 100] [--seconds 30] [--soak 0] [--out FILE.md]

The server runs in a process of its own. This program sends requests over loopback, on the same cores. Clips are one second of
noise as 16-bit WAV. Streams send 100 ms of noisy tones every 100 ms, each with a phase of its own, and request probabilities.
The delay of a chunk is the time from sending it to receiving its probabilities. Nothing is lost if the server has processed
every second of each stream at its end.
"""

import argparse
import asyncio
import io
import json
import math
import subprocess
import sys
import time
from pathlib import Path
from urllib.parse import urlsplit

import numpy as np
import soundfile
from websockets.asyncio.client import connect

_RATE = 16_000
_CHUNK = _RATE // 10
_CONNECTIONS = 8
_MEMORY_EVERY_S = 1.0


def clip() -> bytes:
    """Return one second of noise as WAV."""
    file = io.BytesIO()
    noise = 0.05 * np.random.default_rng(0).standard_normal(_RATE)
    soundfile.write(file, noise, _RATE, format="WAV", subtype="PCM_16")
    return file.getvalue()


class Connection:
    """A persistent connection that posts clips."""

    def __init__(self, url: str) -> None:
        parts = urlsplit(url)
        self._address = (parts.hostname, parts.port)
        body = clip()
        head = f"POST /v1/predict HTTP/1.1\r\nHost: {parts.netloc}\r\nContent-Length: {len(body)}\r\n\r\n"
        self._request = head.encode() + body

    async def open(self) -> "Connection":
        self._reader, self._writer = await asyncio.open_connection(*self._address)
        return self

    async def post(self) -> None:
        self._writer.write(self._request)
        head = await self._reader.readuntil(b"\r\n\r\n")
        if not head.startswith(b"HTTP/1.1 200"):
            raise RuntimeError(head.decode())
        length = next(
            int(line.split(b":")[1]) for line in head.lower().split(b"\r\n") if line.startswith(b"content-length")
        )
        await self._reader.readexactly(length)


async def saturate(url: str, seconds: float) -> float:
    """Return the clips per second when several connections send clips without a pause."""
    connections = [await Connection(url).open() for _ in range(_CONNECTIONS)]
    end, count = time.perf_counter() + seconds, 0

    async def post_repeatedly(connection: Connection) -> None:
        nonlocal count
        while time.perf_counter() < end:
            await connection.post()
            count += 1

    started = time.perf_counter()
    await asyncio.gather(*map(post_repeatedly, connections))
    return count / (time.perf_counter() - started)


async def at_rate(url: str, rate: float, seconds: float) -> list[float]:
    """Return the time of each clip when clips arrive at random (a Poisson process), including the wait for a connection."""
    draws = np.random.default_rng(1)
    free: asyncio.Queue[Connection] = asyncio.Queue()
    for _ in range(4 * _CONNECTIONS):
        free.put_nowait(await Connection(url).open())
    took: list[float] = []

    async def post_at(due: float) -> None:
        connection = await free.get()
        await connection.post()
        took.append(time.perf_counter() - due)
        free.put_nowait(connection)

    tasks = []
    due = time.perf_counter()
    end = due + seconds
    while due < end:
        due += draws.exponential(1 / rate)
        await asyncio.sleep(max(0.0, due - time.perf_counter()))
        tasks.append(asyncio.create_task(post_at(due)))
    await asyncio.gather(*tasks)
    return took


async def stream(url: str, seconds: float, phase: float) -> tuple[list[float], float]:
    """Return the delay of each chunk, and the seconds of audio that the server has processed."""
    sound = 0.1 * np.sin(np.arange(_CHUNK) * 0.1) + 0.02 * np.random.default_rng(2).standard_normal(_CHUNK)
    chunk = (32767 * sound).astype("<i2").tobytes()
    sent: list[float] = []
    delays: list[float] = []
    processed_s = 0.0
    async with connect(
        f"{url.replace('http', 'ws')}/v1/listen?rate={_RATE}&posteriors=true", compression=None
    ) as socket:
        await socket.recv()

        async def read() -> None:
            nonlocal processed_s
            async for text in socket:
                message = json.loads(text)
                if message["type"] == "posteriors":
                    delays.append(time.perf_counter() - sent[round(10 * message["at_s"]) - 1])
                elif message["type"] == "end":
                    processed_s = message["seconds"]

        reading = asyncio.create_task(read())
        start = time.perf_counter() + phase
        for number in range(round(10 * seconds)):
            await asyncio.sleep(max(0.0, start + 0.1 * (number + 1) - time.perf_counter()))
            sent.append(time.perf_counter())
            await socket.send(chunk)
        await socket.send(json.dumps({"type": "finish"}))
        await reading
    return delays, processed_s


def memory_mb(pid: int) -> float:
    """Return the resident memory of a process in MB."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmRSS")) / 1024


def percentiles(seconds: list[float]) -> str:
    """Return the 50th, 95th and 99th percentile as text, in milliseconds."""
    return " | ".join(f"{1000 * value:.1f}" for value in np.percentile(seconds, [50, 95, 99]))


async def measure(url: str, pid: int, options: argparse.Namespace) -> list[str]:
    """Return the lines of the report."""
    await saturate(url, 1.0)
    rate = await saturate(url, options.seconds / 3)
    took = await at_rate(url, rate / 2, options.seconds)
    before = memory_mb(pid)
    long = max(options.seconds, options.soak)
    memory: list[float] = []

    async def watch() -> None:
        while True:
            memory.append(memory_mb(pid))
            await asyncio.sleep(_MEMORY_EVERY_S)

    watching = asyncio.create_task(watch())
    phases = np.random.default_rng(3).uniform(0, 0.1, options.streams)
    found = await asyncio.gather(*(stream(url, long, phase) for phase in phases))
    watching.cancel()
    delays = [delay for one, _ in found for delay in one]
    complete = sum(math.isclose(processed_s, long, abs_tol=1e-6) for _, processed_s in found)
    tenth = max(1, len(memory) // 10)
    early, late = np.median(memory[tenth : 2 * tenth]), np.median(memory[-tenth:])
    return [
        f"Clips over {_CONNECTIONS} connections without a pause: {rate:.0f} per second.",
        "",
        "| | 50 % ms | 95 % ms | 99 % ms |",
        "|---|---|---|---|",
        f"| clips at {rate / 2:.0f} per second ({len(took):,}) | {percentiles(took)} |",
        f"| chunks of {options.streams} streams in real time ({len(delays):,}) | {percentiles(delays)} |",
        "",
        f"{complete} of {options.streams} streams of {long:g} s were processed completely.",
        f"Memory: {before:.0f} MB after the clips, {early:.0f} MB near the start and {late:.0f} MB at the end of the streams.",
    ]


def main() -> None:
    """Run the server and the benchmark."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="base", help="model to serve")
    parser.add_argument("--streaming", help="streaming model to serve; default: none")
    parser.add_argument("--streams", type=int, default=100, help="number of streams")
    parser.add_argument("--seconds", type=float, default=30.0, help="seconds of each measurement")
    parser.add_argument("--soak", type=float, default=0.0, help="seconds of streams, if longer than --seconds")
    parser.add_argument("--out", type=Path, help="page to write; default: none")
    options = parser.parse_args()
    command = [sys.executable, "-m", "harken.cli.main", "serve", "--port", "0", "--model", options.model]
    command += ["--limit", f"streams={options.streams}"]
    command += ["--streaming", options.streaming] if options.streaming else []
    server = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    assert server.stdout is not None
    try:
        lines = asyncio.run(measure(server.stdout.readline().strip(), server.pid, options))
    finally:
        server.terminate()
        server.wait()
    print("\n".join(lines))
    if options.out:
        title = ["# Throughput and latency of the server", "", f"`python {' '.join(sys.argv)}`", ""]
        options.out.write_text("\n".join([*title, *lines, ""]), encoding="utf-8")


if __name__ == "__main__":
    main()
