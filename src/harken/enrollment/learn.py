"""Enroll a phrase: create a model file from a few takes, in seconds and without training.

enroll                  recordings or a spelling -> model file
Enrollment              the result, with the accuracy to expect
write_enrolled_stream   a model of enrolled phrases -> its streaming file
enrolled_metadata       the metadata of such a model

serve/page/enroll.js does the same with recordings in the browser. A test compares the two.
"""

import math
import os
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from harken.audio.clip import AUDIO_SUFFIXES, UNREADABLE_SUFFIXES, AudioSource, clip_name, load_clip
from harken.enrollment.bank import Bank, fit_tail, hours_of, load_bank, peaks_of
from harken.enrollment.existing import FORMAT, EnrolledModel, read_enrolled
from harken.enrollment.graph import (
    KINDS,
    REFERENCE_PER_HOUR,
    Templates,
    class_labels,
    enrolled_model,
    enrolled_stream,
    threshold_for,
)
from harken.enrollment.phrase import LearnedPhrase
from harken.enrollment.request import Request, check_request
from harken.enrollment.takes import Take, check_lengths, read_take
from harken.enrollment.typed import speak_phrase
from harken.errors import HarkenError
from harken.files import replacing
from harken.models.encoders import load_embedding
from harken.models.speech_embedding import SAMPLE_RATE, STEP, SpeechEmbedding, samples_of

