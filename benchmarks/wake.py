"""Measure wake phrases in long streams: harken's enrolled phrases, Porcupine, pocketsphinx and openWakeWord.

    python benchmarks/wake.py --phrases wake_phrases --speech LIBRISPEECH... --noise NOISE

The streams are built like those of Picovoice's wake-word-benchmark. Each contains every recording of the phrase once.
Between two recordings there are utterances of continuous speech, each of which is silenced with a probability of 0.8.
Noise is added to the whole stream, 10 dB below the speech (the loudest 32 ms of each are compared). The takes that the
phrase is enrolled from are not in the stream.

    --phrases   DIR/PHRASE/*.ogg: half of the recordings are placed in the stream, the others are takes
    --speech    DIR/SPEAKER/*.flac: only speakers from 3170 on are used, since the speech bank was built from those up to 3000
    --noise     DIR/**/FOLD-*.ogg: only fold 3 is used, since the speech bank was built with folds 1 and 2

A peer runs if it is installed and knows the phrase: pip install pvporcupine==1.9.5 pocketsphinx openwakeword.
"""

import argparse
import math
import resource
import statistics
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from harken import HarkenError, enroll, load_clip
from harken.audio.clip import to_int16
from harken.runtime.listener import Listener
from harken.runtime.streamfile import open_stream_model

RATE = 16_000
FIRST_SPEAKER = 3170
NOISE_FOLD = "3"
SPEECH_PROBABILITY = 0.2  # that an utterance is not silenced
SNR_DB = 10.0
LEVEL_SAMPLES = 512  # length of the loudest part of speech and noise, whose levels are compared
LATE_S = 0.5  # a phrase may be detected up to this time after the end of its recording
MIN_GAP_S = 1.5  # false alarms that are closer together count as one
RATES = (1.0, 0.5, 0.1)  # false alarms per hour
SENSITIVITIES = (0.3, 0.6, 0.9)  # of Porcupine
KWS_THRESHOLDS = (1e-30, 1e-20, 1e-10)  # of pocketsphinx
MAX_PEAK = 5.0  # the mixture is divided by this: noise has a peak of at most 1, and the speech over it is louder

Samples = NDArray[np.float32]


@dataclass(frozen=True)
class Part:
    """A part of a stream.

    Attributes
    ----------
    samples
        Its samples.
    phrase
        Whether it is a recording of the phrase.
    """

    samples: NDArray[np.int16]
    phrase: bool


@dataclass
class Detections:
    """What an engine detected in a stream.

    Attributes
    ----------
    setting
        The engine's setting, if it ran with several.
    times
        Times of the candidates, in seconds.
    scores
        Their scores, to which a threshold is applied. An engine with a fixed threshold has 1.0 for all.
    cpu_s
        CPU time in seconds.
    """

    setting: str
    times: NDArray[np.float64]
    scores: NDArray[np.float64]
    cpu_s: float


class Engine(Protocol):
    """An engine that detects a phrase in a stream, at one or more settings."""

    name: str

    def run(self, parts: Iterator[Part]) -> list[Detections]: ...


class Harken:
    """harken's Listener with an enrolled phrase. Each hop is a candidate, with its probability as the score."""

    name = "harken"

    def __init__(self, phrase: str, model: Path) -> None:
        self.recognizer = open_stream_model(model)
        self.phrase = phrase

    def run(self, parts: Iterator[Part]) -> list[Detections]:
        listener = Listener(self.recognizer, source_rate=RATE)
        label = listener.labels.index(self.phrase)
        times, scores, cpu = [], [], 0.0
        waiting = np.zeros(0, np.int16)
        for part in parts:
            waiting = np.concatenate([waiting, part.samples])
            whole = waiting.size // listener.hop * listener.hop
            for start in range(0, whole, listener.hop):
                started = time.thread_time()
                listener.push(waiting[start : start + listener.hop])
                cpu += time.thread_time() - started
                times.append(listener.hops * listener.hop / RATE)
                scores.append(_logit(float(listener.posteriors[label])))
            waiting = waiting[whole:]
        return [Detections("", np.array(times), np.array(scores), cpu)]


class Porcupine:
    """Porcupine 1.9.5, the last version that needs no access key, at several sensitivities."""

    name = "Porcupine 1.9.5"

    def __init__(self, phrase: str) -> None:
        import pvporcupine

        if phrase not in pvporcupine.KEYWORD_PATHS:
            raise HarkenError(f"it does not know {phrase!r}")
        self.path = pvporcupine.KEYWORD_PATHS[phrase]
        self.create = pvporcupine.create

    def run(self, parts: Iterator[Part]) -> list[Detections]:
        engines = [self.create(keyword_paths=[self.path], sensitivities=[value]) for value in SENSITIVITIES]
        size, done = engines[0].frame_length, 0
        times: list[list[float]] = [[] for _ in engines]
        cpu = [0.0] * len(engines)
        waiting = np.zeros(0, np.int16)
        for part in parts:
            waiting = np.concatenate([waiting, part.samples])
            whole = waiting.size // size * size
            frames = [waiting[start : start + size] for start in range(0, whole, size)]
            for number, engine in enumerate(engines):
                started = time.thread_time()
                found = [index for index, frame in enumerate(frames) if engine.process(frame) >= 0]
                cpu[number] += time.thread_time() - started
                times[number] += [(done + (index + 1) * size) / RATE for index in found]
            done += whole
            waiting = waiting[whole:]
        return [
            Detections(f"sensitivity {value:g}", np.array(at), np.ones(len(at)), used)
            for value, at, used in zip(SENSITIVITIES, times, cpu, strict=True)
        ]


