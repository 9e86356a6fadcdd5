"""Evaluate a listener on labeled continuous audio: miss rate, false alarms per hour and latency.

run_listener       run a listener over a stream
ListenerRun        its confidence at each hop
WakeRun            the wake phrases that a second listener detected in the same stream
play_stream        make a stream and pass it on hop by hop
evaluate_run       evaluate a run at its thresholds, or at others
StreamEvaluation   the figures, each false alarm, and the trade-off as the thresholds change
FalseAlarm         one false alarm, with its audio

The network runs over a stream only once. The events at other thresholds follow from the confidence at each hop, by the
listener's own rule.
"""

import hashlib
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
from harken.evaluation.stream.audio import DETECTION_DEADLINE_S, BackgroundSection, StreamAudio, Utterance, read_part
from harken.progress import progress
from harken.runtime.listener import Event, Listener
from harken.runtime.listener_settings import ListenerSettings
from harken.runtime.recognizer import Recognizer
from harken.runtime.sensitivity import shift_thresholds, stored_shifts
from harken.runtime.streamfile import StreamFile

_SHIFTS = np.arange(-8.0, 8.01, 0.25)  # of all thresholds together, in logits
_BEFORE_S, _AFTER_S = 1.5, 0.5  # of the audio around a false alarm


@dataclass(frozen=True)
class WakeRun:
    """The wake phrases in a stream, and what their listener and the command listener would do as a pair.

    Attributes
    ----------
    words
        The words of the wake model.
    events
        Its events.
    window_s
        Length of the window of the command model.
    unpenalized
        The command listener's confidence without isolation, at each of its hops, [hops].
    """

    words: tuple[str, ...]
    events: tuple[Event, ...]
    window_s: float
    unpenalized: NDArray[np.float32]


@dataclass(frozen=True)
class ListenerRun:
    """The result of running a listener over a stream.

    Attributes
    ----------
    labels
        The model's labels.
    settings
        The listener's settings.
    hop_s
        Seconds from one hop to the next.
    refractory_hops
        Minimum number of hops between two events.
    top
        Most probable class after smoothing at each hop, [hops].
    scores
        The listener's confidence in it, [hops].
    utterances, background_sections
        The sections of the stream.
    events
        The listener's events.
    seconds
        Duration of the audio.
    busy_s
        Processor time of the listener, on one thread.
    skipped
        Number of hops at which the energy gate kept the network from running.
    tuned_on
        The sources (see `source_of`) on which the thresholds were chosen.
    wake
        The wake phrases in the same stream, if a wake model was given.
    """

    labels: tuple[str, ...]
    settings: ListenerSettings
    hop_s: float
    refractory_hops: int
    top: NDArray[np.int16]
    scores: NDArray[np.float32]
    utterances: tuple[Utterance, ...]
    background_sections: tuple[BackgroundSection, ...]
    events: tuple[Event, ...]
    seconds: float
    busy_s: float
    skipped: int
    tuned_on: frozenset[str] = frozenset()
    wake: WakeRun | None = None

    @property
    def sources(self) -> frozenset[str]:
        """The speakers and noises of the background without words, as `source_of` names them."""
        return frozenset(source_of(section.path) for section in self.background_sections)

    @property
    def hours(self) -> float:
        """Hours of background without words, in which false alarms are counted."""
        return sum(section.end_s - section.start_s for section in self.background_sections) / 3600

    def hops_of_events(self, thresholds: Mapping[str, float]) -> NDArray[np.int64]:
        """Return the hops at which the listener would have detected a word with these thresholds."""
        limits = np.array([thresholds.get(label, 2.0) for label in self.labels])
        passed = np.flatnonzero(self.scores >= limits[self.top])
        # A word that stays at or above its threshold is one event. These are the ends of such runs of hops.
        ends = np.append(np.flatnonzero((np.diff(passed) > 1) | (np.diff(self.top[passed]) != 0)) + 1, passed.size)
        hops = []
        position = 0
        while position < passed.size:
            hops.append(passed[position])
            after_refractory = np.searchsorted(passed, hops[-1] + max(1, self.refractory_hops))
            position = max(int(after_refractory), int(ends[np.searchsorted(ends, position, side="right")]))
        return np.array(hops, dtype=np.int64)


