"""The matrix of mel filters, on Slaney's scale."""

import math

import numpy as np
from numpy.typing import NDArray


def mel_filters(sample_rate: int, window: int, bands: int, low_hz: float, high_hz: float) -> NDArray[np.float64]:
    """Return triangular mel filters of unit area on Slaney's scale (Auditory Toolbox, 1998).

    Parameters
    ----------
    sample_rate
        In Hz.
    window
        Samples in a window.
    bands
        Number of filters.
    low_hz, high_hz
        Lowest and highest frequency.

    Returns
    -------
    ndarray
        [bands, window // 2 + 1].
    """
    edges = _mel_to_hz(np.linspace(_hz_to_mel(low_hz), _hz_to_mel(high_hz), bands + 2))
    bins = np.arange(window // 2 + 1) * (sample_rate / window)
    rising = (bins - edges[:-2, None]) / (edges[1:-1] - edges[:-2])[:, None]
    falling = (edges[2:, None] - bins) / (edges[2:] - edges[1:-1])[:, None]
    areas = 2.0 / (edges[2:] - edges[:-2])
    return np.maximum(0.0, np.minimum(rising, falling)) * areas[:, None]


# Slaney's scale is linear up to 1 kHz (15 mel) and logarithmic above, with 27 mel from there to 6.4 kHz.
_LINEAR_HZ_PER_MEL = 200.0 / 3
_BEND_HZ = 1000.0
_BEND_MEL = _BEND_HZ / _LINEAR_HZ_PER_MEL
_LOG_STEP = math.log(6.4) / 27


def _hz_to_mel(hz: float) -> float:
    return hz / _LINEAR_HZ_PER_MEL if hz < _BEND_HZ else _BEND_MEL + math.log(hz / _BEND_HZ) / _LOG_STEP


def _mel_to_hz(mel: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.where(mel < _BEND_MEL, mel * _LINEAR_HZ_PER_MEL, _BEND_HZ * np.exp(_LOG_STEP * (mel - _BEND_MEL)))
