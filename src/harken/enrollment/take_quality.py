"""Whether takes are good enough: each is tested with the templates of the others.

logits_without   the logit of each take in a phrase that was learned from the others
odd_takes        takes that must contain another word
leave_one_out    the fraction of the takes that a model of the others detects, with notes on those it does not
quality_notes    notes on a short phrase, on takes of different lengths, and on a phrase that is missed
"""

from collections.abc import Sequence

import numpy as np

from harken.enrollment.calibration import logit_of
from harken.enrollment.phrase import LearnedPhrase
from harken.enrollment.takes import Take, check_lengths
from harken.errors import HarkenError

_SHORT_PHRASE_S = 0.45  # a phrase shorter than this gets a note
# False alarms per hour at the score of a take, in a model of the other takes. A take as common in speech as this contains
# another word. With fewer false alarms it may contain one: it gets a note.
_OUTLIER_PER_HOUR, _DOUBTFUL_PER_HOUR = 120.0, 10.0
_MIN_RECOGNIZED = 0.5  # a phrase of which a smaller fraction of takes is recognized gets a note


def logits_without(takes: int, phrase: LearnedPhrase) -> list[float]:
    """Return the logit of each of the first takes of a phrase, if it is learned from the other takes."""
    return [phrase.logit_without(number) for number in range(takes)]


def odd_takes(logits: Sequence[float]) -> list[int]:
    """Return the numbers of the takes that are so different from the others that they must contain another word."""
    return [number for number, logit in enumerate(logits) if logit < logit_of(_OUTLIER_PER_HOUR)]


def leave_one_out(
    tested: Sequence[Take], logits: Sequence[float], least_logit: float, raised: float
) -> tuple[float, list[str]]:
    """Test each take with the templates of the other takes.

    Parameters
    ----------
    tested
        The takes to test.
    logits
        The logit of each, as `logits_without` returns it.
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
    odd = odd_takes(logits)
    for take, take_logit in zip(tested, logits, strict=True):
        if take_logit < min(least_logit, logit_of(_DOUBTFUL_PER_HOUR)):
            notes.append(
                f"{take.name} sounds little like the other takes: listen to it, and leave it out if it is another word"
            )
        elif take_logit < least_logit:
            notes.append(f"{take.name} would be missed by a model of the other takes: add takes that sound like it")
        else:
            missed_for_background += take_logit - raised < least_logit
    if odd:
        problem = f"{tested[int(np.argmin(logits))].name} sounds unlike the other takes"
        if len(odd) == len(tested):
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


def quality_notes(recorded: Sequence[Take], takes: Sequence[Take], recognized: float | None) -> list[str]:
    """Return notes on the takes as a whole.

    Parameters
    ----------
    recorded
        The takes that are recordings.
    takes
        All takes, those of synthetic voices included.
    recognized
        The fraction that `leave_one_out` returned. None if it was not called.
    """
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
