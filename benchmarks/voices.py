"""Measure the time to synthesize a word, for each speech engine, on one thread.

python benchmarks/voices.py [--words 40]

The engines take turns. Prints the table of docs/how-to/make-a-corpus.md. Kokoro is included if HARKEN_KOKORO names its model.
"""

import argparse
import time
from statistics import median

import numpy as np

from harken.synth import voices
from harken.synth.sentences import NOUNS
from harken.synth.voices import engine_of


def main() -> None:
    parser = argparse.ArgumentParser(description="Measure the time to synthesize a word, for each speech engine.")
    parser.add_argument("--words", type=int, default=40, help="words per engine")
    words = parser.parse_args().words
    rng = np.random.default_rng(0)
    members: dict[str, list[int]] = {}
    for index, voice in enumerate(voices()):
        members.setdefault(engine_of(voice), []).append(index)
    spent: dict[str, list[float]] = {engine: [] for engine in members}
    for number in range(-1, words):
        for engine, indices in members.items():
            voice = voices()[int(rng.choice(indices))]
            start = time.perf_counter()
            voice.speak(str(rng.choice(NOUNS)), seed=max(0, number))
            if number >= 0:  # The first word includes loading the engine.
                spent[engine].append(time.perf_counter() - start)
    fastest = min(median(times) for times in spent.values())
    print("| engine | voices | ms per word | relative to the fastest |\n|---|---|---|---|")
    for engine, times in spent.items():
        print(f"| {engine} | {len(members[engine])} | {1000 * median(times):.0f} | {median(times) / fastest:.1f} |")


if __name__ == "__main__":
    main()
