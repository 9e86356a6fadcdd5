"""Enrollment: a few takes of a phrase -> a model file that detects it, in seconds and without training.

enroll        takes or a spelling -> model file
Enrollment    what to expect of it
"""

import json
import os
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from harken.audio.clip import AUDIO_SUFFIXES, AudioSource, load_clip
from harken.enrollment.bank import Bank, fit_tail, hours_of, load_bank, peaks_of
from harken.enrollment.embedding import SAMPLE_RATE, STEP, SpeechEmbedding, load_embedding, samples_of
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
from harken.enrollment.onnx_bytes import read_initializers, read_metadata
from harken.enrollment.takes import Take, check_lengths, read_take, sequences_of, whole_embeddings
from harken.enrollment.typed import check_phrase, speak_phrase
from harken.errors import HarkenError
from harken.files import replacing, require_writable

DEFAULT_FALSE_ALARMS = 0.5  # an hour of talk
HOP_STEPS = 3  # embeddings between two evaluations in a stream: the network looks at all alignments since the last
_MOST_TAKES = 40
_SHORT_S = 0.45
_STRANGE_PER_HOUR = 30.0  # a take that fits the others no better than what talk holds so often is another word
_NEAR_WORDS = 0.5  # of the takes, that the threshold must let pass
_MIN_BACKGROUND_S = 60.0
_FORMAT = 1