class Pocketsphinx:
    """pocketsphinx's keyphrase search at several thresholds."""

    name = "pocketsphinx"

    def __init__(self, phrase: str) -> None:
        import pocketsphinx

        self.decoder_class: Any = pocketsphinx.Decoder
        self.phrase = phrase
        self._decoder(KWS_THRESHOLDS[0])  # raises an error if a word is not in the dictionary

    def _decoder(self, threshold: float) -> Any:
        try:
            return self.decoder_class(keyphrase=self.phrase, kws_threshold=threshold, loglevel="FATAL")
        except RuntimeError as error:
            raise HarkenError(f"it does not know {self.phrase!r}") from error

    def run(self, parts: Iterator[Part]) -> list[Detections]:
        decoders = [self._decoder(value) for value in KWS_THRESHOLDS]
        times: list[list[float]] = [[] for _ in decoders]
        cpu = [0.0] * len(decoders)
        done = 0
        for decoder in decoders:
            decoder.start_utt()
        for part in parts:
            for start in range(0, part.samples.size, 1024):
                block = part.samples[start : start + 1024]
                done += block.size
                for number, decoder in enumerate(decoders):
                    started = time.thread_time()
                    decoder.process_raw(block.tobytes(), no_search=False, full_utt=False)
                    if decoder.hyp() is not None:
                        times[number].append(done / RATE)
                        decoder.end_utt()
                        decoder.start_utt()
                    cpu[number] += time.thread_time() - started
        return [
            Detections(f"threshold {value:g}", np.array(at), np.ones(len(at)), used)
            for value, at, used in zip(KWS_THRESHOLDS, times, cpu, strict=True)
        ]


class OpenWakeWord:
    """openWakeWord with its published model of the phrase."""

    name = "openWakeWord"

    def __init__(self, phrase: str) -> None:
        import openwakeword
        from openwakeword.model import Model

        name = phrase.replace(" ", "_")
        if name not in openwakeword.MODELS:
            raise HarkenError(f"it does not know {phrase!r}")
        self.model: Any = Model(wakeword_models=[name], inference_framework="onnx")

    def run(self, parts: Iterator[Part]) -> list[Detections]:
        times, scores, cpu, done = [], [], 0.0, 0
        for part in parts:
            for start in range(0, part.samples.size, 1280):
                block = part.samples[start : start + 1280]
                done += block.size
                started = time.thread_time()
                found = self.model.predict(block)
                cpu += time.thread_time() - started
                times.append(done / RATE)
                scores.append(max(found.values()))
        return [Detections("", np.array(times), np.array(scores), cpu)]


class Stream:
    """The stream of one phrase. It is created while it is read, and is the same each time."""

    def __init__(
        self, recordings: Sequence[Path], speech: Sequence[Path], noise: Sequence[Path], hours: float, seed: int
    ) -> None:
        self.recordings, self.speech, self.seed = recordings, speech, seed
        self.hours = hours
        self.noise = [clip / np.abs(clip).max() for path in noise if np.abs(clip := load_clip(path, RATE)).max() > 1e-3]
        self.phrase_times: list[tuple[float, float]] = []

    def parts(self) -> Iterator[Part]:
        rng = np.random.default_rng(self.seed)
        gap = self.hours * 3600 * RATE / (len(self.recordings) + 1)
        utterances = self._utterances(rng)
        self.phrase_times = []
        done = 0
        for number in [*rng.permutation(len(self.recordings)).tolist(), None]:
            made = 0
            while made < gap:
                utterance = next(utterances)
                part = self._mixed(utterance if rng.random() < SPEECH_PROBABILITY else np.zeros_like(utterance), rng)
                made += part.size
                yield Part(part, False)
            done += made
            if number is not None:
                part = self._mixed(load_clip(self.recordings[number], RATE), rng)
                self.phrase_times.append((done / RATE, (done + part.size) / RATE + LATE_S))
                done += part.size
                yield Part(part, True)
        self.seconds = done / RATE

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


def _logit(probability: float) -> float:
    inside = min(max(probability, 1e-7), 1 - 1e-7)
    return math.log(inside / (1 - inside))