DEFAULT_FALSE_ALARMS = 0.5  # per hour of speech
HOP_STEPS = (
    3  # embeddings between two evaluations in a stream; an evaluation considers all alignments since the last one
)
_SHORT_PHRASE_S = 0.45  # a phrase shorter than this gets a note
# False alarms per hour at the score of a take, in a model of the other takes. A take as common in speech as this contains
# another word. With fewer false alarms it may contain one: it gets a note.
_OUTLIER_PER_HOUR, _DOUBTFUL_PER_HOUR = 120.0, 10.0
_MIN_RECOGNIZED = 0.5  # a phrase of which a smaller fraction of takes is recognized gets a note
_MIN_BACKGROUND_S = 60.0


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
    clips: Iterable[AudioSource] = (),
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
    request = check_request(
        phrase,
        clips,
        out=out,
        typed=typed,
        into=into,
        false_alarms_per_hour=false_alarms_per_hour,
        stream=stream,
        encoder=encoder,
    )
    phrase = request.phrase
    embedding, bank = load_embedding(request.encoder), load_bank(request.encoder)
    recorded = _read_takes(request.clips, source_rate)
    synthetic, voices = speak_phrase(phrase) if typed else ([], "")
    folder = None if background is None else Path(background)
    learned = _learn(recorded, synthetic, bank, embedding, folder, false_alarms_per_hour)
    notes = learned.notes
    if request.existing and "sensitivity" in request.existing.fields:
        notes.append(f"{into} was tuned for its phrases: its thresholds are kept, but tune it again for --sensitivity")
    entry = {
        "phrase": phrase,
        "takes": len(recorded),
        "voices": voices,
        "calibration": [asdict(fit) for fit in learned.phrase.calibrations],
        "false_alarms": learned.false_alarms,
        "hours": round(bank.hours, 3),
        "recognized": learned.recognized,
    }
    joined = _join(request, learned, entry)
    content = enrolled_model(embedding, bank.speech, joined.templates, joined.calibrations, joined.fields)
    with replacing(Path(out)) as temporary:
        temporary.write_bytes(content)
    if stream is not None:
        content = enrolled_stream(
            embedding, bank.speech, joined.templates, joined.calibrations, joined.fields, HOP_STEPS
        )
        with replacing(Path(stream)) as temporary:
            temporary.write_bytes(content)
    return Enrollment(
        path=Path(out),
        phrases=joined.phrases,
        takes=len(recorded),
        voices=voices,
        threshold=learned.threshold,
        false_alarms=learned.false_alarms,
        hours=bank.hours,
        at_most=_poisson_upper(learned.false_alarms) / bank.hours,
        recognized=learned.recognized,
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
    existing = read_enrolled(model)
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
class _Outcome:
    """A phrase that was learned, and the accuracy to expect. The attributes are those of `Enrollment`."""

    phrase: LearnedPhrase
    threshold: float
    false_alarms: int
    recognized: float | None
    notes: list[str]


def _learn(
    recorded: Sequence[Take],
    synthetic: Sequence[Take],
    bank: Bank,
    embedding: SpeechEmbedding,
    background: Path | None,
    per_hour: float,
) -> _Outcome:
    takes = [*recorded, *synthetic]
    phrase = LearnedPhrase(takes, embedding, bank)
    notes: list[str] = []
    raised = 0.0
    if background is not None:
        raised, notes = _raise_on_background(background, phrase, embedding, per_hour)
        phrase.raise_by(raised)
    if len(takes) > 1:
        recognized, doubtful = _leave_one_out(recorded or synthetic, phrase, _logit_of(per_hour), raised)
        notes += doubtful if recorded else []
    else:
        recognized = None
        notes.append("one take does not show how the phrase will vary: add two or more, some of them by other people")
    notes += _quality_notes(recorded, takes, recognized)
    false_alarms = int((peaks_of(phrase.bank_logits()) >= _logit_of(per_hour)).sum())
    return _Outcome(phrase, threshold_for(per_hour), false_alarms, recognized, notes)


def _join(request: Request, learned: _Outcome, entry: dict[str, Any]) -> EnrolledModel:
    """Return a model with one more phrase. Settings of its listener that were tuned stay as they are."""
    phrase, existing, new = request.phrase, request.existing, learned.phrase
    if existing is None:
        fields = enrolled_metadata([phrase], new.templates, {phrase: learned.threshold}, [entry], request.encoder)
        return EnrolledModel((phrase,), new.templates, (new.calibrations,), fields, request.encoder)
    phrases = (*existing.phrases, phrase)
    templates = Templates.of(
        existing.templates.sequences + new.templates.sequences,
        [*existing.templates.group_of, *(new.templates.group_of + KINDS * len(existing.phrases))],
    )
    thresholds = {**existing.fields["thresholds"], phrase: learned.threshold}
    fields = enrolled_metadata(phrases, templates, thresholds, [*existing.fields["enrolled"], entry], existing.encoder)
    listener = existing.fields["listener"]
    fields["listener"] = {**listener, "thresholds": {**listener["thresholds"], phrase: learned.threshold}}
    calibrations = (*existing.calibrations, new.calibrations)
    return EnrolledModel(phrases, templates, calibrations, fields, existing.encoder)


def _read_takes(clips: Sequence[AudioSource], source_rate: int | None) -> list[Take]:
    takes: list[Take] = []
    for number, clip in enumerate(clips, 1):
        in_memory = isinstance(clip, np.ndarray)
        name = f"clip {number}" if in_memory else clip_name(clip)
        take = read_take(clip, source_rate=source_rate if in_memory else None, name=name)
        for earlier in takes:
            if np.array_equal(earlier.waveform, take.waveform):
                raise HarkenError(f"{earlier.name} and {take.name} are the same recording: give different ones")
        takes.append(take)
    return takes


def _leave_one_out(
    tested: Sequence[Take], phrase: LearnedPhrase, least_logit: float, raised: float
) -> tuple[float, list[str]]:
    """Test each take with the templates of the other takes.

    Parameters
    ----------
    tested
        The takes to test. They are the first of the takes.
    phrase
        The phrase, learned from all takes.
    least_logit
        Logit at which the phrase is detected.
    raised
        By how much the background lowered the logits.

    Returns
    -------
    tuple of float and list of str
        The fraction of the takes that are detected, and notes on those that are not.

    Raises
    ------
    HarkenError
        If a take is so different from the others that it must contain another word.
    """
    notes: list[str] = []
    missed_for_background = 0
    outliers: list[tuple[float, str]] = []
    for number, take in enumerate(tested):
        take_logit = phrase.logit_without(number)
        if take_logit < _logit_of(_OUTLIER_PER_HOUR):
            outliers.append((take_logit, take.name))
        elif take_logit < min(least_logit, _logit_of(_DOUBTFUL_PER_HOUR)):
            notes.append(
                f"{take.name} sounds little like the other takes: listen to it, and leave it out if it is another word"
            )
        elif take_logit < least_logit:
            notes.append(f"{take.name} would be missed by a model of the other takes: add takes that sound like it")
        else:
            missed_for_background += take_logit - raised < least_logit
    if outliers:
        problem = f"{min(outliers)[1]} sounds unlike the other takes"
        if len(outliers) == len(tested):
            problem = "the takes sound unlike each other"
        raise HarkenError(
            f"{problem}: give recordings of one phrase, and leave out or record again those of another one"
        )
    recognized = 1 - (len(notes) + missed_for_background) / len(tested)
    if missed_for_background:
        notes.append(
            f"false alarms in the background raised the threshold, so {missed_for_background} more of the takes would be "
            "missed: if its recordings contain the phrase, remove them"
        )
    return recognized, notes


def _logit_of(false_alarms_per_hour: float) -> float:
    return -math.log(false_alarms_per_hour / REFERENCE_PER_HOUR)


def _raise_on_background(
    folder: Path, phrase: LearnedPhrase, embedding: SpeechEmbedding, per_hour: float
) -> tuple[float, list[str]]:
    """Return by how much the logits must be lower for a rate of false alarms on a folder of recordings, and notes on them."""
    files = sorted(folder.rglob("*")) if folder.is_dir() else []
    paths = [path for path in files if path.suffix.lower() in AUDIO_SUFFIXES]
    unreadable = [path for path in files if path.suffix.lower() in UNREADABLE_SUFFIXES]
    if not paths:
        raise HarkenError(f"{folder} contains no recordings: give a folder with WAV, FLAC, OGG or MP3 files")
    embeddings = np.concatenate([embedding.embed(load_clip(path, SAMPLE_RATE)) for path in paths])
    if len(embeddings) * STEP < _MIN_BACKGROUND_S * SAMPLE_RATE:
        raise HarkenError(f"{folder} contains less than {_MIN_BACKGROUND_S:g} s of sound: add more recordings")
    hours = hours_of(embeddings)
    notes = []
    if hours < 0.5:
        notes.append(f"the background lasts {60 * hours:.1f} minutes: only an hour or more shows rare false alarms")
    if unreadable:
        left_out = f"{len(unreadable)} files of the background were left out, such as {unreadable[0]}"
        notes.append(f"{left_out}: convert them to WAV")
    fit = fit_tail(peaks_of(phrase.logits(embeddings)), hours, usual_scale=1.0)
    # The logit that false alarms in the background exceed this often, and the one that they may.
    reached = fit.start + fit.scale * math.log(fit.per_hour / per_hour)
    return max(0.0, reached - _logit_of(per_hour)), notes


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
            "most takes would be missed: either they are not of one phrase, or the phrase is too similar to common words"
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
        "format": FORMAT,
        "enrolled": enrolled,
        "encoder": encoder,
        "network": f"speech embedding ({encoder}, Apache-2.0) and templates",
        "license": "the speech embedding is Apache-2.0; the templates are the user's own",
    }
