"""Chunks of a stream, of any size, brought to float32 mono at one rate.

Resampler   stateful: the same samples come out however the stream was cut into chunks
to_mono     a chunk of floats or 16-bit PCM, of one channel or several -> float32 [samples]
"""

from typing import Any

import numpy as np
import soxr
from numpy.typing import NDArray

from harken.audio.clip import MAX_SAMPLE_RATE, MIN_SAMPLE_RATE
from harken.errors import HarkenError

_BLOCKS_PER_SECOND = 100
_MOST_CHANNELS = 64


class Resampler:
    """Brings the chunks of one stream to `target_rate` by soxr's high quality, as load_clip does with a whole clip.

    soxr is fed blocks of 10 ms on a fixed grid, so that neither its rounding nor its speed depends on the chunks. It
    holds back what its filter still needs: 20 to 40 ms of a stream at 16 kHz or above. Where the rates are equal, the
    samples pass as they are.

    source_rate, target_rate : whole numbers of Hz, 4,000 to 192,000. Raises HarkenError when either is not.
    """

    def __init__(self, source_rate: int, target_rate: int) -> None:
        for rate in (source_rate, target_rate):
            if not MIN_SAMPLE_RATE <= rate <= MAX_SAMPLE_RATE or rate != int(rate):
                raise HarkenError(
                    f"a sample rate of {rate} Hz: harken takes whole numbers from {MIN_SAMPLE_RATE} to {MAX_SAMPLE_RATE} Hz"
                )
        self.source_rate = int(source_rate)
        self.target_rate = int(target_rate)
        self._block = np.zeros(self.source_rate // _BLOCKS_PER_SECOND, np.float32)
        self.reset()

    def reset(self) -> None:
        """Forget the stream, and be ready for another one."""
        self._soxr: Any = None
        if self.source_rate != self.target_rate:
            self._soxr = soxr.ResampleStream(self.source_rate, self.target_rate, 1, dtype="float32")
        self._held = 0  # samples at the start of the block that wait for the rest of it
        self._taken = 0
        self._given = 0
        self._finished = False

    def push(self, chunk: NDArray[Any]) -> NDArray[np.float32]:
        """Take a chunk, as to_mono does, and return the samples [0 or more] that are ready.

        Raises HarkenError when the chunk is unfit, and takes nothing of it; and after finish.
        """
        samples = to_mono(chunk)
        if self._finished:
            raise HarkenError("the stream was finished: call reset before pushing another one")
        self._taken += samples.size
        if self._soxr is None:
            return samples
        ready = []
        start = 0
        while start < samples.size:
            taken = min(self._block.size - self._held, samples.size - start)
            self._block[self._held : self._held + taken] = samples[start : start + taken]
            self._held += taken
            start += taken
            if self._held == self._block.size:
                ready.append(self._soxr.resample_chunk(self._block))
                self._held = 0
        resampled = np.concatenate(ready) if ready else np.zeros(0, np.float32)
        self._given += resampled.size
        return resampled

    def finish(self) -> NDArray[np.float32]:
        """Return the last samples: with them, the stream has ceil(samples * target_rate / source_rate) in all."""
        if self._finished:
            raise HarkenError("the stream was finished before: call reset, and push another one")
        self._finished = True
        if self._soxr is None:
            return np.zeros(0, np.float32)
        wanted = -(-self._taken * self.target_rate // self.source_rate) - self._given
        rest: NDArray[np.float32] = self._soxr.resample_chunk(self._block[: self._held], last=True)
        return np.pad(rest[:wanted], (0, max(0, wanted - rest.size)))


def to_mono(chunk: NDArray[Any]) -> NDArray[np.float32]:
    """Return a chunk as float32 [samples], full scale 1.0; channels are averaged.

    chunk : floats, or int16 PCM, [samples] or [samples, channels].
    Raises HarkenError when it is something else, or holds NaN or infinity.
    """
    if not isinstance(chunk, np.ndarray) or chunk.ndim not in (1, 2):
        raise HarkenError("a chunk must be an array [samples] or [samples, channels]")
    if chunk.ndim == 2 and not 1 <= chunk.shape[1] <= _MOST_CHANNELS:
        raise HarkenError(f"a chunk of shape {chunk.shape} has {chunk.shape[1]} channels: pass [samples, channels]")
    if chunk.dtype == np.int16:
        samples = chunk.astype(np.float32) / np.float32(32768.0)
    elif chunk.dtype.kind == "f":
        samples = chunk.astype(np.float32, copy=False)
        if not np.isfinite(samples).all():
            raise HarkenError("a chunk holds NaN or infinite samples: look for the fault where it was recorded")
    else:
        raise HarkenError(f"a chunk is of type {chunk.dtype}: pass floats or 16-bit PCM")
    if samples.ndim == 1:
        return np.ascontiguousarray(samples)
    # Channel by channel: the order in which numpy's mean adds may depend on the length of the chunk.
    mono: NDArray[np.float32] = samples[:, 0].copy()
    for channel in range(1, samples.shape[1]):
        mono += samples[:, channel]
    mono /= samples.shape[1]
    return mono
