"""Measure wake phrases in long streams: harken's enrolled phrases against Porcupine, pocketsphinx and other engines.

    python benchmarks/wake.py --phrases wake_phrases --speech LIBRISPEECH... --noise NOISE --work DIR [--speech-only]

The streams are built like those of Picovoice's wake-word-benchmark. Each contains every recording of the phrase once.
Between two recordings there are utterances of continuous speech, each of which is silenced with a probability of 0.8.
Noise is added to the whole stream, 10 dB below the speech (the loudest 32 ms of each are compared). The takes that the
phrase is enrolled from are not in the stream.

With --speech-only, the silenced utterances are left out, and an hour of speech counts as the five hours that it would be
in. It needs a fifth of the time. What is lost are the false alarms in noise alone.

    --phrases   DIR/PHRASE/*.ogg: half of the recordings are placed in the stream, the others are takes
    --speech    DIR/**/SPEAKER-CHAPTER-UTTERANCE.flac: only speakers from 3170 on are used, since the speech bank was built
                from those up to 3000
    --noise     DIR/**/FOLD-*.ogg: only fold 3 is used, since the speech bank was built with folds 1 and 2
    --work      folder for the streams and the results. A run that was stopped continues with the same command

A peer runs if it is installed and knows the phrase. Each engine runs at each of its settings, in a process of its own.

The first table of a phrase has the lowest miss rate that an engine achieves with at most 1, 0.5 and 0.1 false alarms per hour.
The threshold or setting for it is chosen on this very stream, which flatters each engine. The second table has all settings of
the peers, and harken's at thresholds that enrollment computes for these rates.
"""

import argparse
import hashlib
import json
import math
import os
import re
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from harken import HarkenError, enroll, load_clip
from harken.audio.clip import to_int16
from harken.enrollment.calibration import threshold_for
from harken.evaluation.metrics import poisson_interval, wilson_interval
from harken.evaluation.peers.engine import Peer
from harken.evaluation.peers.registry import PEERS, find_peer
from harken.files import replacing_all
from harken.models.encoders import DEFAULT, ENCODERS

HERE = Path(__file__).parent
RATE = 16_000
FIRST_SPEAKER = 3170
NOISE_FOLD = "3"
SPEECH_PROBABILITY = 0.2  # that an utterance is not silenced
SNR_DB = 10.0
LEVEL_SAMPLES = 512  # length of the loudest part of speech and noise, whose levels are compared
LATE_S = 0.5  # a phrase may be detected up to this time after the end of its recording
MIN_GAP_S = 1.5  # detections that are closer together are one event
RATES = (1.0, 0.5, 0.1)  # false alarms per hour
MAX_PEAK = 5.0  # the mixture is divided by this: noise has a peak of at most 1, and the speech over it is louder
ONE_THREAD = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1")
_UTTERANCE = re.compile(r"(\d+)-\d+-\d+$")  # at the end of a name of LibriSpeech, with the speaker

Samples = NDArray[np.float32]


@dataclass(frozen=True)
class Detections:
    """What an engine detected in a stream.

    Attributes
    ----------
    times
        Times of the candidates, in seconds.
    scores
        Their scores, to which a threshold is applied. An engine without scores has the same for all.
    real_time_factor
        Processor time of all threads per second of audio.
    memory_mb
        Memory that the engine added to its process.
    """

    times: NDArray[np.float64]
    scores: NDArray[np.float64]
    real_time_factor: float
    memory_mb: float


@dataclass(frozen=True)
class Stream:
    """A stream in a file, with the places of the phrase.

    Attributes
    ----------
    path
        Raw PCM, int16 at 16 kHz.
    spans
        Start and end of the time in which each recording of the phrase may be detected, in seconds [recordings, 2].
    hours
        Hours that false alarms are counted in. With --speech-only, five times the hours of speech.
    """

    path: Path
    spans: NDArray[np.float64]
    hours: float


