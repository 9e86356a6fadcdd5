"""Measure whether the server keeps up with its live streams.

StreamLoad    all open streams: their cost, and how far behind they are
StreamMeter   one open stream
"""

import math
import time
from collections import deque
from statistics import median
from typing import Any

import numpy as np

from harken.runtime.listener import Listener
from harken.runtime.two_stage import StreamModel, TwoStage

FULL_LOAD = 0.8  # share of the threads' time up to which streams are accepted; clips need some of the rest
_PRIOR_S = 2.0  # audio for which the estimated cost counts, until a stream's own cost is known
_AHEAD_S = 2.0  # a stream whose audio arrives earlier than this is not live: it comes as fast as it is processed
_SHARE_OF_SECOND = 0.2  # of the steps in a stream full of words, at which the second one of two models runs
_CHECK_S = 0.1  # time between two checks whether the streams are behind
_SETTLING_S = 1.0  # time in which closing streams takes effect on the others
_MEMORY_S = 60.0  # how long no more streams are accepted than the server was able to process


class StreamMeter:
    """One open stream: its audio that waits, and what it costs.

    Parameters
    ----------
    now
        The current time in seconds.
    cost
        Estimated computing time per second of audio.
    """

    def __init__(self, now: float, cost: float) -> None:
        self._cost = cost
        self._opened = now
        self._arrived_s = 0.0
        self._processed_s = 0.0
        self._busy_s = 0.0
        self._waiting: deque[float] = deque()  # arrival times of messages that are not processed yet

    def arrived(self, seconds: float, now: float) -> None:
        """Count a message when it arrives, with its length in seconds."""
        if not self._arrived_s:
            self._opened = now
        self._arrived_s += seconds
        self._waiting.append(now)

    def processed(self, seconds: float, busy_s: float) -> None:
        """Count the oldest waiting message as processed, with the computing time that it took."""
        self._waiting.popleft()
        self._processed_s += seconds
        self._busy_s += busy_s

    @property
    def cost(self) -> float:
        """Computing time per second of audio."""
        return (self._cost * _PRIOR_S + self._busy_s) / (_PRIOR_S + self._processed_s)

    def is_live(self, now: float) -> bool:
        """Return whether the audio arrives as it is spoken, and not faster."""
        return self._arrived_s - (now - self._opened) < _AHEAD_S

    def lag(self, now: float) -> float:
        """Return for how long the oldest waiting message has waited, in seconds."""
        return now - self._waiting[0] if self._waiting else 0.0


class StreamLoad:
    """All open streams. Only the event loop may use it.

    Parameters
    ----------
    threads
        Number of inference threads.
    cost
        Estimated computing time of a stream per second of audio.
    max_lag_s
        How far the streams may be behind.
    """

    def __init__(self, threads: int, cost: float, max_lag_s: float) -> None:
        self._threads = threads
        self._cost = cost
        self._max_lag_s = max_lag_s
        self._meters: list[StreamMeter] = []  # in the order of opening
        self._next_check = -math.inf
        self._checked_lag = 0.0
        self._processed_s = 0.0  # audio of all streams
        self._history: deque[tuple[float, float]] = deque()  # the last seconds: time, and audio processed until then
        self._capacity, self._capacity_until = math.inf, 0.0  # number of streams that are known to be too many

    def open(self, now: float) -> StreamMeter:
        """Add a stream."""
        self._meters.append(StreamMeter(now, self._cost))
        return self._meters[-1]

    def processed(self, meter: StreamMeter, seconds: float, busy_s: float, now: float) -> None:
        """Count a stream's oldest waiting message as processed, with the computing time that it took."""
        meter.processed(seconds, busy_s)
        self._processed_s += seconds
        if not self._history or now > self._history[-1][0] + 0.1 * _SETTLING_S:
            self._history.append((now, self._processed_s))
        while self._history[0][0] < now - 2 * _SETTLING_S:
            self._history.popleft()

    def close(self, meter: StreamMeter) -> None:
        """Remove a stream."""
        self._meters.remove(meter)

    @property
    def load(self) -> float:
        """Share of the threads' time that the open streams need."""
        return sum(meter.cost for meter in self._meters) / self._threads

    def is_full(self, now: float) -> bool:
        """Return whether one more stream would be too much. The first one never is."""
        if not self._meters:
            return False
        one_more = self.load * (len(self._meters) + 1) / len(self._meters)
        full = len(self._meters) >= self._capacity and now < self._capacity_until
        return full or one_more > FULL_LOAD or self.lag(now) > self._max_lag_s / 2

    def lag(self, now: float, *, quantile: float = 0.5) -> float:
        """Return how far the live streams are behind, in seconds: the median, or another quantile."""
        lags = [meter.lag(now) for meter in self._meters if meter.is_live(now)]
        return float(np.quantile(lags, quantile)) if lags else 0.0

    def is_behind(self, now: float) -> bool:
        """Return whether the live streams are too far behind."""
        return self.lag(now) > self._max_lag_s

    def must_close(self, meter: StreamMeter, now: float) -> bool:
        """Return whether a stream has to be closed, so that those that were opened before it keep up."""
        if now >= self._next_check:
            self._check(now)
        return (
            len(self._meters) > self._capacity
            and now < self._capacity_until
            and self._meters.index(meter) >= self._capacity
        )

    def _check(self, now: float) -> None:
        """If the live streams are too far behind and do not catch up, note how many of them the server can process."""
        lag, earlier_lag = self.lag(now), self._checked_lag
        if lag <= self._max_lag_s:
            self._next_check = now + _CHECK_S
            return
        self._next_check, self._checked_lag = now + _SETTLING_S, lag
        if lag < earlier_lag:
            return
        # Each live stream needs a second of audio to be processed per second.
        start, before_s = self._history[0] if self._history else (now, self._processed_s)
        rate = (self._processed_s - before_s) / max(now - start, _SETTLING_S)
        self._capacity = max(1, min(len(self._meters) - 1, math.floor(FULL_LOAD * rate)))
        self._capacity_until = now + _MEMORY_S


def estimate_cost(recognizer: StreamModel) -> float:
    """Return the computing time of a stream per second of audio, by processing half a second of noise a few times."""
    if isinstance(recognizer, TwoStage):  # the noise below would not wake the second model
        return estimate_cost(recognizer.first) + _SHARE_OF_SECOND * estimate_cost(recognizer.second)
    listener: Any = Listener(recognizer, source_rate=recognizer.sample_rate)
    noise = np.random.default_rng(0).uniform(-0.1, 0.1, recognizer.sample_rate // 2).astype(np.float32)
    times = []
    for _ in range(3):
        start = time.perf_counter()
        listener.push(noise)
        times.append(time.perf_counter() - start)
    return 2 * median(times)
