"""What is wrong with a corpus: clips that training would be better without.

inspect       corpus -> Inspection
Inspection    length, peak level and rate of every clip, and the problems, by kind
Problem       one clip, what is wrong with it, and by how much
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
"""Seconds under which a clip counts as too short. In Speech Commands most clips below end inside their word."""

SILENT_DB = -50.0
"""Level, in dB of full scale, that the loudest 30 ms of a clip must reach. Below it are empty clips and words so faint
that the microphone's noise comes near them."""

FULL_SCALE = 0.999
CLIPPED_MS = 1.0
"""Milliseconds, in sum, that a clip may spend at full scale. A clip scaled up to its peak touches it in one sample or
two; lossy coding breaks flat tops into single samples, so runs of them cannot be asked for."""

_FRAME_S = 0.03
_FLOOR_DB = -96.3  # half a step of 16 bits: what digital silence is put down as
_BLOCK = 256  # clips between two steps of the progress bar


def _minus(value: float) -> str:
    return f"{value:.0f}".replace("-", "\N{MINUS SIGN}")


Kind = Literal["unreadable", "silent", "clipped", "too short", "doubled", "repeated"]

KINDS: dict[Kind, str] = {
    "unreadable": "Damaged, cut short, or not audio.",
    "silent": f"Nowhere louder than {_minus(SILENT_DB)} dB of full scale over 30 ms: empty, or too faint to learn from.",
    "clipped": f"At full scale for {CLIPPED_MS:g} ms or more in sum: the microphone or the converter was overdriven.",
    "too short": f"Under {SHORT_S:g} s: the word is likely to be cut off.",
    "doubled": "The same recording stands under two words or more: at most one of them can be right.",
    "repeated": "The same recording stands twice under one word: it is counted once.",
}


@dataclass(frozen=True, slots=True)
class Problem:
    """One clip and what is wrong with it; `detail` says how badly, `same_as` which clips hold the same recording."""

    clip: Clip
    kind: Kind
    detail: str
    same_as: tuple[Clip, ...] = ()


@dataclass(frozen=True)
class Inspection:
    """What `inspect` found. Arrays have one entry a clip, in the corpus' order; all three are NaN where it is unreadable.

    durations_s : length in seconds. peaks_db : highest sample in dB of full scale, -96.3 for digital silence.
    sample_rates : in Hz. problems : ordered by kind as in KINDS, the worst of each kind first.
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
class _Measured:
    duration_s: float
    sample_rate: int
    peak_db: float
    loudest_db: float
    full_scale_ms: float
    content: bytes


def inspect(corpus: Corpus) -> Inspection:
    """Decode every clip once, at its own rate and mixed to mono, and measure it; a clip that cannot be read is a problem."""
    clips = corpus.clips
    measured: list[_Measured | str] = []
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        for start in progress(range(0, len(clips), _BLOCK), "inspecting"):
            measured += pool.map(_measure, clips[start : start + _BLOCK])
    problems = _unreadable(clips, measured) + _ill_recorded(clips, measured) + _doubled(clips, measured)
    problems += [Problem(clip, "repeated", "", (first,)) for clip, first in corpus.repeats]
    read = [one if isinstance(one, _Measured) else None for one in measured]
    return Inspection(
        corpus=corpus,
        durations_s=np.array([one.duration_s if one else np.nan for one in read]),
        peaks_db=np.array([one.peak_db if one else np.nan for one in read]),
        sample_rates=np.array([one.sample_rate if one else np.nan for one in read]),
        problems=tuple(problems),
    )


def _measure(clip: Clip) -> _Measured | str:
    """Return the clip's measurements, or why it cannot be read."""
    try:
        rate = clip_rate(clip.path)
        samples = load_clip(clip.path, rate)
    except HarkenError as error:
        return str(error)
    except OSError as error:
        return f"{clip.path} cannot be read: {error.strerror}"
    except Exception as error:  # a fault of a decoder is one clip's
        return f"{clip.path} cannot be decoded ({error}): convert it to WAV"
    magnitude = np.abs(samples)
    return _Measured(
        duration_s=samples.size / rate,
        sample_rate=rate,
        peak_db=_db(float(magnitude.max())),
        loudest_db=_db(_loudest(samples, round(_FRAME_S * rate))),
        full_scale_ms=1000 * np.count_nonzero(magnitude >= FULL_SCALE) / rate,
        # Of the samples, not of the file, so that one recording is found again in another lossless format.
        content=hashlib.blake2b(np.rint(samples * 32768).astype(np.int32).tobytes(), digest_size=16).digest(),
    )


def _loudest(samples: NDArray[np.float32], frame: int) -> float:
    """Return the root mean square of the loudest frame, without the constant offset that some microphones add."""
    swing = samples - samples.mean()
    frames = np.pad(swing, (0, -swing.size % frame)).reshape(-1, frame)
    return float(np.sqrt(np.square(frames).mean(axis=1).max()))


def _db(amplitude: float) -> float:
    return float(max(20 * np.log10(amplitude), _FLOOR_DB)) if amplitude > 0 else _FLOOR_DB


def _unreadable(clips: Sequence[Clip], measured: Sequence[_Measured | str]) -> list[Problem]:
    problems = []
    for clip, reason in zip(clips, measured, strict=True):
        if isinstance(reason, str):
            problems.append(Problem(clip, "unreadable", reason.removeprefix(str(clip.path)).strip()))
    return problems


def _ill_recorded(clips: Sequence[Clip], measured: Sequence[_Measured | str]) -> list[Problem]:
    silent, clipped, short = [], [], []
    for clip, one in zip(clips, measured, strict=True):
        if isinstance(one, str):
            continue
        if one.loudest_db < SILENT_DB and clip.word != SILENCE:
            silent.append((one.loudest_db, Problem(clip, "silent", f"{_minus(one.loudest_db)} dB")))
        if one.full_scale_ms >= CLIPPED_MS:
            clipped.append((-one.full_scale_ms, Problem(clip, "clipped", f"{one.full_scale_ms:.1f} ms")))
        if one.duration_s < SHORT_S:
            short.append((one.duration_s, Problem(clip, "too short", f"{one.duration_s:.2f} s")))
    return [problem for kind in (silent, clipped, short) for _, problem in sorted(kind, key=lambda pair: pair[0])]


def _doubled(clips: Sequence[Clip], measured: Sequence[_Measured | str]) -> list[Problem]:
    same = defaultdict(list)
    for clip, one in zip(clips, measured, strict=True):
        # Empty clips are all alike: what is wrong with them is that they are silent.
        if isinstance(one, _Measured) and one.loudest_db >= SILENT_DB:
            same[one.content].append(clip)
    problems = []
    for group in same.values():
        for clip in group if len({clip.word for clip in group}) > 1 else ():
            others = tuple(other for other in group if other.word != clip.word)
            problems.append(Problem(clip, "doubled", "", others))
    return problems
