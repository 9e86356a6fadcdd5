"""Enroll a phrase: create a model file from a few takes, in seconds and without training.

enroll              recordings or a spelling -> model file
Enrollment          the result, with the accuracy to expect
streaming_content   a model of enrolled phrases -> the content of its streaming file

serve/page/enroll.js does the same with recordings in the browser. A test compares the two.
"""

import os
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from harken.audio.clip import AudioSource
from harken.enrollment.background import excess_logit
from harken.enrollment.bank import Bank, load_bank
from harken.enrollment.calibration import logit_of, peaks_of, threshold_for, upper_limit
from harken.enrollment.existing import EnrolledModel
from harken.enrollment.graph import enrolled_model, enrolled_stream
from harken.enrollment.metadata import HOP_MS, HOP_STEPS, enrolled_metadata
from harken.enrollment.phrase import LearnedPhrase
from harken.enrollment.request import Request, check_request
from harken.enrollment.take_quality import leave_one_out, logits_without, odd_takes, quality_notes
from harken.enrollment.takes import Take, read_takes
from harken.enrollment.templates import KINDS, Templates
from harken.enrollment.typed import speak_phrase
from harken.errors import HarkenError
from harken.files import replacing_all
from harken.models.encoders import load_embedding
from harken.models.speech_embedding import SpeechEmbedding

DEFAULT_FALSE_ALARMS = 0.5  # per hour of speech
_FEWEST_VOICES = 3  # synthetic takes that a phrase is learned from


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
        background=background,
        false_alarms_per_hour=false_alarms_per_hour,
        stream=stream,
        encoder=encoder,
    )
    phrase = request.phrase
    embedding, bank = load_embedding(request.encoder), load_bank(request.encoder)
    recorded = read_takes(request.clips, source_rate=source_rate)
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
    contents = {Path(out): enrolled_model(embedding, bank.speech, joined.templates, joined.calibrations, joined.fields)}
    if stream is not None:
        contents[Path(stream)] = streaming_content(joined)
    with replacing_all(*contents) as temporaries:
        for temporary, content in zip(temporaries, contents.values(), strict=True):
            temporary.write_bytes(content)
    return Enrollment(
        path=Path(out),
        phrases=joined.phrases,
        takes=len(recorded),
        voices=voices,
        threshold=learned.threshold,
        false_alarms=learned.false_alarms,
        hours=bank.hours,
        at_most=upper_limit(learned.false_alarms) / bank.hours,
        recognized=learned.recognized,
        notes=tuple(notes),
    )


def streaming_content(enrolled: EnrolledModel) -> bytes:
    """Return the content of the streaming file of a model of enrolled phrases."""
    # The listener of a model can be tuned for any hop. A streaming file has that of its steps.
    fields = {**enrolled.fields, "listener": {**enrolled.fields["listener"], "hop_ms": HOP_MS}}
    embedding, speech = load_embedding(enrolled.encoder), load_bank(enrolled.encoder).speech
    return enrolled_stream(embedding, speech, enrolled.templates, enrolled.calibrations, fields, HOP_STEPS)


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
    tested = recorded or synthetic
    phrase = LearnedPhrase(takes, embedding, bank)
    logits = logits_without(len(tested), phrase) if len(takes) > 1 else []
    notes: list[str] = []
    while not recorded and (odd := odd_takes(logits)):  # harken leaves them out, since nobody else can
        takes = tested = [take for number, take in enumerate(takes) if number not in odd]
        if len(takes) < _FEWEST_VOICES:
            raise HarkenError("the synthetic voices speak the phrase too differently: give recordings of it")
        phrase = LearnedPhrase(takes, embedding, bank)
        logits = logits_without(len(tested), phrase)
    if left_out := len(recorded) + len(synthetic) - len(takes):
        which = "1 synthetic take that sounds" if left_out == 1 else f"{left_out} synthetic takes that sound"
        notes.append(f"{which} unlike the others {'was' if left_out == 1 else 'were'} left out")
    raised = 0.0
    if background is not None:
        raised, of_background = excess_logit(background, phrase, embedding, per_hour)
        notes += of_background
        phrase.raise_by(raised)
    if len(takes) > 1:
        recognized, doubtful = leave_one_out(tested, logits, logit_of(per_hour), raised)
        notes += doubtful if recorded else []
    else:
        recognized = None
        notes.append("one take does not show how the phrase will vary: add two or more, some of them by other people")
    notes += quality_notes(recorded, takes, recognized)
    false_alarms = int((peaks_of(phrase.bank_logits()) >= logit_of(per_hour)).sum())
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
    if "tuned_on" in existing.fields:
        fields["tuned_on"] = existing.fields["tuned_on"]
    calibrations = (*existing.calibrations, new.calibrations)
    return EnrolledModel(phrases, templates, calibrations, fields, existing.encoder)