def source_of(path: Path) -> str:
    """Return a short hash of the speaker or the noise that a recording is of.

    The speaker is the name up to the first "-"; in the names of ESC-50 (`fold-source-take-class`) the source is the first
    two parts. A model file stores the hashes of what it was tuned on, and so names nobody.
    """
    parts = path.stem.split("-")
    esc = len(parts) >= 3 and len(parts[0]) == 1 and parts[0].isdecimal() and parts[2].isalpha()
    return hashlib.sha1("-".join(parts[: 2 if esc else 1]).encode()).hexdigest()[:8]


def run_listener(
    recognizer: Recognizer | StreamFile,
    audio: StreamAudio,
    *,
    wake: Recognizer | StreamFile | None = None,
    **settings: Any,
) -> ListenerRun:
    """Run a listener over a stream from end to end, and show a progress bar.

    Parameters
    ----------
    recognizer
        The model.
    audio
        The stream.
    wake
        Model of a wake phrase, which is also run over the stream.
    settings
        Settings of the Listener that replace those stored in the model file.

    Raises
    ------
    HarkenError
        The sample rates of model and stream differ, or a setting is out of range.
    """
    if audio.sample_rate != recognizer.sample_rate:
        raise HarkenError(
            f"the stream is at {audio.sample_rate} Hz, the model at {recognizer.sample_rate} Hz: "
            f"make the stream at {recognizer.sample_rate} Hz"
        )
    listener = Listener(recognizer, source_rate=audio.sample_rate, **settings)
    wake_listener = None if wake is None else Listener(wake, source_rate=audio.sample_rate)
    wake_events: list[Event] = []
    unpenalized: list[float] = []
    events: list[Event] = []
    top: list[int] = []
    scores: list[float] = []
    busy = 0.0

    def take(hop: NDArray[np.float32]) -> None:
        nonlocal busy
        if wake_listener is not None:
            wake_events.extend(wake_listener.push(hop))
        started = time.thread_time()
        events.extend(listener.push(hop))
        busy += time.thread_time() - started
        top.append(int(listener.posteriors.argmax()))
        scores.append(listener.confidence)
        unpenalized.append(float(listener.posteriors.max()))

    content = play_stream(audio, listener.hop, take)
    wake_run = None
    if wake_listener is not None:
        wake_events += wake_listener.finish()
        window_s = listener.window / listener.sample_rate
        words = tuple(wake_listener.settings.thresholds)
        wake_run = WakeRun(words, tuple(wake_events), window_s, np.array(unpenalized, np.float32))
    return ListenerRun(
        labels=recognizer.labels,
        settings=listener.settings,
        hop_s=listener.hop / audio.sample_rate,
        refractory_hops=listener.refractory_hops,
        top=np.array(top, np.int16),
        scores=np.array(scores, np.float32),
        utterances=content.utterances,
        background_sections=content.background_sections,
        events=tuple(events),
        seconds=content.seconds,
        busy_s=busy,
        skipped=listener.skipped,
        tuned_on=frozenset(recognizer.card.fields.get("tuned_on", ())),
        wake=wake_run,
    )


@dataclass(frozen=True)
class StreamContent:
    """What a stream contained, with times from its start.

    Attributes
    ----------
    utterances, background_sections
        The sections of the stream.
    seconds
        Duration of the audio.
    """

    utterances: tuple[Utterance, ...]
    background_sections: tuple[BackgroundSection, ...]
    seconds: float


