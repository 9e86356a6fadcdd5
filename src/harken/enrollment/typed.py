"""Create takes of a phrase from its spelling, with the synthetic voices of the extra `synth`.

speak_phrase       a phrase -> takes, and a description of the voices
normalize_phrase   a phrase as it is written in a model
check_phrase       refuse a phrase that cannot be a label or cannot be spoken
"""

import ctypes
import re
import sys
import unicodedata
from collections import Counter
from pathlib import Path

import numpy as np
import soxr

from harken.audio.clip import AUDIO_SUFFIXES
from harken.enrollment.takes import LONGEST_S, Take, read_take
from harken.errors import HarkenError
from harken.labels import NOT_IN_FOLDER_NAMES
from harken.models.speech_embedding import SAMPLE_RATE

_VOICES = {"espeak": 12, "hibari": 12, "piper": 12, "kokoro": 24}  # number of takes for each engine
_RATES, _PITCHES = (0.8, 1.2), (0.85, 1.2)  # ranges of the factors that vary a voice
_PAUSE_S = 0.4
_LONGEST_PHRASE = 60  # characters
_CONTROLS = ("Cc", "Cf", "Cs", "Zl", "Zp")  # categories of characters that control text, and of line ends
_JOINERS = {"\u200c", "\u200d"}  # letters of some alphabets need them


def speak_phrase(phrase: str, *, seed: int = 0) -> tuple[list[Take], str]:
    """Speak a phrase in many synthetic voices.

    Parameters
    ----------
    phrase
        The phrase. Spaces, digits and apostrophes are allowed. Each engine reads them in its own way.
    seed
        Random seed for the voices, speaking rates and pitches.

    Returns
    -------
    tuple of list of Take and str
        The takes, and the engines with the number of takes from each.

    Raises
    ------
    HarkenError
        If no voice is installed, or too few voices can speak the phrase.
    """
    check_phrase(phrase)
    from harken.synth.voices import Voice, engine_of, voices

    rng = np.random.default_rng(seed)
    by_engine: dict[str, list[Voice]] = {}
    for voice in voices():
        by_engine.setdefault(engine_of(voice), []).append(voice)
    takes: list[Take] = []
    takes_by_engine: Counter[str] = Counter()
    problem = ""
    for engine, wanted in _VOICES.items():
        members = by_engine.get(engine, [])
        # An engine with many voices uses a different one for each take. With few voices, only the rate and pitch differ.
        order = [members[index] for index in rng.permutation(len(members))]
        for number in range(wanted if order else 0):
            voice = order[number % len(order)]
            rate, pitch = float(rng.uniform(*_RATES)), float(rng.uniform(*_PITCHES))
            try:
                samples, sample_rate = voice.speak(phrase, rate=rate, pitch=pitch, seed=seed + number)
                resampled = np.asarray(soxr.resample(samples, sample_rate, SAMPLE_RATE), np.float32)
                pause = round(_PAUSE_S * SAMPLE_RATE)
                take = read_take(np.pad(resampled, pause), source_rate=SAMPLE_RATE, name=f"{phrase!r} by {voice.name}")
            except HarkenError as error:
                problem = str(error)
                continue
            takes.append(take)
            takes_by_engine[engine] += 1
    if len(takes) < min(6, sum(_VOICES[engine] for engine in by_engine)):
        raise HarkenError(
            f"too few synthetic voices can say {phrase!r} ({problem}): spell it as it sounds, or record it"
        )
    _return_free_memory()
    voices_used = ", ".join(f"{engine} ({count} takes)" for engine, count in takes_by_engine.items())
    return takes, voices_used


def _return_free_memory() -> None:
    """Return the memory of closed engines to the system. The C library of Linux would keep 130 MB for later."""
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None) if sys.platform == "linux" else None
    if trim is not None:
        trim(0)


def normalize_phrase(phrase: str) -> str:
    """Return a phrase with composed characters and single spaces, as labels are compared. The page does the same."""
    return re.sub(" +", " ", unicodedata.normalize("NFC", phrase))


def check_phrase(phrase: str) -> None:
    """Check that a phrase can be a label and can be spoken.

    Raises
    ------
    HarkenError
        If it is empty, too long, or the name of a recording, contains no letter or digit, or contains a character that the
        name of a folder cannot contain.
    """
    if not phrase.strip() or phrase != phrase.strip():
        raise HarkenError(f"the phrase {phrase!r} is empty or has spaces around it: write it as it is spoken")
    if Path(phrase).suffix.lower() in AUDIO_SUFFIXES:
        raise HarkenError(
            f'{phrase} is a recording, not a phrase: write the phrase before it, such as "view glass" {phrase}'
        )
    if len(phrase) > _LONGEST_PHRASE:
        raise HarkenError(
            f"the phrase has {len(phrase)} characters: it must be spoken within {LONGEST_S:g} s, so {_LONGEST_PHRASE} at most"
        )
    if not re.search(r"[^\W_]", phrase):
        raise HarkenError(f"the phrase {phrase!r} contains no letter or digit: write it as it is spoken")
    controls = [character for character in phrase if unicodedata.category(character) in _CONTROLS]
    if set(controls) - _JOINERS or (phrase.startswith("_") and phrase.endswith("_")):
        raise HarkenError(f"the phrase {phrase!r} cannot be a label: use letters, digits, spaces and apostrophes")
    if forbidden := sorted(NOT_IN_FOLDER_NAMES.intersection(phrase)):
        raise HarkenError(
            f"the phrase {phrase!r} contains characters that the name of a folder cannot ({' '.join(forbidden)}): "
            "leave them out, or write them as words"
        )
