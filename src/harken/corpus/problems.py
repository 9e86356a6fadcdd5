"""Find clips that harm training: damaged, silent, clipped, too short, mislabeled or duplicate.

inspect       corpus -> Inspection
Inspection    length, peak level and sample rate of each clip, and the problems by kind
Problem       a clip, what is wrong with it, and how much
KINDS         the kinds of problem, each with the rule that finds it
"""

import hashlib
import os
from collections import defaultdict
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from harken.audio.clip import clip_rate, load_clip
from harken.corpus.table import Clip, Corpus
from harken.errors import HarkenError
from harken.labels import SILENCE
from harken.progress import progress

SHORT_S = 0.5
"""Shorter clips count as too short, in seconds. In Speech Commands, most of these end inside their word."""

SILENT_DB = -50.0
"""Minimum level of the loudest 30 ms of a clip, in dB relative to full scale. Quieter clips are empty, or their word is
close to the noise of the microphone."""

FULL_SCALE = 0.999
CLIPPED_MS = 1.0
"""Total time at full scale from which a clip counts as clipped, in milliseconds. A normalized clip reaches full scale in one
or two samples. Runs of samples cannot be required, because lossy coding breaks flat tops into single samples."""

_FRAME_S = 0.03
_FLOOR_DB = -96.3  # half a 16-bit step, the level given to digital silence
_BLOCK = 256  # clips between two updates of the progress bar


def _format_db(value: float) -> str:
    return f"{value:.0f}".replace("-", "\N{MINUS SIGN}")


Kind = Literal["unreadable", "silent", "clipped", "too short", "conflicting", "duplicate"]

KINDS: dict[Kind, str] = {
    "unreadable": "Damaged, incomplete, or not audio.",
    "silent": f"No 30 ms reach {_format_db(SILENT_DB)} dB of full scale: the clip is empty, or too quiet to learn from.",
    "clipped": f"At full scale for {CLIPPED_MS:g} ms or more in total: the recording was overdriven.",
    "too short": f"Shorter than {SHORT_S:g} s: the word is probably cut off.",
    "conflicting": "The same recording is in the folders of two or more words: at most one of them can be right.",
    "duplicate": "The same recording is in the folder of its word twice: it is counted once.",
}


@dataclass(frozen=True, slots=True)
class Problem:
    """A clip and what is wrong with it.

    Attributes
    ----------
    clip
        The clip.
    kind
        One of KINDS.
    detail
        How much is wrong, as a text.
    same_as
        Other clips with the same recording.
    """

    clip: Clip
    kind: Kind
    detail: str
    same_as: tuple[Clip, ...] = ()


@dataclass(frozen=True)
class Inspection:
    """The result of `inspect`.

    Attributes
    ----------
    corpus
        The inspected corpus.
    durations_s
        Length of each clip in seconds. This and the next two are NaN for unreadable clips.
    peaks_db
        Highest sample of each clip, in dB relative to full scale. -96.3 for digital silence.
    sample_rates
        Sample rate of each clip, in Hz.
    problems
        The problems, ordered by kind as in KINDS, the worst of each kind first.
    """

    corpus: Corpus
    durations_s: NDArray[np.float64]
    peaks_db: NDArray[np.float64]
    sample_rates: NDArray[np.float64]
    problems: tuple[Problem, ...]

    def of_kind(self, kind: Kind) -> tuple[Problem, ...]:
        """Return the problems of one kind, the worst first."""
        return tuple(problem for problem in self.problems if problem.kind == kind)


@dataclass(frozen=True, slots=True)
class _Measurements:
    duration_s: float
    sample_rate: int
    peak_db: float
    loudest_db: float
    full_scale_ms: float
    content: bytes


