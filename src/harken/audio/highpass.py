"""Remove the constant offset and the low hum of a recording device, for measuring levels.

HighPass       filter a stream chunk by chunk
coefficients   the coefficients of the filter

Cheap microphones add an offset to all samples, and mains hum at 50 or 60 Hz. Neither is a sound around a word, but both
count as one when the level of the samples is measured. Networks are not disturbed by them and get the samples unfiltered.
serve/page/highpass.js and export/c/templates/isolation.c hold the same filter. Tests compare them.
"""

import math

import numpy as np
from numpy.typing import NDArray

# Above the hum of 50 and 60 Hz, which is lowered by 15 and 12 dB, and below most of the power of a voice.
CUTOFF_HZ = 120.0
_BLOCK = 64  # samples that one matrix product filters


def coefficients(sample_rate: int) -> tuple[float, float, float]:
    """Return gain, a and b of y[n] = gain * (x[n] - 2 x[n-1] + x[n-2]) + a * y[n-1] + b * y[n-2].

    It is a Butterworth filter of second order, by the bilinear transform.
    """
    k = math.tan(math.pi * CUTOFF_HZ / sample_rate)
    gain = 1 / (1 + math.sqrt(2) * k + k * k)
    return gain, 2 * (1 - k * k) * gain, (math.sqrt(2) * k - 1 - k * k) * gain


class HighPass:
    """High-pass filter for one stream. Before its start, the stream counts as zeros.

    Parameters
    ----------
    sample_rate
        Sample rate of the stream in Hz.
    """

    def __init__(self, sample_rate: int) -> None:
        self._gain, self._a, self._b = coefficients(sample_rate)
        response = [1.0, self._a]  # to a single 1 at the input of the recursive part
        while len(response) < _BLOCK:
            response.append(self._a * response[-1] + self._b * response[-2])
        shifted = [np.concatenate([np.zeros(delay), response[: _BLOCK - delay]]) for delay in range(_BLOCK)]
        self._responses = np.stack(shifted)  # [delay, sample]
        self.reset()

    def reset(self) -> None:
        """Forget the stream and get ready for another one."""
        self._inputs = np.zeros(2)  # the last two samples
        self._newest = self._older = 0.0  # the last two results

    def push(self, samples: NDArray[np.float32]) -> NDArray[np.float64]:
        """Return the filtered samples, as many as were given."""
        inputs = np.concatenate([self._inputs, samples])
        self._inputs = inputs[-2:]
        blocks = np.zeros((-(-samples.size // _BLOCK), _BLOCK))
        blocks.reshape(-1)[: samples.size] = self._gain * (inputs[2:] - 2 * inputs[1:-1] + inputs[:-2])
        # Each block starts from zero. Results before the block act like additions to its first two inputs.
        filtered = blocks @ self._responses
        additions = []
        newest, older = self._newest, self._older
        first, second = self._responses[:2, -2:].tolist()
        for last_but_one, last in filtered[:, -2:].tolist():
            to_first, to_second = self._a * newest + self._b * older, self._b * newest
            additions.append((to_first, to_second))
            older = last_but_one + to_first * first[0] + to_second * second[0]
            newest = last + to_first * first[1] + to_second * second[1]
        filtered += np.array(additions).reshape(-1, 2) @ self._responses[:2]
        result: NDArray[np.float64] = filtered.reshape(-1)[: samples.size]
        self._older, self._newest = [self._older, self._newest, *result[-2:].tolist()][-2:]
        return result
