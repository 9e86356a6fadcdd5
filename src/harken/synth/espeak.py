"""The voices of espeak-ng: its English accents, each with all of its voice presets ("variants").

espeak_voices    all accents with all variants
EspeakVoice      one of them
phonemes         the pronunciation of texts, as IPA symbols

espeak-ng (GPL-3.0) comes with the package `espeakng-loader`, including its data. It is called through ctypes.

The library has a global state, so that each call here holds a lock and threads wait for each other. Use processes to go
faster. A part of that state (the position in the pitch flutter) remains after an utterance, and no call can set it. The
library is therefore loaded again for each utterance, which takes 3 ms and gives the same samples every time.
"""

import _ctypes
import ctypes
import math
import re
import sys
import threading
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import espeakng_loader
import numpy as np
from numpy.typing import NDArray

from harken.errors import HarkenError

# From espeak-ng's speak_lib.h.
_AUDIO_OUTPUT_SYNCHRONOUS = 2
_INITIALIZE_DONT_EXIT = 0x8000
_CHARS_UTF8 = 1
_POS_CHARACTER = 1
_RATE, _VOLUME, _PITCH = 1, 2, 3
_PHONEMES_IPA = 0x02 | ord("_") << 8  # symbols separated by "_"

_NORMAL_WORDS_PER_MINUTE = 175
_VOLUME_PERCENT = 30  # at the normal volume, the loudest variants overdrive the 16-bit output

# "fast" tests the speed of the synthesizer. The others are hard to understand: of the ten commands, spoken in en-us and
# en-gb, pocketsphinx with a ten-word grammar recognized 11 of 20 or fewer (the mean of all variants is 16.0).
_EXCLUDED_VARIANTS = frozenset(
    {"fast", "Alicia", "Lee", "Marco", "Andrea", "ian", "kaukovalta", "marcelo", "norbert", "shelby", "travis", "zac"}
)
# "en-Shaw" reads another alphabet.
_EXCLUDED_ACCENTS = frozenset({"en-Shaw"})

_SynthCallback = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.POINTER(ctypes.c_short), ctypes.c_int, ctypes.c_void_p)
_LOCK = threading.Lock()


@dataclass(frozen=True)
class EspeakVoice:
    """An accent (such as `en-us`) spoken with a variant (such as `f1`)."""

    accent: str
    variant: str

    @property
    def name(self) -> str:
        """`espeak-<accent>-<variant>`."""
        return f"espeak-{self.accent}-{_simple_name(self.variant)}"

    @property
    def family(self) -> str:
        """The variant without its edition number, in any accent. For example, `robosoft3` and `robosoft4` are one family.

        The numbered presets f, m and klatt are different speakers, and each is a family.
        """
        simple = _simple_name(self.variant)
        return (
            f"espeak-{simple}" if re.fullmatch(r"(f|m|klatt)\d*", simple) else f"espeak-{simple.rstrip('0123456789')}"
        )

    def speak(
        self, text: str, *, rate: float = 1.0, pitch: float = 1.0, seed: int = 0
    ) -> tuple[NDArray[np.float32], int]:
        """See `harken.synth.voices.Voice.speak`."""
        words_per_minute = round(_NORMAL_WORDS_PER_MINUTE * rate)
        # The pitch of espeak-ng ranges from 0 to 99: from an octave down to an octave up.
        pitch_value = min(99, max(0, round(50 + 50 * math.log2(pitch))))
        parts: list[NDArray[np.int16]] = []

        def collect(samples: "ctypes._Pointer[ctypes.c_short]", count: int, _events: object) -> int:
            if samples and count > 0:
                parts.append(np.ctypeslib.as_array(samples, (count,)).copy())
            return 0

        callback = _SynthCallback(collect)
        encoded = text.encode() + b"\0"
        with _library() as (library, sample_rate):
            _select_voice(library, self.accent, self.variant)
            library.espeak_SetSynthCallback(callback)
            for parameter, value in ((_RATE, words_per_minute), (_VOLUME, _VOLUME_PERCENT), (_PITCH, pitch_value)):
                library.espeak_SetParameter(parameter, value, 0)
            # espeak-ng uses its own random generator and, in Klatt-like variants, that of the C library.
            library.espeak_ng_SetRandSeed(ctypes.c_long(seed % 2**31))
            _c_library().srand(ctypes.c_uint(seed % 2**31))
            failed = library.espeak_Synth(
                encoded, ctypes.c_size_t(len(encoded)), 0, _POS_CHARACTER, 0, _CHARS_UTF8, None, None
            )
        if failed or not parts:
            raise HarkenError(f"espeak-ng cannot speak {text!r}: use letters that it can read")
        return np.concatenate(parts).astype(np.float32) / 32768.0, sample_rate


