"""The model file at work on a stream.

Listener           chunks of any size and rate in, events out
Event              a word that was heard, and where
ListenerSettings   what decides: hop, smoothing, thresholds, refractory time, energy gate, isolation
"""

import math
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from harken.audio.clip import MAX_AMPLITUDE, is_number, peak_of
from harken.audio.resampler import Resampler
from harken.errors import HarkenError
from harken.runtime.isolation import Isolation, subtract_logits
from harken.runtime.modelfile import Card, ModelFile
from harken.runtime.recognizer import Recognizer
from harken.runtime.streamfile import StreamFile

DEFAULT_THRESHOLD = 0.8  # of a word for which the model file holds none

LONGEST_SMOOTHING_MS = 10_000.0
MOST_ISOLATION = 40.0  # logits: of twice as many a float32 still holds the exponential, in C too

_ROOM = 4  # windows that the buffer holds: the last one is moved to its front once in three windows


@dataclass(frozen=True)
class Event:
    """A word that was heard.

    start_s, end_s : the window of audio in which it was heard, in seconds of the stream; the event was decided on when
    the stream had come to `end_s`. confidence : the smoothed posterior of the word there, less what `isolation` costs it.
    """

    word: str
    start_s: float
    end_s: float
    confidence: float


@dataclass(frozen=True, kw_only=True)
class ListenerSettings:
    """What decides that a word was heard; the model file keeps it as the JSON of its metadata key `listener`.

    thresholds : for each word the least confidence at which it counts as heard, 0 to 1.
    hop_ms : from one look at the last window to the next. smoothing_ms : posteriors are averaged over the hops of
    this time. refractory_ms : for so long after an event there is no other. gate_db : a window whose every sample
    stays below this level, in dB of full scale, is silence, and the network does not look at it; -inf: it looks always.
    isolation : the logits that a word's confidence loses for other sound before it, and again for sound right after it
    (harken.runtime.isolation); 0: a word within a sentence counts as much as one that stands alone.
    """

    thresholds: Mapping[str, float]
    hop_ms: float = 100.0
    smoothing_ms: float = 500.0
    refractory_ms: float = 1000.0
    gate_db: float = -60.0
    isolation: float = 5.0

    def __post_init__(self) -> None:
        for name in ("hop_ms", "smoothing_ms", "refractory_ms", "gate_db", "isolation"):
            if not is_number(value := getattr(self, name)):
                raise HarkenError(f"{name}={value!r} is no number: give one")
        for name in ("hop_ms", "smoothing_ms", "refractory_ms", "isolation"):
            value = getattr(self, name)
            if not (math.isfinite(value) and value >= 0) or (name == "hop_ms" and value == 0):
                raise HarkenError(f"{name}={value} must be a number {'over 0' if name == 'hop_ms' else 'of 0 or more'}")
        if self.smoothing_ms > LONGEST_SMOOTHING_MS:  # the listener keeps the posteriors of so long
            raise HarkenError(f"smoothing_ms={self.smoothing_ms} must be at most {LONGEST_SMOOTHING_MS:g}")
        if self.isolation > MOST_ISOLATION:
            raise HarkenError(f"isolation={self.isolation} must be at most {MOST_ISOLATION:g}: it is in logits")
        if not self.gate_db <= 0:
            raise HarkenError(f"gate_db={self.gate_db} must be 0 or less: it is in dB of full scale")
        if not isinstance(self.thresholds, Mapping):
            raise HarkenError(f"thresholds={self.thresholds!r}: give them by the word, as {{'stop': 0.9}}")
        for word, threshold in self.thresholds.items():
            if not is_number(threshold) or not 0 <= threshold <= 1:
                raise HarkenError(f"the threshold of {word} is {threshold!r}: it must be from 0 to 1")

    @classmethod
    def of_card(cls, card: Card) -> "ListenerSettings":
        """Return a model file's own: those of its key `listener`, else the defaults with its `thresholds`.

        A word that has no threshold in either gets 0.8. Thresholds that were tuned before there was `isolation` do without
        it. Raises HarkenError when `listener` does not hold settings.
        """
        stored = card.fields.get("listener", {})
        try:
            values = dict(stored)
            if values.get("gate_db", 0.0) is None:  # JSON has no infinity
                values["gate_db"] = -math.inf
            if "thresholds" in values:
                values.setdefault("isolation", 0.0)
            thresholds = {word: card.thresholds.get(word, DEFAULT_THRESHOLD) for word in card.words}
            return cls(**{**values, "thresholds": thresholds | values.get("thresholds", {})})
        except (HarkenError, TypeError, ValueError) as error:
            raise HarkenError(
                f"the model's metadata key `listener` holds no settings ({error}): tune it again"
            ) from error

    def to_json(self) -> dict[str, Any]:
        """Return the settings as plain values, for the metadata key `listener`."""
        values = asdict(self)
        return values | {
            "thresholds": dict(self.thresholds),
            "gate_db": None if self.gate_db == -math.inf else self.gate_db,
        }


