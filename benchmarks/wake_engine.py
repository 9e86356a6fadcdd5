"""Run one engine over one stream, in a process of its own, as benchmarks/wake.py requests.

python benchmarks/wake_engine.py ENGINE SETTING STREAM.pcm OUT.npz

ENGINE is `harken:MODEL.stream.onnx`, or an engine and a phrase as `harken evaluate-stream --peer` takes them. SETTING is the
value of the engine's setting, such as Porcupine's sensitivity. The stream is raw PCM, int16 at 16 kHz. OUT.npz receives
`times` (in seconds) and `scores` of the candidates, the processor time, and the memory that the engine added.
"""

import argparse
import math
import os
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from harken.files import replacing

RATE = 16_000
READ = 480_000  # samples read from the file at once
MIN_SCORE = 0.01  # of an engine with probabilities: what is lower is no candidate

Step = Callable[[NDArray[np.int16]], float]


def harken_step(model: str) -> tuple[int, Step]:
    """Return the hop of a harken streaming file with one phrase, and a function that processes it."""
    from harken.runtime.listener import Listener
    from harken.runtime.streamfile import StreamFile

    listener = Listener(StreamFile(model), source_rate=RATE)

    def step(samples: NDArray[np.int16]) -> float:
        listener.push(samples)
        return float(listener.posteriors[0])

    return listener.hop, step


def peer_step(name: str, setting: float) -> tuple[int, Step]:
    from harken.evaluation.peers.registry import find_peer

    peer = find_peer(name)
    return peer.step, peer.make(setting)


def resident_mb() -> float:
    """Return the resident memory of this process, or its peak if the system does not report the current value."""
    statm = Path("/proc/self/statm")
    if statm.is_file():
        return int(statm.read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 1e6
    import resource

    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6  # macOS counts bytes


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("engine")
    parser.add_argument("setting", type=float)
    parser.add_argument("stream", type=Path)
    parser.add_argument("out", type=Path)
    options = parser.parse_args()
    waiting = np.zeros(READ, np.int16)  # what the reading needs is no part of the engine's memory
    waiting = waiting[:0]
    before = resident_mb()
    kind, _, model = options.engine.partition(":")
    size, step = harken_step(model) if kind == "harken" else peer_step(options.engine, options.setting)
    times, scores, busy, done = [], [], 0.0, 0
    with options.stream.open("rb") as file:
        while (block := np.frombuffer(file.read(2 * READ), np.int16)).size:
            waiting = np.concatenate([waiting, block])
            whole = waiting.size // size * size
            started = time.process_time()  # of all threads: some engines use several
            found = [step(waiting[start : start + size]) for start in range(0, whole, size)]
            busy += time.process_time() - started
            for index, score in enumerate(found):
                if score >= MIN_SCORE:
                    times.append((done + (index + 1) * size) / RATE)
                    scores.append(logit(score))
            done += whole
            waiting = waiting[whole:]
    memory = resident_mb() - before
    with replacing(options.out) as temporary, temporary.open("wb") as file:
        np.savez(file, times=np.array(times), scores=np.array(scores), busy=busy, seconds=done / RATE, memory=memory)


def logit(probability: float) -> float:
    inside = min(max(probability, 1e-7), 1 - 1e-7)
    return math.log(inside / (1 - inside))


if __name__ == "__main__":
    main()
