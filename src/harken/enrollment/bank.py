"""The speech bank: statistics of speech in general, and two hours of noisy speech in which false alarms are counted.

Bank            the mean, typical embeddings, and the embeddings of two hours of noisy speech
load_bank       read the bank of a speech embedding, which tools/build_bank.py creates
hours_of        the duration of a sequence of embeddings
"""

from dataclasses import dataclass
from functools import cached_property, lru_cache
from importlib.resources import files

import numpy as np
from numpy.typing import NDArray

from harken.enrollment.templates import SpeechModel
from harken.errors import HarkenError
from harken.models.encoders import DEFAULT
from harken.models.speech_embedding import SAMPLE_RATE, STEP

# Part of the similarity to typical speech that is subtracted, for each encoder. Chosen on speech of the bank.
_WEIGHTS = {"harken": 0.5, "google": 0.7}


@dataclass(frozen=True)
class Bank:
    """Statistics and embeddings of speech by many speakers.

    Attributes
    ----------
    speech
        What all speech has in common.
    quantized
        Embeddings [steps, 96] of two hours of speech, mixed with noise 5 to 20 dB below the speech, in 8 bits.
    scale
        Factor [96] of each dimension of `quantized`.
    """

    speech: SpeechModel
    quantized: NDArray[np.int8]
    scale: NDArray[np.float32]

    @cached_property
    def talk(self) -> NDArray[np.float32]:
        """The embeddings of `quantized` [steps, 96]."""
        return self.quantized.astype(np.float32) * self.scale + self.speech.mean

    @property
    def hours(self) -> float:
        """Duration of `talk` in hours."""
        return hours_of(self.quantized)


@lru_cache(maxsize=2)
def load_bank(encoder: str = DEFAULT) -> Bank:
    """Read the bank that harken ships for a speech embedding.

    The file stores embeddings in 8 bits, with a separate scale for each of the 96 dimensions.

    Parameters
    ----------
    encoder
        Name of the speech embedding, as in `harken.models.encoders`.

    Raises
    ------
    HarkenError
        If the file is missing or damaged.
    """
    name = f"enrollment/bank_{encoder}.npz"
    path = files("harken").joinpath(name)
    try:
        with path.open("rb") as file, np.load(file, allow_pickle=False) as stored:
            mean, scale = stored["mean"].astype(np.float32), stored["scale"].astype(np.float32)
            quantized = np.asarray(stored["talk"], np.int8)
            typical = stored["typical"].astype(np.float32)
    except (OSError, KeyError, ValueError) as error:
        raise HarkenError(f"the speech bank {name} cannot be read: reinstall harken") from error
    typical /= np.linalg.norm(typical, axis=1, keepdims=True)
    return Bank(SpeechModel(mean, typical, _WEIGHTS[encoder]), quantized, scale)


def hours_of(embeddings: NDArray[np.generic]) -> float:
    """Return the duration in hours of a sequence of embeddings."""
    return len(embeddings) * STEP / SAMPLE_RATE / 3600
