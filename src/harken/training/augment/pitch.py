"""Pitch alone, the tempo kept."""

import math

import torch
from torch import Tensor, nn

from harken.errors import HarkenError
from harken.training.augment.random_draws import check_probability, chosen
from harken.training.augment.speed import interpolate

_WINDOW = 512
_HOP = 128


class Pitch(nn.Module):
    """Shift the pitch of each waveform, with `probability`, by up to `max_semitones` either way; the tempo stays.

    A phase vocoder (Flanagan & Golden, 1966) stretches the time, interpolation takes the stretch back. One shift is
    drawn for the whole batch, since rows must stay of one length.
    """

    def __init__(self, max_semitones: float, *, probability: float) -> None:
        super().__init__()
        check_probability("probability", probability)
        if max_semitones < 0:
            raise HarkenError(f"max_semitones={max_semitones} must be 0 or more")
        self.max_semitones = max_semitones
        self.probability = probability

    def forward(self, waveform: Tensor) -> Tensor:
        if not self.training or self.max_semitones == 0 or self.probability == 0:
            return waveform
        semitones = (2 * torch.rand(()).item() - 1) * self.max_semitones
        shifted = shift_pitch(waveform, semitones)
        return torch.where(chosen(len(waveform), self.probability, waveform), shifted, waveform)


def shift_pitch(waveform: Tensor, semitones: float) -> Tensor:
    """Return waveforms [N, samples] with their pitch moved by `semitones`."""
    ratio = 2.0 ** (semitones / 12)
    samples = waveform.shape[1]
    hann = torch.hann_window(_WINDOW, device=waveform.device)
    # Zeros before the clip, not its reflection: in a reflected first frame a sine's bins can cancel, and the vocoder
    # carries that frame's phases through the whole clip.
    spectrum = torch.stft(waveform, _WINDOW, _HOP, window=hann, pad_mode="constant", return_complex=True)
    stretched = _stretch(spectrum, 1 / ratio)
    longer = torch.istft(stretched, _WINDOW, _HOP, window=hann, length=math.ceil(samples * ratio))
    places = torch.arange(samples, device=waveform.device, dtype=waveform.dtype) * ratio
    return interpolate(longer, places.expand(len(waveform), -1))


def _stretch(spectrum: Tensor, speed: float) -> Tensor:
    """Phase vocoder: [N, bins, frames] -> [N, bins, frames / speed], each bin's phase advancing at its own rate."""
    frames = spectrum.shape[2]
    places = torch.arange(0, frames, speed, device=spectrum.device)
    before = places.floor().long()
    part = places - before
    padded = nn.functional.pad(torch.view_as_real(spectrum), (0, 0, 0, 2))
    padded = torch.view_as_complex(padded)
    left, right = padded[:, :, before], padded[:, :, before + 1]
    magnitude = (1 - part) * left.abs() + part * right.abs()
    expected = torch.arange(spectrum.shape[1], device=spectrum.device)[:, None] * (2 * math.pi * _HOP / _WINDOW)
    advance = right.angle() - left.angle() - expected
    advance = advance - 2 * math.pi * torch.round(advance / (2 * math.pi)) + expected
    phase = torch.cumsum(torch.cat([left[:, :, :1].angle(), advance[:, :, :-1]], dim=2), dim=2)
    return torch.polar(magnitude, phase)
