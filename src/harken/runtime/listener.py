"""Detect words in a stream.

Listener           takes chunks of audio of any size and sample rate, and returns the words it detects
Event              a detected word, with its time and confidence
"""

import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, dataclass, fields, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from harken.audio.clip import MAX_AMPLITUDE, is_number, peak_of
from harken.audio.highpass import HighPass
from harken.audio.resampler import Resampler
from harken.errors import HarkenError
from harken.labels import SILENCE, normalize_word
from harken.runtime.isolation import Isolation, subtract_logits
from harken.runtime.listener_settings import ListenerSettings
from harken.runtime.modelfile import Card
from harken.runtime.stream_network import make_network
from harken.runtime.streamfile import StreamFile
from harken.runtime.two_stage import StreamModel, TwoStage

_BUFFER_WINDOWS = 4  # length of the buffer in windows; the last window is moved to the front once every three windows


@dataclass(frozen=True)
class Event:
    """A detected word.

    Attributes
    ----------
    word
        The word.
    start_s
        Start of the window of audio in which the word was detected, in seconds from the start of the stream.
    end_s
        End of that window. The word was detected when the stream had reached this time.
    confidence
        Smoothed probability of the word, reduced by the isolation penalty, 0 to 1.
    """

    word: str
    start_s: float
    end_s: float
    confidence: float

    def to_json(self) -> dict[str, Any]:
        """Return the attributes for JSON, with times to a millisecond and the confidence to four decimal places."""
        return {
            name: round(value, 4 if name == "confidence" else 3) if isinstance(value, float) else value
            for name, value in asdict(self).items()
        }


