"""Compare the time for a step of two streaming models, on one thread.

python benchmarks/step.py OLD NEW [--streams 1] [--rounds 300]

Both take turns in one process, so that they get the same share of a busy machine. The times depend on the machine; their
ratio hardly does. It also prints how far the answers of the two are apart, over a stream of noise that changes in loudness.
"""

import argparse
import statistics
import time
from pathlib import Path

import numpy as np

from harken.runtime.streamfile import StreamFile

WARM_UP = 20


def main() -> None:
    """Print the times and their ratio."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("models", nargs=2, metavar="MODEL", help="path or name of a streaming model, as base.stream")
    parser.add_argument("--streams", type=int, default=1, help="streams computed together")
    parser.add_argument("--rounds", type=int, default=300, help="steps of each")
    options = parser.parse_args()
    models = [StreamFile(model) for model in options.models]
    states = [model.start(options.streams) for model in models]
    times: list[list[float]] = [[], []]
    rng, apart = np.random.default_rng(0), 0.0
    for number in range(-WARM_UP, options.rounds):
        loudness = 0.1 * (1 + np.sin(number / 5))
        sound = (loudness * rng.standard_normal((options.streams, models[0].step))).astype(np.float32)
        answers = []
        for index, model in enumerate(models):
            start = time.perf_counter()
            answer, states[index] = model.advance(sound, states[index])
            times[index].append(1000 * (time.perf_counter() - start))
            answers.append(answer)
        apart = max(apart, float(np.abs(answers[0] - answers[1]).max()))
    medians = [statistics.median(row[WARM_UP:]) for row in times]
    for model, median in zip(models, medians, strict=True):
        size = Path(model.path).stat().st_size / 1024
        print(f"{model.path}: {median:.3f} ms per step of {options.streams} streams, {size:.0f} KB")
    print(f"ratio {medians[1] / medians[0]:.2f}; largest difference in probability {apart:.1e}")


if __name__ == "__main__":
    main()
