"""How another form of a model file agrees with it, on clips that both have heard.

open_source        the model that a form is made of
FormReport         what was written and how it agrees with its source
compared           the source, and what the form answered -> FormReport
too_many_differ    whether an 8-bit form is refused
median_ms          the time of one clip
"""

import os
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx
from numpy.typing import NDArray

from harken.errors import HarkenError
from harken.runtime.modelfile import ModelFile

FEW = 100  # clips, below which agreement says little

_TIMED = 100  # clips
_CHANCE = 0.025  # of refusing a form that keeps to its limit
_OF_8_BITS = {"QuantizeLinear", "DequantizeLinear", "DynamicQuantizeLinear"}


def open_source(model: str | os.PathLike[str]) -> ModelFile:
    """Open the model that a form is to be made of. Raises HarkenError when it is none, or an 8-bit form itself."""
    source = ModelFile(model)
    if any(node.op_type in _OF_8_BITS for node in onnx.load(str(source.path)).graph.node):
        raise HarkenError(f"{source.path} is already an 8-bit form: name the model it was made of")
    return source


@dataclass(frozen=True)
class FormReport:
    """What was written and how it agrees with its source.

    bits : of a weight. clips : how many were compared. largest_difference : in probability. agreement : fraction of clips
    with the same most probable label. accuracy, source_accuracy : fraction of clips answered rightly, None where no truth
    was given. bytes, source_bytes : of the files. clip_ms, source_clip_ms : median time of one clip on one thread here; a
    form without front-end takes features, and its time is the network's alone. synthesised : whether synthetic voices
    spoke the clips.
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
    synthesised: bool = False


def compared(
    source: ModelFile,
    clips: NDArray[np.float32],
    found: NDArray[np.float32],
    *,
    path: Path,
    bits: int,
    size: int,
    clip_ms: float,
    truth: NDArray[np.int64] | None,
    synthesised: bool,
) -> FormReport:
    """Return how a form's probabilities `found` [N, labels] agree with its source's on the same `clips` [N, window].

    path : where the form will lie. size : its bytes. truth : [N], the clips' indices into the labels.
    """
    wanted = source.probabilities(clips)
    answers, source_answers = found.argmax(axis=1), wanted.argmax(axis=1)
    return FormReport(
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
        synthesised=synthesised,
    )


def too_many_differ(differing: int, clips: int, limit: float) -> bool:
    """Whether so many of the clips are answered otherwise that a form which differs on `limit` of all would hardly show it.

    An exact binomial test at 2.5 %: of few clips one or two prove nothing.
    """
    from scipy.stats import binom

    return bool(binom.sf(differing - 1, clips, limit) < _CHANCE)


def median_ms(model: ModelFile, clips: NDArray[np.float32]) -> float:
    """Return the median time of one clip, over the first hundred."""
    times = []
    for clip in clips[:_TIMED]:
        started = time.perf_counter()
        model.probabilities(clip[None])
        times.append(time.perf_counter() - started)
    return 1000 * float(np.median(times))