def play_stream(audio: StreamAudio, hop: int, take: Callable[[NDArray[np.float32]], None]) -> StreamContent:
    """Make a stream and pass it on hop by hop, with a progress bar. A last incomplete hop is left out.

    Parameters
    ----------
    audio
        The stream.
    hop
        Samples in a hop.
    take
        Function that is called with each hop, float32 [hop].
    """
    utterances: list[Utterance] = []
    background_sections: list[BackgroundSection] = []
    position = 0  # samples
    waiting = np.zeros(0, np.float32)
    for _, (section, pieces) in zip(progress(range(len(audio)), "running the listener"), audio.sections(), strict=True):
        start_s = position / audio.sample_rate
        for piece in pieces:
            position += piece.size
            waiting = np.concatenate([waiting, piece])
            complete = waiting.size // hop * hop
            for start in range(0, complete, hop):
                take(waiting[start : start + hop])
            waiting = waiting[complete:]
        if isinstance(section, Utterance):
            utterances.append(section.moved(start_s))
        else:
            background_sections.append(
                replace(section, start_s=start_s, end_s=position / audio.sample_rate - DETECTION_DEADLINE_S)
            )
    return StreamContent(tuple(utterances), tuple(background_sections), position / audio.sample_rate)


@dataclass(frozen=True)
class Outcome:
    """The events of a run at one set of thresholds, matched with the content of the stream.

    Attributes
    ----------
    hops
        Hop of each event, [events].
    found
        Index of the event that found each word, or -1, [utterances].
    alarm_of
        Index of the background section in which each event is a false alarm, or -1, [events].
    confused
        Number of events of another word while a word was spoken.
    repeated
        Number of further events of a word that was already found.
    strays
        Number of events in the background around placed words. They do not count as false alarms, since the same
        background is also played without words.
    """

    hops: NDArray[np.int64]
    found: NDArray[np.int64]
    alarm_of: NDArray[np.int64]
    confused: int
    repeated: int
    strays: int

    @property
    def missed(self) -> int:
        """The number of words that were not found."""
        return int((self.found < 0).sum())

    @property
    def false_alarms(self) -> int:
        """The number of events in background without words."""
        return int((self.alarm_of >= 0).sum())


def match_events(listener_run: ListenerRun, thresholds: Mapping[str, float]) -> Outcome:
    """Match the events at a set of thresholds with the content of the stream.

    A word is found by the first event of that word between its start and one second after its end. Any event between the
    start of a background section and one second after its end is a false alarm in that section.
    """
    return match_hops(listener_run, listener_run.hops_of_events(thresholds))


def match_hops(listener_run: ListenerRun, hops: NDArray[np.int64]) -> Outcome:
    """Match events, given by their hops, with the content of the stream, as `match_events` does."""
    times = (hops + 1) * listener_run.hop_s
    spoken = [(utterance.start_s, utterance.end_s + DETECTION_DEADLINE_S) for utterance in listener_run.utterances]
    utterance_of = _containing_section(times, spoken)
    alarm_of = background_of(listener_run, times)
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


def background_of(listener_run: ListenerRun, times: NDArray[Any]) -> NDArray[np.int64]:
    """Return for each time the index of the background section in which an event is a false alarm, or -1."""
    sections = [(part.start_s, part.end_s + DETECTION_DEADLINE_S) for part in listener_run.background_sections]
    return _containing_section(times, sections)


def _containing_section(times: NDArray[Any], sections: list[tuple[float, float]]) -> NDArray[np.int64]:
    """Return for each time the index of the section (start, end] that contains it, or -1.

    Sections are in order and do not overlap.
    """
    if not sections:
        return np.full(times.size, -1, np.int64)
    starts, ends = np.array(sections).T
    index = np.searchsorted(starts, times, side="left") - 1
    return np.where((index >= 0) & (times <= ends[index]), index, -1)


