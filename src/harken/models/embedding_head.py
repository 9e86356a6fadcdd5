"""Google's speech embedding, whose weights stay as they are, and a small head that is trained.

EmbeddingLayers   the layers of the speech embedding (Lin et al., 2020, arXiv:2002.01322)
EmbeddingHead     these layers and the head
"""

import math
from typing import Self

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from harken.errors import HarkenError
from harken.models.google_embedding import KERNELS, POOLS, load_google_embedding
from harken.models.speech_embedding import DIMENSIONS, FRAMES, FULL_SCALE, MEL_BANDS, SAMPLE_RATE, STRIDE, samples_of

LONGEST_S = 3.0  # longest window; a phrase that needs more is several
_SLOPE = 0.2  # of the leaky ReLU
_LEAST_ACTIVATION = -0.4
_WIDTH = 64
_TAPS = 3  # embeddings that a convolution of the head combines
_DROPOUT = 0.2


class EmbeddingLayers(nn.Module):
    """The speech embedding: features [N, 32, frames] of `SpeechMel` -> embeddings [N, 96, steps].

    The last embedding ends at the last frame. The weights are random until `load` is called or others are loaded. They never
    get a gradient.
    """

    def __init__(self) -> None:
        super().__init__()
        channels = [1, *[24] * 3, *[48] * 4, *[72] * 4, *[DIMENSIONS] * 9]
        last = len(KERNELS) - 1
        self.convolutions = nn.ModuleList(
            nn.Conv2d(channels[layer], channels[layer + 1], kernel, padding=(0, kernel[1] // 2), bias=layer < last)
            for layer, kernel in KERNELS.items()
        )
        for convolution in self.convolutions:
            assert isinstance(convolution, nn.Conv2d)
            nn.init.kaiming_normal_(convolution.weight, a=_SLOPE)
        self.requires_grad_(False)
        self.to(memory_format=torch.channels_last)  # type: ignore[call-overload]

    @torch.no_grad()
    def load(self) -> None:
        """Load the published weights from the package of the extra `own`.

        Raises
        ------
        HarkenError
            If no such package is installed.
        """
        weights = load_google_embedding().network
        for layer, convolution in enumerate(self.convolutions):
            for name, parameter in convolution.named_parameters():
                parameter.copy_(torch.tensor(weights[f"{'weights' if name == 'weight' else name}_{layer}"]))

    def forward(self, features: Tensor) -> Tensor:
        features = features[:, :, (features.shape[2] - FRAMES) % STRIDE :]
        # The embedding was trained on bels of energies at the scale of 16-bit samples, plus 2.
        x = (features + 2 * math.log(FULL_SCALE)) / math.log(10) + 2
        x = x.transpose(1, 2).unsqueeze(1).contiguous(memory_format=torch.channels_last)
        for layer, convolution in enumerate(self.convolutions):
            x = convolution(x)
            if layer < len(self.convolutions) - 1:
                x = F.leaky_relu(x, _SLOPE, inplace=True).clamp_(min=_LEAST_ACTIVATION)
            if layer in POOLS:
                x = F.max_pool2d(x, POOLS[layer])
        return x.squeeze(3)


class EmbeddingHead(nn.Module):
    """A small head on the speech embedding: features [N, 32, frames] of `SpeechMel` -> logits [N, classes].

    Two convolutions over time combine neighboring embeddings. The largest value of each channel over the window decides, so
    that the word can be anywhere in it. Each dimension of the embedding is normalized by fixed statistics, which training takes
    from harken's speech bank. Only the head has weights that are trained.

    Parameters
    ----------
    classes
        Number of classes.
    bands
        Number of mel bands, which must be 32.
    frames
        Number of frames in a window of at most 3 s.

    Raises
    ------
    HarkenError
        If there are other bands, or the window is too short for one embedding or longer than 3 s.
    """

    def __init__(self, classes: int, bands: int, frames: int) -> None:
        super().__init__()
        if bands != MEL_BANDS:
            raise HarkenError(f"the speech embedding needs {MEL_BANDS} mel bands of its own front-end, not {bands}")
        seconds = samples_of(1) / SAMPLE_RATE + (frames - FRAMES) / 100
        if frames < FRAMES or seconds > LONGEST_S:
            raise HarkenError(
                f"the speech embedding needs a window of {samples_of(1) / SAMPLE_RATE:.2f} to {LONGEST_S:g} s: "
                "set window_s, for example window_s=2"
            )
        self.steps = (frames - FRAMES) // STRIDE + 1  # embeddings in a window
        self.embedding = EmbeddingLayers()
        self.norm = nn.BatchNorm1d(DIMENSIONS, affine=False).eval()
        self.first = nn.Conv1d(DIMENSIONS, _WIDTH, _TAPS, padding=_TAPS // 2)
        self.second = nn.Conv1d(_WIDTH, _WIDTH, _TAPS, padding=_TAPS // 2)
        self.dropout = nn.Dropout(_DROPOUT)
        self.classify = nn.Conv1d(_WIDTH, classes, 1)

    def train(self, mode: bool = True) -> Self:
        super().train(mode)
        self.norm.eval()  # batches differ too much: some are recordings, others windows of the speech bank
        return self

    def forward(self, features: Tensor) -> Tensor:
        # In half precision, the embedding would differ from the published one.
        with torch.no_grad(), torch.autocast(features.device.type, enabled=False):
            embeddings = self.embedding(features)
        return self.classify_embeddings(embeddings)

    def classify_embeddings(self, embeddings: Tensor) -> Tensor:
        """Return the logits [N, classes] of embeddings [N, 96, steps]."""
        x = F.relu(self.first(self.norm(embeddings)))
        x = F.relu(self.second(self.dropout(x)))
        logits: Tensor = self.classify(self.dropout(x.amax(dim=2, keepdim=True)))
        return logits.flatten(1)
