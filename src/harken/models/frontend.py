"""Front-ends as torch modules: waveforms [N, samples] -> features [N, bands, frames].

LogMel             log-mel energies, computed with operators that every exporter supports
RawWaveform        the waveform itself as a single band
build_front_end    a front-end by its kind, also `SpeechMel` of harken.models.speech_mel
"""

from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from harken.errors import HarkenError
from harken.models.mel_filters import mel_filters
from harken.models.spectrum import FactoredDFT
from harken.models.speech_mel import SpeechMel

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


FrontEnd = LogMel | RawWaveform | SpeechMel


def build_front_end(kind: str, sample_rate: int, **options: Any) -> FrontEnd:
    """Build a front-end.

    Parameters
    ----------
    kind
        `log_mel`, `speech_mel` or `raw`.
    sample_rate
        In Hz.
    options
        Options of LogMel. The others have none, and ignore them.

    Raises
    ------
    HarkenError
        If there is no such kind, or it does not fit the sample rate.
    """
    if kind == "log_mel":
        return LogMel(sample_rate, **options)
    if kind == "speech_mel":
        return SpeechMel(sample_rate)
    if kind == "raw":
        return RawWaveform()
    raise HarkenError(f"there is no front-end {kind!r}: choose log_mel, speech_mel or raw")
