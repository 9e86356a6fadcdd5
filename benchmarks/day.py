"""Run a listener over a day of audio at full speed, to check that memory stays constant and event times do not drift.

python benchmarks/day.py [--model base] [--hours 24] [--rate 44100] [--out benchmarks/day.md]

Ten minutes of audio are repeated, in chunks of random length. They contain words of the model at known times, in synthetic
voices over noise. Every round must give the same events as the round before, exactly ten minutes later.
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
from harken.runtime.two_stage import open_stream_model
from harken.synth.voices import draw_voices, voices
from tutorial import HERE, machine

BLOCK_S = 600
WORD_INTERVAL_S = 3.0
NOISE_DB = -50.0
CHUNKS_S = (0.01, 2.0)
MIN_ROUNDS = 3  # The later rounds are compared with the second.


def block(words: tuple[str, ...], rate: int) -> np.ndarray:
    """Return ten minutes of noise with a word every three seconds, float32 at `rate` Hz."""
    draws = np.random.default_rng(5)
    sound = (10 ** (NOISE_DB / 20) * draws.standard_normal(BLOCK_S * rate)).astype(np.float32)
    times_s = np.arange(1.0, BLOCK_S - WORD_INTERVAL_S, WORD_INTERVAL_S)
    for number, (time_s, voice) in enumerate(zip(times_s, draw_voices(voices(), len(times_s), draws), strict=True)):
        speech, speech_rate = voice.speak(words[number % len(words)], seed=number)
        spoken = soxr.resample(speech, speech_rate, rate)[: int(2 * rate)]
        start = int(time_s * rate)
        sound[start : start + spoken.size] += 0.3 * spoken / max(1e-6, float(np.abs(spoken).max()))
    return sound


def resident_mb() -> float:
    """Return the resident memory of this process, or its peak if the system does not report the current value."""
    statm = Path("/proc/self/statm")
    if statm.is_file():
        return int(statm.read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 1e6
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6


def within_round(events: list[Event], round_number: int) -> list[tuple[str, float]]:
    """Return the words of events and their times within the round."""
    return [(event.word, round(event.end_s - round_number * BLOCK_S, 6)) for event in events]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="base", help="model file, run folder, or name of a bundled model")
    parser.add_argument("--hours", type=float, default=24.0, help="hours of audio")
    parser.add_argument("--rate", type=int, default=44_100, help="sample rate of the audio, in Hz")
    parser.add_argument("--out", type=Path, default=HERE / "day.md", help="page to write")
    options = parser.parse_args()
    if options.out.is_dir() or not options.out.resolve().parent.is_dir():
        raise HarkenError(f"cannot write --out {options.out}: give a file in an existing folder")
    if not MIN_ROUNDS <= options.hours * 3600 / BLOCK_S < math.inf:
        least = MIN_ROUNDS * BLOCK_S / 3600
        raise HarkenError(f"--hours {options.hours:g}: give {least:g} or more, {MIN_ROUNDS} rounds of ten minutes")
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
        # The resampler delays the last hundredths of a second, so the last hop of a round may come in the next round.
        done = [event for event in pending if event.end_s <= (number + 1) * BLOCK_S - 1]
        pending = [event for event in pending if event.end_s > (number + 1) * BLOCK_S - 1]
        found = within_round(done, number)
        if number == 1:
            expected = found
        elif number > 1 and found != expected:
            different += 1
        memory.append(resident_mb())
        if (number + 1) % 6 == 0:
            print(f"{(number + 1) // 6} h: {len(found)} events per round, {memory[-1]:.1f} MB", flush=True)
    busy_s = time.process_time() - started
    audio_s = rounds * BLOCK_S
    lines = [
        f"# {audio_s / 3600:g} hours of audio in a listener",
        "",
        f"- `python benchmarks/day.py --model {options.model} --hours {options.hours:g} --rate {options.rate}`",
        f"- {machine()}",
        "",
        f"{rounds} rounds of {BLOCK_S / 60:g} minutes with {len(expected)} events each. Rounds with an event that differs from",
        f"the second round in its word or by a microsecond: {different}. Memory: {memory[1]:.1f} MB after two rounds,",
        f"{max(memory):.1f} MB at most, {memory[-1]:.1f} MB at the end. Of {listener.hops:,} hops, the energy gate skipped",
        f"{listener.skipped:,}. Processor time: {busy_s:.0f} s, a real-time factor of {busy_s / audio_s:.4f}.",
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
