"""Evaluate commands that count only after a wake phrase, from one run of both listeners over a stream.

evaluate_wake    evaluate the pair
WakeEvaluation   its false alarms beside those of each model alone, and the commands found after a wake phrase

The events of the pair follow from the wake phrases and from the confidence of the commands at each hop, by the rule of
`WakeListener`.
"""

from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from harken.errors import HarkenError
from harken.evaluation.metrics import poisson_interval, wilson_interval
from harken.evaluation.stream.audio import DETECTION_DEADLINE_S
from harken.evaluation.stream.evaluate import Outcome, StreamEvaluation, WakeRun, background_of, match_hops
from harken.runtime.listener import Event
from harken.runtime.wake_listener import counts

_DECIMALS = 6  # of times in seconds, so that equal times of the two listeners compare equal


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

    @cached_property
    def wake_false_alarms(self) -> int:
        """The number of wake phrases that were detected in background."""
        return int((background_of(self.commands.listener_run, self._wake_times) >= 0).sum())

    @cached_property
    def outcome(self) -> Outcome:
        """The commands that count, matched with the content of the stream."""
        listener_run = self.commands.listener_run
        # While commands count, isolation is off.
        scores = np.where(self._counting_hops, self.wake.unpenalized, listener_run.scores)
        pair = replace(listener_run, scores=scores)
        hops = pair.hops_of_events(self.commands.settings.thresholds)
        return match_hops(pair, np.array([hop for hop in hops if self._counts(int(hop))], dtype=np.int64))

    @property
    def share_of_background(self) -> float:
        """The share of the background during which commands count."""
        in_background = background_of(self.commands.listener_run, self._hop_times) >= 0
        return float(self._counting_hops[in_background].mean())

    @property
    def phrases(self) -> int:
        """The number of wake phrases that were placed before words."""
        return sum(utterance.phrase_start_s is not None for utterance in self.commands.listener_run.utterances)

    @property
    def missed_phrases(self) -> int:
        """How many of the placed wake phrases were not detected until a second after their end."""
        missed = 0
        for utterance in self.commands.listener_run.utterances:
            if utterance.phrase_start_s is not None and utterance.phrase_end_s is not None:
                end_s = utterance.phrase_end_s + DETECTION_DEADLINE_S
                found = (self._wake_times > utterance.phrase_start_s) & (self._wake_times <= end_s)
                missed += not found.any()
        return missed

    def to_json(self) -> dict[str, Any]:
        """Return the figures as plain values. Without wake phrases in the stream, there are no misses."""
        figures: dict[str, Any] = {
            "words": list(self.wake.words),
            "command_s": self.command_s,
            "share_of_background": self.share_of_background,
            **self._alarms_to_json(self.wake_false_alarms),
            "pair": self._alarms_to_json(self.outcome.false_alarms),
        }
        if self.phrases:
            figures |= self._misses_to_json(self.missed_phrases)
            figures["pair"] |= self._misses_to_json(self.outcome.missed)
        return figures

    def _alarms_to_json(self, count: int) -> dict[str, Any]:
        interval = list(poisson_interval(count, self.hours))
        return {
            "false_alarms": count,
            "false_alarms_per_hour": count / self.hours,
            "false_alarms_per_hour_interval": interval,
        }

    def _misses_to_json(self, missed: int) -> dict[str, Any]:
        interval = list(wilson_interval(missed, self.phrases))
        return {"missed": missed, "miss_rate": missed / self.phrases, "miss_rate_interval": interval}

    @cached_property
    def _wake_times(self) -> NDArray[np.float64]:
        return np.array([round(event.end_s, _DECIMALS) for event in self.wake.events], dtype=np.float64)

    @cached_property
    def _hop_times(self) -> NDArray[np.float64]:
        listener_run = self.commands.listener_run
        times = (np.arange(len(listener_run.top)) + 1) * listener_run.hop_s
        return np.asarray(times.round(_DECIMALS), dtype=np.float64)

    @cached_property
    def _last_wake(self) -> NDArray[np.int64]:
        """Index of the last wake phrase before each hop, or -1."""
        return np.searchsorted(self._wake_times, self._hop_times, side="left") - 1

    @cached_property
    def _counting_hops(self) -> NDArray[np.bool_]:
        if not self.wake.events:
            return np.zeros(len(self._hop_times), bool)
        end = self._wake_times[self._last_wake] + self.command_s + self.wake.window_s
        counting: NDArray[np.bool_] = (self._last_wake >= 0) & (self._hop_times < end.round(_DECIMALS))
        return counting

    def _counts(self, hop: int) -> bool:
        if self._last_wake[hop] < 0:
            return False
        listener_run, wake = self.commands.listener_run, self.wake.events[self._last_wake[hop]]
        end_s = float(self._hop_times[hop])
        start_s = round(max(0.0, end_s - self.wake.window_s), _DECIMALS)
        word = Event(listener_run.labels[listener_run.top[hop]], start_s, end_s, float(listener_run.scores[hop]))
        wake_s = float(self._wake_times[self._last_wake[hop]])
        return counts(word, replace(wake, end_s=wake_s), round(wake_s + self.command_s, _DECIMALS))


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
