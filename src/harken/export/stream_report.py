"""What the check of a streaming model found, and the audio that it is checked on. No training framework is needed.

StreamReport        what was written, its cost, and how it agrees with the original
make_report         measure a streaming model that was checked
generated_stream    a generated stream to compare on
generated_windows   the same in windows
"""

import json
import time
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from harken.export.comparison import median_ms
from harken.runtime.modelfile import ModelFile
from harken.runtime.streamfile import StreamFile

CHECKED_STEPS = 25
_TIMED_STEPS = 100


@dataclass(frozen=True)
class StreamReport:
    """The result of checking a streaming model.

    The streaming model and the original do not compute the same function, since a window starts from silence and a stream
    does not. Two differences connect them: from the streaming file to the network run over the whole stream, and from that
    network to the original on single windows. Enrolled phrases need only one: their streaming file is compared with the
    original on the windows of the stream.

    Attributes
    ----------
    path
        The streaming model.
    steps
        Steps of the generated stream.
    largest_difference
        Largest difference in probability from the network run over the whole generated stream.
    source_difference
        Largest difference in probability between that network and the original, on single windows; None for enrolled
        phrases.
    clips
        Number of clips, each run from the start of a stream.
    agreement
        Fraction of these clips at whose end the most probable label is the original's; None without clips.
    bytes, source_bytes
        Sizes of the files.
    step_ms
        Median time for a step, on one thread of this machine.
    source_clip_ms
        Median time for a window of the original, which a listener would evaluate instead.
    synthesized
        Whether the clips are synthetic speech.
    """

    path: Path
    steps: int
    largest_difference: float
    source_difference: float | None
    clips: int
    agreement: float | None
    source_bytes: int
    bytes: int
    step_ms: float
    source_clip_ms: float
    synthesized: bool = False

    def to_json(self) -> str:
        """Return the text of PATH.json."""
        return json.dumps({**asdict(self), "path": self.path.name}, indent=1) + "\n"


def make_report(
    stream_file: StreamFile,
    source: ModelFile,
    path: Path,
    *,
    largest_difference: float,
    source_difference: float | None = None,
    clips: NDArray[np.float32] | None = None,
    synthesized: bool = False,
) -> StreamReport:
    """Measure a streaming model that was checked.

    Parameters
    ----------
    stream_file, source
        The streaming model and the original.
    path
        Final path of the streaming model.
    largest_difference, source_difference, synthesized
        As in `StreamReport`.
    clips
        Clips to compare the answers on, full scale 1.0, [N, window].
    """
    if clips is not None and not len(clips):
        clips = None
    return StreamReport(
        path=path,
        steps=CHECKED_STEPS,
        largest_difference=largest_difference,
        source_difference=source_difference,
        clips=0 if clips is None else len(clips),
        agreement=None if clips is None else _agreement(stream_file, source, clips),
        source_bytes=source.path.stat().st_size,
        bytes=stream_file.path.stat().st_size,
        step_ms=_median_step_ms(stream_file),
        source_clip_ms=median_ms(source, generated_windows(source.card.window) if clips is None else clips),
        synthesized=synthesized,
    )


def generated_stream(samples: int) -> NDArray[np.float32]:
    """Return a tone with changing frequency and loudness, and some noise."""
    rng = np.random.default_rng(0)
    ticks = np.arange(samples)
    loudness = 0.2 * (1 + np.sin(ticks / 2000))
    sound = loudness * (np.sin(ticks * (0.05 + ticks / 1e6)) + 0.1 * rng.standard_normal(ticks.size))
    return sound.astype(np.float32)


def generated_windows(window: int) -> NDArray[np.float32]:
    """Return windows [N, window] of the generated stream."""
    sound = generated_stream(3 * window)
    return np.stack([sound[start : start + window] for start in range(0, 2 * window, window // 8)])


def _agreement(stream_file: StreamFile, source: ModelFile, clips: NDArray[np.float32]) -> float:
    """Return the fraction of clips at whose end the stream, started with the clip, has the original's answer."""
    padding = -clips.shape[1] % stream_file.step
    sound, state = np.pad(clips, ((0, 0), (padding, 0))), stream_file.start(len(clips))
    for start in range(0, sound.shape[1], stream_file.step):
        probabilities, state = stream_file.advance(sound[:, start : start + stream_file.step], state)
    return float((probabilities.argmax(axis=1) == source.probabilities(clips).argmax(axis=1)).mean())


def _median_step_ms(stream_file: StreamFile) -> float:
    """Return the median time of a step on one thread, in milliseconds."""
    sound, state, times = generated_stream(_TIMED_STEPS * stream_file.step)[None], stream_file.start(), []
    for start in range(0, sound.shape[1], stream_file.step):
        started = time.perf_counter()
        _, state = stream_file.advance(sound[:, start : start + stream_file.step], state)
        times.append(time.perf_counter() - started)
    return 1000 * float(np.median(times))
