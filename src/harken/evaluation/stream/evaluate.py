"""Evaluate a listener's run over labeled continuous audio: miss rate, false alarms per hour and latency.

evaluate_run       evaluate a run at its thresholds, or at others
StreamEvaluation   the figures, each false alarm, and the trade-off as the thresholds change
FalseAlarm         one false alarm, with its audio
"""

import math
from collections.abc import Callable, Hashable, Mapping
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from harken.errors import HarkenError
from harken.evaluation.metrics import poisson_interval, wilson_interval
from harken.evaluation.stream.audio import DETECTION_DEADLINE_S, Utterance, read_part
from harken.evaluation.stream.listener_run import ListenerRun
from harken.runtime.listener_settings import ListenerSettings
from harken.runtime.sensitivity import shift_thresholds, stored_shifts

_SHIFTS = np.arange(-8.0, 8.01, 0.25)  # of all thresholds together, in logits
_BEFORE_S, _AFTER_S = 1.5, 0.5  # of the audio around a false alarm


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
        """Seconds of processor time per second of audio."""
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
