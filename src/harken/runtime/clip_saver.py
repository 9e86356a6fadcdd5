"""Save the detections and near misses of a listener as clips.

ClipSaver   a listener, or a wake listener, that also saves clips

The folder contains:

- `detections/WORD/` and `near_misses/WORD/`: the window with the word, to train with
- `context/WORD/`: the same with a second before it and half a second after it, to listen to
- `clips.csv`: kind, word, confidence and time of each clip
"""

import csv
import math
import secrets
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from harken.audio.channels import Mixer
from harken.audio.resampler import to_float
from harken.audio.save import save_audio
from harken.errors import HarkenError
from harken.files import DISK_FULL, replacing
from harken.labels import NOT_IN_FOLDER_NAMES
from harken.runtime.listener import Event, Listener, check_chunk
from harken.runtime.wake_listener import WakeEvent, WakeListener

BEFORE_S = 1.0
AFTER_S = 0.5
NEAR_MISS = 0.5  # a near miss reaches this fraction of its word's threshold
_COLUMNS = ("file", "kind", "word", "confidence", "second", "time")

Kind = Literal["detections", "near_misses"]


@dataclass
class _Episode:
    """A word to save, as soon as the audio after it has arrived. Times are in seconds from the start of the stream.

    The clip is the window in which the confidence was highest, even if the word was detected earlier.
    """

    kind: Kind
    word: str
    start_s: float  # when it was detected, or came near the threshold
    peak_s: float
    confidence: float


class ClipSaver:
    """Detect words with a listener, and save each detection and near miss as a clip.

    A near miss is a word that was the most probable class with at least half the confidence of its threshold, and that was
    not detected. Each run counts as a speaker of its own, so that a later split by speaker keeps its clips together.

    With a `WakeListener`, wake phrases and commands are saved. Commands at times when they do not count are not.

    Parameters
    ----------
    listener
        Listener that has not processed any audio yet.
    source_rate
        Sample rate of the stream and of the clips in Hz.
    folder
        Folder for the clips, new or existing.

    Raises
    ------
    HarkenError
        If the folder cannot be written, or one of the model's words cannot be the name of a folder.
    """

    def __init__(self, listener: Listener | WakeListener, source_rate: int, folder: Path) -> None:
        self._listener = listener
        listeners = (listener.wake, listener.commands) if isinstance(listener, WakeListener) else (listener,)
        self._watches = [_Watch(watched) for watched in listeners]
        for word in (word for watched in listeners for word in watched.settings.thresholds):
            if word in ("", ".", "..") or NOT_IN_FOLDER_NAMES.intersection(word):
                raise HarkenError(f"--save: the model's word {word!r} cannot be the name of a folder; rename it")
        self._rate = source_rate
        self._folder = folder
        self._piece = min(max(1, math.floor(part.hop / part.sample_rate * source_rate)) for part in listeners)
        self._kept = math.ceil(max(watch.kept_s for watch in self._watches) * source_rate)
        self._samples = np.zeros(0, np.float32)  # the last samples of the stream
        self._received = 0  # samples of the whole stream
        # The random part keeps runs apart that begin in the same second.
        self._session = time.strftime("%Y%m%dT%H%M%S") + secrets.token_hex(2)
        self._takes = 0
        self._mixer: Mixer | None = None
        self._open_log()

    def push(self, chunk: NDArray[Any]) -> Sequence[Event]:
        """Process a chunk of audio as the listener's `push` does, and save the clips that are complete."""
        check_chunk(chunk)  # before any piece of it is used
        samples = to_float(chunk)
        if samples.ndim == 2:
            if self._mixer is None or self._mixer.channels != samples.shape[1]:
                self._mixer = Mixer(self._rate, samples.shape[1])
            samples = self._mixer.push(samples)
        events: list[Event] = []
        # In pieces of at most a hop, so that the samples of a clip are still kept when it is complete.
        for start in range(0, samples.size, self._piece):
            piece = samples[start : start + self._piece]
            self._samples = np.concatenate([self._samples, piece])[-self._kept :]
            self._received += piece.size
            found = self._listener.push(piece)
            self._observe(found)
            events += found
        return events

    def finish(self) -> Sequence[Event]:
        """End the stream as the listener's `finish` does, and save the last clips."""
        events = self._listener.finish()
        self._observe(events)
        for watch in self._watches:
            watch.end_episode()
        self._save_complete(at_end=True)
        return events

    def _observe(self, events: Sequence[Event]) -> None:
        if isinstance(self._listener, WakeListener):
            wake, commands = self._watches
            wake.observe([event for event in events if _kind(event) == "wake"])
            counted = [event for event in events if _kind(event) == "command"]
            commands.observe(counted, near_misses=self._listener.until_s is not None)
        else:
            self._watches[0].observe(events)
        self._save_complete()

    def _save_complete(self, *, at_end: bool = False) -> None:
        now = math.inf if at_end else self._received / self._rate
        for watch in self._watches:
            for episode in watch.take_complete(now):
                self._save(episode, watch)

    def _save(self, found: _Episode, watch: "_Watch") -> None:
        end_s = found.peak_s - watch.lag_s
        start_s = end_s - watch.window_s
        name = f"{self._session}_nohash_{self._takes}.wav"
        self._takes += 1
        path = Path(found.kind, found.word, name)
        self._write(path, self._cut(start_s, end_s))
        self._write(Path("context", found.word, name), self._cut(start_s - BEFORE_S, end_s + AFTER_S))
        self._log(
            {
                "file": path.as_posix(),
                "kind": found.kind,
                "word": found.word,
                "confidence": f"{found.confidence:.4f}",
                "second": f"{found.start_s:.2f}",
                "time": time.strftime("%Y-%m-%d %H:%M:%S"),
            }
        )

    def _cut(self, start_s: float, end_s: float) -> NDArray[np.float32]:
        """Return a part of the stream. Before the start of the stream it is silent, and it ends with the stream."""
        first = self._received - self._samples.size  # number of the first sample that is kept
        start, end = round(start_s * self._rate) - first, round(end_s * self._rate) - first
        return np.pad(self._samples[max(0, start) : max(0, end)], (max(0, -start), 0))

    def _write(self, path: Path, samples: NDArray[np.float32]) -> None:
        save_audio(self._folder / path, np.clip(samples, -1, 1), self._rate)

    def _open_log(self) -> None:
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
            is_new = not self._log_path.exists()
        except OSError as error:
            fix = "free some disk space" if error.errno in DISK_FULL else "choose a folder you may write to"
            raise HarkenError(f"--save {self._folder}: {error.strerror}; {fix}") from error
        if is_new:
            # Never without its header, even if the disk is full.
            with replacing(self._log_path) as temporary, temporary.open("w", newline="", encoding="utf-8") as file:
                csv.writer(file).writerow(_COLUMNS)

    @property
    def _log_path(self) -> Path:
        return self._folder / "clips.csv"

    def _log(self, row: Mapping[str, str]) -> None:
        try:
            with self._log_path.open("a", newline="", encoding="utf-8") as file:
                csv.writer(file).writerow([row[column] for column in _COLUMNS])
        except OSError as error:
            error.filename = str(self._log_path)  # Python does not name it if the disk is full
            raise