class StreamMaker:
    """Makes the stream of one phrase, part by part. The same arguments give the same stream."""

    def __init__(
        self,
        recordings: Sequence[Path],
        speech: Sequence[Path],
        noise: Sequence[Path],
        *,
        hours: float,
        speech_only: bool,
        seed: int,
    ) -> None:
        self.recordings, self.speech, self.seed, self.speech_only = recordings, speech, seed, speech_only
        self.made_hours = hours * SPEECH_PROBABILITY if speech_only else hours
        self.noise = [clip / np.abs(clip).max() for path in noise if np.abs(clip := load_clip(path, RATE)).max() > 1e-3]
        names = [path.name for path in (*recordings, *speech, *noise)]
        self.key = hashlib.sha1(repr((names, hours, speech_only, seed)).encode()).hexdigest()[:8]

    def write(self, path: Path) -> Stream:
        """Write the stream, unless it is there already, and the places of the phrase beside it."""
        described = path.with_suffix(".json")
        if not path.is_file() or not described.is_file():
            spans: list[tuple[float, float]] = []
            done = background = 0
            with replacing_all(path, described) as (audio, text):
                with audio.open("wb") as file:
                    for part, phrase in self._parts():
                        file.write(part.tobytes())
                        if phrase:
                            spans.append((done / RATE, (done + part.size) / RATE + LATE_S))
                        else:
                            background += part.size
                        done += part.size
                hours = background / RATE / 3600 / (SPEECH_PROBABILITY if self.speech_only else 1)
                text.write_text(json.dumps({"spans": spans, "hours": hours}), encoding="utf-8")
        found = json.loads(described.read_text(encoding="utf-8"))
        return Stream(path, np.array(found["spans"]), found["hours"])

    def _parts(self) -> Iterator[tuple[NDArray[np.int16], bool]]:
        """Yield the parts of the stream, and whether each is a recording of the phrase."""
        rng = np.random.default_rng(self.seed)
        gap = self.made_hours * 3600 * RATE / (len(self.recordings) + 1)
        utterances = self._utterances(rng)
        made = 0.0
        for number, recording in enumerate([*rng.permutation(len(self.recordings)).tolist(), None], 1):
            while made < number * gap:
                utterance = next(utterances)
                heard = self.speech_only or rng.random() < SPEECH_PROBABILITY
                part = self._mixed(utterance if heard else np.zeros_like(utterance), rng)
                made += part.size
                yield part, False
            if recording is not None:
                yield self._mixed(load_clip(self.recordings[recording], RATE), rng), True

    def _utterances(self, rng: np.random.Generator) -> Iterator[Samples]:
        while True:
            for index in rng.permutation(len(self.speech)):
                yield load_clip(self.speech[index], RATE)

    def _mixed(self, speech: Samples, rng: np.random.Generator) -> NDArray[np.int16]:
        pieces: list[Samples] = []
        while sum(piece.size for piece in pieces) < speech.size:
            pieces.append(self.noise[int(rng.integers(len(self.noise)))])
        noise = np.concatenate(pieces)[: speech.size]
        if (loudest := _loudest(speech)) > 0:
            noise = noise + speech * np.float32(math.sqrt(_loudest(noise) * 10 ** (SNR_DB / 10) / loudest))
        return to_int16(np.clip(noise / np.float32(MAX_PEAK), -1, 1).astype(np.float32))


