"""A network with its front-end: what a recipe trains, what a model file holds, and what every export starts from."""

from typing import Protocol

import torch
from torch import Tensor, nn

from harken.errors import HarkenError
from harken.models.frontend import front_end
from harken.models.registry import find_network


class SpotterSettings(Protocol):
    """What a spotter needs to know; a recipe has all of it.

    network : a name of `harken models`. sample_rate : Hz. samples : in a window, which is `window_s` long.
    bands, frame_ms, hop_ms : of the log-mel front-end.
    """

    @property
    def network(self) -> str: ...
    @property
    def sample_rate(self) -> int: ...
    @property
    def window_s(self) -> float: ...
    @property
    def samples(self) -> int: ...
    @property
    def bands(self) -> int: ...
    @property
    def frame_ms(self) -> float: ...
    @property
    def hop_ms(self) -> float: ...


class Spotter(nn.Module):
    """Front-end and network: waveforms [N, samples] -> logits [N, classes]."""

    def __init__(self, settings: SpotterSettings, classes: int) -> None:
        super().__init__()
        network = find_network(settings.network)
        options = {"bands": settings.bands, "window_ms": settings.frame_ms, "hop_ms": settings.hop_ms}
        self.front_end = front_end(network.front_end, settings.sample_rate, **options)
        frames = self.front_end.frames(settings.samples)
        if frames < 1:
            raise HarkenError(
                f"window_s={settings.window_s} holds no frame of {settings.frame_ms} ms: take a longer window"
            )
        self.network = network.build(classes, self.front_end.bands, frames)

    def forward(self, waveform: Tensor) -> Tensor:
        logits: Tensor = self.network(self.front_end(waveform))
        return logits

    @torch.no_grad()
    def features(self, waveform: Tensor) -> Tensor:
        """Return the front-end's features in full precision, whatever the network computes in."""
        with torch.autocast(waveform.device.type, enabled=False):
            features: Tensor = self.front_end(waveform)
            return features
