"""Wake phrases in long streams: harken's enrolled phrases beside Porcupine, pocketsphinx and openWakeWord.

    python benchmarks/wake.py --phrases wake_phrases --speech LIBRISPEECH... --noise NOISE

The streams are built as Picovoice's wake-word-benchmark builds its own: every recording of the phrase once; between two of
them utterances of running speech, each of them silenced with a probability of 0.8; noise under all of it, 10 dB below the
speech (loudest 32 ms against loudest 32 ms). Takes to enroll from come from other recordings than those in the stream.

    --phrases   DIR/PHRASE/*.ogg: half of the recordings are placed, the others are takes
    --speech    DIR/SPEAKER/*.flac, of which speakers from 3170 on are used: the bank was built from those up to 3000
    --noise     DIR/**/FOLD-*.ogg, of which fold 3 is used: the bank was built with folds 1 and 2

Peers run where they are installed and know the phrase: pip install pvporcupine==1.9.5 pocketsphinx openwakeword.
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
TALK = 0.2  # probability that an utterance is heard
SNR_DB = 10.0
SPAN = 512
LATE_S = 0.5  # after a recording's end, in which its phrase may still be detected
APART_S = 1.5  # alarms nearer to each other are one
RATES = (1.0, 0.5, 0.1)  # false alarms an hour
SENSITIVITIES = (0.3, 0.6, 0.9)  # of Porcupine
KWS_THRESHOLDS = (1e-30, 1e-20, 1e-10)  # of pocketsphinx
MOST_LOUD = 5.0  # what a sum of noise, at most 1, and speech above it is divided by

Samples = NDArray[np.float32]


@dataclass(frozen=True)
class Part:
    """A stretch of a stream. phrase : whether it is a recording of the phrase."""

    samples: NDArray[np.int16]
    phrase: bool


@dataclass
class Heard:
    """What an engine made of a stream. times, scores : candidates, of which a threshold chooses; a fixed one gives 1.0 alike."""

    setting: str
    times: NDArray[np.float64]
    scores: NDArray[np.float64]
    cpu_s: float


class Engine(Protocol):
    """A peer: takes a stream in parts and says when it detected the phrase, at each of its settings."""

    name: str

    def run(self, parts: Iterator[Part]) -> list[Heard]: ...


class Harken:
    """An enrolled phrase in a Listener that is never silent: the score of every hop is a candidate."""

    name = "harken"

    def __init__(self, phrase: str, model: Path) -> None:
        self.recognizer = open_stream_model(model)
        self.phrase = phrase

    def run(self, parts: Iterator[Part]) -> list[Heard]:
        listener = Listener(self.recognizer, source_rate=RATE)
        place = listener.labels.index(self.phrase)
        times, scores, cpu = [], [], 0.0
        waiting = np.zeros(0, np.int16)
        for part in parts:
            waiting = np.concatenate([waiting, part.samples])
            whole = waiting.size // listener.hop * listener.hop
            for start in range(0, whole, listener.hop):
                begun = time.thread_time()
                listener.push(waiting[start : start + listener.hop])
                cpu += time.thread_time() - begun
                times.append(listener.hops * listener.hop / RATE)
                scores.append(_logit(float(listener.posteriors[place])))
            waiting = waiting[whole:]
        return [Heard("", np.array(times), np.array(scores), cpu)]


class Porcupine:
    """Porcupine 1.9.5, the last that needs no key, at several sensitivities."""

    name = "Porcupine 1.9.5"

    def __init__(self, phrase: str) -> None:
        import pvporcupine

        if phrase not in pvporcupine.KEYWORD_PATHS:
            raise HarkenError(f"it does not know {phrase!r}")
        self.path = pvporcupine.KEYWORD_PATHS[phrase]
        self.create = pvporcupine.create

    def run(self, parts: Iterator[Part]) -> list[Heard]:
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
                begun = time.thread_time()
                found = [index for index, frame in enumerate(frames) if engine.process(frame) >= 0]
                cpu[number] += time.thread_time() - begun
                times[number] += [(done + (index + 1) * size) / RATE for index in found]
            done += whole
            waiting = waiting[whole:]
        return [
            Heard(f"sensitivity {value:g}", np.array(at), np.ones(len(at)), used)
            for value, at, used in zip(SENSITIVITIES, times, cpu, strict=True)
        ]


class Pocketsphinx:
    """pocketsphinx's keyphrase search at several thresholds."""

    name = "pocketsphinx"

    def __init__(self, phrase: str) -> None:
        import pocketsphinx

        self.decoder_class: Any = pocketsphinx.Decoder
        self.phrase = phrase
        self._decoder(KWS_THRESHOLDS[0])  # refuses what is not in its dictionary

    def _decoder(self, threshold: float) -> Any:
        try:
            return self.decoder_class(keyphrase=self.phrase, kws_threshold=threshold, loglevel="FATAL")
        except RuntimeError as error:
            raise HarkenError(f"it does not know {self.phrase!r}") from error

    def run(self, parts: Iterator[Part]) -> list[Heard]:
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
                    begun = time.thread_time()
                    decoder.process_raw(block.tobytes(), no_search=False, full_utt=False)
                    if decoder.hyp() is not None:
                        times[number].append(done / RATE)
                        decoder.end_utt()
                        decoder.start_utt()
                    cpu[number] += time.thread_time() - begun
        return [
            Heard(f"threshold {value:g}", np.array(at), np.ones(len(at)), used)
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

    def run(self, parts: Iterator[Part]) -> list[Heard]:
        times, scores, cpu, done = [], [], 0.0, 0
        for part in parts:
            for start in range(0, part.samples.size, 1280):
                block = part.samples[start : start + 1280]
                done += block.size
                begun = time.thread_time()
                found = self.model.predict(block)
                cpu += time.thread_time() - begun
                times.append(done / RATE)
                scores.append(max(found.values()))
        return [Heard("", np.array(times), np.array(scores), cpu)]


class Stream:
    """A stream of one phrase, made anew, and alike, each time it is heard."""

    def __init__(
        self, recordings: Sequence[Path], speech: Sequence[Path], noise: Sequence[Path], hours: float, seed: int
    ) -> None:
        self.recordings, self.speech, self.seed = recordings, speech, seed
        self.hours = hours
        self.noise = [loud / np.abs(loud).max() for path in noise if np.abs(loud := load_clip(path, RATE)).max() > 1e-3]
        self.spans: list[tuple[float, float]] = []

    def parts(self) -> Iterator[Part]:
        rng = np.random.default_rng(self.seed)
        between = self.hours * 3600 * RATE / (len(self.recordings) + 1)
        utterances = self._utterances(rng)
        self.spans = []
        done = 0
        for number in [*rng.permutation(len(self.recordings)).tolist(), None]:
            made = 0
            while made < between:
                said = next(utterances)
                part = self._mixed(said if rng.random() < TALK else np.zeros_like(said), rng)
                made += part.size
                yield Part(part, False)
            done += made
            if number is not None:
                part = self._mixed(load_clip(self.recordings[number], RATE), rng)
                self.spans.append((done / RATE, (done + part.size) / RATE + LATE_S))
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
        return to_int16(np.clip(noise / np.float32(MOST_LOUD), -1, 1).astype(np.float32))


def _loudest(samples: Samples) -> float:
    whole = samples[: samples.size // SPAN * SPAN].reshape(-1, SPAN)
    return float(np.square(whole, dtype=np.float64).sum(axis=1).max(initial=0.0))


def _logit(probability: float) -> float:
    inside = min(max(probability, 1e-7), 1 - 1e-7)
    return math.log(inside / (1 - inside))


def judged(heard: Heard, stream: Stream, threshold: float) -> tuple[int, int]:
    """Return how many phrases were missed, and how many false alarms there were."""
    times = heard.times[heard.scores >= threshold]
    spans = np.array(stream.spans)
    index = np.searchsorted(spans[:, 0], times) - 1
    inside = (index >= 0) & (times <= spans[np.maximum(index, 0), 1])
    false = times[~inside]
    alarms = int(false.size > 0) + int((np.diff(false) > APART_S).sum())
    return len(spans) - len(set(index[inside].tolist())), alarms


def missed_at(heard: list[Heard], stream: Stream, rate: float) -> float | None:
    """Return the least share missed with at most so many false alarms an hour; None where no setting keeps to it."""
    allowed = rate * stream.seconds / 3600
    best: float | None = None
    for run in heard:
        points = np.unique(np.quantile(run.scores, 1 - np.geomspace(1e-6, 0.2, 400))) if run.scores.size else np.ones(1)
        for threshold in points:
            missed, alarms = judged(run, stream, float(threshold))
            share = missed / len(stream.spans)
            if alarms <= allowed and (best is None or share < best):
                best = share
    return best


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--phrases", type=Path, required=True)
    parser.add_argument("--speech", type=Path, nargs="+", required=True)
    parser.add_argument("--noise", type=Path, required=True)
    parser.add_argument("--hours", type=float, default=4.0, help="Length of a stream.")
    parser.add_argument("--sets", type=int, default=5, help="Sets of takes to enroll from.")
    parser.add_argument("--takes", type=int, default=5, help="Takes in a set.")
    parser.add_argument("--typed", action="store_true", help="Enroll from the spelling, too.")
    parser.add_argument("--peers", default="porcupine,pocketsphinx,openwakeword", help="Peers to run.")
    parser.add_argument("--seed", type=int, default=0)
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
                print(f"  {name} left out: {error}")
                continue
            heard = peer.run(stream.parts())
            line(peer.name, [[missed_at(heard, stream, rate) for rate in RATES]], heard, stream)
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
                    model, form = Path(temporary) / "phrase.onnx", Path(temporary) / "phrase.stream.onnx"
                    enroll(phrase, takes, typed=typed, out=model, stream=form)
                    last = Harken(phrase, form).run(stream.parts())
                shares.append([missed_at(last, stream, rate) for rate in RATES])
            line(way, shares, last, stream)
    print(f"memory of the whole run: {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024:.0f} MB")


def line(name: str, shares: list[list[float | None]], heard: list[Heard], stream: Stream) -> None:
    """Print a row: the mean of the sets of takes, and the worst of them."""
    cells = []
    for column in zip(*shares, strict=True):
        known = [100 * share for share in column if share is not None]
        cell = "-" if not known else f"{statistics.mean(known):.1f} %"
        cells.append(cell if len(known) < 2 else f"{cell} (worst {max(known):.1f})")
    factor = statistics.mean(run.cpu_s for run in heard) / stream.seconds
    print(f"  {name:24}" + "".join(f"{cell:>18}" for cell in cells) + f"   {factor:.4f}", flush=True)


if __name__ == "__main__":
    main()