@dataclass(frozen=True)
class Enrollment:
    """What to expect of an enrolled phrase.

    path : the model file. phrases : all that it detects. takes, voices : what the phrase was learned from. threshold : the
    probability at which it is detected. false_alarms : how many there were in `hours` of talk at that threshold; at_most : their
    rate an hour at most, at 95 % confidence. recognized : the share of the takes that a model of the
    other takes detects; None with fewer than two takes. notes : what is doubtful.
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
) -> Enrollment:
    """Write a model file that detects a phrase, learned from a few recordings of it or from its spelling.

    Parameters
    ----------
    phrase : the label of the phrase. clips : recordings of it, each with the phrase once; three to five, by those who will
        say it. source_rate : Hz, of clips that are arrays.
    out : the model file to write. stream : its streaming form, to write too.
    typed : learn from synthetic voices that speak the phrase, too.
    into : an enrolled model whose phrases the new one keeps.
    background : folder of recordings without the phrase, from where it will be used; the threshold is kept above their
        false alarms, too.
    false_alarms_per_hour : of talk, that the threshold is set for.

    Raises
    ------
    HarkenError : a clip is silent, too long or not audio; the takes are not of one phrase; no voice can say it; the
        package with the speech embedding is missing; or a file cannot be read or written.
    """
    check_phrase(phrase)
    if not 0 < false_alarms_per_hour < REFERENCE_PER_HOUR:
        raise HarkenError(
            f"{false_alarms_per_hour:g} false alarms an hour: ask for more than 0 and less than {REFERENCE_PER_HOUR:g}"
        )
    if not clips and not typed:
        raise HarkenError("there is nothing to learn the phrase from: name clips of it, or have it spoken with --typed")
    if len(clips) > _MOST_TAKES:
        raise HarkenError(f"{len(clips)} takes are more than enrolling can use: choose {_MOST_TAKES} or fewer")
    require_writable(*(Path(path) for path in (out, stream) if path is not None))
    embedding, bank = load_embedding(), load_bank()
    known = _read_enrolled(into) if into is not None else _Known((), None, (), {})
    if phrase in known.phrases:
        raise HarkenError(f"{into} holds {phrase!r} already: choose another phrase, or enroll it into a new model")
    spoken = [read_take(clip, source_rate=source_rate if isinstance(clip, np.ndarray) else None) for clip in clips]
    synthetic, voices = speak_phrase(phrase) if typed else ([], "")
    takes = spoken + synthetic
    heard = [
        [bank.speech.normalized(sequence) for sequence in sequences_of(take, embedding, seed=number)]
        for number, take in enumerate(takes)
    ]
    sequences = [sequence for of_take in heard for sequence in of_take]
    templates = Templates.of(sequences, [0] * len(sequences))
    owner = np.repeat(np.arange(len(takes)), [len(of_take) for of_take in heard])
    scorer = TemplateScorer(templates, bank.speech)
    talk = scorer.scores(bank.talk)
    calibration = fit_tail(peaks_of(talk.mean(axis=0)), bank.hours)
    threshold = threshold_for(false_alarms_per_hour)
    notes: list[str] = []
    if len(spoken) + len(synthetic) > 1:
        recognized, lost = _leave_one_out(spoken or synthetic, takes, owner, scorer, talk, bank, embedding, threshold)
        notes += [f"{take.name} would be missed by a model of the other takes" for take in lost if spoken]
    else:
        recognized = None
        notes.append("one take says little of how the phrase will be spoken: add two or more, best by other people too")
    if background is not None:
        ours, name = _background_peaks(Path(background), scorer, embedding)
        calibration = _stricter(calibration, ours, false_alarms_per_hour)
        notes += [name] if name else []
    counted = _counted(talk.mean(axis=0), calibration, threshold)
    at_most = _poisson_upper(counted) / bank.hours
    notes += _doubts(spoken, takes, recognized)
    phrases = (*known.phrases, phrase)
    all_templates = templates if known.templates is None else _joined(known.templates, templates, len(known.phrases))
    calibrations = [*known.calibrations, calibration]
    entry = {
        "phrase": phrase,
        "takes": len(spoken),
        "voices": voices,
        "calibration": asdict(calibration),
        "false_alarms": counted,
        "hours": round(bank.hours, 3),
        "recognized": recognized,
    }
    thresholds = {**known.fields.get("thresholds", {}), phrase: threshold}
    metadata = _metadata(phrases, all_templates, thresholds, [*known.fields.get("enrolled", []), entry], embedding)
    content = enrolled_model(embedding, bank.speech, all_templates, calibrations, metadata)
    with replacing(Path(out)) as temporary:
        temporary.write_bytes(content)
    if stream is not None:
        flowing = enrolled_stream(embedding, bank.speech, all_templates, calibrations, metadata, HOP_STEPS)
        with replacing(Path(stream)) as temporary:
            temporary.write_bytes(flowing)
    return Enrollment(
        Path(out), phrases, len(spoken), voices, threshold, counted, bank.hours, at_most, recognized, tuple(notes)
    )


def write_enrolled_stream(model: str | os.PathLike[str], out: str | os.PathLike[str]) -> None:
    """Write the streaming form of an enrolled model. Raises HarkenError when the model is not one."""
    known = _read_enrolled(model)
    assert known.templates is not None
    content = enrolled_stream(
        load_embedding(), load_bank().speech, known.templates, known.calibrations, known.fields, HOP_STEPS
    )
    with replacing(Path(out)) as temporary:
        temporary.write_bytes(content)


@dataclass(frozen=True)
class _Known:
    """What an enrolled model holds."""

    phrases: tuple[str, ...]
    templates: Templates | None
    calibrations: tuple[Calibration, ...]
    fields: dict[str, Any]


def _read_enrolled(path: str | os.PathLike[str]) -> _Known:
    try:
        content = Path(path).read_bytes()
    except OSError as error:
        raise HarkenError(
            f"{path} cannot be read: {error.strerror}; name a model that `harken enroll` wrote"
        ) from error
    fields = {}
    for key, text in read_metadata(content).items():
        try:
            fields[key] = json.loads(text)
        except ValueError:
            fields[key] = text
    if "enrolled" not in fields or fields.get("format") != _FORMAT:
        raise HarkenError(f"{path} was not written by this version's `harken enroll`: enroll into a new model")
    constants = read_initializers(content)
    lengths = constants["template_lengths"].reshape(-1).astype(np.int64)
    flat = constants["templates"]
    longest = flat.shape[1] // lengths.size
    vectors = flat.reshape(flat.shape[0], longest, lengths.size).transpose(2, 1, 0).astype(np.float32)
    phrase_of = constants["averages"].argmax(axis=0).astype(np.int64)
    phrases = tuple(entry["phrase"] for entry in fields["enrolled"])
    laws = tuple(Calibration(**entry["calibration"]) for entry in fields["enrolled"])
    return _Known(phrases, Templates(vectors, lengths, phrase_of), laws, fields)


def _joined(known: Templates, new: Templates, phrases: int) -> Templates:
    return Templates.of(known.sequences + new.sequences, [*known.phrase_of, *(new.phrase_of + phrases)])


def _leave_one_out(
    judged: Sequence[Take],
    takes: Sequence[Take],
    owner: NDArray[np.int64],
    scorer: TemplateScorer,
    talk: NDArray[np.float32],
    bank: Bank,
    embedding: SpeechEmbedding,
    threshold: float,
) -> tuple[float, list[Take]]:
    """Return the share of the takes that the templates of the others detect, at those others' own calibration, and the rest.

    Raises HarkenError where a take is so unlike the others that it must hold another word.
    """
    logit = np.log(threshold / (1 - threshold))
    lost: list[Take] = []
    strange: list[str] = []
    for number, take in enumerate(takes[: len(judged)]):
        others = owner != number
        law = fit_tail(peaks_of(talk[others].mean(axis=0)), bank.hours)
        best = float(scorer.scores(whole_embeddings(take, embedding))[others].mean(axis=0).max())
        reached = law.slope * best + law.offset
        if reached < logit:
            lost.append(take)
        if reached < -np.log(_STRANGE_PER_HOUR / REFERENCE_PER_HOUR):
            strange.append(take.name)
    if strange:
        which = f"{strange[0]} sounds unlike the other takes"
        if len(strange) == len(judged):
            which = "the takes sound unlike each other"
        raise HarkenError(f"{which}: name recordings of one phrase, and leave out or record again what holds another")
    return 1 - len(lost) / len(judged), lost


def _background_peaks(folder: Path, scorer: TemplateScorer, embedding: SpeechEmbedding) -> tuple[Calibration, str]:
    """Return the law of the highest scores in a folder of recordings, and a note where they are few."""
    paths = (
        sorted(path for path in folder.rglob("*") if path.suffix.lower() in AUDIO_SUFFIXES) if folder.is_dir() else []
    )
    if not paths:
        raise HarkenError(f"{folder} holds no recording: name a folder with WAV, FLAC, OGG or MP3")
    parts = [embedding.embed(load_clip(path, SAMPLE_RATE)) for path in paths]
    sound = np.concatenate(parts)
    if len(sound) * STEP < _MIN_BACKGROUND_S * SAMPLE_RATE:
        raise HarkenError(f"{folder} holds less than {_MIN_BACKGROUND_S:g} s of sound: name more of it")
    hours = hours_of(sound)
    note = (
        f"{60 * hours:.0f} minutes of background tell little of rare alarms: an hour is better" if hours < 0.5 else ""
    )
    return fit_tail(peaks_of(scorer.scores(sound).mean(axis=0)), hours), note


def _stricter(bank: Calibration, own: Calibration, rate: float) -> Calibration:
    """Return the law that asks for the higher score at a rate of false alarms."""
    return max((bank, own), key=lambda law: law.start + law.scale * np.log(law.per_hour / rate))


def _counted(scores: NDArray[np.float32], law: Calibration, threshold: float) -> int:
    least = (np.log(threshold / (1 - threshold)) - law.offset) / law.slope
    return int((peaks_of(scores) >= least).sum())


def _poisson_upper(count: int) -> float:
    """Return what a Poisson mean is at most, at 95 % confidence, given the count (Garwood, 1936)."""
    low, high = float(count), 2.0 * count + 20.0
    for _ in range(60):
        mean = (low + high) / 2
        term = total = np.exp(-mean)
        for number in range(1, count + 1):
            term *= mean / number
            total += term
        low, high = (mean, high) if total > 0.05 else (low, mean)
    return float(high)


def _doubts(spoken: Sequence[Take], takes: Sequence[Take], recognized: float | None) -> list[str]:
    notes = []
    if (length := float(np.median([take.seconds for take in takes]))) < _SHORT_S:
        notes.append(
            f"the phrase lasts {length:.1f} s: short words are found in the midst of others; three syllables or more are better"
        )
    if note := check_lengths(spoken):
        notes.append(note)
    if recognized is not None and recognized < _NEAR_WORDS:
        notes.append(
            "the phrase is too near to common words, or its takes disagree: choose another, or record it again"
        )
    return notes


def _metadata(
    phrases: Sequence[str],
    templates: Templates,
    thresholds: dict[str, float],
    enrolled: list[dict[str, Any]],
    embedding: SpeechEmbedding,
) -> dict[str, Any]:
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
        "network": "speech embedding (Google, Apache-2.0) and templates",
        "license": "the speech embedding is Apache-2.0; the templates are the user's own",
    }
