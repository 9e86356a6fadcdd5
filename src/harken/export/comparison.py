"""Compare an exported file with the original model on the same clips.

open_source            open the model to export
ExportReport           what was written, and how it agrees with the original
compare_with_source    compare the answers of an exported file with the original's
require_agreement      refuse an export whose answers are not the original's
too_many_differ        whether significantly more clips than a limit have another answer
median_ms              measure the time for one clip
"""

import os
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from harken.errors import HarkenError
from harken.runtime.modelfile import ModelFile

FEW_CLIPS = 100  # With fewer clips, the agreement is not reliable.

_TIMED_CLIPS = 100
_TOLERANCE = 1e-3  # largest difference in probability, in float32
_SIGNIFICANCE = 0.025  # probability of rejecting an export that is within its limit
_8_BIT_OPERATORS = {"QuantizeLinear", "DequantizeLinear", "DynamicQuantizeLinear"}


def open_source(model: str | os.PathLike[str]) -> ModelFile:
    """Open the model to export.

    Raises
    ------
    HarkenError
        It is not a model file, or is an 8-bit export itself.
    """
    import onnx  # only here: a report on a model of enrolled phrases needs no onnx

    source = ModelFile(model)
    if any(node.op_type in _8_BIT_OPERATORS for node in onnx.load(str(source.path)).graph.node):
        raise HarkenError(f"{source.path} is already an 8-bit export: give the model it was made from")
    return source


@dataclass(frozen=True)
class ExportReport:
    """What was written, and how it agrees with the original model.

    Attributes
    ----------
    path
        The exported file.
    bits
        Bits of a weight.
    clips
        Number of clips compared.
    largest_difference
        Largest difference in probability.
    agreement
        Fraction of clips with the same most probable label.
    accuracy, source_accuracy
        Fraction of right answers; None if no truth was given.
    bytes, source_bytes
        Sizes of the files.
    clip_ms, source_clip_ms
        Median time for one clip on one thread of this machine. Without the front-end, the export takes features,
        and its time is that of the network alone.
    synthesized
        Whether the clips are synthetic speech.
    """

    path: Path
    bits: int
    clips: int
    largest_difference: float
    agreement: float
    accuracy: float | None
    source_accuracy: float | None
    bytes: int
    source_bytes: int
    clip_ms: float
    source_clip_ms: float
    synthesized: bool = False


def compare_with_source(
    source: ModelFile,
    clips: NDArray[np.float32],
    found: NDArray[np.float32],
    *,
    path: Path,
    bits: int,
    size: int,
    clip_ms: float,
    truth: NDArray[np.int64] | None,
    synthesized: bool,
) -> ExportReport:
    """Compare the probabilities of an exported file with those of the original model.

    Parameters
    ----------
    source
        The original model.
    clips
        [N, window].
    found
        Probabilities of the exported file on these clips, [N, labels].
    path
        Final path of the exported file.
    bits
        Bits of its weights.
    size
        Its size in bytes.
    clip_ms
        Its time for one clip.
    truth
        Indices into the labels, [N], if known.
    synthesized
        Whether the clips are synthetic speech.
    """
    wanted = source.probabilities(clips)
    answers, source_answers = found.argmax(axis=1), wanted.argmax(axis=1)
    return ExportReport(
        path=path,
        bits=bits,
        clips=len(clips),
        largest_difference=float(np.abs(found - wanted).max()),
        agreement=float((answers == source_answers).mean()),
        accuracy=None if truth is None else float((answers == truth).mean()),
        source_accuracy=None if truth is None else float((source_answers == truth).mean()),
        bytes=size,
        source_bytes=source.path.stat().st_size,
        clip_ms=clip_ms,
        source_clip_ms=median_ms(source, clips),
        synthesized=synthesized,
    )


class Agreement(Protocol):
    """How an export agrees with its original, as ExportReport describes it."""

    @property
    def bits(self) -> int: ...
    @property
    def clips(self) -> int: ...
    @property
    def largest_difference(self) -> float: ...
    @property
    def agreement(self) -> float: ...


def require_agreement(path: Path, found: Agreement, *, most_differing: float, advice: str) -> None:
    """Refuse an export whose answers are not the original's.

    Parameters
    ----------
    path
        The file to name in the error.
    found
        Its agreement with the original.
    most_differing
        Fraction of clips that may have another answer, in 8 bits. See `too_many_differ`.
    advice
        What to do if more of them have another answer.

    Raises
    ------
    HarkenError
        In float32, a probability differs by more than 0.001; in 8 bits, too many answers differ or one is not a number.
    """
    if found.bits == 32 and not found.largest_difference <= _TOLERANCE:  # true for NaN, too
        raise HarkenError(
            f"{path} was not written: its probabilities differ from the model file's by {found.largest_difference:.2g}"
        )
    differing = round((1 - found.agreement) * found.clips)
    finite = np.isfinite(found.largest_difference)
    if found.bits == 8 and (not finite or too_many_differ(differing, found.clips, most_differing)):
        raise HarkenError(
            f"{path} was not written: {differing} of {found.clips} clips have another answer in 8 bits; {advice}"
        )


def too_many_differ(differing: int, clips: int, limit: float) -> bool:
    """Return whether significantly more than a fraction `limit` of the clips have a different answer.

    This is an exact binomial test at 2.5 %, since one or two of a few clips prove nothing.
    """
    from scipy.stats import binom

    return bool(binom.sf(differing - 1, clips, limit) < _SIGNIFICANCE)


def median_ms(model: ModelFile, clips: NDArray[np.float32]) -> float:
    """Return the median time for one clip in milliseconds, over the first hundred clips."""
    times = []
    for clip in clips[:_TIMED_CLIPS]:
        started = time.perf_counter()
        model.probabilities(clip[None])
        times.append(time.perf_counter() - started)
    return 1000 * float(np.median(times))
