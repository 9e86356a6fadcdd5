"""Check what is to be enrolled, before anything is recorded or computed.

Request         a checked request
check_request   the arguments of `enroll` -> Request
"""

import os
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from harken.audio.clip import AUDIO_SUFFIXES, UNREADABLE_SUFFIXES, AudioSource, is_number
from harken.enrollment.background import recordings_in
from harken.enrollment.calibration import REFERENCE_PER_HOUR
from harken.enrollment.existing import EnrolledModel, read_enrolled
from harken.enrollment.typed import check_phrase, normalize_phrase
from harken.errors import HarkenError, require_list
from harken.files import require_writable
from harken.models.encoders import DEFAULT, load_embedding

_MAX_TAKES = 40
_FEWEST_FALSE_ALARMS = 0.001  # per hour; the fit is to a few hours, and far fewer cannot be promised


@dataclass(frozen=True)
class Request:
    """A checked request.

    Attributes
    ----------
    phrase
        The phrase, with single spaces and composed characters.
    clips
        The recordings.
    existing
        The model to which the phrase is added. None if a new one is written.
    encoder
        Name of the speech embedding.
    """

    phrase: str
    clips: list[AudioSource]
    existing: EnrolledModel | None
    encoder: str


def check_request(
    phrase: str,
    clips: Iterable[AudioSource] = (),
    *,
    out: str | os.PathLike[str],
    to_record: int = 0,
    typed: bool = False,
    into: str | os.PathLike[str] | None = None,
    background: str | os.PathLike[str] | None = None,
    false_alarms_per_hour: float,
    stream: str | os.PathLike[str] | None = None,
    encoder: str | None = None,
) -> Request:
    """Check the arguments of `enroll`.

    Parameters
    ----------
    phrase, clips, out, typed, into, background, false_alarms_per_hour, stream, encoder
        As in `enroll`.
    to_record
        Number of recordings that will be added.

    Raises
    ------
    HarkenError
        If an argument cannot be used, a file cannot be written, or the package of the encoder or of the synthetic voices is
        missing.
    """
    if not isinstance(phrase, str):
        raise HarkenError(f"phrase={phrase!r}: give the phrase as text")
    phrase = normalize_phrase(phrase)
    check_phrase(phrase)
    require_list(clips, "clips", "recording")
    sources = list(clips)
    if not is_number(false_alarms_per_hour) or not _FEWEST_FALSE_ALARMS <= false_alarms_per_hour < REFERENCE_PER_HOUR:
        raise HarkenError(
            f"{false_alarms_per_hour} false alarms per hour: give a number from {_FEWEST_FALSE_ALARMS:g} to below "
            f"{REFERENCE_PER_HOUR:g}"
        )
    if not sources and not typed and not to_record:
        raise HarkenError("there is nothing to learn the phrase from: give recordings of it, or add --typed")
    if (takes := len(sources) + to_record) > _MAX_TAKES:
        raise HarkenError(f"{takes} takes are more than enrolling can use: choose {_MAX_TAKES} or fewer")
    _check_outputs(sources, [Path(path) for path in (out, stream) if path is not None])
    if into is not None and stream is not None and _real_path(into) == _real_path(stream):
        raise HarkenError(f"{stream} cannot be both the model to add to and the streaming file: name another file")
    if background is not None:
        recordings_in(Path(background))
    existing = None if into is None else read_enrolled(into)
    used = existing.encoder if existing else encoder or DEFAULT
    if encoder not in (None, used):
        raise HarkenError(f"{into} uses the encoder {used}: leave out --encoder, or enroll into a new model")
    for known in existing.phrases if existing else ():
        if known.casefold() == phrase.casefold():
            raise HarkenError(
                f"{into} already contains {known!r}: choose another phrase, or enroll it into a new model"
            )
    load_embedding(used)
    if typed:
        from harken.synth.voices import voices

        voices()
    return Request(phrase, sources, existing, used)


def _real_path(path: str | os.PathLike[str]) -> str:
    """Return a path without links. Path.resolve raises an error for links that lead to themselves."""
    return os.path.realpath(path)


def _check_outputs(clips: Iterable[Any], outputs: list[Path]) -> None:
    recordings = {_real_path(clip) for clip in clips if isinstance(clip, str | os.PathLike)}
    for path in outputs:
        if _real_path(path) in recordings or path.suffix.lower() in AUDIO_SUFFIXES | UNREADABLE_SUFFIXES:
            raise HarkenError(f"{path} is the name of a recording: name a model file to write, such as view-glass.onnx")
    if len({_real_path(path) for path in outputs}) < len(outputs):
        raise HarkenError(f"{outputs[0]} cannot be both the model file and the streaming file: name two files")
    require_writable(*outputs)
    for path in outputs:
        if path.suffix.lower() != ".onnx":  # other commands look for models by this suffix
            raise HarkenError(f"{path} is not the name of a model file: name it {path.stem}.onnx")