def count_errors(detections: Detections, stream: Stream, threshold: float) -> tuple[int, int]:
    """Return the number of missed phrases and the number of false alarms."""
    times = detections.times[detections.scores >= threshold]
    spans = np.array(stream.phrase_times)
    index = np.searchsorted(spans[:, 0], times) - 1
    inside = (index >= 0) & (times <= spans[np.maximum(index, 0), 1])
    false = times[~inside]
    alarms = int(false.size > 0) + int((np.diff(false) > MIN_GAP_S).sum())
    return len(spans) - len(set(index[inside].tolist())), alarms


def missed_at(runs: list[Detections], stream: Stream, rate: float) -> float | None:
    """Return the lowest miss rate with at most `rate` false alarms per hour, or None if no setting achieves that rate."""
    allowed = rate * stream.seconds / 3600
    best: float | None = None
    for run in runs:
        points = np.unique(np.quantile(run.scores, 1 - np.geomspace(1e-6, 0.2, 400))) if run.scores.size else np.ones(1)
        for threshold in points:
            missed, alarms = count_errors(run, stream, float(threshold))
            share = missed / len(stream.phrase_times)
            if alarms <= allowed and (best is None or share < best):
                best = share
    return best


def main() -> None:
    """Run the benchmark, and print a table for each phrase."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--phrases", type=Path, required=True)
    parser.add_argument("--speech", type=Path, nargs="+", required=True)
    parser.add_argument("--noise", type=Path, required=True)
    parser.add_argument("--hours", type=float, default=4.0, help="Length of a stream, in hours.")
    parser.add_argument("--sets", type=int, default=5, help="Number of sets of takes to enroll from.")
    parser.add_argument("--takes", type=int, default=5, help="Number of takes in a set.")
    parser.add_argument("--typed", action="store_true", help="Also enroll from the spelling.")
    parser.add_argument(
        "--peers", default="porcupine,pocketsphinx,openwakeword", help="Engines to compare with, separated by commas."
    )
    parser.add_argument("--seed", type=int, default=0, help="Random seed for the streams and the sets of takes.")
    arguments = parser.parse_args()
    speakers = [path for folder in arguments.speech for path in folder.iterdir() if path.name.isdigit()]
    speech = sorted(clip for path in speakers if int(path.name) >= FIRST_SPEAKER for clip in path.glob("*.flac"))
    noise = sorted(path for path in arguments.noise.rglob("*.ogg") if path.name.startswith(NOISE_FOLD))
    peers = {"porcupine": Porcupine, "pocketsphinx": Pocketsphinx, "openwakeword": OpenWakeWord}
    print(f"{'':26}" + "".join(f"{f'missed at {rate:g}/h':>18}" for rate in RATES) + "   real-time factor")
    for folder in sorted(path for path in arguments.phrases.iterdir() if path.is_dir()):
        phrase = folder.name
        recordings = sorted(folder.glob("*.ogg"))
        stream = Stream(recordings[::2], speech, noise, arguments.hours, arguments.seed)
        print(f"{phrase}: {len(stream.recordings)} recordings in {arguments.hours:g} hours", flush=True)
        for name in filter(None, arguments.peers.split(",")):
            try:
                peer = peers[name](phrase)
            except (ImportError, HarkenError) as error:
                print(f"  {name} was left out: {error}")
                continue
            runs = peer.run(stream.parts())
            print_row(peer.name, [[missed_at(runs, stream, rate) for rate in RATES]], runs, stream)
        rng = np.random.default_rng(arguments.seed)
        ways = [(f"harken, {arguments.takes} takes", False)] + ([("harken, typed", True)] if arguments.typed else [])
        for way, typed in ways:
            shares, last = [], []
            for _ in range(1 if typed else arguments.sets):
                takes = (
                    []
                    if typed
                    else [recordings[1::2][i] for i in rng.choice(len(recordings) // 2, arguments.takes, replace=False)]
                )
                with tempfile.TemporaryDirectory() as temporary:
                    model, stream_file = Path(temporary) / "phrase.onnx", Path(temporary) / "phrase.stream.onnx"
                    enroll(phrase, takes, typed=typed, out=model, stream=stream_file)
                    last = Harken(phrase, stream_file).run(stream.parts())
                shares.append([missed_at(last, stream, rate) for rate in RATES])
            print_row(way, shares, last, stream)
    print(f"peak memory of the whole run: {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024:.0f} MB")


def print_row(name: str, shares: list[list[float | None]], runs: list[Detections], stream: Stream) -> None:
    """Print a row of the table: the mean over the sets of takes, and the worst set."""
    cells = []
    for column in zip(*shares, strict=True):
        known = [100 * share for share in column if share is not None]
        cell = "-" if not known else f"{statistics.mean(known):.1f} %"
        cells.append(cell if len(known) < 2 else f"{cell} (worst {max(known):.1f})")
    factor = statistics.mean(run.cpu_s for run in runs) / stream.seconds
    print(f"  {name:24}" + "".join(f"{cell:>18}" for cell in cells) + f"   {factor:.4f}", flush=True)


if __name__ == "__main__":
    main()
