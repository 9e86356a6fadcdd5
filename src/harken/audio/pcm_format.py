"""Raw PCM: its formats, and which of them a stream looks like.

PCM_FORMATS    names and NumPy types
FormatCheck    compare a stream with the format that was stated
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

PCM_FORMATS: dict[str, np.dtype[Any]] = {"s16": np.dtype("<i2"), "s32": np.dtype("<i4"), "f32": np.dtype("<f4")}
_NEEDED_BYTES = 32_000  # that are not digital silence
_MAX_FLOAT, _MIN_FLOAT = 8.0, 1e-9  # magnitudes of float samples, except for 0
_SMOOTH, _ROUGH = 0.5, 0.8  # mean square of the steps between samples, over twice their variance: noise has 1


class FormatCheck:
    """Compare the start of a stream with the format that was stated.

    Parameters
    ----------
    stated
        Name of the format.
    channels
        Number of interleaved channels.
    """

    def __init__(self, stated: str, channels: int) -> None:
        self._stated = stated
        self._channels = channels
        self._start = b""
        self._done = False

    def push(self, content: bytes) -> str | None:
        """Add the next bytes. Return, once at most, the name of the format that they look like if it is another one."""
        if self._done or (not self._start and not any(content)):
            return None
        self._start += content[: _NEEDED_BYTES - len(self._start)]
        if len(self._start) < _NEEDED_BYTES:
            return None
        self._done = True
        likely = likely_format(self._start, self._channels)
        return likely if likely != self._stated else None


def likely_format(content: bytes, channels: int) -> str | None:
    """Return the format that bytes of PCM look like. None: it cannot be told."""
    content = content[: len(content) // (4 * channels) * 4 * channels]
    if _are_floats(np.frombuffer(content, "<f4")):
        return "f32"
    words = np.frombuffer(content, "<i2").reshape(-1, channels, 2).astype(np.float64)
    # As s32, these are the low and the high halves of each sample. The high ones are as smooth as sound, the low ones are
    # noise, or zero if the recorder has only 16 bits.
    low, high = words[:, 0, 0], words[:, 0, 1]
    if channels == 1 and not low.any() and _roughness(high) < _SMOOTH:
        return "s32"
    if low.any() and _roughness(low) > _ROUGH and low.std() > 10_000 and _roughness(high) < _SMOOTH:
        return "s32"
    first = np.frombuffer(content, "<i2").reshape(-1, channels)[:, 0].astype(np.float64)
    return "s16" if _roughness(first) < _SMOOTH else None


def _are_floats(samples: NDArray[np.float32]) -> bool:
    with np.errstate(invalid="ignore"):
        magnitudes = np.abs(samples)
        plausible = (magnitudes == 0) | ((magnitudes >= _MIN_FLOAT) & (magnitudes <= _MAX_FLOAT))
    return bool(plausible.mean() > 0.999 and (magnitudes > 0).any())


def _roughness(samples: NDArray[np.float64]) -> float:
    variance = samples.var()
    return float(np.square(np.diff(samples)).mean() / (2 * variance)) if variance else 1.0