class Listener:
    """Detect words in a stream.

    Every `hop_ms` of audio, the network classifies the last window. The audio before the start of the stream counts as
    zeros. The probabilities (posteriors) of the last `smoothing_ms` are averaged (Chen, Parada and Heigold, ICASSP 2014,
    section 2.3; also Sainath and Parada, Interspeech 2015). If there is other sound around the word, its averaged
    probability is then lowered by up to twice `isolation` logits (see `harken.runtime.isolation`).

    A word is detected if it is the most probable class, its confidence reaches its threshold, and the last event was at
    least `refractory_ms` ago. As long as the word stays the most probable class and at or above its threshold, it is one
    event.

    Hops are counted in samples at the model's rate, and the network runs on one window at a time. Therefore the same audio
    gives the same events, however it is split into chunks.

    A listener can be pickled and copied. The copy has the same settings and begins a new stream.

    In silence the network does not run. If no sample of the window reaches `gate_db`, the listener uses the probabilities
    of digital silence, which it computes once at the start.

    All levels, those of the gate and of the isolation, are measured without the constant offset and the low hum of the
    microphone (see `harken.audio.highpass`).

    Parameters
    ----------
    recognizer
        A `Recognizer`, or a `StreamFile` for less computation. With a `StreamFile`, each hop is one step of the streaming
        model and costs a fraction of a window. Its probabilities depend on all the audio so far, averaged over a window.
        A `TwoStage` classifies windows only when a streaming model has found something like a word.
    source_rate
        Sample rate of the stream in Hz, 4,000 to 192,000.
    hop_ms
        Step between two evaluations of the network, in milliseconds. Default: the step of a streaming model, and otherwise the
        model's own value, as for all settings.
    smoothing_ms
        Average the probabilities over this many milliseconds.
    refractory_ms
        Minimum time between two detections, in milliseconds.
    thresholds
        Minimum confidence of some or all words. The other words keep the thresholds of the model.
    gate_db
        Level in dB of full scale below which the audio counts as silence.
    isolation
        Number of logits by which sound around a word reduces its confidence. See `ListenerSettings`.

    Attributes
    ----------
    settings : ListenerSettings
        The settings in use.
    source_rate : int
        Sample rate of the stream in Hz.
    labels : tuple of str
        Class names in the order of `posteriors`.
    sample_rate : int
        Sample rate of the model in Hz.
    hop : int
        Length of a hop in samples at `sample_rate`.
    window : int
        Length of the model's window in samples.
    refractory_hops : int
        Minimum number of hops between two detections.

    Raises
    ------
    HarkenError
        If a value is out of range, the hop is longer than the window, or a threshold is for a word that the model does
        not have.

    Examples
    --------
    >>> from harken import Listener, Recognizer
    >>> listener = Listener(Recognizer(), source_rate=16_000)
    >>> for chunk in chunks:
    ...     for event in listener.push(chunk):
    ...         print(event.word, event.end_s)
    """

    def __init__(
        self,
        recognizer: StreamModel,
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
                f"{recognizer!r} is not a recognizer: pass a Recognizer, a StreamFile or a TwoStage, for example "
                "Recognizer('base')"
            )
        if not is_number(source_rate):
            raise HarkenError(f"source_rate={source_rate!r}: pass the sample rate of the stream in Hz, as a number")
        streaming = recognizer.first if isinstance(recognizer, TwoStage) else recognizer
        if isinstance(streaming, StreamFile) and hop_ms is None:
            hop_ms = 1000 * streaming.step / streaming.sample_rate
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
            window_ms = 1000 * self.window / self.sample_rate
            raise HarkenError(
                f"hop_ms={self.settings.hop_ms} must be at least one sample, and at most the window of {window_ms:g} ms"
            )
        self._recognizer = recognizer
        if isinstance(streaming, StreamFile) and self.hop != streaming.step:
            step_ms = 1000 * streaming.step / self.sample_rate
            raise HarkenError(
                f"hop_ms={self.settings.hop_ms} does not match the step of {streaming.path}: set it to {step_ms:g}, or "
                "use a model file alone"
            )
        self._network = make_network(recognizer, self.window)
        self._silence = self._network.silence
        self.refractory_hops = math.ceil(self.settings.refractory_ms / self.settings.hop_ms)
        self._thresholds = self._thresholds_by_label()
        self._gate = 10 ** (self.settings.gate_db / 20)
        self._resampler = Resampler(source_rate, self.sample_rate)
        self.source_rate = self._resampler.source_rate
        self._highpass = HighPass(self.sample_rate)
        self._isolation = Isolation(self.sample_rate, self.window, self.hop)
        self._silence_class = self.labels.index(SILENCE) if SILENCE in self.labels else None
        self._buffer = np.zeros(_BUFFER_WINDOWS * self.window, np.float32)
        smoothing_hops = max(1, round(self.settings.smoothing_ms / self.settings.hop_ms))
        self._history = np.empty((smoothing_hops, len(self.labels)), np.float32)
        self._peaks = np.empty(-(-self.window // self.hop), np.float32)  # peak level of each hop in the window
        self._after_hop: Callable[[], None] | None = None  # A `ClipSaver` looks at every hop: a chunk can end several.
        self.reset()

    def __reduce__(self) -> tuple[Any, ...]:
        # The state of the resampler cannot be copied.
        return _make_listener, (self._recognizer, self.source_rate, self.settings)

    def reset(self) -> None:
        """Forget the stream, set all counts to 0, and get ready for another stream."""
        self._resampler.reset()
        self._network.reset()
        self._highpass.reset()
        self._isolation.reset()
        self._buffer[: self.window] = 0.0
        self._buffer_end = self.window  # end of the samples in the buffer
        self._pending = 0  # samples since the last hop
        self._history[:] = self._silence
        self._peaks[:] = 0.0
        self._refractory_end = 0  # first hop at which there can be an event again
        self._active_class = -1  # class of the last event, as long as it stays at or above its threshold
        self._received = 0  # samples of the stream, at the model's rate
        self._ignores_isolation = False
        self.hops = 0
        self.skipped = 0
        self.posteriors = self._silence
        self.confidence = float(self._silence.max())

    def set_thresholds(self, thresholds: Mapping[str, float]) -> None:
        """Change the thresholds of some words, from the next hop on.

        Parameters
        ----------
        thresholds
            New threshold of each word to change, 0 to 1.

        Raises
        ------
        HarkenError
            If the model does not have one of the words, or a value is out of range. No threshold is changed then.
        """
        thresholds = {normalize_word(word): threshold for word, threshold in thresholds.items()}
        _check_words(thresholds, self.settings.thresholds)
        self.settings = replace(self.settings, thresholds={**self.settings.thresholds, **thresholds})
        self._thresholds = self._thresholds_by_label()

    def _thresholds_by_label(self) -> NDArray[np.float64]:
        # No probability reaches 2, so labels that are not words are never detected.
        return np.array([self.settings.thresholds.get(label, 2.0) for label in self.labels])

    hops: int
    """Number of hops so far, including those that the energy gate skipped."""

    skipped: int
    """Number of hops at which the energy gate skipped the network."""

    posteriors: NDArray[np.float32]
    """Smoothed probabilities [classes] at the last hop."""

    confidence: float
    """Highest of the smoothed probabilities, reduced by the isolation penalty. It is compared with the thresholds."""

    @property
    def seconds(self) -> float:
        """Length of the stream so far. A stream that is resampled is up to a few hundredths of a second behind."""
        return self._received / self.sample_rate

    @property
    def level_db(self) -> float:
        """Peak level of the last hop, in dB of full scale, without offset and hum. -inf for digital silence."""
        peak = float(self._peaks[(self.hops - 1) % len(self._peaks)])
        return 20 * math.log10(peak) if peak > 0 else -math.inf

    def push(self, chunk: NDArray[Any]) -> list[Event]:
        """Process a chunk of audio and return the words detected in it.

        Parameters
        ----------
        chunk
            Floats within ±1, int16 or int32 PCM, or 8-bit PCM as uint8, [samples] or [samples, channels], of any length.

        Returns
        -------
        list of Event
            The words that were detected during this chunk.

        Raises
        ------
        HarkenError
            If the chunk is not audio or contains NaN, infinity, or samples above 100. Nothing of the chunk is used then.
            If the stream was finished.
        """
        return self._push_resampled(self._resample(chunk))

    def finish(self) -> list[Event]:
        """End the stream and return the last words.

        The listener processes silence after the end, until the last audio has left the window.

        Returns
        -------
        list of Event
            The words that were detected since the last `push`.

        Raises
        ------
        HarkenError
            If the stream was already finished.
        """
        return self._finish_resampled(self._resampler.finish())

    # A `WakeListener` resamples a stream once for two listeners. It uses the following three methods, and sets
    # `_ignores_isolation` while it counts the words.

    def _resample(self, chunk: NDArray[Any]) -> NDArray[np.float32]:
        check_chunk(chunk)
        return self._resampler.push(chunk)

    def _push_resampled(self, samples: NDArray[np.float32]) -> list[Event]:
        self._received += samples.size
        return self._process(samples)

    def _finish_resampled(self, rest: NDArray[np.float32]) -> list[Event]:
        size = self._received + rest.size
        events = self._push_resampled(self._with_silence(rest))
        self._received = size
        return [replace(event, end_s=min(event.end_s, self.seconds)) for event in events]

    def _with_silence(self, rest: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return the last samples of a stream with silence after them, in which its last words are detected."""
        pending = (self._pending + rest.size) % self.hop
        hops = len(self._peaks) - (pending == 0)
        return np.pad(rest, (0, max(0, hops * self.hop - pending)))

    def _process(self, samples: NDArray[np.float32]) -> list[Event]:
        events = []
        start = 0
        while start < samples.size:
            count = min(self.hop - self._pending, samples.size - start)
            self._append(samples[start : start + count])
            start += count
            self._pending += count
            if self._pending == self.hop:
                self._pending = 0
                event = self._end_hop()
                if self._after_hop is not None:
                    self._after_hop()
                if event is not None:
                    events.append(event)
        return events

    def _append(self, samples: NDArray[np.float32]) -> None:
        if self._buffer_end + samples.size > self._buffer.size:
            self._buffer[: self.window] = self._buffer[self._buffer_end - self.window : self._buffer_end]
            self._buffer_end = self.window
        self._buffer[self._buffer_end : self._buffer_end + samples.size] = samples
        self._buffer_end += samples.size

    def _end_hop(self) -> Event | None:
        """Classify the last window, and decide whether there is an event."""
        newest = self._buffer[self._buffer_end - self.hop : self._buffer_end]
        without_hum = self._highpass.push(newest)
        self._peaks[self.hops % len(self._peaks)] = max(without_hum.max(), -without_hum.min())
        self._isolation.push(without_hum)
        if self._peaks.max() < self._gate:
            posteriors = self._silence
            self._network.reset()
            self.skipped += 1
        else:
            posteriors = self._network.classify(
                self._buffer[self._buffer_end - self.window : self._buffer_end], self.hop
            )
        self._history[self.hops % len(self._history)] = posteriors
        self.hops += 1
        if self._silence_class is not None:
            # The first windows contain the zeros before the stream, which are no noise.
            full = self.hops * self.hop >= self.window
            self._isolation.add_silence(float(posteriors[self._silence_class]) if full else 0.0)
        self.posteriors = self._history.sum(axis=0) / np.float32(len(self._history))
        top = int(self.posteriors.argmax())
        penalty = 0.0 if self._ignores_isolation else self.settings.isolation * self._isolation.penalty
        # float32, the precision of the probabilities
        self.confidence = float(np.float32(subtract_logits(float(self.posteriors[top]), penalty)))
        over_threshold = self.confidence >= self._thresholds[top]
        if not over_threshold or top != self._active_class:
            self._active_class = -1
        if not over_threshold or top == self._active_class or self.hops < self._refractory_end:
            return None
        self._active_class = top
        self._refractory_end = self.hops + self.refractory_hops
        end = self.hops * self.hop
        start = max(0, end - self.window)
        return Event(self.labels[top], start / self.sample_rate, end / self.sample_rate, self.confidence)


def check_chunk(chunk: NDArray[Any]) -> None:
    """Refuse floats that are too large to be audio.

    Raises
    ------
    HarkenError
        If the chunk contains samples above 100.
    """
    is_float = isinstance(chunk, np.ndarray) and chunk.dtype.kind == "f"
    if is_float and MAX_AMPLITUDE < (peak := peak_of(chunk)) < math.inf:
        raise HarkenError(f"a chunk contains a sample of {peak:.3g}: floats must be within ±1; divide int16 by 32768")


def _make_listener(recognizer: StreamModel, source_rate: int, settings: ListenerSettings) -> Listener:
    values = {field.name: getattr(settings, field.name) for field in fields(settings)}
    return Listener(recognizer, source_rate=source_rate, **values)


def _settings(card: Card, thresholds: Mapping[str, float] | None, **given: float | None) -> ListenerSettings:
    own = ListenerSettings.from_card(card)
    # float(): NumPy numbers cannot be written as JSON.
    changes: dict[str, Any] = {
        name: float(value) if is_number(value) else value for name, value in given.items() if value is not None
    }
    if isinstance(thresholds, Mapping | None):
        given_words = {normalize_word(word): threshold for word, threshold in (thresholds or {}).items()}
        thresholds = {**own.thresholds, **given_words}
    settings = replace(own, **changes, thresholds=thresholds)
    _check_words(settings.thresholds, card.words)
    return settings


def _check_words(thresholds: Mapping[str, float], words: Iterable[str]) -> None:
    if unknown := set(thresholds) - set(words):
        known = ", ".join(sorted(words))
        raise HarkenError(f"thresholds: the model does not know {', '.join(sorted(unknown))}; its words are {known}")
