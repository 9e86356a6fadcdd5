"""Enroll a phrase: create a model file from a few takes, in seconds and without training.

enroll                  recordings or a spelling -> model file
Enrollment              the result, with the accuracy to expect
write_enrolled_stream   a model of enrolled phrases -> its streaming file
enrolled_metadata       the metadata of such a model

serve/page/enroll.js does the same with recordings in the browser. A test compares the two.
"""

import json
import math
import os
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from harken.audio.clip import AUDIO_SUFFIXES, AudioSource, load_clip
from harken.enrollment.bank import Bank, fit_tail, hours_of, load_bank, peaks_of
from harken.enrollment.graph import (
    REFERENCE_PER_HOUR,
    Calibration,
    Templates,
    TemplateScorer,
    class_labels,
    enrolled_model,
    enrolled_stream,
    threshold_for,
)
from harken.enrollment.takes import Take, check_lengths, read_take, sequences_of, whole_embeddings
from harken.enrollment.typed import check_phrase, speak_phrase
from harken.errors import HarkenError
from harken.files import replacing, require_writable
from harken.models.encoders import DEFAULT, load_embedding
from harken.models.onnx_bytes import read_initializers, read_metadata
from harken.models.speech_embedding import SAMPLE_RATE, STEP, SpeechEmbedding, samples_of

DEFAULT_FALSE_ALARMS = 0.5  # per hour of speech
HOP_STEPS = (
    3  # embeddings between two evaluations in a stream; an evaluation considers all alignments since the last one
)
_MAX_TAKES = 40
_SHORT_PHRASE_S = 0.45  # a phrase shorter than this gets a note
# False alarms per hour at the score of a take, in a model of the other takes. A take as common in speech as this contains
# another word. With fewer false alarms it may contain one: it gets a note.
_OUTLIER_PER_HOUR, _DOUBTFUL_PER_HOUR = 120.0, 10.0
_MIN_RECOGNIZED = 0.5  # a phrase of which a smaller fraction of takes is recognized gets a note
_MIN_BACKGROUND_S = 60.0
_FORMAT = 2  # version of the constants and metadata that `into` reads


@dataclass(frozen=True)
class Enrollment:
    """The result of enrolling a phrase, with the accuracy to expect.

    Attributes
    ----------
    path
        The model file.
    phrases
        All phrases that the model detects.
    takes
        Number of recordings that the phrase was learned from.
    voices
        Speech engines that the phrase was learned from, with the number of takes from each. Empty if there are none.
    threshold
        Probability at which the phrase is detected.
    false_alarms
        Number of false alarms at this threshold in `hours` of other people's speech.
    hours
        Duration of that speech in hours.
    at_most
        Upper limit of the false alarms per hour, at 95 % confidence.
    recognized
        Fraction of the takes that a model of the other takes detects. None if there is only one take.
    notes
        Possible problems, one sentence each.
    """

    path: Path
    phrases: tuple[str, ...]
    takes: int
    voices: str
    threshold: float
    false_alarms: int
    hours: float
    at_most: float
    recognized: float | None
    notes: tuple[str, ...]


