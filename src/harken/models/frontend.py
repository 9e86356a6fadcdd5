"""Front-ends as torch modules: waveforms [N, samples] -> features [N, bands, frames].

LogMel             log-mel energies, computed with operators that every exporter supports
RawWaveform        the waveform itself as a single band
build_front_end    a front-end by its kind
mel_filters        the matrix of mel filters
"""

import math
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from harken.errors import HarkenError
from harken.models.spectrum import FactoredDFT

LOG_FLOOR = 1e-6  # added to mel energies before the logarithm; about the energy of 16-bit rounding noise


class LogMel(nn.Module):
    """Log-mel energies of a waveform: [N, samples] -> [N, bands, frames].

    It computes frames without padding (98 per second with 30 ms every 10 ms), a periodic Hann window, the power spectrum,
    triangular mel filters on Slaney's scale with area normalization, and log(mel + 1e-6). That is the logarithm of
    librosa's `melspectrogram` with `center=False`.

    In training, an FFT computes the spectrum. In a graph captured by torch, as for every export, matrix products compute
    it, because STFT operators are poorly supported outside onnxruntime. The two agree to float32 rounding.

    Parameters
    ----------
    sample_rate
        In Hz.
    bands
        Number of mel bands.
    window_ms, hop_ms
        Length of a frame and step between frames, in milliseconds.
    low_hz, high_hz
        Frequency range of the filters. Default for `high_hz`: 7,600 Hz, but at most 95 % of half the sample rate.

    Raises
    ------
    HarkenError
        If a value is impossible.
    """

    def __init__(
        self,
        sample_rate: int = 16_000,
        *,
        bands: int = 40,
        window_ms: float = 30.0,
        hop_ms: float = 10.0,
        low_hz: float = 20.0,
        high_hz: float | None = None,
    ) -> None:
        super().__init__()
        high_hz = high_hz if high_hz is not None else min(7_600.0, sample_rate / 2 * 0.95)
        self.sample_rate = sample_rate
        self.window = round(sample_rate * window_ms / 1000)
        self.hop = round(sample_rate * hop_ms / 1000)
        self.bands = bands
        if sample_rate < 1 or bands < 1:
            raise HarkenError(f"{bands} mel bands at a sample rate of {sample_rate} Hz: both must be greater than 0")
        if not 0 < self.hop <= self.window:
            raise HarkenError(f"hop_ms={hop_ms} must be greater than 0 and at most window_ms={window_ms}")
        if not 0 <= low_hz < high_hz <= sample_rate / 2:
            raise HarkenError(f"mel filters from {low_hz} to {high_hz} Hz do not fit a sample rate of {sample_rate} Hz")
        filters = mel_filters(sample_rate, self.window, bands, low_hz, high_hz)
        if (filters.max(axis=1) <= 0).any():
            raise HarkenError(
                f"{bands} bands are too many for a window of {window_ms} ms: use fewer bands or a longer window"
            )
        hann = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(self.window) / self.window)
        self.spectrum = FactoredDFT(self.window)
        bins = self.spectrum.bins
        placed = np.where(bins <= self.window // 2, filters[:, np.minimum(bins, self.window // 2)], 0.0)
        self.hann: Tensor
        self.filters: Tensor
        self.placed_filters: Tensor
        self.register_buffer("hann", torch.tensor(hann, dtype=torch.float32), persistent=False)
        self.register_buffer("filters", torch.tensor(filters.T, dtype=torch.float32), persistent=False)
        self.register_buffer("placed_filters", torch.tensor(placed.T, dtype=torch.float32), persistent=False)

    def frames(self, samples: int) -> int:
        """Return the number of frames for a waveform of `samples`."""
        return max(0, 1 + (samples - self.window) // self.hop)

    def forward(self, waveform: Tensor) -> Tensor:
        if torch.compiler.is_compiling():
            mel = self.spectrum(self._framed(waveform) * self.hann) @ self.placed_filters
        else:
            frames = waveform.unfold(-1, self.window, self.hop)
            mel = torch.view_as_real(torch.fft.rfft(frames * self.hann)).square().sum(-1) @ self.filters
        return torch.log(mel + LOG_FLOOR).transpose(1, 2)

    def _framed(self, waveform: Tensor) -> Tensor:
        """Return the frames [N, frames, window], like `unfold`, but without an index table if the hop divides the window."""
        if self.window % self.hop:
            return waveform.unfold(-1, self.window, self.hop)
        frames = self.frames(waveform.shape[-1])
        parts = [
            waveform[:, start : start + frames * self.hop].reshape(-1, frames, self.hop)
            for start in range(0, self.window, self.hop)
        ]
        return torch.cat(parts, dim=-1)


class RawWaveform(nn.Module):
    """The waveform as a single band with one frame for each sample: [N, samples] -> [N, 1, samples]."""

    bands = 1

    def frames(self, samples: int) -> int:
        """Return the number of frames for a waveform of `samples`, which is the same."""
        return samples

    def forward(self, waveform: Tensor) -> Tensor:
        return waveform.unsqueeze(1)


FrontEnd = LogMel | RawWaveform


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


def build_front_end(kind: str, sample_rate: int, **options: Any) -> FrontEnd:
    """Build a front-end.

    Parameters
    ----------
    kind
        `log_mel` or `raw`.
    sample_rate
        In Hz.
    options
        Options of LogMel. They are ignored for `raw`.

    Raises
    ------
    HarkenError
        If there is no such kind.
    """
    if kind not in ("log_mel", "raw"):
        raise HarkenError(f"there is no front-end {kind!r}: choose log_mel or raw")
    return LogMel(sample_rate, **options) if kind == "log_mel" else RawWaveform()
