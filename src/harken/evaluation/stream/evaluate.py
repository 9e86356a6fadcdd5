"""A listener judged on labelled continuous audio: words missed against false alarms per hour, and how soon it answers.

run_listener       a listener over a stream -> ListenerRun
evaluate_run      a listener_run -> StreamEvaluation: the figures, each false alarm, the trade-off as the thresholds move
FalseAlarm        where one was, and its audio

The network hears a stream once. The events at other thresholds follow from the confidence that it had at each hop, by the
listener's own rule.
"""

import math
import time
from collections.abc import Callable, Hashable, Mapping
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from harken.errors import HarkenError
from harken.evaluation.metrics import poisson_interval, wilson_interval
from harken.evaluation.stream.audio import LATEST_S, StreamAudio, Stretch, Utterance, read_part
from harken.progress import progress
from harken.runtime.listener import Event, Listener, ListenerSettings
from harken.runtime.recognizer import Recognizer
from harken.runtime.streamfile import StreamFile

_LOGIT_LIMIT = 1e-6  # thresholds are moved in logits, which 0 and 1 do not have
_MOVES = np.arange(-8.0, 8.01, 0.25)  # of all thresholds together, in logits
_BEFORE_S, _AFTER_S = 1.5, 0.5  # of the audio given with a false alarm


@dataclass(frozen=True)
class ListenerRun:
    """What a listener made of a stream.

    top, scores : [hops] the most probable class after smoothing, and the listener's confidence in it. events : as it
    gave them. seconds : of audio; busy_s : of processor time that the listener took for it, on one thread. skipped : hops
    that the energy gate saved the network.
    """

    labels: tuple[str, ...]
    settings: ListenerSettings
    hop_s: float
    refractory_hops: int
    top: NDArray[np.int16]
    scores: NDArray[np.float32]
    utterances: tuple[Utterance, ...]
    stretches: tuple[Stretch, ...]
    events: tuple[Event, ...]
    seconds: float
    busy_s: float
    skipped: int

    @property
    def hours(self) -> float:
        """Hours of background on its own, in which false alarms are counted."""
        return sum(stretch.end_s - stretch.start_s for stretch in self.stretches) / 3600

    def hops_of_events(self, thresholds: Mapping[str, float]) -> NDArray[np.int64]:
        """Return the hops at which the listener would have given events with these thresholds."""
        limits = np.array([thresholds.get(label, 2.0) for label in self.labels])
        passed = np.flatnonzero(self.scores >= limits[self.top])
        # A word that stays at its threshold or over it is one event: where the next stretch of one begins.
        ends = np.append(np.flatnonzero((np.diff(passed) > 1) | (np.diff(self.top[passed]) != 0)) + 1, passed.size)
        hops = []
        place = 0
        while place < passed.size:
            hops.append(passed[place])
            rested = np.searchsorted(passed, hops[-1] + max(1, self.refractory_hops))
            place = max(int(rested), int(ends[np.searchsorted(ends, place, side="right")]))
        return np.array(hops, dtype=np.int64)


def run_listener(recognizer: Recognizer | StreamFile, audio: StreamAudio, **settings: Any) -> ListenerRun:
    """Listen to a stream from end to end, with a progress bar; `settings` as a Listener takes them."""
    if audio.sample_rate != recognizer.sample_rate:
        raise HarkenError(
            f"the stream has {audio.sample_rate} Hz, the model hears {recognizer.sample_rate}: make it so"
        )
    listener = Listener(recognizer, source_rate=audio.sample_rate, **settings)
    utterances: list[Utterance] = []
    stretches: list[Stretch] = []
    events: list[Event] = []
    top: list[int] = []
    scores: list[float] = []
    busy = 0.0
    made = 0  # samples
    waiting = np.zeros(0, np.float32)
    for _, (section, pieces) in zip(progress(range(len(audio)), "listening"), audio.sections(), strict=True):
        start_s = made / audio.sample_rate
        for piece in pieces:
            made += piece.size
            waiting = np.concatenate([waiting, piece])
            # Hop by hop, since the posteriors of each are kept.
            whole = waiting.size // listener.hop * listener.hop
            for start in range(0, whole, listener.hop):
                begun = time.thread_time()
                events += listener.push(waiting[start : start + listener.hop])
                busy += time.thread_time() - begun
                top.append(int(listener.posteriors.argmax()))
                scores.append(listener.confidence)
            waiting = waiting[whole:]
        if isinstance(section, Utterance):
            utterances.append(replace(section, start_s=start_s + section.start_s, end_s=start_s + section.end_s))
        else:
            stretches.append(replace(section, start_s=start_s, end_s=made / audio.sample_rate - LATEST_S))
    return ListenerRun(
        labels=recognizer.labels,
        settings=listener.settings,
        hop_s=listener.hop / audio.sample_rate,
        refractory_hops=listener.refractory_hops,
        top=np.array(top, np.int16),
        scores=np.array(scores, np.float32),
        utterances=tuple(utterances),
        stretches=tuple(stretches),
        events=tuple(events),
        seconds=made / audio.sample_rate,
        busy_s=busy,
        skipped=listener.skipped,
    )


