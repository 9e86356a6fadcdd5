"""Resample a stream that comes in chunks.

Resampler   convert chunks of any size to float32 mono at one sample rate
to_float    convert a chunk of floats or integer PCM to float32
"""

from typing import Any

import numpy as np
import soxr
from numpy.typing import NDArray

from harken.audio.channels import Mixer
from harken.audio.clip import MAX_SAMPLE_RATE, MIN_SAMPLE_RATE, PCM_TYPES, from_pcm
from harken.errors import HarkenError

_BLOCKS_PER_SECOND = 100
_MAX_CHANNELS = 64


class Resampler:
    """Resample one stream with soxr's high quality setting, as `load_clip` does for a whole clip.

    The result does not depend on how the stream is split into chunks: soxr always gets blocks of 10 ms on a fixed grid.
    Its filter delays the output by 20 to 40 ms for a stream at 16 kHz or above. If the two rates are equal, the samples
    are returned unchanged.

    Parameters
    ----------
    source_rate
        Sample rate of the stream in Hz, a whole number from 4,000 to 192,000.
    target_rate
        Sample rate of the result in Hz, a whole number from 4,000 to 192,000.

    Raises
    ------
    HarkenError
        If a rate is out of range or not a whole number.
    """

    def __init__(self, source_rate: int, target_rate: int) -> None:
        for rate in (source_rate, target_rate):
            if not MIN_SAMPLE_RATE <= rate <= MAX_SAMPLE_RATE or rate != int(rate):
                raise HarkenError(
                    f"the sample rate is {rate} Hz: it must be a whole number from {MIN_SAMPLE_RATE} to {MAX_SAMPLE_RATE} Hz"
                )
        self.source_rate = int(source_rate)
        self.target_rate = int(target_rate)
        self._block = np.zeros(self.source_rate // _BLOCKS_PER_SECOND, np.float32)
        self.reset()

    def reset(self) -> None:
        """Forget the stream and get ready for another one."""
        self._mixer: Mixer | None = None
        self._soxr: Any = None
        if self.source_rate != self.target_rate:
            self._soxr = soxr.ResampleStream(self.source_rate, self.target_rate, 1, dtype="float32")
        self._filled = 0  # samples in the current block
        self._input_samples = 0
        self._output_samples = 0
        self._finished = False

    def push(self, chunk: NDArray[Any]) -> NDArray[np.float32]:
        """Add a chunk and return the resampled samples that are ready.

        Parameters
        ----------
        chunk
            Floats or integer PCM, [samples] or [samples, channels].

        Returns
        -------
        ndarray of float32
            The samples that are ready, [0 or more].

        Raises
        ------
        HarkenError
            If the chunk is not audio, in which case nothing of it is used. If the stream was finished.
        """
        samples = to_float(chunk)
        if self._finished:
            raise HarkenError("the stream is finished: call reset before you push another stream")
        if samples.ndim == 2:
            if self._mixer is None or self._mixer.channels != samples.shape[1]:
                self._mixer = Mixer(self.source_rate, samples.shape[1])
            samples = self._mixer.push(samples)
        self._input_samples += samples.size
        if self._soxr is None:
            return samples
        ready = []
        start = 0
        while start < samples.size:
            count = min(self._block.size - self._filled, samples.size - start)
            self._block[self._filled : self._filled + count] = samples[start : start + count]
            self._filled += count
            start += count
            if self._filled == self._block.size:
                ready.append(self._soxr.resample_chunk(self._block))
                self._filled = 0
        resampled = np.concatenate(ready) if ready else np.zeros(0, np.float32)
        self._output_samples += resampled.size
        return resampled

    def finish(self) -> NDArray[np.float32]:
        """End the stream and return its last samples.

        Together with what `push` returned, the result has ceil(samples * target_rate / source_rate) samples.

        Raises
        ------
        HarkenError
            If the stream was already finished.
        """
        if self._finished:
            raise HarkenError("the stream is already finished: call reset before you push another stream")
        self._finished = True
        if self._soxr is None:
            return np.zeros(0, np.float32)
        missing = -(-self._input_samples * self.target_rate // self.source_rate) - self._output_samples
        rest: NDArray[np.float32] = self._soxr.resample_chunk(self._block[: self._filled], last=True)
        return np.pad(rest[:missing], (0, max(0, missing - rest.size)))


def to_float(chunk: NDArray[Any]) -> NDArray[np.float32]:
    """Convert a chunk to float32.

    Parameters
    ----------
    chunk
        Floats, signed integers (full-scale PCM of their width) or 8-bit PCM, [samples] or [samples, channels], with at
        most 64 channels.

    Returns
    -------
    ndarray of float32
        The chunk, of the same shape unless it has a single channel: then [samples]. Full scale is 1.0.

    Raises
    ------
    HarkenError
        If the chunk has another type or shape, or contains NaN or infinity.
    """
    if not isinstance(chunk, np.ndarray) or chunk.ndim not in (1, 2):
        raise HarkenError("the chunk is not audio: pass an array [samples] or [samples, channels]")
    if chunk.ndim == 2 and not 1 <= chunk.shape[1] <= _MAX_CHANNELS:
        raise HarkenError(
            f"a chunk of shape {chunk.shape} has {chunk.shape[1]} channels: pass [samples, channels], "
            f"with 1 to {_MAX_CHANNELS} channels"
        )
    if (samples := from_pcm(chunk)) is None:
        raise HarkenError(f"a chunk has the type {chunk.dtype}: {PCM_TYPES}")
    if chunk.dtype.kind == "f" and not np.isfinite(samples).all():
        raise HarkenError("a chunk contains NaN or infinite samples: check the program that recorded it")
    return np.ascontiguousarray(samples[:, 0] if samples.ndim == 2 and samples.shape[1] == 1 else samples)
