"""A day of audio through a listener at full speed: does memory stay flat, do event times drift?

python benchmarks/day.py [--model base] [--hours 24] [--rate 44100] [--out benchmarks/day.md]

Ten minutes with words of the model at known places, in synthetic voices over noise, are heard again and again, in chunks of
drawn length. Every round must give the events of the round before it, ten minutes later to the sample.
"""

import argparse
import math
import os
import resource
import sys
import time
from pathlib import Path

import numpy as np
import soxr

from harken.errors import HarkenError
from harken.runtime.listener import Event, Listener
from harken.runtime.streamfile import open_stream_model
from harken.synth.voices import draw_voices, voices
from tutorial import HERE, machine

BLOCK_S = 600
EVERY_S = 3.0  # from word to word
NOISE_DB = -50.0
CHUNKS_S = (0.01, 2.0)
LEAST_ROUNDS = 3  # the second is what the others are held against


def block(words: tuple[str, ...], rate: int) -> np.ndarray:
    """Return ten minutes of noise with a word every three seconds, float32 at `rate` Hz."""
    draws = np.random.default_rng(5)
    sound = (10 ** (NOISE_DB / 20) * draws.standard_normal(BLOCK_S * rate)).astype(np.float32)
    places = np.arange(1.0, BLOCK_S - EVERY_S, EVERY_S)
    for number, (place, voice) in enumerate(zip(places, draw_voices(voices(), len(places), draws), strict=True)):
        said, said_rate = voice.speak(words[number % len(words)], seed=number)
        spoken = soxr.resample(said, said_rate, rate)[: int(2 * rate)]
        start = int(place * rate)
        sound[start : start + spoken.size] += 0.3 * spoken / max(1e-6, float(np.abs(spoken).max()))
    return sound


def resident_mb() -> float:
    """Return the memory that this process holds now, where the system tells, else the most that it has held."""
    statm = Path("/proc/self/statm")
    if statm.is_file():
        return int(statm.read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 1e6
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6


def placed(events: list[Event], round_number: int) -> list[tuple[str, float]]:
    """Return words and times of events within their round; what ends with the round belongs to it."""
    return [(event.word, round(event.end_s - round_number * BLOCK_S, 6)) for event in events]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="base", help="a model or a streaming form")
    parser.add_argument("--hours", type=float, default=24.0)
    parser.add_argument("--rate", type=int, default=44_100, help="of the audio, Hz")
    parser.add_argument("--out", type=Path, default=HERE / "day.md")
    options = parser.parse_args()
    if options.out.is_dir() or not options.out.resolve().parent.is_dir():
        raise HarkenError(f"--out {options.out} cannot be written: name a file in a folder that is there")
    if not LEAST_ROUNDS <= options.hours * 3600 / BLOCK_S < math.inf:
        least = LEAST_ROUNDS * BLOCK_S / 3600
        raise HarkenError(f"--hours {options.hours:g}: give {least:g} or more, {LEAST_ROUNDS} rounds of ten minutes")
    recognizer = open_stream_model(options.model)
    listener = Listener(recognizer, source_rate=options.rate)
    words = tuple(recognizer.card.words)
    sound = block(words, options.rate)
    draws = np.random.default_rng(6)
    rounds = round(options.hours * 3600 / BLOCK_S)
    expected: list[tuple[str, float]] = []
    pending: list[Event] = []
    different, memory = 0, []
    started = time.process_time()
    for number in range(rounds):
        end = 0
        while end < sound.size:
            start, end = end, min(sound.size, end + int(options.rate * draws.uniform(*CHUNKS_S)))
            pending += listener.push(sound[start:end])
        # The resampler holds back the last hundredths of a second: the round's last hop may come with the next one.
        done = [event for event in pending if event.end_s <= (number + 1) * BLOCK_S - 1]
        pending = [event for event in pending if event.end_s > (number + 1) * BLOCK_S - 1]
        found = placed(done, number)
        if number == 1:
            expected = found
        elif number > 1 and found != expected:
            different += 1
        memory.append(resident_mb())
        if (number + 1) % 6 == 0:
            print(f"{(number + 1) // 6} h: {len(found)} events a round, {memory[-1]:.1f} MB", flush=True)
    took = time.process_time() - started
    heard = rounds * BLOCK_S
    lines = [
        f"# {heard / 3600:g} hours through a listener",
        "",
        f"- `python benchmarks/day.py --model {options.model} --hours {options.hours:g} --rate {options.rate}`",
        f"- {machine()}",
        "",
        f"Rounds of {BLOCK_S / 60:g} minutes: {rounds}, of {len(expected)} events each. Rounds whose events differ from",
        f"the second by a word or by a microsecond: {different}. Memory: {memory[1]:.1f} MB after two rounds,",
        f"{max(memory):.1f} MB at most, {memory[-1]:.1f} MB at the end. Hops: {listener.hops:,}, of which the energy gate saved",
        f"{listener.skipped:,}. Processor time: {took:.0f} s, a real-time factor of {took / heard:.4f}.",
        "",
    ]
    options.out.write_text("\n".join(lines), encoding="utf-8")
    print("\n".join(lines))


if __name__ == "__main__":
    try:
        main()
    except HarkenError as error:
        print(f"day.py: {error}", file=sys.stderr)
        sys.exit(2)