def inspect(corpus: Corpus) -> Inspection:
    """Decode and measure each clip of a corpus, at its own sample rate and mixed to mono.

    A clip that cannot be read is a problem and not an error.
    """
    clips = corpus.clips
    measured: list[_Measurements | str] = []
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        for start in progress(range(0, len(clips), _BLOCK), "inspecting"):
            measured += pool.map(_measure, clips[start : start + _BLOCK])
    problems = _unreadable(clips, measured) + _recording_faults(clips, measured) + _conflicting(clips, measured)
    problems += [Problem(clip, "duplicate", "", (kept,)) for clip, kept in corpus.duplicates]
    read = [one if isinstance(one, _Measurements) else None for one in measured]
    return Inspection(
        corpus=corpus,
        durations_s=np.array([one.duration_s if one else np.nan for one in read]),
        peaks_db=np.array([one.peak_db if one else np.nan for one in read]),
        sample_rates=np.array([one.sample_rate if one else np.nan for one in read]),
        problems=tuple(problems),
    )


def _measure(clip: Clip) -> _Measurements | str:
    """Return the clip's measurements, or why it cannot be read."""
    try:
        rate = clip_rate(clip.path)
        samples = load_clip(clip.path, rate)
    except HarkenError as error:
        return str(error)
    except OSError as error:
        return f"{clip.path} cannot be read: {error.strerror}"
    except Exception as error:  # a failure of a decoder concerns only its clip
        return f"{clip.path} cannot be decoded ({error}): convert it to WAV"
    magnitude = np.abs(samples)
    return _Measurements(
        duration_s=samples.size / rate,
        sample_rate=rate,
        peak_db=_to_db(float(magnitude.max())),
        loudest_db=_to_db(_loudest_rms(samples, round(_FRAME_S * rate))),
        full_scale_ms=1000 * np.count_nonzero(magnitude >= FULL_SCALE) / rate,
        # The digest of the samples and not of the file finds a recording again in another lossless format.
        content=hashlib.blake2b(np.rint(samples * 32768).astype(np.int32).tobytes(), digest_size=16).digest(),
    )


def _loudest_rms(samples: NDArray[np.float32], frame: int) -> float:
    """Return the root mean square of the loudest frame, without the constant offset of some microphones."""
    centered = samples - samples.mean()
    frames = np.pad(centered, (0, -centered.size % frame)).reshape(-1, frame)
    return float(np.sqrt(np.square(frames).mean(axis=1).max()))


def _to_db(amplitude: float) -> float:
    return float(max(20 * np.log10(amplitude), _FLOOR_DB)) if amplitude > 0 else _FLOOR_DB


def _unreadable(clips: Sequence[Clip], measured: Sequence[_Measurements | str]) -> list[Problem]:
    problems = []
    for clip, reason in zip(clips, measured, strict=True):
        if isinstance(reason, str):
            problems.append(Problem(clip, "unreadable", reason.removeprefix(str(clip.path)).strip()))
    return problems


def _recording_faults(clips: Sequence[Clip], measured: Sequence[_Measurements | str]) -> list[Problem]:
    silent, clipped, short = [], [], []
    for clip, one in zip(clips, measured, strict=True):
        if isinstance(one, str):
            continue
        if one.loudest_db < SILENT_DB and clip.word != SILENCE:
            silent.append((one.loudest_db, Problem(clip, "silent", f"{_format_db(one.loudest_db)} dB")))
        if one.full_scale_ms >= CLIPPED_MS:
            clipped.append((-one.full_scale_ms, Problem(clip, "clipped", f"{one.full_scale_ms:.1f} ms")))
        if one.duration_s < SHORT_S:
            short.append((one.duration_s, Problem(clip, "too short", f"{one.duration_s:.2f} s")))
    return [problem for kind in (silent, clipped, short) for _, problem in sorted(kind, key=lambda pair: pair[0])]


def _conflicting(clips: Sequence[Clip], measured: Sequence[_Measurements | str]) -> list[Problem]:
    same = defaultdict(list)
    for clip, one in zip(clips, measured, strict=True):
        # Empty clips all have the same content, and are reported as silent already.
        if isinstance(one, _Measurements) and one.loudest_db >= SILENT_DB:
            same[one.content].append(clip)
    problems = []
    for group in same.values():
        for clip in group if len({clip.word for clip in group}) > 1 else ():
            others = tuple(other for other in group if other.word != clip.word)
            problems.append(Problem(clip, "conflicting", "", others))
    return problems
