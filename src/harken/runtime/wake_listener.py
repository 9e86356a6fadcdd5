"""Detect commands only after a wake phrase.

WakeListener   two listeners on one stream: the second one's words count for some seconds after the first one's
WakeEvent      a detected wake phrase or command, with the time until which commands count
"""

import copy
import math
from collections import deque
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from harken.audio.clip import is_number
from harken.errors import HarkenError
from harken.runtime.listener import Event, Listener

MAX_COMMAND_S = 3600.0
DEFAULT_COMMAND_S = 5.0


@dataclass(frozen=True)
class WakeEvent(Event):
    """A detected wake phrase or command.

    Attributes
    ----------
    kind
        `"wake"` for a wake phrase, `"command"` for a command.
    until_s
        Time in the stream until which commands count, in seconds from its start.
    """

    kind: Literal["wake", "command"]
    until_s: float


class WakeListener:
    """Detect commands only after a wake phrase.

    Two listeners process the same stream. The words of `commands` count for `command_s` seconds after a word of `wake` was
    detected. A further detection of `wake` starts this time again. All other words of `commands` are dropped. So a false
    alarm needs two mistakes within a few seconds: one of each model.

    `commands` processes the whole stream, so that it knows the audio before a command. A command counts if it is detected
    after the wake phrase, in a window of audio that begins before the time is up. Therefore a command that was spoken in
    time counts even if it is detected a moment later.

    Commands that follow a wake phrase do not have to stand alone: while commands count, `isolation` is 0. The phrase
    would otherwise be the sound before the command that lowers its confidence (see `harken.runtime.isolation`).

    If the models share a word and both detect it in the same sound, it is a wake phrase and not a command. While commands
    count already, it is both.

    The same audio gives the same events, however it is split into chunks. If both models have the same sample rate, the
    audio is resampled once. A copy or a pickle has the same settings and begins a new stream.

    Parameters
    ----------
    wake
        Listener for the wake phrase. Each of its words is a wake phrase. Its stream begins anew.
    commands
        Listener for the commands. Its stream begins anew. Do not push audio to either listener yourself.
    command_s
        Time after a wake phrase during which commands count, in seconds, above 0.

    Attributes
    ----------
    wake, commands : Listener
        The two listeners.
    command_s : float
        The time during which commands count.

    Raises
    ------
    HarkenError
        If `wake` or `commands` is not a `Listener`, their streams have different sample rates, both models have the same
        words, or `command_s` is out of range.

    Examples
    --------
    >>> from harken import Listener, Recognizer, WakeListener
    >>> wake = Listener(Recognizer("mirror.onnx"), source_rate=16_000)
    >>> listener = WakeListener(wake, Listener(Recognizer(), source_rate=16_000), command_s=5)
    >>> for chunk in chunks:
    ...     for event in listener.push(chunk):
    ...         print(event.kind, event.word, event.end_s, event.until_s)
    """

    def __init__(self, wake: Listener, commands: Listener, *, command_s: float = DEFAULT_COMMAND_S) -> None:
        for name, listener in (("wake", wake), ("commands", commands)):
            if not isinstance(listener, Listener):
                raise HarkenError(f"{name}={listener!r}: pass a Listener")
        if wake.source_rate != commands.source_rate:
            raise HarkenError(
                f"the wake listener takes audio at {wake.source_rate} Hz and the command listener at "
                f"{commands.source_rate} Hz: create both with the same source_rate"
            )
        if not is_number(command_s) or not 0 < command_s <= MAX_COMMAND_S:
            raise HarkenError(f"command_s={command_s!r} must be a number of seconds above 0, at most {MAX_COMMAND_S:g}")
        if set(wake.settings.thresholds) == set(commands.settings.thresholds):
            words = ", ".join(commands.settings.thresholds)
            raise HarkenError(
                f"the wake model and the command model have the same words ({words}): use a wake model with another phrase"
            )
        self.wake = wake
        self.commands = commands
        self.command_s = float(command_s)
        self._resamples_once = wake.sample_rate == commands.sample_rate
        self.reset()

    def __reduce__(self) -> tuple[Any, ...]:
        # Copies, because a new wake listener begins the streams of its listeners anew.
        return _make_wake_listener, (copy.copy(self.wake), copy.copy(self.commands), self.command_s)

    def reset(self) -> None:
        """Forget the stream, and get ready for another stream."""
        self.wake.reset()
        self.commands.reset()
        self._wake_words: deque[Event] = deque()  # those that `commands` has not reached yet
        self._last: Event | None = None  # the last wake phrase that `commands` has reached
        self._command_end = 0  # number of samples of the stream after which no command counts
        self._waiting = np.zeros(0, np.float32)  # samples for `commands`

    @property
    def seconds(self) -> float:
        """Length of the stream so far. A stream that is resampled is up to a few hundredths of a second behind."""
        return self.commands.seconds

    @property
    def until_s(self) -> float | None:
        """Time in the stream until which commands count. None if that is over, or no wake phrase was detected yet."""
        if self._last is None or self.seconds >= self._last.end_s + self.command_s:
            return None
        return self._last.end_s + self.command_s

    def push(self, chunk: NDArray[Any]) -> list[WakeEvent]:
        """Process a chunk of audio and return the wake phrases and commands detected in it.

        Parameters
        ----------
        chunk
            Floats, int16 or int32 PCM, or 8-bit PCM as uint8, [samples] or [samples, channels], of any length.

        Returns
        -------
        list of WakeEvent
            The wake phrases and the commands that count, in the order of their times.

        Raises
        ------
        HarkenError
            If the chunk is not audio or contains NaN, infinity, or samples above 100. Nothing of the chunk is used then.
            If the stream was finished.
        """
        samples = self.wake._resample(chunk)
        self._wake_words += self.wake._push_resampled(samples)
        self._wait(samples if self._resamples_once else self.commands._resample(chunk))
        # The two resamplers have different delays. `commands` is never ahead, since it has to know every wake phrase.
        known = self.wake._received * self.commands.sample_rate // self.wake.sample_rate
        return self._advance(min(known, self.commands._received + self._waiting.size))

    def finish(self) -> list[WakeEvent]:
        """End the stream and return the last wake phrases and commands.

        Returns
        -------
        list of WakeEvent
            What was detected since the last `push`.

        Raises
        ------
        HarkenError
            If the stream was already finished.
        """
        rest = self.wake._resampler.finish()
        wake_size = self.wake._received + rest.size
        self._wake_words += self.wake._push_resampled(self.wake._with_silence(rest))
        waiting = np.concatenate([self._waiting, rest if self._resamples_once else self.commands._resampler.finish()])
        size = self.commands._received + waiting.size
        self._waiting = self.commands._with_silence(waiting)
        events = self._advance(self.commands._received + self._waiting.size)
        while self._wake_words:  # The silence after the stream can be longer for the wake listener.
            events.append(self._begin_commands())
        # Until here, times in the silence decided what came first. It is not part of the stream.
        self.wake._received, self.commands._received = wake_size, size
        return [replace(event, end_s=min(event.end_s, self.seconds)) for event in events]

    def _wait(self, samples: NDArray[np.float32]) -> None:
        self._waiting = np.concatenate([self._waiting, samples])

    def _advance(self, end: int) -> list[WakeEvent]:
        """Process the stream for `commands` up to a number of samples."""
        events: list[WakeEvent] = []
        while self._wake_words and (at := round(self._wake_words[0].end_s * self.commands.sample_rate)) <= end:
            events += self._process(at)
            events.append(self._begin_commands())
        return events + self._process(end)

    def _process(self, end: int) -> list[WakeEvent]:
        self.commands._ignores_isolation = True
        events = self._push_waiting(min(end, self._command_end))
        self.commands._ignores_isolation = False
        return events + self._push_waiting(end)

    def _push_waiting(self, end: int) -> list[WakeEvent]:
        count = max(0, end - self.commands._received)
        samples, self._waiting = self._waiting[:count], self._waiting[count:]
        return self._counting(self.commands._push_resampled(samples))

    def _begin_commands(self) -> WakeEvent:
        if self.commands._received >= self._command_end:
            # A word that was dropped, perhaps a part of the phrase, must not hold off the first command.
            self.commands._refractory_end = 0
        self._last = self._wake_words.popleft()
        until_s = self._last.end_s + self.command_s
        # The last window that counts begins before this time.
        self._command_end = math.ceil(until_s * self.commands.sample_rate) + self.commands.window - 1
        return WakeEvent(**vars(self._last), kind="wake", until_s=until_s)

    def _counting(self, words: list[Event]) -> list[WakeEvent]:
        if self._last is None:
            return []
        until_s = self._last.end_s + self.command_s
        return [
            WakeEvent(**vars(word), kind="command", until_s=until_s)
            for word in words
            if counts(word, self._last, until_s)
        ]


def counts(word: Event, wake_word: Event, until_s: float) -> bool:
    """Return whether a word of the command model counts as a command.

    Parameters
    ----------
    word
        The word.
    wake_word
        The last wake phrase that was detected before it, or at the same time.
    until_s
        Time until which commands count.
    """
    same_utterance = word.word == wake_word.word and word.start_s < wake_word.end_s
    return word.end_s > wake_word.end_s and word.start_s < until_s and not same_utterance


def _make_wake_listener(wake: Listener, commands: Listener, command_s: float) -> WakeListener:
    return WakeListener(wake, commands, command_s=command_s)