def _kind(event: Event) -> str | None:
    return event.kind if isinstance(event, WakeEvent) else None


@dataclass(frozen=True)
class _Hop:
    """A listener's answer at the end of a hop, in seconds from the start of the stream."""

    end_s: float
    word: str
    confidence: float


class _Watch:
    """Watch one listener, and collect its detections and near misses."""

    def __init__(self, listener: Listener) -> None:
        self.listener = listener
        listener._after_hop = self._note_hop
        self.window_s = listener.window / listener.sample_rate
        self.lag_s = listener.settings.smoothing_ms / 2000  # smoothing delays the highest confidence by this time
        self._wait_s = self.window_s + AFTER_S
        self.kept_s = BEFORE_S + 2 * self.window_s + self.lag_s + self._wait_s + listener.settings.hop_ms / 1000
        self._hops: list[_Hop] = []  # those that `observe` has not looked at yet
        self._episode: _Episode | None = None  # a word that is above the level of a near miss now, or was just detected
        self._pending: list[_Episode] = []
        self._detected: list[tuple[str, float]] = []  # the last detections, with the time of each
        self._sounding: str | None = (
            None  # the last detected word, for as long as its confidence stays near the threshold
        )

    def _note_hop(self) -> None:
        listener = self.listener
        word = listener.labels[int(listener.posteriors.argmax())]
        self._hops.append(_Hop(listener.hops * listener.hop / listener.sample_rate, word, listener.confidence))

    def observe(self, events: Sequence[Event], *, near_misses: bool = True) -> None:
        """Look at the listener's new hops, and at the events among them that count."""
        hops, self._hops = self._hops, []
        waiting = list(events)
        for number, hop in enumerate(hops):
            # The last event can be a little before its hop: events do not end after the stream.
            is_last = number == len(hops) - 1
            due = [event for event in waiting if is_last or event.end_s <= hop.end_s]
            waiting = waiting[len(due) :]
            self._observe_hop(hop, due, near_misses)

    def _observe_hop(self, hop: _Hop, events: Sequence[Event], near_misses: bool) -> None:
        near = hop.confidence >= NEAR_MISS * self.listener.settings.thresholds.get(hop.word, math.inf)
        episode = self._episode
        if episode is not None and not (
            near and episode.word == hop.word and hop.end_s <= episode.start_s + self.window_s
        ):
            self.end_episode()
        if not near or hop.word != self._sounding:
            self._sounding = None
        for event in events:
            self.end_episode()
            self._detected.append((event.word, event.end_s))
            self._sounding = event.word
            self._episode = _Episode("detections", event.word, event.end_s, event.end_s, event.confidence)
        if self._sounding is not None:
            self._detected.append((self._sounding, hop.end_s))
        if near and near_misses and self._episode is None and self._sounding is None:
            self._episode = _Episode("near_misses", hop.word, hop.end_s, hop.end_s, hop.confidence)
        if near and self._episode is not None and hop.confidence > self._episode.confidence:
            self._episode.peak_s, self._episode.confidence = hop.end_s, hop.confidence
        self._detected = [(word, at) for word, at in self._detected if at > hop.end_s - self.kept_s]

    def end_episode(self) -> None:
        """End the word that is above the level of a near miss."""
        if self._episode is not None:
            self._pending.append(self._episode)
            self._episode = None

    def take_complete(self, now: float) -> list[_Episode]:
        """Return the words to save, for which enough audio has arrived at a time."""
        complete = [found for found in self._pending if now >= found.peak_s + self._wait_s]
        self._pending = [found for found in self._pending if now < found.peak_s + self._wait_s]
        return [found for found in complete if found.kind == "detections" or not self._belongs_to_detection(found)]

    def _belongs_to_detection(self, near_miss: _Episode) -> bool:
        """Return whether a near miss is heard in a word that was detected.

        The confidence of a word is near its threshold before it is detected, and again as the word leaves the window. Another
        word may come near, too, while the detected one is in the window.
        """
        return any(
            abs(at - near_miss.peak_s) <= (2 * self.window_s if word == near_miss.word else self.window_s)
            for word, at in self._detected
        )