def enroll(
    phrase: str,
    clips: Sequence[AudioSource] = (),
    *,
    out: str | os.PathLike[str],
    source_rate: int | None = None,
    typed: bool = False,
    into: str | os.PathLike[str] | None = None,
    background: str | os.PathLike[str] | None = None,
    false_alarms_per_hour: float = DEFAULT_FALSE_ALARMS,
    stream: str | os.PathLike[str] | None = None,
    encoder: str | None = None,
) -> Enrollment:
    """Learn a phrase from a few recordings or from its spelling, and write a model file that detects it.

    Parameters
    ----------
    phrase
        The phrase, which becomes a label of the model.
    clips
        Recordings of the phrase, each with the phrase once. Three to five, by the people who will say it, work best.
    out
        Model file to write.
    source_rate
        Sample rate of arrays in Hz. Required if a clip is an array.
    typed
        Also learn from synthetic voices that speak the phrase.
    into
        Model of enrolled phrases to which the phrase is added. It is not changed unless it is also `out`.
    background
        Folder of recordings without the phrase, from the place of use. If they cause more false alarms than the speech that
        harken knows, the phrase gets stricter.
    false_alarms_per_hour
        False alarms per hour of speech to set the threshold for.
    stream
        Streaming file to write in addition.
    encoder
        Speech embedding to use: `harken`, or `google`, which needs the extra `own`. Default: that of `into`, else `harken`.

    Returns
    -------
    Enrollment
        The accuracy to expect.

    Raises
    ------
    HarkenError
        If a clip is silent, too long or not audio, the takes are not of one phrase, no voice can speak it, the package with
        the speech embedding is missing, or a file cannot be read or written.

    Examples
    --------
    >>> from harken import enroll
    >>> enroll("view glass", ["take1.wav", "take2.wav", "take3.wav"], out="glass.onnx").recognized
    1.0
    """
    check_phrase(phrase)
    if not 0 < false_alarms_per_hour < REFERENCE_PER_HOUR:
        raise HarkenError(
            f"{false_alarms_per_hour:g} false alarms per hour: give a number above 0 and below {REFERENCE_PER_HOUR:g}"
        )
    if not clips and not typed:
        raise HarkenError("there is nothing to learn the phrase from: give recordings of it, or add --typed")
    if len(clips) > _MAX_TAKES:
        raise HarkenError(f"{len(clips)} takes are more than enrolling can use: choose {_MAX_TAKES} or fewer")
    require_writable(*(Path(path) for path in (out, stream) if path is not None))
    existing = _read_enrolled(into) if into is not None else _EnrolledModel((), None, (), {}, encoder or DEFAULT)
    if encoder not in (None, existing.encoder):
        raise HarkenError(
            f"{into} uses the encoder {existing.encoder}: leave out --encoder, or enroll into a new model"
        )
    embedding, bank = load_embedding(existing.encoder), load_bank(existing.encoder)
    if phrase in existing.phrases:
        raise HarkenError(f"{into} already contains {phrase!r}: choose another phrase, or enroll it into a new model")
    recorded = [read_take(clip, source_rate=source_rate if isinstance(clip, np.ndarray) else None) for clip in clips]
    synthetic, voices = speak_phrase(phrase) if typed else ([], "")
    takes = recorded + synthetic
    by_take = [
        [bank.speech.normalized(sequence) for sequence in sequences_of(take, embedding, seed=number)]
        for number, take in enumerate(takes)
    ]
    sequences = [sequence for of_take in by_take for sequence in of_take]
    templates = Templates.of(sequences, [0] * len(sequences))
    take_of = np.repeat(np.arange(len(takes)), [len(of_take) for of_take in by_take])
    scorer = TemplateScorer(templates, bank.speech)
    take_scores = scorer.sums(bank.talk, take_of)
    talk_scores = take_scores.sum(axis=0) / len(sequences)
    calibration = fit_tail(peaks_of(talk_scores), bank.hours)
    threshold = threshold_for(false_alarms_per_hour)
    notes: list[str] = []
    if len(takes) > 1:
        recognized, doubtful = _leave_one_out(
            recorded or synthetic, take_of, scorer, take_scores, bank, embedding, threshold
        )
        notes += doubtful if recorded else []
    else:
        recognized = None
        notes.append("one take does not show how the phrase will vary: add two or more, some of them by other people")
    if background is not None:
        on_background, note = _calibrate_on_background(Path(background), scorer, embedding)
        calibration = _stricter(calibration, on_background, false_alarms_per_hour)
        notes += [note] if note else []
    false_alarms = _count_false_alarms(talk_scores, calibration, threshold)
    at_most = _poisson_upper(false_alarms) / bank.hours
    notes += _quality_notes(recorded, takes, recognized)
    phrases = (*existing.phrases, phrase)
    all_templates = (
        templates
        if existing.templates is None
        else _join_templates(existing.templates, templates, len(existing.phrases))
    )
    calibrations = [*existing.calibrations, calibration]
    entry = {
        "phrase": phrase,
        "takes": len(recorded),
        "voices": voices,
        "calibration": asdict(calibration),
        "false_alarms": false_alarms,
        "hours": round(bank.hours, 3),
        "recognized": recognized,
    }
    thresholds = {**existing.fields.get("thresholds", {}), phrase: threshold}
    entries = [*existing.fields.get("enrolled", []), entry]
    metadata = enrolled_metadata(phrases, all_templates, thresholds, entries, existing.encoder)
    content = enrolled_model(embedding, bank.speech, all_templates, calibrations, metadata)
    with replacing(Path(out)) as temporary:
        temporary.write_bytes(content)
    if stream is not None:
        stream_content = enrolled_stream(embedding, bank.speech, all_templates, calibrations, metadata, HOP_STEPS)
        with replacing(Path(stream)) as temporary:
            temporary.write_bytes(stream_content)
    return Enrollment(
        path=Path(out),
        phrases=phrases,
        takes=len(recorded),
        voices=voices,
        threshold=threshold,
        false_alarms=false_alarms,
        hours=bank.hours,
        at_most=at_most,
        recognized=recognized,
        notes=tuple(notes),
    )


