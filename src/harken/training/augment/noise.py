"""Mix background sound into waveforms, at a random signal-to-noise ratio.

Bank          interface of a source of random windows of sound
WindowBank    a Bank that cuts windows from recordings
Noise         the transform that adds windows of a Bank
"""

from typing import Protocol

import torch
from torch import Tensor, nn

from harken.corpus.recordings import Recordings
from harken.errors import HarkenError
from harken.training.augment.random_draws import check_probability, check_range, from_db, random_mask, rms, uniform

_SILENCE_RMS = 1e-5  # a third of a 16-bit step: below it, a signal-to-noise ratio has no meaning


class Bank(Protocol):
    """Source of random windows of sound."""

    def draw(self, count: int) -> Tensor:
        """Return `count` random windows, float [count, samples], full scale 1.0."""


class WindowBank(nn.Module):
    """Hold recordings on the device and cut random windows from them.

    Each group of recordings is used equally often, whatever its length. Within a group, each start is equally likely.
    Recordings shorter than a window are repeated to its length.

    Parameters
    ----------
    recordings
        Where to cut from. `recordings.groups` gives the groups.
    samples
        Length of a window.

    Raises
    ------
    HarkenError
        If there are no recordings.
    """

    def __init__(self, recordings: Recordings, samples: int) -> None:
        super().__init__()
        if not len(recordings):
            raise HarkenError("no recording to cut windows from: give a folder that contains some")
        parts = [torch.from_numpy(recordings.recording(index).copy()) for index in range(len(recordings))]
        parts = [part if len(part) >= samples else part.repeat(-(-samples // len(part))) for part in parts]
        lengths = torch.tensor([len(part) for part in parts])
        self.samples = samples
        self.audio: Tensor
        self.first: Tensor
        self.ends: Tensor
        self.register_buffer("audio", torch.cat(parts), persistent=False)
        self.register_buffer("first", torch.cumsum(lengths, 0) - lengths, persistent=False)
        self.register_buffer("ends", torch.cumsum(lengths - samples + 1, 0), persistent=False)  # counts possible starts
        last = torch.cumsum(torch.tensor(recordings.groups or (len(parts),)), 0) - 1
        self.bounds: Tensor
        self.register_buffer("bounds", torch.cat([torch.zeros(1, dtype=torch.long), self.ends[last]]), persistent=False)

    def draw(self, count: int) -> Tensor:
        """Return `count` random windows, float [count, samples], full scale 1.0."""
        return self.windows(self.draw_places(count))

    def draw_places(self, count: int) -> Tensor:
        """Return the numbers [count] of random windows, as `windows` takes them."""
        device = self.audio.device
        if len(self.bounds) == 2:
            place = torch.randint(int(self.ends[-1]), (count,), device=device)
        else:
            group = torch.randint(len(self.bounds) - 1, (count,), device=device)
            low, high = self.bounds[group], self.bounds[group + 1]
            # float64, because float32 cannot tell neighboring samples apart beyond 17 minutes.
            place = low + (torch.rand(count, device=device, dtype=torch.float64) * (high - low)).long()
        return place

    def windows(self, places: Tensor) -> Tensor:
        """Return the windows with these numbers, float [count, samples], full scale 1.0."""
        which = torch.searchsorted(self.ends, places, right=True)
        before = torch.where(which > 0, self.ends[(which - 1).clamp(min=0)], 0)
        start = self.first[which] + places - before
        return self.audio[start[:, None] + torch.arange(self.samples, device=places.device)].float() / 32768.0


class Noise(nn.Module):
    """Add a random window of noise to waveforms [N, samples].

    The signal-to-noise ratio compares root mean squares over the whole window. Rows of digital silence stay unchanged.

    Parameters
    ----------
    bank
        Where the noise comes from.
    probability
        Probability that a waveform gets noise. 0: never.
    min_snr_db, max_snr_db
        Range of the signal-to-noise ratio, drawn uniformly in decibels.

    Raises
    ------
    HarkenError
        If the probability is not from 0 to 1, or the range is reversed.
    """

    def __init__(self, bank: Bank, *, probability: float, min_snr_db: float, max_snr_db: float) -> None:
        super().__init__()
        check_probability("probability", probability)
        check_range("min_snr_db", min_snr_db, "max_snr_db", max_snr_db)
        self.bank = bank
        self.probability = probability
        self.min_snr_db = min_snr_db
        self.max_snr_db = max_snr_db

    def forward(self, waveform: Tensor) -> Tensor:
        if not self.training or self.probability == 0:
            return waveform
        noise = self.bank.draw(len(waveform))
        snr = from_db(uniform(len(waveform), self.min_snr_db, self.max_snr_db, waveform))
        gain = rms(waveform) / (rms(noise).clamp(min=_SILENCE_RMS) * snr)
        on = random_mask(len(waveform), self.probability, waveform) & (rms(noise) > _SILENCE_RMS)
        return (waveform + torch.where(on, gain, 0.0) * noise).clamp(-1.0, 1.0)