class Listener:
    """Hears words in a stream.

    Every `hop_ms` of audio the network looks at the last window, zeros standing for what was before the stream. The
    posteriors of the last `smoothing_ms` are averaged (Chen, Parada and Heigold, ICASSP 2014, section 2.3; so also Sainath
    and Parada, Interspeech 2015). A word is heard when it is then the most probable class, at its threshold or over it, and
    no event was less than `refractory_ms` ago; while it stays so it is one event. Its posterior is first lowered, by up to
    twice `isolation` logits, where the word does not stand alone (harken.runtime.isolation). Hops are counted in samples at the
    model's rate, and each is one run of the network on one window: the same audio gives the same events, in whatever chunks
    it comes.

    In silence the network is not run: where no sample of the window reaches `gate_db`, the posteriors are taken to be
    those that the network gave for digital silence when the listener was made.

    Parameters
    ----------
    recognizer : whose model file listens; or a streaming form, which takes the place of the window: each hop is one step
        of it, and costs a fraction of a window. Its posteriors are those of all that was heard, averaged over a window.
    source_rate : of the stream in Hz, 4,000 to 192,000; never guessed.
    hop_ms, smoothing_ms, refractory_ms, gate_db, isolation : see ListenerSettings; else the model file's own.
    thresholds : of some words or all; the others keep the model file's own.

    Raises HarkenError when a value is impossible, the hop is longer than the window, or a word is not the model's.
    """

    def __init__(
        self,
        recognizer: Recognizer | StreamFile,
        *,
        source_rate: int,
        hop_ms: float | None = None,
        smoothing_ms: float | None = None,
        refractory_ms: float | None = None,
        thresholds: Mapping[str, float] | None = None,
        gate_db: float | None = None,
        isolation: float | None = None,
    ) -> None:
        card = getattr(recognizer, "card", None)
        if not isinstance(card, Card):
            raise HarkenError(
                f"{recognizer!r} is no recogniser: pass Recognizer() or StreamFile(), opened from a model"
            )
        if not is_number(source_rate):
            raise HarkenError(f"source_rate={source_rate!r}: give the rate of the stream, a number of Hz")
        self.settings = _settings(
            card,
            thresholds,
            hop_ms=hop_ms,
            smoothing_ms=smoothing_ms,
            refractory_ms=refractory_ms,
            gate_db=gate_db,
            isolation=isolation,
        )
        self.labels = card.labels
        self.sample_rate = card.sample_rate
        self.hop = round(self.settings.hop_ms * card.sample_rate / 1000)
        self.window = card.window
        if not 1 <= self.hop <= self.window:
            most = 1000 * self.window / self.sample_rate
            raise HarkenError(
                f"hop_ms={self.settings.hop_ms} must be a sample or more and at most the window, {most:g}"
            )
        self._network: _Windows | _Steps
        if isinstance(recognizer, StreamFile):
            if self.hop != recognizer.step:
                step = 1000 * recognizer.step / self.sample_rate
                raise HarkenError(f"hop_ms={self.settings.hop_ms} is not the step of {recognizer.path}: give {step:g}")
            self._network = _Steps(recognizer, self.window)
        else:
            self._network = _Windows(recognizer.model, self.window)
        self._silence = self._network.silence
        self.refractory_hops = math.ceil(self.settings.refractory_ms / self.settings.hop_ms)
        self._thresholds = self._by_label()
        self._gate = 10 ** (self.settings.gate_db / 20)
        self._resampler = Resampler(source_rate, self.sample_rate)
        self._isolation = Isolation(self.sample_rate, self.window)
        self._buffer = np.zeros(_ROOM * self.window, np.float32)
        smoothed = max(1, round(self.settings.smoothing_ms / self.settings.hop_ms))
        self._history = np.empty((smoothed, len(self.labels)), np.float32)
        self._peaks = np.empty(-(-self.window // self.hop), np.float32)
        self.reset()

    def reset(self) -> None:
        """Forget the stream and all that was counted, and be ready for another one."""
        self._resampler.reset()
        self._network.reset()
        self._isolation.reset()
        self._buffer[: self.window] = 0.0
        self._end = self.window  # of what the buffer holds
        self._pending = 0  # samples since the last hop
        self._history[:] = self._silence
        self._peaks[:] = 0.0
        self._armed = 0  # the hop from which there may be an event again
        self._told = -1  # the word of the last event, while it stays at its threshold or over it
        self._finished = False
        self._heard = 0
        self.hops = 0
        self.skipped = 0
        self.posteriors = self._silence
        self.confidence = float(self._silence.max())

    def set_thresholds(self, thresholds: Mapping[str, float]) -> None:
        """Move some words' thresholds from the next hop on. Raises HarkenError when a word or a value is unfit."""
        _check_words(thresholds, self.settings.thresholds)
        self.settings = replace(self.settings, thresholds={**self.settings.thresholds, **thresholds})
        self._thresholds = self._by_label()

    def _by_label(self) -> NDArray[np.float64]:
        # No posterior reaches 2: only words are heard.
        return np.array([self.settings.thresholds.get(label, 2.0) for label in self.labels])

    hops: int
    """How many times it has looked at the last window, the gate's included."""

    skipped: int
    """How many of those the energy gate has saved the network."""

    posteriors: NDArray[np.float32]
    """The smoothed posteriors [classes] at the last hop."""

    confidence: float
    """The highest of them, less what `isolation` costs it: what thresholds are held against."""

    @property
    def seconds(self) -> float:
        """How much of the stream was heard; a resampler holds back the last hundredths of a second."""
        return self._heard / self.sample_rate

    @property
    def level_db(self) -> float:
        """The highest sample of the last hop in dB of full scale; -inf for digital silence."""
        peak = float(self._peaks[(self.hops - 1) % len(self._peaks)])
        return 20 * math.log10(peak) if peak > 0 else -math.inf

    def push(self, chunk: NDArray[Any]) -> list[Event]:
        """Hear a chunk, floats or int16 PCM, [samples] or [samples, channels], and return the words decided on.

        Raises HarkenError when the chunk is unfit, holds NaN or what is far over full scale, and hears nothing of it; and
        after finish.
        """
        if (
            isinstance(chunk, np.ndarray)
            and chunk.dtype.kind == "f"
            and MAX_AMPLITUDE < (peak := peak_of(chunk)) < math.inf
        ):
            raise HarkenError(f"a chunk holds a sample of {peak:.3g}: floats must be within ±1; divide int16 by 32768")
        samples = self._resampler.push(chunk)
        self._heard += samples.size
        return self._hear(samples)

    def finish(self) -> list[Event]:
        """End the stream, as if silence followed until the last of it has left the window, and return the last words."""
        rest = self._resampler.finish()
        self._heard += rest.size
        events = self._hear(rest)
        looks = len(self._peaks) - (self._pending == 0)
        return events + self._hear(np.zeros(max(0, looks * self.hop - self._pending), np.float32))

    def _hear(self, samples: NDArray[np.float32]) -> list[Event]:
        events = []
        start = 0
        while start < samples.size:
            taken = min(self.hop - self._pending, samples.size - start)
            self._append(samples[start : start + taken])
            start += taken
            self._pending += taken
            if self._pending == self.hop:
                self._pending = 0
                event = self._look()
                if event is not None:
                    events.append(event)
        return events

    def _append(self, samples: NDArray[np.float32]) -> None:
        if self._end + samples.size > self._buffer.size:
            self._buffer[: self.window] = self._buffer[self._end - self.window : self._end]
            self._end = self.window
        self._buffer[self._end : self._end + samples.size] = samples
        self._end += samples.size

    def _look(self) -> Event | None:
        """Judge the last window, at the end of a hop."""
        newest = self._buffer[self._end - self.hop : self._end]
        self._peaks[self.hops % len(self._peaks)] = max(newest.max(), -newest.min())
        self._isolation.push(newest)
        if self._peaks.max() < self._gate:
            posteriors = self._silence
            self._network.reset()
            self.skipped += 1
        else:
            posteriors = self._network.look(self._buffer[self._end - self.window : self._end], self.hop)
        self._history[self.hops % len(self._history)] = posteriors
        self.hops += 1
        self.posteriors = self._history.sum(axis=0) / np.float32(len(self._history))
        top = int(self.posteriors.argmax())
        doubt = self.settings.isolation * self._isolation.doubt
        self.confidence = float(
            np.float32(subtract_logits(float(self.posteriors[top]), doubt))
        )  # as precise as a posterior
        over = self.confidence >= self._thresholds[top]
        if not over or top != self._told:
            self._told = -1
        if not over or top == self._told or self.hops < self._armed:
            return None
        self._told = top
        self._armed = self.hops + self.refractory_hops
        end = self.hops * self.hop
        start = max(0, end - self.window)
        # The silence after the end of a stream is no part of it.
        return Event(
            self.labels[top],
            start / self.sample_rate,
            min(end, self._heard) / self.sample_rate,
            self.confidence,
        )


class _Windows:
    """A model file that looks at the last window whole."""

    def __init__(self, model: ModelFile, window: int) -> None:
        self._model = model
        self.silence = model.probabilities(np.zeros((1, window), np.float32))[0]

    def reset(self) -> None:
        pass

    def look(self, window: NDArray[np.float32], _: int) -> NDArray[np.float32]:
        found: NDArray[np.float32] = self._model.probabilities(window[None])[0]
        return found


class _Steps:
    """A streaming form that takes the last hop and remembers the rest; after silence it remembers a window of zeros."""

    def __init__(self, form: StreamFile, window: int) -> None:
        self._form = form
        zeros, state = np.zeros((1, form.step), np.float32), form.start()
        # Its convolutions reach back further than a window: twice that, and nothing of the start is left.
        for _ in range(2 * -(-window // form.step)):
            probabilities, state = form.advance(zeros, state)
        self.silence: NDArray[np.float32] = probabilities[0]
        self._quiet = state
        self._state = state

    def reset(self) -> None:
        self._state = self._quiet

    def look(self, window: NDArray[np.float32], hop: int) -> NDArray[np.float32]:
        probabilities, self._state = self._form.advance(window[None, -hop:], self._state)
        found: NDArray[np.float32] = probabilities[0]
        return found


def _settings(card: Card, thresholds: Mapping[str, float] | None, **given: float | None) -> ListenerSettings:
    own = ListenerSettings.of_card(card)
    # A numpy number would not go into JSON.
    changes: dict[str, Any] = {
        name: float(value) if is_number(value) else value for name, value in given.items() if value is not None
    }
    if isinstance(thresholds, Mapping | None):
        thresholds = {**own.thresholds, **(thresholds or {})}
    settings = replace(own, **changes, thresholds=thresholds)
    _check_words(settings.thresholds, card.words)
    return settings


def _check_words(thresholds: Mapping[str, float], words: Iterable[str]) -> None:
    if strangers := set(thresholds) - set(words):
        known = ", ".join(sorted(words))
        raise HarkenError(f"there is a threshold for {', '.join(sorted(strangers))}: the model's words are {known}")
