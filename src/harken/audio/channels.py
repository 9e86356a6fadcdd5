"""Mix the channels of a recording down to one.

Mixer           mix a stream chunk by chunk
mix_channels    mix a whole recording
agreeing        which channels can be averaged

An average makes a word clearer if all channels contain it. It destroys the word if a channel contains something else, as
the loopback channel of a microphone array does, or the same in antiphase, as a balanced line does. Such channels are
left out.
"""

import math

import numpy as np
from numpy.typing import NDArray

_DEAD_CLIP = (
    10**-2.6
)  # a channel of a clip that is softer than the loudest by more than 26 dB does not contain the word
# In a stream, the word may be still to come, after a pause: the noise of a microphone is above -80 dB of full scale.
_DEAD_STREAM = 1e-8
_MIN_CORRELATION = 0.3
_BLOCK_S = 0.1
_PART = 1 << 16  # samples
_MEMORY_S = 5.0  # how long a stream remembers what its channels contained


def agreeing(products: NDArray[np.float64], dead: float) -> NDArray[np.bool_]:
    """Return which channels can be averaged.

    The first channel that is in use is the reference. A channel that does not correlate with it is left out, and so is
    a silent one, which would only lower the level.

    Parameters
    ----------
    products
        Means of the products of each two channels, [channels, channels].
    dead
        Power below which a channel is not in use.
    """
    powers = products.diagonal()
    first = int((powers >= min(dead, _DEAD_CLIP * powers.max())).argmax())
    required = _MIN_CORRELATION * np.sqrt(powers[first] * powers)
    result: NDArray[np.bool_] = (products[first] >= required) & (powers > 0)
    result[first] = True
    return result


def mix_channels(samples: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return the average of the channels that agree over the whole recording.

    Parameters
    ----------
    samples
        [samples, channels].
    """
    channels = samples.shape[1]
    products = np.zeros((channels, channels))
    for start in range(0, len(samples), _PART):  # float64 of a long recording would take much memory
        part = samples[start : start + _PART].astype(np.float64)
        products += part.T @ part
    return _average(samples, agreeing(products, math.inf))


class Mixer:
    """Mix the channels of a stream.

    Channels that do not agree are left out from 0.1 s on. The result does not depend on how the stream is split into
    chunks.

    Parameters
    ----------
    sample_rate
        Sample rate of the stream in Hz.
    channels
        Number of channels.
    """

    def __init__(self, sample_rate: int, channels: int) -> None:
        self.channels = channels
        self._block = np.zeros((round(_BLOCK_S * sample_rate), channels), np.float32)
        self._filled = 0
        self._products = np.zeros((channels, channels))  # weighted sums, and the sum of the weights
        self._weight = 0.0
        self._agreeing = np.ones(channels, bool)

    def push(self, samples: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return the mixed samples, as many as were given, [samples, channels]."""
        mixed = []
        start = 0
        while start < len(samples):
            count = min(len(self._block) - self._filled, len(samples) - start)
            part = samples[start : start + count]
            mixed.append(_average(part, self._agreeing))
            self._block[self._filled : self._filled + count] = part
            self._filled += count
            start += count
            if self._filled == len(self._block):
                block = self._block.astype(np.float64)
                self._products *= 1 - _BLOCK_S / _MEMORY_S
                self._products += block.T @ block
                self._weight = self._weight * (1 - _BLOCK_S / _MEMORY_S) + len(block)
                self._agreeing = agreeing(self._products / self._weight, _DEAD_STREAM)
                self._filled = 0
        return np.concatenate(mixed) if mixed else np.zeros(0, np.float32)


def _average(samples: NDArray[np.float32], chosen: NDArray[np.bool_]) -> NDArray[np.float32]:
    # Add channel by channel: the order of additions in NumPy's mean can depend on the number of samples.
    first, *others = np.flatnonzero(chosen)
    mono: NDArray[np.float32] = samples[:, first].copy()
    for channel in others:
        mono += samples[:, channel]
    mono /= 1 + len(others)
    return mono
