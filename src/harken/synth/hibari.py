"""The voice of Hibari (package `hibari-tts`, Apache-2.0): an American woman, the most natural voice of the extra."""

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from hibari import Hibari
from numpy.typing import NDArray

from harken.errors import HarkenError


@dataclass(frozen=True)
class HibariVoice:
    """Hibari's voice "heart", which is included in the package."""

    name: str = "hibari-heart"
    family: str = "hibari-heart"
    accent: str = "en-us"

    def speak(
        self, text: str, *, rate: float = 1.0, pitch: float = 1.0, seed: int = 0
    ) -> tuple[NDArray[np.float32], int]:
        """See `harken.synth.voices.Voice.speak`.

        The pitch is changed by returning another sample rate. Formants change with it, like those of a speaker with another
        length of the vocal tract, so that one voice can stand for several speakers.
        """
        engine = _engine()
        samples = np.asarray(engine(text, speed=min(2.0, max(0.5, rate / pitch)), seed=seed), np.float32)
        if samples.size == 0:
            raise HarkenError(f"Hibari cannot speak {text!r}: use letters that it can read")
        return np.clip(samples, -1.0, 1.0), round(engine.sample_rate * pitch)


@lru_cache(maxsize=1)
def _engine() -> Hibari:
    return Hibari(threads=1)
