"""Generate steady noise of any spectrum: tilted, within a band, humming, pulsing.

Recordings rarely cover everything that fans, faucets and motors do.
"""

import math

import torch
from torch import Tensor, nn

from harken.training.augment.random_draws import from_db, random_mask, rms, uniform

_TILT = (-1.0, 3.0)  # range of the exponent with which power falls with frequency: 0 white, 1 pink, 2 brown
_BAND_PROBABILITY = 0.3
_LOW_EDGE_HZ = (50.0, 4_000.0)
_WIDTH = (1.3, 4.0)  # range of the ratio of a band's high edge to its low edge
_EDGE_ORDER = 8
_HUM_PROBABILITY = 0.3
_HUM_HZ = (40.0, 1_000.0)  # range of the fundamental frequency
_HARMONICS = 24
_HUM_OVER_NOISE_DB = (0.0, 40.0)
_PULSE_PROBABILITY = 0.3
_PULSE_HZ = (0.5, 10.0)
_RMS_DB = (-30.0, -6.0)


class SteadyNoise(nn.Module):
    """Generate windows of steady noise. Can be used in place of a WindowBank.

    A window is Gaussian noise whose power is proportional to a random power of the frequency. Some windows are limited to
    a random band. Some hum: they contain harmonics of a fundamental frequency, at a random ratio to the noise. Some pulse:
    their amplitude is modulated with a random rate and depth. Levels are drawn uniformly in decibels.

    Parameters
    ----------
    samples
        Length of a window.
    sample_rate
        In Hz.
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
        low = _log_uniform(count, *_LOW_EDGE_HZ, f)
        high = low * uniform(count, *_WIDTH, f)
        band = 1 / ((1 + (low / f) ** _EDGE_ORDER) * (1 + (f / high) ** _EDGE_ORDER))
        power = torch.where(random_mask(count, _BAND_PROBABILITY, f), power * band, power)
        power = power + torch.where(random_mask(count, _HUM_PROBABILITY, f), self._hum(power), 0.0)
        phases = torch.view_as_complex(torch.randn(*power.shape, 2, device=f.device))
        noise = torch.fft.irfft(power.sqrt() * phases, n=self.samples)
        noise = torch.where(random_mask(count, _PULSE_PROBABILITY, f), noise * self._pulse(count), noise)
        return (noise * from_db(uniform(count, *_RMS_DB, f)) / rms(noise)).clamp(-1.0, 1.0)

    def _hum(self, noise: Tensor) -> Tensor:
        """Return the power of harmonics [count, frequencies] for noise of the given power [count, frequencies]."""
        count = len(noise)
        fundamental = _log_uniform(count, *_HUM_HZ, noise)
        bins = (fundamental * torch.arange(1, _HARMONICS + 1, device=noise.device) * self.seconds).round()
        strengths = torch.rand(count, _HARMONICS, device=noise.device) ** 4  # only few harmonics are strong
        strengths = strengths * (bins < noise.shape[1] - 1)
        lines = torch.zeros_like(noise).scatter_add(1, bins.long().clamp(max=noise.shape[1] - 1), strengths)
        ratio = from_db(uniform(count, *_HUM_OVER_NOISE_DB, noise)).square()
        total = lines.sum(1, keepdim=True).clamp(min=1e-12)
        return lines * (ratio * noise.sum(1, keepdim=True) / total)

    def _pulse(self, count: int) -> Tensor:
        """Return the amplitude over time, [count, samples]."""
        like = self.frequencies
        time = torch.linspace(0, self.seconds, self.samples, device=like.device)
        angle = 2 * math.pi * (_log_uniform(count, *_PULSE_HZ, like) * time + uniform(count, 0, 1, like))
        return 1 + uniform(count, 0, 1, like) * angle.sin()


def _log_uniform(count: int, low: float, high: float, like: Tensor) -> Tensor:
    return uniform(count, math.log(low), math.log(high), like).exp()