@dataclass(frozen=True)
class FalseAlarm:
    """An event in background without words.

    Attributes
    ----------
    word
        The word that was detected.
    confidence
        The listener's confidence.
    background
        Name of the background.
    path
        The recording.
    at_s
        Time in the recording.
    """

    word: str
    confidence: float
    background: str
    path: Path
    at_s: float

    def audio(self, sample_rate: int) -> NDArray[np.float32]:
        """Return the audio from 1.5 s before the event to 0.5 s after it."""
        return read_part(self.path, self.at_s - _BEFORE_S, self.at_s + _AFTER_S, sample_rate)


@dataclass(frozen=True)
class TradeOff:
    """The detection error trade-off: miss rate against false alarms per hour as all thresholds are shifted together.

    Attributes
    ----------
    shifts
        Shifts of the thresholds in logits, increasing; 0 is the operating point, [points].
    missed
        Fraction of the words missed, [points].
    false_alarms_per_hour
        [points].
    """

    shifts: NDArray[np.float64]
    missed: NDArray[np.float64]
    false_alarms_per_hour: NDArray[np.float64]


@dataclass(frozen=True)
class GroupMisses:
    """The misses among one group of words.

    Attributes
    ----------
    value
        What the words of the group have in common.
    words
        Number of words.
    missed
        How many of them were missed.
    """

    value: Any
    words: int
    missed: int

    @property
    def miss_rate(self) -> float:
        """The fraction of the words that was missed."""
        return self.missed / self.words

    def to_json(self, key: str) -> dict[str, Any]:
        """Return the figures as plain values."""
        interval = list(wilson_interval(self.missed, self.words))
        return {key: self.value, "words": self.words, "miss_rate": self.miss_rate, "miss_rate_interval": interval}


def order_of_snr(group: GroupMisses) -> float:
    """Return the sort key of a group by signal-to-noise ratio: silence first, then from high to low."""
    return -math.inf if group.value is None else -float(group.value)