@dataclass(frozen=True)
class Outcome:
    """What the events of a listener_run were, at one set of thresholds.

    hops : [events]. found : [utterances] the event that found each word, or -1. alarm_of : [events] the stretch in which a
    false alarm was, else -1. confused : events of another word while one was spoken. repeated : further events
    of a word already found. strays : events around the placed words, in background heard elsewhere on its own.
    """

    hops: NDArray[np.int64]
    found: NDArray[np.int64]
    alarm_of: NDArray[np.int64]
    confused: int
    repeated: int
    strays: int

    @property
    def missed(self) -> int:
        """How many words were not found."""
        return int((self.found < 0).sum())

    @property
    def false_alarms(self) -> int:
        """How many events were in background on its own."""
        return int((self.alarm_of >= 0).sum())


def outcome_of(listener_run: ListenerRun, thresholds: Mapping[str, float]) -> Outcome:
    """Match the events that thresholds lead to with what is in the stream.

    A word is found by the first event of that word from its start to one second after its end. Likewise a false alarm is
    one of the recording that ended a second before, at most.
    """
    hops = listener_run.hops_of_events(thresholds)
    times = (hops + 1) * listener_run.hop_s
    spoken = [(utterance.start_s, utterance.end_s + LATEST_S) for utterance in listener_run.utterances]
    utterance_of = _section_of(times, spoken)
    alarm_of = _section_of(times, [(stretch.start_s, stretch.end_s + LATEST_S) for stretch in listener_run.stretches])
    found = np.full(len(listener_run.utterances), -1, np.int64)
    confused = repeated = 0
    for event in np.flatnonzero(utterance_of >= 0):
        utterance = utterance_of[event]
        right = listener_run.labels[listener_run.top[hops[event]]] == listener_run.utterances[utterance].word
        if not right:
            confused += 1
        elif found[utterance] >= 0:
            repeated += 1
        else:
            found[utterance] = event
    strays = int(((utterance_of < 0) & (alarm_of < 0)).sum())
    return Outcome(hops, found, alarm_of, confused, repeated, strays)


def _section_of(times: NDArray[Any], sections: list[tuple[float, float]]) -> NDArray[np.int64]:
    """Return for each time the section (start, end], in order and apart, that it lies in, or -1."""
    if not sections:
        return np.full(times.size, -1, np.int64)
    starts, ends = np.array(sections).T
    index = np.searchsorted(starts, times, side="left") - 1
    return np.where((index >= 0) & (times <= ends[index]), index, -1)


@dataclass(frozen=True)
class FalseAlarm:
    """An event where no word of the model is. at_s : in the recording. confidence : as of an Event."""

    word: str
    confidence: float
    background: str
    path: Path
    at_s: float

    def audio(self, sample_rate: int) -> NDArray[np.float32]:
        """Return what was heard: from 1.5 s before to 0.5 s after."""
        return read_part(self.path, self.at_s - _BEFORE_S, self.at_s + _AFTER_S, sample_rate)


@dataclass(frozen=True)
class TradeOff:
    """Miss rate against false alarms per hour as all thresholds move together: the detection error trade-off.

    moves : [points] in logits, rising; at 0 stands the working point. missed : fraction of the words.
    """

    moves: NDArray[np.float64]
    missed: NDArray[np.float64]
    false_alarms_per_hour: NDArray[np.float64]


@dataclass(frozen=True)
class Share:
    """Words of one kind, and how many of them were missed."""

    value: Any
    words: int
    missed: int

    @property
    def miss_rate(self) -> float:
        """The fraction missed."""
        return self.missed / self.words

    def to_json(self, key: str) -> dict[str, Any]:
        """Return the figures as plain values."""
        interval = list(wilson_interval(self.missed, self.words))
        return {key: self.value, "words": self.words, "miss_rate": self.miss_rate, "miss_rate_interval": interval}


def quietest_first(share: Share) -> float:
    """Return what to sort shares of SNRs by: words in silence have none, and stand before all others."""
    return -math.inf if share.value is None else -float(share.value)


