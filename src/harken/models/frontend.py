"""Front-ends as torch modules: a waveform in, features [N, bands, frames] out.

LogMel        framing, Hann window, DFT, mel filters, log: operators that every exporter supports
RawWaveform   the waveform itself as one band
"""

import math
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from harken.errors import HarkenError
from harken.models.spectrum import FactoredDFT

LOG_FLOOR = 1e-6  # added to mel energies before the logarithm: about the energy of 16-bit rounding noise


class LogMel(nn.Module):
    """Log-mel energies of a waveform: [N, samples] -> [N, bands, frames].

    Frames of `window_ms` every `hop_ms`, none padded (98 frames a second at 30/10 ms), periodic Hann window, power
    spectrum, triangular Slaney-scale mel filters with area normalisation, log(mel + 1e-6): librosa's `melspectrogram`
    with `center=False`, then the logarithm.

    In training the spectrum comes from an FFT; in a graph that torch captures, as every exporter does, from matrix
    products, since STFT operators are poorly supported outside onnxruntime. The two agree to float32 rounding.

    Raises HarkenError when a value is impossible.
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
            raise HarkenError(f"{bands} mel bands at a sample rate of {sample_rate} Hz: both must be over 0")
        if not 0 < self.hop <= self.window:
            raise HarkenError(f"hop_ms={hop_ms} must be over 0 and at most window_ms={window_ms}")
        if not 0 <= low_hz < high_hz <= sample_rate / 2:
            raise HarkenError(f"mel filters from {low_hz} to {high_hz} Hz do not fit a sample rate of {sample_rate} Hz")
        filters = mel_filters(sample_rate, self.window, bands, low_hz, high_hz)
        if (filters.max(axis=1) <= 0).any():
            raise HarkenError(
                f"{bands} bands are too many for a window of {window_ms} ms: take fewer or a longer window"
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
        """Return how many frames a waveform of `samples` gives."""
        return max(0, 1 + (samples - self.window) // self.hop)

    def forward(self, waveform: Tensor) -> Tensor:
        if torch.compiler.is_compiling():
            mel = self.spectrum(self._framed(waveform) * self.hann) @ self.placed_filters
        else:
            frames = waveform.unfold(-1, self.window, self.hop)
            mel = torch.view_as_real(torch.fft.rfft(frames * self.hann)).square().sum(-1) @ self.filters
        return torch.log(mel + LOG_FLOOR).transpose(1, 2)

    def _framed(self, waveform: Tensor) -> Tensor:
        """Return the frames [N, frames, window], as `unfold` does; of a window of whole hops without its table of indices."""
        if self.window % self.hop:
            return waveform.unfold(-1, self.window, self.hop)
        frames = self.frames(waveform.shape[-1])
        parts = [
            waveform[:, start : start + frames * self.hop].reshape(-1, frames, self.hop)
            for start in range(0, self.window, self.hop)
        ]
        return torch.cat(parts, dim=-1)


class RawWaveform(nn.Module):
    """The waveform as one band, a frame a sample: [N, samples] -> [N, 1, samples]."""

    bands = 1

    def frames(self, samples: int) -> int:
        """Return how many frames a waveform of `samples` gives: one a sample."""
        return samples

    def forward(self, waveform: Tensor) -> Tensor:
        return waveform.unsqueeze(1)


FrontEnd = LogMel | RawWaveform


def mel_filters(sample_rate: int, window: int, bands: int, low_hz: float, high_hz: float) -> NDArray[np.float64]:
    """Return triangular mel filters [bands, window // 2 + 1] of unit area on Slaney's scale (Auditory Toolbox, 1998)."""
    edges = _mel_to_hz(np.linspace(_hz_to_mel(low_hz), _hz_to_mel(high_hz), bands + 2))
    bins = np.arange(window // 2 + 1) * (sample_rate / window)
    rising = (bins - edges[:-2, None]) / (edges[1:-1] - edges[:-2])[:, None]
    falling = (edges[2:, None] - bins) / (edges[2:] - edges[1:-1])[:, None]
    areas = 2.0 / (edges[2:] - edges[:-2])
    return np.maximum(0.0, np.minimum(rising, falling)) * areas[:, None]


# Slaney's scale: linear to 1 kHz at 15 mels, then logarithmic with 27 mels to 6.4 kHz.
_LINEAR_HZ_PER_MEL = 200.0 / 3
_BEND_HZ = 1000.0
_BEND_MEL = _BEND_HZ / _LINEAR_HZ_PER_MEL
_LOG_STEP = math.log(6.4) / 27


def _hz_to_mel(hz: float) -> float:
    return hz / _LINEAR_HZ_PER_MEL if hz < _BEND_HZ else _BEND_MEL + math.log(hz / _BEND_HZ) / _LOG_STEP


def _mel_to_hz(mel: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.where(mel < _BEND_MEL, mel * _LINEAR_HZ_PER_MEL, _BEND_HZ * np.exp(_LOG_STEP * (mel - _BEND_MEL)))


def front_end(kind: str, sample_rate: int, **options: Any) -> FrontEnd:
    """Build a front-end by kind: "log_mel" with LogMel's options, or "raw", which has none and leaves them.

    Raises HarkenError for any other.
    """
    if kind not in ("log_mel", "raw"):
        raise HarkenError(f"there is no front-end {kind!r}: take log_mel or raw")
    return LogMel(sample_rate, **options) if kind == "log_mel" else RawWaveform()
