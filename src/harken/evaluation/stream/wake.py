"""Evaluate commands that count only after a wake phrase, from one run of both listeners over a stream.

evaluate_wake    evaluate the pair
WakeEvaluation   its false alarms beside those of each model alone, and the commands found after a wake phrase
PairReplay       the commands that count after given wake phrases

The events of the pair follow from the wake phrases and from the confidence of the commands at each hop, by the rule of
`WakeListener`.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from harken.errors import HarkenError
from harken.evaluation.metrics import poisson_interval, wilson_interval
from harken.evaluation.stream.audio import DETECTION_DEADLINE_S
from harken.evaluation.stream.evaluate import StreamEvaluation, background_of, match_hops
from harken.evaluation.stream.listener_run import ListenerRun, WakeRun
from harken.runtime.listener import Event
from harken.runtime.wake_listener import counts

_DECIMALS = 6  # of times in seconds, so that equal times of the two listeners compare equal


@dataclass(frozen=True)
class PairReplay:
    """What a `WakeListener` detects in a stream, given its wake phrases.

    Attributes
    ----------
    listener_run
        The run of the command model.
    thresholds
        Its thresholds.
    wake_events
        The wake phrases.
    command_s
        Time after a wake phrase during which commands count, in seconds.
    window_s
        Length of the window of the command model.
    """

    listener_run: ListenerRun
    thresholds: Mapping[str, float]
    wake_events: tuple[Event, ...]
    command_s: float
    window_s: float

    @cached_property
    def hops(self) -> NDArray[np.int64]:
        """The hops of the commands that count, [commands]."""
        assert self.listener_run.wake is not None
        # While commands count, isolation is off.
        scores = np.where(self.counting, self.listener_run.wake.unpenalized, self.listener_run.scores)
        hops = replace(self.listener_run, scores=scores).hops_of_events(self.thresholds, self._fresh)
        return np.array([hop for hop in hops if self._counts(int(hop))], dtype=np.int64)

    @cached_property
    def counting(self) -> NDArray[np.bool_]:
        """Whether commands count at each hop, [hops]."""
        if not self.wake_events:
            return np.zeros(len(self.listener_run.top), bool)
        end = self._wake_times[self._last_wake] + self.command_s + self.window_s
        counting: NDArray[np.bool_] = (self._last_wake >= 0) & (hop_times(self.listener_run) < end.round(_DECIMALS))
        return counting

    def _counts(self, hop: int) -> bool:
        last = self._last_wake[hop]
        if last < 0:
            return False
        end_s = float(hop_times(self.listener_run)[hop])
        start_s = round(max(0.0, end_s - self.window_s), _DECIMALS)
        label = self.listener_run.labels[self.listener_run.top[hop]]
        word = Event(label, start_s, end_s, float(self.listener_run.scores[hop]))
        wake_s = float(self._wake_times[last])
        return counts(word, replace(self.wake_events[last], end_s=wake_s), round(wake_s + self.command_s, _DECIMALS))

    @cached_property
    def _fresh(self) -> NDArray[np.int64]:
        """The first hop after each wake phrase before which commands did not count."""
        times = self._wake_times
        ends = (times + self.command_s + self.window_s).round(_DECIMALS)
        begins = times[np.append(True, times[1:] >= ends[:-1])] if times.size else times
        return np.searchsorted(hop_times(self.listener_run), begins, side="right")

    @cached_property
    def _wake_times(self) -> NDArray[np.float64]:
        return event_times(self.wake_events)

    @cached_property
    def _last_wake(self) -> NDArray[np.int64]:
        """Index of the last wake phrase before each hop, or -1."""
        return np.searchsorted(self._wake_times, hop_times(self.listener_run), side="left") - 1


def event_times(events: Sequence[Event]) -> NDArray[np.float64]:
    """Return the time of each event, in seconds."""
    return np.array([round(event.end_s, _DECIMALS) for event in events], dtype=np.float64)


def hop_times(listener_run: ListenerRun) -> NDArray[np.float64]:
    """Return the end of each hop, in seconds."""
    times = (np.arange(len(listener_run.top)) + 1) * listener_run.hop_s
    return np.asarray(times.round(_DECIMALS), dtype=np.float64)


@dataclass(frozen=True)
class WakeEvaluation:
    """The figures of commands that count only after a wake phrase.

    Attributes
    ----------
    commands
        The evaluation of the command model alone, in the same stream.
    wake
        The wake phrases in the stream.
    command_s
        Time after a wake phrase during which commands count, in seconds.
    """

    commands: StreamEvaluation
    wake: WakeRun
    command_s: float

    @property
    def hours(self) -> float:
        """Hours of background without words, in which false alarms are counted."""
        return self.commands.listener_run.hours

    def replay(self, wake_events: Sequence[Event]) -> PairReplay:
        """Return what the pair detects if these are the wake phrases."""
        listener_run, thresholds = self.commands.listener_run, self.commands.settings.thresholds
        return PairReplay(listener_run, thresholds, tuple(wake_events), self.command_s, self.wake.window_s)

    @cached_property
    def alarms_of_wake(self) -> list[Event]:
        """The wake phrases that were detected in background: the false alarms of the wake model alone."""
        in_background = background_of(self.commands.listener_run, event_times(self.wake.events)) >= 0
        return [event for event, is_alarm in zip(self.wake.events, in_background, strict=True) if is_alarm]

    @cached_property
    def _background_replay(self) -> PairReplay:
        # A phrase placed before a word must not start the time of commands in the background that follows the word.
        return self.replay(self.alarms_of_wake)

    @cached_property
    def false_alarms(self) -> int:
        """The number of commands that count in background, after a false alarm of the wake model."""
        return match_hops(self.commands.listener_run, self._background_replay.hops).false_alarms

    @property
    def share_of_background(self) -> float:
        """The share of the background during which commands count."""
        listener_run = self.commands.listener_run
        in_background = background_of(listener_run, hop_times(listener_run)) >= 0
        return float(self._background_replay.counting[in_background].mean())

    @cached_property
    def word_found(self) -> NDArray[np.bool_]:
        """Whether the pair found each word, [words]."""
        return match_hops(self.commands.listener_run, self.replay(self.wake.events).hops).found >= 0

    @cached_property
    def phrase_found(self) -> NDArray[np.bool_]:
        """Whether the phrase before each word was detected until a second after its end, [words with a phrase]."""
        times = event_times(self.wake.events)
        return np.array(
            [
                ((times > word.phrase_start_s) & (times <= word.phrase_end_s + DETECTION_DEADLINE_S)).any()
                for word in self.commands.listener_run.utterances
                if word.phrase_start_s is not None and word.phrase_end_s is not None
            ],
            dtype=np.bool_,
        )

    def to_json(self) -> dict[str, Any]:
        """Return the figures as plain values. Without wake phrases in the stream, there are no misses."""
        figures: dict[str, Any] = {
            "words": list(self.wake.words),
            "command_s": self.command_s,
            "share_of_background": self.share_of_background,
            **self._alarms_to_json(len(self.alarms_of_wake)),
            "pair": self._alarms_to_json(self.false_alarms),
        }
        if self.phrase_found.size:
            figures |= _misses_to_json(self.phrase_found)
            figures["pair"] |= _misses_to_json(self.word_found)
            if self.phrase_found.any():
                figures["pair"]["after_detected_phrase"] = _misses_to_json(self.word_found[self.phrase_found])
        return figures

    def _alarms_to_json(self, count: int) -> dict[str, Any]:
        interval = list(poisson_interval(count, self.hours))
        return {
            "false_alarms": count,
            "false_alarms_per_hour": count / self.hours,
            "false_alarms_per_hour_interval": interval,
        }


def _misses_to_json(found: NDArray[np.bool_]) -> dict[str, Any]:
    missed = int((~found).sum())
    interval = list(wilson_interval(missed, found.size))
    return {"missed": missed, "placed": found.size, "miss_rate": missed / found.size, "miss_rate_interval": interval}


def evaluate_wake(commands: StreamEvaluation, command_s: float) -> WakeEvaluation:
    """Evaluate commands that count only after a wake phrase.

    Parameters
    ----------
    commands
        The evaluation of the command model, of a run with a wake model.
    command_s
        Time after a wake phrase during which commands count, in seconds.

    Raises
    ------
    HarkenError
        The run has no wake model.
    """
    if commands.listener_run.wake is None:
        raise HarkenError("the listener ran without a wake model: run it again with one")
    return WakeEvaluation(commands, commands.listener_run.wake, command_s)