def write_enrolled_stream(model: str | os.PathLike[str], out: str | os.PathLike[str]) -> None:
    """Write the streaming file of a model of enrolled phrases.

    Parameters
    ----------
    model
        Model file that `enroll` wrote.
    out
        Streaming file to write.

    Raises
    ------
    HarkenError
        If the model was not written by `enroll`, or a file cannot be read or written.
    """
    existing = _read_enrolled(model)
    assert existing.templates is not None
    content = enrolled_stream(
        load_embedding(existing.encoder),
        load_bank(existing.encoder).speech,
        existing.templates,
        existing.calibrations,
        existing.fields,
        HOP_STEPS,
    )
    with replacing(Path(out)) as temporary:
        temporary.write_bytes(content)


@dataclass(frozen=True)
class _EnrolledModel:
    """The content of a model of enrolled phrases. `templates` is None if there are no phrases yet."""

    phrases: tuple[str, ...]
    templates: Templates | None
    calibrations: tuple[Calibration, ...]
    fields: dict[str, Any]
    encoder: str


def _read_enrolled(path: str | os.PathLike[str]) -> _EnrolledModel:
    try:
        content = Path(path).read_bytes()
    except OSError as error:
        raise HarkenError(
            f"{path} cannot be read: {error.strerror}; give a model that `harken enroll` wrote"
        ) from error
    fields = {}
    for key, text in read_metadata(content).items():
        try:
            fields[key] = json.loads(text)
        except ValueError:
            fields[key] = text
    if not {"enrolled", "encoder"} <= fields.keys() or fields.get("format") != _FORMAT:
        raise HarkenError(f"{path} was not written by this version's `harken enroll`: enroll into a new model")
    constants = read_initializers(content)
    used = load_embedding(fields["encoder"]).network | {"speech_mean": load_bank(fields["encoder"]).speech.mean}
    # Templates are embeddings, so they fit no other weights.
    if any(name not in constants or not np.array_equal(constants[name], used[name]) for name in used):
        raise HarkenError(f"{path} has the speech embedding of another version of harken: enroll its phrases again")
    lengths = constants["template_lengths"].reshape(-1).astype(np.int64)
    flat = constants["templates"]
    longest = flat.shape[1] // lengths.size
    vectors = flat.reshape(flat.shape[0], longest, lengths.size).transpose(2, 1, 0).astype(np.float32)
    phrase_of = constants["averages"].argmax(axis=0).astype(np.int64)
    phrases = tuple(entry["phrase"] for entry in fields["enrolled"])
    calibrations = tuple(Calibration(**entry["calibration"]) for entry in fields["enrolled"])
    return _EnrolledModel(phrases, Templates(vectors, lengths, phrase_of), calibrations, fields, fields["encoder"])


def _join_templates(existing: Templates, new: Templates, phrases: int) -> Templates:
    return Templates.of(existing.sequences + new.sequences, [*existing.phrase_of, *(new.phrase_of + phrases)])


def _leave_one_out(
    tested: Sequence[Take],
    take_of: NDArray[np.int64],
    scorer: TemplateScorer,
    take_scores: NDArray[np.float32],
    bank: Bank,
    embedding: SpeechEmbedding,
    threshold: float,
) -> tuple[float, list[str]]:
    """Test each take with the templates of the other takes.

    Parameters
    ----------
    tested
        The takes to test. They are the first of the takes.
    take_of
        Number of the take from which each template was made [templates].
    scorer, embedding
        Scores of all templates.
    take_scores
        Sums [takes, steps] of the scores of each take's templates in the speech of `bank`, for the calibration of the other
        takes.
    threshold
        Threshold of the phrase.

    Returns
    -------
    tuple of float and list of str
        The fraction of the takes that are detected, and a note on each take that is not.

    Raises
    ------
    HarkenError
        If a take is so different from the others that it must contain another word.
    """
    logit = math.log(threshold / (1 - threshold))
    notes: list[str] = []
    outliers: list[tuple[float, str]] = []
    all_scores = take_scores.sum(axis=0)
    for number, take in enumerate(tested):
        others = take_of != number
        other_scores = all_scores - take_scores[number]
        calibration = fit_tail(peaks_of(other_scores / others.sum()), bank.hours)
        score = float(scorer.scores(whole_embeddings(take, embedding))[others].mean(axis=0).max())
        take_logit = calibration.slope * score + calibration.offset
        if take_logit < _logit_of(_OUTLIER_PER_HOUR):
            outliers.append((take_logit, take.name))
        elif take_logit < min(logit, _logit_of(_DOUBTFUL_PER_HOUR)):
            notes.append(
                f"{take.name} sounds little like the other takes: listen to it, and leave it out if it is another word"
            )
        elif take_logit < logit:
            notes.append(f"{take.name} would be missed by a model of the other takes")
    if outliers:
        problem = f"{min(outliers)[1]} sounds unlike the other takes"
        if len(outliers) == len(tested):
            problem = "the takes sound unlike each other"
        raise HarkenError(
            f"{problem}: give recordings of one phrase, and leave out or record again those of another one"
        )
    return 1 - len(notes) / len(tested), notes


