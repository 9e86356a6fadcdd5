"""A front-end and a network together. It is what a recipe trains, a model file contains, and every export starts from."""

from typing import Protocol

import torch
from torch import Tensor, nn

from harken.errors import HarkenError
from harken.models.frontend import build_front_end
from harken.models.registry import find_network


class SpotterSettings(Protocol):
    """The settings of a spotter. A recipe has all of them.

    Attributes
    ----------
    network
        Name of the network.
    sample_rate
        In Hz.
    window_s, samples
        Length of a window, in seconds and in samples.
    bands, frame_ms, hop_ms
        Number of bands, length of a frame and step between frames of the log-mel front-end.
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
    """A front-end and a network: waveforms [N, samples] -> logits [N, classes].

    Parameters
    ----------
    settings
        A recipe, or another object with the same settings.
    classes
        Number of classes.

    Raises
    ------
    HarkenError
        If the network is unknown, or the window is shorter than a frame.
    """

    def __init__(self, settings: SpotterSettings, classes: int) -> None:
        super().__init__()
        network = find_network(settings.network)
        options = {"bands": settings.bands, "window_ms": settings.frame_ms, "hop_ms": settings.hop_ms}
        self.front_end = build_front_end(network.front_end, settings.sample_rate, **options)
        frames = self.front_end.frames(settings.samples)
        if frames < 1:
            raise HarkenError(
                f"window_s={settings.window_s} is shorter than a frame of {settings.frame_ms} ms: use a longer window"
            )
        self.network = network.build(classes, self.front_end.bands, frames)

    def forward(self, waveform: Tensor) -> Tensor:
        logits: Tensor = self.network(self.front_end(waveform))
        return logits

    @torch.no_grad()
    def features(self, waveform: Tensor) -> Tensor:
        """Return the features [N, bands, frames] in full precision, also under autocast."""
        with torch.autocast(waveform.device.type, enabled=False):
            features: Tensor = self.front_end(waveform)
            return features
