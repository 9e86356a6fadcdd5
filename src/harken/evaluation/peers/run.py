"""Run an engine of another project over a stream, and evaluate it by the rules for harken's listener.

peer_clips        the clips of an engine's phrase in corpus folders
run_peer          run an engine over a stream
evaluate_peer     evaluate the runs
PeerEvaluation    the figures, at the default of the engine's setting and at other values
OperatingPoint    the figures at one value
"""

import math
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from harken.audio.clip import to_int16
from harken.corpus.table import Clip, read_corpus
from harken.errors import HarkenError
from harken.evaluation.metrics import poisson_interval
from harken.evaluation.peers.engine import SAMPLE_RATE, Peer, same_phrase
from harken.evaluation.stream.audio import StreamAudio
from harken.evaluation.stream.evaluate import StreamEvaluation, TradeOff
from harken.evaluation.stream.listener_run import ListenerRun, play_stream
from harken.runtime.listener_settings import ListenerSettings

_REFRACTORY_MS = 1000.0  # as in harken's listener
_DETECTED = 0.5  # threshold for an engine that returns only 0 and 1


def peer_clips(peer: Peer, folders: Sequence[Path]) -> list[Clip]:
    """Return all clips of an engine's phrase in corpus folders, in the engine's spelling.

    Raises
    ------
    HarkenError
        There are no such clips.
    """
    corpus = read_corpus(folders)
    clips = [replace(clip, word=peer.phrase) for clip in corpus.clips if same_phrase(clip.word, peer.phrase)]
    if not clips:
        raise HarkenError(
            f"{folders[0]} contains no clips of {peer.phrase!r}, only of {', '.join(corpus.words)}: "
            "name the folder with the recordings of the phrase after it"
        )
    return clips


def run_peer(peer: Peer, audio: StreamAudio) -> dict[float, ListenerRun]:
    """Run an engine over a stream from end to end, and show a progress bar.

    Parameters
    ----------
    peer
        The engine.
    audio
        The stream. All values of the setting get the same audio, which is made once.

    Returns
    -------
    dict of float to ListenerRun
        A run for each value of the setting. An engine with scores has one run, at its default threshold.

    Raises
    ------
    HarkenError
        The stream is not at 16 kHz.
    """
    if audio.sample_rate != SAMPLE_RATE:
        raise HarkenError(f"the stream is at {audio.sample_rate} Hz: make it at {SAMPLE_RATE} Hz for {peer.engine}")
    values = peer.values or (peer.default,)
    detectors = [peer.make(value) for value in values]
    scores: list[list[float]] = [[] for _ in values]
    busy = [0.0] * len(values)

    def take(hop: NDArray[np.float32]) -> None:
        samples = to_int16(hop)
        for number, detect in enumerate(detectors):
            started = time.process_time()  # of all threads: some engines use several
            scores[number].append(detect(samples))
            busy[number] += time.process_time() - started

    content = play_stream(audio, peer.step, take)
    hop_ms = 1000 * peer.step / SAMPLE_RATE
    settings = ListenerSettings(
        thresholds={peer.phrase: _DETECTED if peer.values else peer.default},
        hop_ms=hop_ms,
        smoothing_ms=0.0,
        refractory_ms=_REFRACTORY_MS,
        gate_db=-math.inf,
        isolation=0.0,
    )
    return {
        value: ListenerRun(
            labels=(peer.phrase,),
            settings=settings,
            hop_s=hop_ms / 1000,
            refractory_hops=math.ceil(_REFRACTORY_MS / hop_ms),
            top=np.zeros(len(found), np.int16),
            scores=np.array(found, np.float32),
            utterances=content.utterances,
            background_sections=content.background_sections,
            events=(),
            seconds=content.seconds,
            busy_s=used,
            skipped=0,
        )
        for value, found, used in zip(values, scores, busy, strict=True)
    }


@dataclass(frozen=True)
class OperatingPoint:
    """The figures of an engine at one value of its setting.

    Attributes
    ----------
    value
        Value of the setting.
    false_alarms_per_hour
        False alarms per hour of background without the phrase.
    at_most
        Upper end of the exact 95 % interval of that rate.
    miss_rate
        Fraction of the recordings of the phrase that was not detected.
    """

    value: float
    false_alarms_per_hour: float
    at_most: float
    miss_rate: float


@dataclass(frozen=True)
class PeerEvaluation(StreamEvaluation):
    """The figures of an engine at the default of its setting, and at the other values that it ran at.

    Attributes
    ----------
    peer
        The engine.
    runs
        Its run at each value of the setting, the strictest first.
    """

    peer: Peer
    runs: Mapping[float, ListenerRun]

    @cached_property
    def points(self) -> list[OperatingPoint]:
        """The figures at each value of the setting. Empty for an engine with scores, which has a curve."""
        if not self.peer.values:
            return []
        points = []
        for value, run in self.runs.items():
            evaluation = StreamEvaluation(run, run.settings)
            alarms = evaluation.outcome.false_alarms
            points.append(
                OperatingPoint(value, alarms / run.hours, poisson_interval(alarms, run.hours)[1], evaluation.miss_rate)
            )
        return points

    @cached_property
    def trade_off(self) -> TradeOff:
        """The trade-off: the measured points from the laxest to the strictest, or the curve of an engine with scores."""
        if not self.points:
            return super().trade_off
        laxest_first = self.points[::-1]
        default = next(index for index, point in enumerate(laxest_first) if point.value == self.peer.default)
        return TradeOff(
            np.arange(len(laxest_first), dtype=np.float64) - default,
            np.array([point.miss_rate for point in laxest_first]),
            np.array([point.false_alarms_per_hour for point in laxest_first]),
        )

    @property
    def trade_off_note(self) -> str:
        """How the trade-off was found, for the report."""
        peer = self.peer
        if not peer.values:
            return f"as the threshold is shifted; the dot is {peer.engine} at its default, {peer.default:g}"
        values = ", ".join(f"{value:g}" for value in peer.values)
        return f"measured at {peer.setting} {values}; the dot is the default, {peer.default:g}"

    def to_json(self) -> dict[str, Any]:
        """Return the figures as plain values."""
        points = [
            {
                self.peer.setting: point.value,
                "false_alarms_per_hour": point.false_alarms_per_hour,
                "at_most": point.at_most,
                "miss_rate": point.miss_rate,
            }
            for point in self.points
        ]
        peer = self.peer
        named = {"engine": peer.engine, "phrase": peer.phrase, peer.setting: peer.default, "operating_points": points}
        return super().to_json() | named


def evaluate_peer(peer: Peer, runs: Mapping[float, ListenerRun]) -> PeerEvaluation:
    """Evaluate the runs of an engine.

    Parameters
    ----------
    peer
        The engine.
    runs
        Its runs, from `run_peer`.
    """
    chosen = runs[peer.default]
    return PeerEvaluation(chosen, chosen.settings, peer, runs)