def _logit_of(false_alarms_per_hour: float) -> float:
    return -math.log(false_alarms_per_hour / REFERENCE_PER_HOUR)


def _calibrate_on_background(
    folder: Path, scorer: TemplateScorer, embedding: SpeechEmbedding
) -> tuple[Calibration, str]:
    """Return the calibration on a folder of recordings, and a note if they are short."""
    paths = (
        sorted(path for path in folder.rglob("*") if path.suffix.lower() in AUDIO_SUFFIXES) if folder.is_dir() else []
    )
    if not paths:
        raise HarkenError(f"{folder} contains no recordings: give a folder with WAV, FLAC, OGG or MP3 files")
    embeddings = np.concatenate([embedding.embed(load_clip(path, SAMPLE_RATE)) for path in paths])
    if len(embeddings) * STEP < _MIN_BACKGROUND_S * SAMPLE_RATE:
        raise HarkenError(f"{folder} contains less than {_MIN_BACKGROUND_S:g} s of sound: add more recordings")
    hours = hours_of(embeddings)
    note = f"{60 * hours:.0f} minutes of background are few: an hour shows rare false alarms" if hours < 0.5 else ""
    return fit_tail(peaks_of(scorer.scores(embeddings).mean(axis=0)), hours), note


def _stricter(bank: Calibration, background: Calibration, per_hour: float) -> Calibration:
    """Return the calibration that requires the higher score for a rate of false alarms."""
    return max((bank, background), key=lambda fit: fit.start + fit.scale * np.log(fit.per_hour / per_hour))


def _count_false_alarms(scores: NDArray[np.float32], calibration: Calibration, threshold: float) -> int:
    min_score = (np.log(threshold / (1 - threshold)) - calibration.offset) / calibration.slope
    return int((peaks_of(scores) >= min_score).sum())


def _poisson_upper(count: int) -> float:
    """Return the upper 95 % confidence limit of the mean of a Poisson distribution, given a count (Garwood, 1936)."""
    low, high = float(count), 2.0 * count + 20.0
    for _ in range(60):
        mean = (low + high) / 2
        term = total = np.exp(-mean)
        for number in range(1, count + 1):
            term *= mean / number
            total += term
        low, high = (mean, high) if total > 0.05 else (low, mean)
    return float(high)


def _quality_notes(recorded: Sequence[Take], takes: Sequence[Take], recognized: float | None) -> list[str]:
    notes = []
    if (length := float(np.median([take.seconds for take in takes]))) < _SHORT_PHRASE_S:
        notes.append(
            f"the phrase lasts {length:.1f} s: short words are often detected inside other words; use three or more syllables"
        )
    if note := check_lengths(recorded):
        notes.append(note)
    if recognized is not None and recognized < _MIN_RECOGNIZED:
        notes.append(
            "the phrase is too similar to common words, or its takes differ too much: choose another, or record it again"
        )
    return notes


def enrolled_metadata(
    phrases: Sequence[str],
    templates: Templates,
    thresholds: dict[str, float],
    enrolled: list[dict[str, Any]],
    encoder: str,
) -> dict[str, Any]:
    """Return the metadata of a model of enrolled phrases.

    Parameters
    ----------
    phrases
        The phrases, in the order of the classes.
    templates
        Their templates, which determine the window.
    thresholds
        Threshold of each phrase.
    enrolled
        For each phrase: what it was learned from, its calibration, and the accuracy to expect.
    encoder
        Name of the speech embedding.
    """
    hop_ms = 1000 * HOP_STEPS * STEP / SAMPLE_RATE
    return {
        "labels": class_labels(phrases),
        "sample_rate": SAMPLE_RATE,
        "window": samples_of(templates.steps),
        "lead_in": round(0.6 * SAMPLE_RATE),
        "thresholds": thresholds,
        "listener": {
            "thresholds": thresholds,
            "hop_ms": hop_ms,
            "smoothing_ms": 0.0,
            "refractory_ms": 1500.0,
            "gate_db": -60.0,
            "isolation": 0.0,
        },
        "format": _FORMAT,
        "enrolled": enrolled,
        "encoder": encoder,
        "network": f"speech embedding ({encoder}, Apache-2.0) and templates",
        "license": "the speech embedding is Apache-2.0; the templates are the user's own",
    }
