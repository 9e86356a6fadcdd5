"""Read a model of enrolled phrases, to add a phrase to it or to write its streaming file.

EnrolledModel   the content of such a model
read_enrolled   model file -> EnrolledModel
"""

import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from harken.audio.clip import is_number
from harken.enrollment.bank import load_bank
from harken.enrollment.calibration import Calibration
from harken.enrollment.graph import class_labels
from harken.enrollment.metadata import FORMAT
from harken.enrollment.templates import KINDS, Templates
from harken.errors import HarkenError
from harken.models.encoders import load_embedding
from harken.models.onnx_bytes import read_initializers, read_metadata
from harken.runtime.modelfile import bundled_models

_FIX = "give a model that `harken enroll` wrote"


@dataclass(frozen=True)
class EnrolledModel:
    """The content of a model of enrolled phrases.

    Attributes
    ----------
    phrases
        The phrases, in the order of the classes.
    templates
        Their templates.
    calibrations
        The calibrations of each phrase.
    fields
        All metadata.
    encoder
        Name of the speech embedding.
    """

    phrases: tuple[str, ...]
    templates: Templates
    calibrations: tuple[tuple[Calibration, ...], ...]
    fields: dict[str, Any]
    encoder: str


def read_enrolled(path: str | os.PathLike[str]) -> EnrolledModel:
    """Read a model that `enroll` wrote.

    Raises
    ------
    HarkenError
        If the file cannot be read, was not written by this version's `enroll`, or is a bundled model, a streaming file or
        an 8-bit export.
    """
    if str(path) in bundled_models():
        raise HarkenError(f"{path} is a bundled model of words: {_FIX}")
    try:
        content = Path(path).read_bytes()
        metadata, constants = read_metadata(content), read_initializers(content)
    except OSError as error:
        raise HarkenError(f"{path} cannot be read: {error.strerror}; {_FIX}") from error
    except HarkenError as error:
        raise HarkenError(f"{path} is not a complete ONNX model: {_FIX}") from error
    fields = {}
    for key, text in metadata.items():
        try:
            fields[key] = json.loads(text)
        except (ValueError, RecursionError):
            fields[key] = text
    if "state" in fields:
        raise HarkenError(f"{path} is a streaming file: give the model file of the same phrases")
    foreign = HarkenError(f"{path} was not written by this version's `harken enroll`: enroll into a new model")
    if not {"enrolled", "encoder"} <= fields.keys() or fields.get("format") != FORMAT:
        raise foreign
    try:
        phrases, calibrations = _read_phrases(fields)
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise foreign from error
    if "templates_scale" in constants:
        raise HarkenError(f"{path} is an 8-bit export: give the model it was made from")
    used = load_embedding(fields["encoder"]).network | {"speech_mean": load_bank(fields["encoder"]).speech.mean}
    # Templates are embeddings, so they fit no other weights.
    if any(name not in constants or not np.array_equal(constants[name], used[name]) for name in used):
        raise HarkenError(f"{path} has the speech embedding of another version of harken: enroll its phrases again")
    lengths = constants["template_lengths"].reshape(-1).astype(np.int64)
    flat = constants["templates"]
    longest = flat.shape[1] // lengths.size
    vectors = flat.reshape(flat.shape[0], longest, lengths.size).transpose(2, 1, 0).astype(np.float32)
    group_of = constants["averages"].argmax(axis=0).astype(np.int64)
    return EnrolledModel(phrases, Templates(vectors, lengths, group_of), calibrations, fields, fields["encoder"])


def _read_phrases(fields: dict[str, Any]) -> tuple[tuple[str, ...], tuple[tuple[Calibration, ...], ...]]:
    """Return the phrases of the metadata, and their calibrations. Metadata that `enroll` does not write are an error."""
    phrases = tuple(entry["phrase"] for entry in fields["enrolled"])
    calibrations = tuple(tuple(Calibration(**fit) for fit in entry["calibration"]) for entry in fields["enrolled"])
    thresholds = (*fields["thresholds"].values(), *fields["listener"]["thresholds"].values())
    if not (
        fields["labels"] == class_labels(phrases)
        and all(isinstance(phrase, str) for phrase in phrases)
        and all(len(fits) == KINDS for fits in calibrations)
        and all(is_number(fit.start) and fit.scale > 0 and fit.per_hour > 0 for fits in calibrations for fit in fits)
        and all(map(is_number, thresholds))
    ):
        raise ValueError("a value has the wrong type, or belongs to other phrases")
    return phrases, calibrations
