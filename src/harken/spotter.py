"""A network with its front-end: what a recipe trains, a model file holds, and every form is made of."""

import torch
from torch import Tensor, nn

from harken.errors import HarkenError
from harken.frontend import front_end
from harken.models.registry import find_network
from harken.tasks.recipe import Recipe


class Spotter(nn.Module):
    """Front-end and network: waveforms [N, samples] -> logits [N, classes]."""

    def __init__(self, recipe: Recipe, classes: int) -> None:
        super().__init__()
        network = find_network(recipe.network)
        options = {"bands": recipe.bands, "window_ms": recipe.frame_ms, "hop_ms": recipe.hop_ms}
        self.front_end = front_end(network.front_end, recipe.sample_rate, **options)
        frames = self.front_end.frames(recipe.samples)
        if frames < 1:
            raise HarkenError(
                f"window_s={recipe.window_s} holds no frame of {recipe.frame_ms} ms: take a longer window"
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
