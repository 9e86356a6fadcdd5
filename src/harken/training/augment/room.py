"""Random reverberation, from simulated rooms."""

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from harken.audio.room import simulate_room
from harken.errors import HarkenError
from harken.training.augment.random_draws import check_probability, random_mask, rms


class Room(nn.Module):
    """Convolve waveforms with the impulse responses of simulated rooms.

    Rooms are boxes of 2.5 to 8 m by 2.5 to 6 m by 2.2 to 3.5 m, whose walls reflect 0.3 to 0.9 of the amplitude. Speaker
    and microphone are at random positions, 0.3 to 3 m apart. The direct sound keeps its position in time, and the waveform
    keeps its level.

    Parameters
    ----------
    sample_rate
        In Hz.
    probability
        Probability that a waveform is changed. 0: never.
    rooms
        Number of rooms to simulate. Each changed waveform gets one of them.
    seed
        Random seed of the rooms.

    Raises
    ------
    HarkenError
        If a value is out of range.
    """

    def __init__(self, sample_rate: int, *, probability: float, rooms: int = 64, seed: int = 0) -> None:
        super().__init__()
        check_probability("probability", probability)
        if rooms < 1:
            raise HarkenError(f"rooms={rooms} must be 1 or more")
        self.probability = probability
        rng = np.random.default_rng(seed)
        responses = [_drawn_room(rng, sample_rate) for _ in range(rooms)] if probability > 0 else [np.ones(1)]
        self.responses: Tensor
        longest = max(response.size for response in responses)
        stacked = np.stack([np.pad(response, (0, longest - response.size)) for response in responses])
        self.register_buffer("responses", torch.tensor(stacked, dtype=torch.float32), persistent=False)

    def forward(self, waveform: Tensor) -> Tensor:
        if not self.training or self.probability == 0:
            return waveform
        rows = random_mask(len(waveform), self.probability, waveform).flatten().nonzero().flatten()
        if len(rows) == 0:
            return waveform
        dry = waveform[rows]
        which = torch.randint(len(self.responses), (len(rows),), device=waveform.device)
        size = 1 << (dry.shape[1] + self.responses.shape[1] - 1).bit_length()
        spectrum = torch.fft.rfft(dry, size) * torch.fft.rfft(self.responses, size)[which]
        wet = torch.fft.irfft(spectrum, size)[:, : dry.shape[1]]
        wet = wet * (rms(dry) / rms(wet).clamp(min=1e-9))
        return waveform.index_copy(0, rows, wet)


def _drawn_room(rng: np.random.Generator, sample_rate: int) -> NDArray[np.float64]:
    size = rng.uniform((2.5, 2.5, 2.2), (8.0, 6.0, 3.5))
    while True:
        speaker, microphone = rng.uniform(0.2, size - 0.2), rng.uniform(0.2, size - 0.2)
        if 0.3 <= np.linalg.norm(speaker - microphone) <= 3.0:
            break
    points = [(float(p[0]), float(p[1]), float(p[2])) for p in (size, speaker, microphone)]
    return simulate_room(*points, reflection=float(rng.uniform(0.3, 0.9)), sample_rate=sample_rate)