def _loudest(samples: Samples) -> float:
    whole = samples[: samples.size // LEVEL_SAMPLES * LEVEL_SAMPLES].reshape(-1, LEVEL_SAMPLES)
    return float(np.square(whole, dtype=np.float64).sum(axis=1).max(initial=0.0))


def detect(engine: str, setting: float, stream: Stream, result: Path) -> Detections:
    """Run an engine over a stream in a process of its own, unless its result is there already."""
    if not result.is_file():
        print(f"running {result.stem}", file=sys.stderr, flush=True)
        command = [sys.executable, HERE / "wake_engine.py", engine, f"{setting!r}", stream.path, result]
        environment = {**os.environ, **ONE_THREAD}
        if subprocess.run([str(part) for part in command], env=environment).returncode:
            raise HarkenError(f"{engine} ended with an error, printed above: fix it, or leave it out with --peers")
    found = np.load(result)
    factor = float(found["busy"] / found["seconds"])
    return Detections(found["times"], found["scores"], factor, float(found["memory"]))


def count_errors(detections: Detections, stream: Stream, threshold: float) -> tuple[int, int]:
    """Return the number of missed phrases and the number of false alarms.

    Detections that follow each other within MIN_GAP_S are one event: an engine may stay above its threshold for a while
    after a phrase. An event with a detection in a recording of the phrase is no false alarm.
    """
    times = detections.times[detections.scores >= threshold]
    index, inside = placed(times, stream)
    event_of = np.cumsum(np.diff(times, prepend=-math.inf) > MIN_GAP_S)
    alarms = set(event_of.tolist()) - set(event_of[inside].tolist())
    return len(stream.spans) - len(set(index[inside].tolist())), len(alarms)


def placed(times: NDArray[np.float64], stream: Stream) -> tuple[NDArray[np.intp], NDArray[np.bool_]]:
    """Return the recording that starts last before each time, and whether the time is in that recording."""
    index = np.searchsorted(stream.spans[:, 0], times) - 1
    return index, (index >= 0) & (times <= stream.spans[np.maximum(index, 0), 1])


def missed_at(runs: Sequence[Detections], stream: Stream, rate: float) -> float | None:
    """Return the lowest miss rate with at most `rate` false alarms per hour, or None if no setting achieves that rate.

    Only the highest scores of the recordings are tried as thresholds: between two of them, no more recordings are detected.
    """
    best: float | None = None
    for run in runs:
        index, inside = placed(run.times, stream)
        peaks = np.full(len(stream.spans), -math.inf)
        np.maximum.at(peaks, index[inside], run.scores[inside])
        for threshold in np.unique(peaks[np.isfinite(peaks)]):
            missed, alarms = count_errors(run, stream, float(threshold))
            share = missed / len(stream.spans)
            if alarms <= rate * stream.hours and (best is None or share < best):
                best = share
    return best


def known_peers(names: Sequence[str], phrase: str, spellings: dict[str, str]) -> Iterator[tuple[str, Peer]]:
    """Yield the engines that are installed and know the phrase, and say why each of the others is left out."""
    for name in names:
        try:
            yield (found := f"{name}:{phrase}"), find_peer(found)
        except HarkenError as error:
            if phrase not in spellings:
                print(f"{name} is left out: {error}", file=sys.stderr)
                continue
            try:
                yield (found := f"{name}:{spellings[phrase]}"), find_peer(found)
            except HarkenError as second:
                print(f"{name} is left out: {second}", file=sys.stderr)


def print_row(name: str, sets: Sequence[Sequence[Detections]], stream: Stream) -> list[float]:
    """Print a row of the table: one run for each setting, and the mean and the worst of several sets of takes.

    Returns the mean miss rate at each of RATES in percent, which is infinite if no setting achieves the rate.
    """
    cells, means = [name], []
    for rate in RATES:
        shares = [missed_at(runs, stream, rate) for runs in sets]
        known = [100 * share for share in shares if share is not None]
        means.append(statistics.mean(known) if len(known) == len(shares) else math.inf)
        cell = percent(means[-1])
        cells.append(cell if len(sets) == 1 or len(known) < len(shares) else f"{cell} ({max(known):.1f})")
    runs = [run for some in sets for run in some]
    cells.append(f"{statistics.mean(run.real_time_factor for run in runs):.4f}")
    cells.append(f"{statistics.mean(run.memory_mb for run in runs):.0f}")
    print(f"| {' | '.join(cells)} |", flush=True)
    return means


def percent(rate: float) -> str:
    return f"{rate:.1f} %" if math.isfinite(rate) else "no setting"


def main() -> None:
    """Run the benchmark, and print a table for each phrase."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--phrases", type=Path, required=True)
    parser.add_argument("--speech", type=Path, nargs="+", required=True)
    parser.add_argument("--noise", type=Path, required=True)
    parser.add_argument("--work", type=Path, required=True, help="Folder for the streams and the results.")
    parser.add_argument("--hours", type=float, default=4.0, help="Hours of stream that false alarms are counted in.")
    parser.add_argument("--speech-only", action="store_true", help="Leave out the parts without speech.")
    parser.add_argument("--sets", type=int, default=5, help="Number of sets of takes to enroll from.")
    parser.add_argument("--takes", type=int, default=5, help="Number of takes in a set.")
    parser.add_argument("--typed", action="store_true", help="Also enroll from the spelling.")
    parser.add_argument("--encoder", choices=ENCODERS, default=DEFAULT, help="Speech embedding to enroll with.")
    parser.add_argument("--peers", default=",".join(PEERS), help="Engines to compare with, separated by commas.")
    parser.add_argument(
        "--spell", metavar="PHRASE=WORDS", action="append", default=[],
        help="How to spell a phrase for an engine that does not know it. Repeatable.",
    )  # fmt: skip
    parser.add_argument(
        "--also", metavar="ENGINE:PHRASE", action="append", default=[],
        help="Engine with another phrase, whose false alarms are counted. Repeatable.",
    )  # fmt: skip
    parser.add_argument("--seed", type=int, default=0, help="Random seed for the streams and the sets of takes.")
    options = parser.parse_args()
    spellings = dict(spelling.split("=", 1) for spelling in options.spell)
    speech = sorted(
        path
        for folder in options.speech
        for path in folder.rglob("*.flac")
        if (found := _UTTERANCE.search(path.stem)) and int(found[1]) >= FIRST_SPEAKER
    )
    noise = sorted(path for path in options.noise.rglob("*.ogg") if path.name.startswith(NOISE_FOLD))
    streams: list[Stream] = []
    missed: dict[str, list[list[float]]] = {}  # by engine, then by phrase
    for folder in sorted(path for path in options.phrases.iterdir() if path.is_dir()):
        recordings = sorted(folder.glob("*.ogg"))
        maker = StreamMaker(
            recordings[::2], speech, noise, hours=options.hours, speech_only=options.speech_only, seed=options.seed
        )
        streams.append(maker.write(options.work / f"{folder.name}-{maker.key}.pcm"))
        for name, means in measure_phrase(folder.name, recordings[1::2], streams[-1], spellings, options).items():
            missed.setdefault(name, []).append(means)
    print("\nthe worst phrase of each engine\n")
    print("| engine | phrases | " + " | ".join(f"missed at {rate:g} per hour" for rate in RATES) + " |")
    print("|---|---|" + "---|" * len(RATES))
    for name, phrases in missed.items():
        worst = " | ".join(percent(max(column)) for column in zip(*phrases, strict=True))
        print(f"| {name} | {len(phrases)} | {worst} |")
    if options.also:
        print("\n| engine and phrase | false alarms per hour | false alarms | real-time factor | memory, MB |")
        print("|---|---|---|---|---|")
    for text in options.also:
        measure_false_alarms(text, streams[0])


def measure_phrase(
    phrase: str, takes: Sequence[Path], stream: Stream, spellings: dict[str, str], options: argparse.Namespace
) -> dict[str, list[float]]:
    """Run all engines that know a phrase, and print its tables. Returns the miss rates of each engine at RATES."""
    print(f"\n{phrase}: {len(stream.spans)} recordings, false alarms in {stream.hours:.1f} hours\n")
    print(
        "| engine | "
        + " | ".join(f"missed at {rate:g} per hour" for rate in RATES)
        + " | real-time factor | memory, MB |"
    )
    print("|---|" + "---|" * (len(RATES) + 2), flush=True)
    rng = np.random.default_rng(options.seed)
    names = [path.name for path in takes]
    chosen = [rng.choice(len(takes), options.takes, replace=False).tolist() for _ in range(options.sets)]
    enrolled = []
    for number, indices in enumerate(chosen):
        print(f"set {number}: {', '.join(names[index] for index in indices)}", file=sys.stderr)
        enrolled.append(detect_enrolled(phrase, [takes[index] for index in indices], stream, options.encoder))
    missed = {(name := f"harken, {options.takes} takes"): print_row(name, [[run] for run in enrolled], stream)}
    named = [(f"{name}, set {number}", run) for number, run in enumerate(enrolled)]
    if options.typed:
        named.append(("harken, typed", detect_enrolled(phrase, [], stream, options.encoder)))
        missed["harken, typed"] = print_row("harken, typed", [[named[-1][1]]], stream)
    points = [
        (name, f"threshold {threshold:.3f}", *count_errors(run, stream, logit(threshold)))
        for name, run in named
        for threshold in (threshold_for(rate / SPEECH_PROBABILITY) for rate in RATES)
    ]
    for text, peer in known_peers(options.peers.split(","), phrase, spellings):
        runs = []
        for value in peer.values or (peer.default,):
            result = stream.path.with_name(f"{stream.path.stem}-{text.replace(':', '-')}-{value:g}.npz")
            runs.append(detect(text, value, stream, result))
            threshold = -math.inf if peer.values else logit(value)
            points.append((peer.engine, f"{peer.setting} {value:g}", *count_errors(runs[-1], stream, threshold)))
        missed[peer.engine] = print_row(peer.engine, [runs], stream)
    print("\n| engine | setting | false alarms | per hour (95 %) | missed (95 %) |\n|---|---|---|---|---|")
    for engine, setting, misses, alarms in points:
        print(
            f"| {engine} | {setting} | {alarms} | {hourly(alarms, stream.hours)} | {missed_share(misses, stream)} |",
            flush=True,
        )
    return missed


def hourly(alarms: int, hours: float) -> str:
    """Return a rate of false alarms with its 95 % interval."""
    low, high = poisson_interval(alarms, hours)
    return f"{alarms / hours:.2f} ({low:.2f} to {high:.2f})"


def missed_share(misses: int, stream: Stream) -> str:
    """Return a miss rate with its 95 % interval."""
    low, high = wilson_interval(misses, len(stream.spans))
    return f"{100 * misses / len(stream.spans):.1f} % ({100 * low:.1f} to {100 * high:.1f})"


def detect_enrolled(phrase: str, takes: Sequence[Path], stream: Stream, encoder: str = DEFAULT) -> Detections:
    """Enroll a phrase from takes, or from its spelling, and run it over a stream.

    The result is named after the content of the model. So a result of an earlier version of enrollment is not used again.
    """
    with tempfile.TemporaryDirectory() as temporary:
        streaming = Path(temporary) / "phrase.stream.onnx"
        enroll(phrase, takes, typed=not takes, out=Path(temporary) / "phrase.onnx", stream=streaming, encoder=encoder)
        model = hashlib.sha1(streaming.read_bytes()).hexdigest()[:8]
        return detect(
            f"harken:{streaming}", 0.0, stream, stream.path.with_name(f"{stream.path.stem}-harken-{model}.npz")
        )


def logit(probability: float) -> float:
    return math.log(probability / (1 - probability))


def measure_false_alarms(text: str, stream: Stream) -> None:
    """Count the false alarms of an engine with another phrase, at its default setting, and print a row."""
    peer = find_peer(text)
    result = stream.path.with_name(f"{stream.path.stem}-{text.replace(':', '-')}-{peer.default:g}.npz")
    run = detect(text, peer.default, stream, result)
    threshold = -math.inf if peer.values else logit(peer.default)
    _, alarms = count_errors(run, replace(stream, spans=np.full((1, 2), math.inf)), threshold)
    cells = [f"{peer.engine}, {peer.phrase!r}", f"{alarms / stream.hours:.2f}", f"{alarms}"]
    print(f"| {' | '.join([*cells, f'{run.real_time_factor:.4f}', f'{run.memory_mb:.0f}'])} |", flush=True)


if __name__ == "__main__":
    try:
        main()
    except HarkenError as error:
        print(f"wake.py: {error}", file=sys.stderr)
        sys.exit(2)
