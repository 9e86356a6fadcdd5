"""Noise that is made: of every colour, within a band, pulsing, humming. Few recordings hold all that fans, taps and motors do."""

import math

import torch
from torch import Tensor, nn

from harken.training.augment.random_draws import chosen, from_db, rms, uniform

_TILT = (-1.0, 3.0)  # power falls with frequency to this: 0 is white, 1 pink, 2 brown
_BAND_PROBABILITY = 0.3
_LOW_EDGE_HZ = (50.0, 4_000.0)
_WIDTH = (1.3, 4.0)  # high edge over low edge
_EDGE_ORDER = 8
_HUM_PROBABILITY = 0.3
_HUM_HZ = (40.0, 1_000.0)  # of the fundamental
_HARMONICS = 24
_HUM_OVER_NOISE_DB = (0.0, 40.0)
_PULSE_PROBABILITY = 0.3
_PULSE_HZ = (0.5, 10.0)
_RMS_DB = (-30.0, -6.0)


class SteadyNoise(nn.Module):
    """Makes windows of `samples` of steady noise; in the place of a WindowBank.

    A window is Gaussian noise whose power follows a drawn power of frequency. Some are cut to a drawn band, some hum
    (harmonics of a fundamental, over the noise by a drawn ratio), and some pulse (amplitude modulation of drawn rate and
    depth). Levels are drawn evenly in decibels.
    """

    def __init__(self, samples: int, sample_rate: int) -> None:
        super().__init__()
        self.samples = samples
        self.seconds = samples / sample_rate
        self.frequencies: Tensor
        frequencies = torch.fft.rfftfreq(samples, 1 / sample_rate)
        self.register_buffer("frequencies", frequencies.clamp(min=float(frequencies[1])), persistent=False)

    def draw(self, count: int) -> Tensor:
        """Return `count` windows, float [count, samples], full scale 1.0."""
        f = self.frequencies
        power = f ** -uniform(count, *_TILT, f)
        low = _evenly_in_octaves(count, *_LOW_EDGE_HZ, f)
        high = low * uniform(count, *_WIDTH, f)
        band = 1 / ((1 + (low / f) ** _EDGE_ORDER) * (1 + (f / high) ** _EDGE_ORDER))
        power = torch.where(chosen(count, _BAND_PROBABILITY, f), power * band, power)
        power = power + torch.where(chosen(count, _HUM_PROBABILITY, f), self._hum(power), 0.0)
        phases = torch.view_as_complex(torch.randn(*power.shape, 2, device=f.device))
        noise = torch.fft.irfft(power.sqrt() * phases, n=self.samples)
        noise = torch.where(chosen(count, _PULSE_PROBABILITY, f), noise * self._pulse(count), noise)
        return (noise * from_db(uniform(count, *_RMS_DB, f)) / rms(noise)).clamp(-1.0, 1.0)

    def _hum(self, noise: Tensor) -> Tensor:
        """Return the power of harmonics [count, frequencies] that stand over noise of such power."""
        count = len(noise)
        fundamental = _evenly_in_octaves(count, *_HUM_HZ, noise)
        places = (fundamental * torch.arange(1, _HARMONICS + 1, device=noise.device) * self.seconds).round()
        strengths = torch.rand(count, _HARMONICS, device=noise.device) ** 4  # few are strong
        strengths = strengths * (places < noise.shape[1] - 1)
        lines = torch.zeros_like(noise).scatter_add(1, places.long().clamp(max=noise.shape[1] - 1), strengths)
        ratio = from_db(uniform(count, *_HUM_OVER_NOISE_DB, noise)).square()
        total = lines.sum(1, keepdim=True).clamp(min=1e-12)
        return lines * (ratio * noise.sum(1, keepdim=True) / total)

    def _pulse(self, count: int) -> Tensor:
        """Return amplitudes over time, [count, samples]."""
        like = self.frequencies
        time = torch.linspace(0, self.seconds, self.samples, device=like.device)
        angle = 2 * math.pi * (_evenly_in_octaves(count, *_PULSE_HZ, like) * time + uniform(count, 0, 1, like))
        return 1 + uniform(count, 0, 1, like) * angle.sin()


def _evenly_in_octaves(count: int, low: float, high: float, like: Tensor) -> Tensor:
    return uniform(count, math.log(low), math.log(high), like).exp()