@dataclass(frozen=True)
class StreamEvaluation:
    """The figures of a run at the thresholds of its settings.

    Attributes
    ----------
    listener_run
        The run.
    settings
        Its settings, with the thresholds to evaluate at.
    """

    listener_run: ListenerRun
    settings: ListenerSettings

    @cached_property
    def outcome(self) -> Outcome:
        """The events, matched with the content of the stream."""
        return match_events(self.listener_run, self.settings.thresholds)

    @property
    def sources(self) -> frozenset[str]:
        """The speakers and noises in whose recordings false alarms were counted."""
        return self.listener_run.sources

    @property
    def sources_tuned_on(self) -> frozenset[str]:
        """Those of them on which the thresholds were chosen: figures on these flatter."""
        return self.sources & self.listener_run.tuned_on

    @property
    def sensitivity_shifts(self) -> list[float]:
        """Shift of the thresholds in logits for each sensitivity (see `harken.runtime.sensitivity`)."""
        unseen = 0.5 / self.listener_run.hours  # so that a rate of no false alarm has a logarithm too
        return stored_shifts(self.trade_off.shifts, self.trade_off.false_alarms_per_hour + unseen)

    @property
    def false_alarms_per_hour(self) -> float:
        """False alarms per hour of background without words."""
        return self.outcome.false_alarms / self.listener_run.hours

    @property
    def false_alarms_per_hour_interval(self) -> tuple[float, float]:
        """The exact 95 % interval of the false alarms per hour."""
        return poisson_interval(self.outcome.false_alarms, self.listener_run.hours)

    @property
    def miss_rate(self) -> float:
        """The fraction of the words that was not found."""
        return self.outcome.missed / len(self.listener_run.utterances)

    @cached_property
    def latencies_s(self) -> NDArray[np.float64]:
        """Time from the end of each word found to its event; negative if the event came before the end of the word."""
        found = np.flatnonzero(self.outcome.found >= 0)
        event_times = (self.outcome.hops[self.outcome.found[found]] + 1) * self.listener_run.hop_s
        ends = [self.listener_run.utterances[index].end_s for index in found]
        return np.asarray(event_times - np.array(ends), dtype=np.float64)

    @property
    def real_time_factor(self) -> float:
        """Seconds of processor time per second of audio, on one thread."""
        return self.listener_run.busy_s / self.listener_run.seconds

    @cached_property
    def false_alarms(self) -> list[FalseAlarm]:
        """All false alarms, the most confident first."""
        listener_run, outcome = self.listener_run, self.outcome
        alarms = []
        for event in np.flatnonzero(outcome.alarm_of >= 0):
            hop, section = outcome.hops[event], listener_run.background_sections[outcome.alarm_of[event]]
            word, confidence = listener_run.labels[listener_run.top[hop]], float(listener_run.scores[hop])
            at_s = float((hop + 1) * listener_run.hop_s - section.start_s)
            alarms.append(FalseAlarm(word, confidence, section.background, section.path, at_s))
        return sorted(alarms, key=lambda alarm: -alarm.confidence)

    @cached_property
    def trade_off(self) -> TradeOff:
        """The trade-off around the operating point."""
        outcomes = [
            match_events(self.listener_run, shift_thresholds(self.settings.thresholds, shift)) for shift in _SHIFTS
        ]
        words, hours = len(self.listener_run.utterances), self.listener_run.hours
        return TradeOff(
            _SHIFTS,
            np.array([outcome.missed / words for outcome in outcomes]),
            np.array([outcome.false_alarms / hours for outcome in outcomes]),
        )

    @property
    def trade_off_note(self) -> str:
        """How the trade-off was found, for the report."""
        return "as all thresholds are shifted together; the dot is the model at its own thresholds"

    def misses_by(self, key: Callable[[Utterance], Hashable]) -> list[GroupMisses]:
        """Group the words by `key` and return the misses of each group, in order of first appearance."""
        groups: dict[Hashable, list[bool]] = {}
        for utterance, event in zip(self.listener_run.utterances, self.outcome.found, strict=True):
            groups.setdefault(key(utterance), []).append(bool(event < 0))
        return [GroupMisses(value, len(missed), sum(missed)) for value, missed in groups.items()]

    def to_json(self) -> dict[str, Any]:
        """Return the figures as plain values."""
        outcome, listener_run = self.outcome, self.listener_run
        latencies = self.latencies_s
        snrs = sorted(self.misses_by(lambda utterance: utterance.snr_db), key=order_of_snr)
        return {
            "false_alarms_per_hour": self.false_alarms_per_hour,
            "false_alarms_per_hour_interval": list(self.false_alarms_per_hour_interval),
            "false_alarms": outcome.false_alarms,
            "hours": listener_run.hours,
            "sources": len(self.sources),
            "sources_tuned_on": len(self.sources_tuned_on),
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
            "by_snr": [group.to_json("snr_db") for group in snrs],
            "by_background": [group.to_json("background") for group in self.misses_by(lambda word: word.background)],
            "by_word": [group.to_json("word") for group in self.misses_by(lambda utterance: utterance.word)],
            "settings": self.settings.to_json(),
            "trade_off": {key: values.tolist() for key, values in asdict(self.trade_off).items()},
            "false_alarm_list": [{**asdict(alarm), "path": alarm.path.name} for alarm in self.false_alarms],
        }


def evaluate_run(listener_run: ListenerRun, settings: ListenerSettings | None = None) -> StreamEvaluation:
    """Evaluate a run at its own thresholds, or at others.

    Parameters
    ----------
    listener_run
        The run.
    settings
        Settings with other thresholds. All other settings must be those of the run.

    Raises
    ------
    HarkenError
        `settings` differs from the run's in more than thresholds.
    """
    settings = settings or listener_run.settings
    if replace(settings, thresholds=listener_run.settings.thresholds) != listener_run.settings:
        raise HarkenError("only thresholds can be changed after a run: run the listener again with these settings")
    return StreamEvaluation(listener_run, settings)