@dataclass(frozen=True)
class StreamEvaluation:
    """The figures of a listener_run at its settings' thresholds."""

    listener_run: ListenerRun
    settings: ListenerSettings

    @cached_property
    def outcome(self) -> Outcome:
        """What the events were."""
        return outcome_of(self.listener_run, self.settings.thresholds)

    @property
    def false_alarms_per_hour(self) -> float:
        """False alarms in an hour of background on its own."""
        return self.outcome.false_alarms / self.listener_run.hours

    @property
    def false_alarms_per_hour_interval(self) -> tuple[float, float]:
        """The exact 95 % interval of that rate."""
        return poisson_interval(self.outcome.false_alarms, self.listener_run.hours)

    @property
    def miss_rate(self) -> float:
        """The fraction of the words that was not found."""
        return self.outcome.missed / len(self.listener_run.utterances)

    @cached_property
    def latencies_s(self) -> NDArray[np.float64]:
        """From the end of each word found to its event; below 0 where the event came before the word had ended."""
        found = np.flatnonzero(self.outcome.found >= 0)
        heard = (self.outcome.hops[self.outcome.found[found]] + 1) * self.listener_run.hop_s
        ends = [self.listener_run.utterances[index].end_s for index in found]
        return np.asarray(heard - np.array(ends), dtype=np.float64)

    @property
    def real_time_factor(self) -> float:
        """Seconds of processor time for a second of audio, on one thread."""
        return self.listener_run.busy_s / self.listener_run.seconds

    @cached_property
    def false_alarms(self) -> list[FalseAlarm]:
        """Every false alarm, the most confident first."""
        listener_run, outcome = self.listener_run, self.outcome
        alarms = []
        for event in np.flatnonzero(outcome.alarm_of >= 0):
            hop, stretch = outcome.hops[event], listener_run.stretches[outcome.alarm_of[event]]
            word, confidence = listener_run.labels[listener_run.top[hop]], float(listener_run.scores[hop])
            at_s = float((hop + 1) * listener_run.hop_s - stretch.start_s)
            alarms.append(FalseAlarm(word, confidence, stretch.background, stretch.path, at_s))
        return sorted(alarms, key=lambda alarm: -alarm.confidence)

    @cached_property
    def trade_off(self) -> TradeOff:
        """The trade-off around the working point."""
        outcomes = [outcome_of(self.listener_run, moved(self.settings.thresholds, move)) for move in _MOVES]
        words, hours = len(self.listener_run.utterances), self.listener_run.hours
        return TradeOff(
            _MOVES,
            np.array([outcome.missed / words for outcome in outcomes]),
            np.array([outcome.false_alarms / hours for outcome in outcomes]),
        )

    def shares(self, key: Callable[[Utterance], Hashable]) -> list[Share]:
        """Return the words missed of each kind that `key` tells apart, in order of their first appearance."""
        kinds: dict[Hashable, list[bool]] = {}
        for utterance, event in zip(self.listener_run.utterances, self.outcome.found, strict=True):
            kinds.setdefault(key(utterance), []).append(bool(event < 0))
        return [Share(kind, len(missed), sum(missed)) for kind, missed in kinds.items()]

    def to_json(self) -> dict[str, Any]:
        """Return the figures as plain values."""
        outcome, listener_run = self.outcome, self.listener_run
        latencies = self.latencies_s
        snrs = sorted(self.shares(lambda utterance: utterance.snr_db), key=quietest_first)
        return {
            "false_alarms_per_hour": self.false_alarms_per_hour,
            "false_alarms_per_hour_interval": list(self.false_alarms_per_hour_interval),
            "false_alarms": outcome.false_alarms,
            "hours": listener_run.hours,
            "miss_rate": self.miss_rate,
            "miss_rate_interval": list(wilson_interval(outcome.missed, len(listener_run.utterances))),
            "words": len(listener_run.utterances),
            "latency_s": float(np.median(latencies)) if latencies.size else None,
            "latency_s_95": float(np.percentile(latencies, 95)) if latencies.size else None,
            "real_time_factor": self.real_time_factor,
            "skipped": listener_run.skipped / len(listener_run.top),
            "confused": outcome.confused,
            "repeated": outcome.repeated,
            "strays": outcome.strays,
            "by_snr": [share.to_json("snr_db") for share in snrs],
            "by_background": [share.to_json("background") for share in self.shares(lambda word: word.background)],
            "by_word": [share.to_json("word") for share in self.shares(lambda utterance: utterance.word)],
            "settings": self.settings.to_json(),
            "trade_off": {key: values.tolist() for key, values in asdict(self.trade_off).items()},
            "false_alarm_list": [{**asdict(alarm), "path": alarm.path.name} for alarm in self.false_alarms],
        }


def evaluate_run(listener_run: ListenerRun, settings: ListenerSettings | None = None) -> StreamEvaluation:
    """Judge a listener_run at its own thresholds, or at those of `settings`, whose other values must be its own."""
    settings = settings or listener_run.settings
    if replace(settings, thresholds=listener_run.settings.thresholds) != listener_run.settings:
        raise HarkenError("only thresholds can be changed after listening: listen again with those settings")
    return StreamEvaluation(listener_run, settings)


def moved(thresholds: Mapping[str, float], logits: float) -> dict[str, float]:
    """Return thresholds moved by so many logits; by 0, the very same."""
    if logits == 0:
        return dict(thresholds)
    moved_to = {}
    for word, threshold in thresholds.items():
        inside = min(max(threshold, _LOGIT_LIMIT), 1 - _LOGIT_LIMIT)
        moved_to[word] = float(1 / (1 + (1 / inside - 1) * np.exp(-logits)))
    return moved_to
