"""Random pitch, at the same tempo."""

import math

import torch
from torch import Tensor, nn

from harken.errors import HarkenError
from harken.training.augment.random_draws import check_probability, random_mask
from harken.training.augment.speed import interpolate

_WINDOW = 512
_HOP = 128


class Pitch(nn.Module):
    """Shift the pitch of waveforms and keep their tempo.

    A phase vocoder (Flanagan & Golden, 1966) stretches the waveform in time, and interpolation compresses it again. One
    shift is drawn for the whole batch, so that all rows keep the same length.

    Parameters
    ----------
    max_semitones
        Largest shift, up or down. 0: off.
    probability
        Probability that a waveform is shifted. 0: never.

    Raises
    ------
    HarkenError
        If a value is out of range.
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
        return torch.where(random_mask(len(waveform), self.probability, waveform), shifted, waveform)


def shift_pitch(waveform: Tensor, semitones: float) -> Tensor:
    """Return waveforms [N, samples] with their pitch shifted by `semitones`."""
    ratio = 2.0 ** (semitones / 12)
    samples = waveform.shape[1]
    hann = torch.hann_window(_WINDOW, device=waveform.device)
    # The clip is padded with zeros and not with its reflection. In a reflected first frame, the bins of a sine can cancel,
    # and the vocoder would carry the phases of that frame through the whole clip.
    spectrum = torch.stft(waveform, _WINDOW, _HOP, window=hann, pad_mode="constant", return_complex=True)
    stretched = _stretch(spectrum, 1 / ratio)
    longer = torch.istft(stretched, _WINDOW, _HOP, window=hann, length=math.ceil(samples * ratio))
    places = torch.arange(samples, device=waveform.device, dtype=waveform.dtype) * ratio
    return interpolate(longer, places.expand(len(waveform), -1))


def _stretch(spectrum: Tensor, speed: float) -> Tensor:
    """Phase vocoder: [N, bins, frames] -> [N, bins, frames / speed]. The phase of each bin advances at its own rate."""
    frames = spectrum.shape[2]
    places = torch.arange(0, frames, speed, device=spectrum.device)
    before = places.floor().long()
    fraction = places - before
    padded = nn.functional.pad(torch.view_as_real(spectrum), (0, 0, 0, 2))
    padded = torch.view_as_complex(padded)
    left, right = padded[:, :, before], padded[:, :, before + 1]
    magnitude = (1 - fraction) * left.abs() + fraction * right.abs()
    expected = torch.arange(spectrum.shape[1], device=spectrum.device)[:, None] * (2 * math.pi * _HOP / _WINDOW)
    advance = right.angle() - left.angle() - expected
    advance = advance - 2 * math.pi * torch.round(advance / (2 * math.pi)) + expected
    phase = torch.cumsum(torch.cat([left[:, :, :1].angle(), advance[:, :, :-1]], dim=2), dim=2)
    return torch.polar(magnitude, phase)
