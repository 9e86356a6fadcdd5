"""Run a listener over labeled continuous audio, and keep what is needed to evaluate it.

run_listener    run a listener over a stream
ListenerRun     its confidence at each hop
WakeRun         the wake phrases that a second listener detected in the same stream
play_stream     make a stream and pass it on hop by hop
source_of       the speaker or the noise that a recording is of, as a hash

The network runs over a stream only once. The events at other thresholds follow from the confidence at each hop, by the
listener's own rule.
"""

import hashlib
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from harken.errors import HarkenError
from harken.evaluation.stream.audio import DETECTION_DEADLINE_S, BackgroundSection, StreamAudio, Utterance
from harken.progress import progress
from harken.runtime.listener import Event, Listener
from harken.runtime.listener_settings import ListenerSettings
from harken.runtime.two_stage import StreamModel


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
        Processor time of the listener, of all its threads.
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

    def hops_of_events(
        self, thresholds: Mapping[str, float], fresh: NDArray[np.int64] | None = None
    ) -> NDArray[np.int64]:
        """Return the hops at which the listener would have detected a word with these thresholds.

        Parameters
        ----------
        thresholds
            Threshold of each word.
        fresh
            Hops before which the refractory time ends, however long it still is, in ascending order. Default: none.
        """
        limits = np.array([thresholds.get(label, 2.0) for label in self.labels])
        passed = np.flatnonzero(self.scores >= limits[self.top])
        # A word that stays at or above its threshold is one event. These are the ends of such runs of hops.
        ends = np.append(np.flatnonzero((np.diff(passed) > 1) | (np.diff(self.top[passed]) != 0)) + 1, passed.size)
        hops = []
        position = 0
        while position < passed.size:
            hops.append(passed[position])
            refractory_end = hops[-1] + max(1, self.refractory_hops)
            if fresh is not None and (index := int(np.searchsorted(fresh, hops[-1], side="right"))) < len(fresh):
                refractory_end = min(refractory_end, fresh[index])
            position = max(
                int(np.searchsorted(passed, refractory_end)), int(ends[np.searchsorted(ends, position, side="right")])
            )
        return np.array(hops, dtype=np.int64)


def source_of(path: Path) -> str:
    """Return a short hash of the speaker or the noise that a recording is of.

    The speaker is the name up to the first "-"; in the names of ESC-50 (`fold-source-take-class`) the source is the first
    two parts. A model file stores the hashes of what it was tuned on, and so names nobody.
    """
    parts = path.stem.split("-")
    esc = len(parts) >= 3 and len(parts[0]) == 1 and parts[0].isdecimal() and parts[2].isalpha()
    name = "-".join(parts[: 2 if esc else 1]).encode(errors="surrogateescape")  # a file's name can be any bytes
    return hashlib.sha1(name).hexdigest()[:8]


def run_listener(
    recognizer: StreamModel,
    audio: StreamAudio,
    *,
    wake: StreamModel | None = None,
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