def espeak_voices() -> list[EspeakVoice]:
    """Return all accents with all variants, sorted by name."""
    accents = sorted(_accents())
    variants = sorted(
        path.name for path in (_data() / "voices" / "!v").iterdir() if path.name not in _EXCLUDED_VARIANTS
    )
    return [EspeakVoice(accent, variant) for accent in accents for variant in variants]


def phonemes(texts: Iterable[str], *, accent: str = "en-us") -> list[list[str]]:
    """Return the pronunciation of each text: IPA symbols, without stress marks and boundaries of words and sentences.

    Raises HarkenError if espeak-ng has no such accent.
    """
    pronounced = []
    with _library() as (library, _):
        library.espeak_TextToPhonemes.restype = ctypes.c_char_p
        _select_voice(library, accent, "")
        for text in texts:
            rest = ctypes.c_char_p(text.encode())
            symbols: list[str] = []
            while rest.value is not None:  # each call returns one clause
                spoken = library.espeak_TextToPhonemes(ctypes.byref(rest), _CHARS_UTF8, _PHONEMES_IPA)
                symbols += re.split(r"[_\s]+", re.sub(r"[ˈˌ]|\([^)]*\)", "", spoken.decode()))
            pronounced.append([symbol for symbol in symbols if symbol])
    return pronounced


@contextmanager
def _library() -> Iterator[tuple[ctypes.CDLL, int]]:
    with _LOCK:
        library = ctypes.CDLL(espeakng_loader.get_library_path())
        try:
            path = str(_data()).encode()
            rate = library.espeak_Initialize(_AUDIO_OUTPUT_SYNCHRONOUS, 0, path, _INITIALIZE_DONT_EXIT)
            if rate <= 0:
                raise HarkenError("espeak-ng does not start: pip install --force-reinstall espeakng-loader")
            yield library, int(rate)
        finally:
            library.espeak_Terminate()
            if sys.platform == "win32":
                _ctypes.FreeLibrary(library._handle)
            else:
                _ctypes.dlclose(library._handle)


def _select_voice(library: ctypes.CDLL, accent: str, variant: str) -> None:
    names = _accents()
    voice = f"{names.get(accent, accent)}+{variant}" if variant else names.get(accent, accent)
    if accent not in names or library.espeak_SetVoiceByName(voice.encode()):
        raise HarkenError(
            f"espeak-ng has no voice {accent}+{variant}: choose an accent from {', '.join(sorted(names))}"
        )


def _accents() -> dict[str, str]:
    """Return the voice file of each accent in espeak-ng's data."""
    files = [path.name for path in (_data() / "lang" / "gmw").iterdir() if path.name.split("-")[0] == "en"]
    return {"en-gb" if file == "en" else file.lower(): f"gmw/{file}" for file in files if file not in _EXCLUDED_ACCENTS}


def _data() -> Path:
    return Path(espeakng_loader.get_data_path())


def _c_library() -> ctypes.CDLL:
    return ctypes.CDLL("ucrtbase" if sys.platform == "win32" else None)


def _simple_name(variant: str) -> str:
    return variant.lower().replace(" ", "")
