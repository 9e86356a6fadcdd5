"""BC-ResNet: broadcasted residual learning (Kim et al., Interspeech 2021, arXiv:2106.04140).

A 2-D path convolves over frequency, a 1-D path over time on the frequency average; the 1-D result is broadcast back
over all bands. `causal=True` gives the same network with no look-ahead: it can be run frame by frame.
"""

import torch.nn.functional as F
from torch import Tensor, nn

from harken.errors import HarkenError

_STAGES = ((8, 2, 1, 1), (12, 2, 2, 2), (16, 4, 2, 4), (20, 4, 1, 8))  # channels, blocks, band stride, dilation
SUB_BANDS = 5
_DROPOUT = 0.1


class BCResNet(nn.Module):
    """BC-ResNet of width `tau` over log-mel features [N, bands, frames] -> logits [N, classes].

    bands must be a multiple of 40 (three halvings leave five sub-bands). causal : pad time convolutions on the past
    side alone. time_stride : 2 lets the first convolution halve the frame rate, and with it the cost of all the rest. Bands are
    normalised to the training clips first, so that zero padding is their mean. Of more than `frames`, the last are judged, as
    in a stream: what came before them is remembered, but has no place in the mean over time.
    """

    def __init__(
        self, classes: int, bands: int, frames: int, *, tau: float = 1.0, causal: bool = False, time_stride: int = 1
    ) -> None:
        super().__init__()
        if bands % (8 * SUB_BANDS):
            raise HarkenError(f"BC-ResNet takes a multiple of {8 * SUB_BANDS} mel bands, not {bands}: set bands=40")
        self.pooled = -(-frames // time_stride)
        channels = int(16 * tau)
        self.norm = nn.BatchNorm1d(bands, affine=False)
        self.stem = TimeConv(1, channels, (5, 5), causal=causal, stride=(2, time_stride))
        self.stem_norm = nn.BatchNorm2d(channels)
        blocks: list[nn.Module] = []
        for width, count, stride, dilation in _STAGES:
            for index in range(count):
                out = int(width * tau)
                blocks.append(
                    BroadcastBlock(
                        channels, out, stride if index == 0 else 1, dilation, first=index == 0, causal=causal
                    )
                )
                channels = out
        self.blocks = nn.Sequential(*blocks)
        self.last = TimeConv(channels, channels, (bands // 8, 5), causal=causal, groups=channels, pad_bands=False)
        self.expand = nn.Conv2d(channels, int(32 * tau), 1, bias=False)
        self.expand_norm = nn.BatchNorm2d(int(32 * tau))
        self.classify = nn.Conv2d(int(32 * tau), classes, 1)

    def forward(self, features: Tensor) -> Tensor:
        x = F.relu(self.stem_norm(self.stem(self.norm(features).unsqueeze(1))))
        x = self.last(self.blocks(x))
        if x.shape[-1] > self.pooled:
            x = x[..., -self.pooled :]
        x = F.relu(self.expand_norm(self.expand(x)))
        logits: Tensor = self.classify(x.mean(dim=(2, 3), keepdim=True)).flatten(1)
        return logits


class BroadcastBlock(nn.Module):
    """One residual block: [N, channels, bands, frames] -> [N, out, bands / stride, frames].

    The first block of a stage changes width and has no identity path.
    """

    def __init__(self, channels: int, out: int, stride: int, dilation: int, *, first: bool, causal: bool) -> None:
        super().__init__()
        self.first = first
        if first:
            self.widen = nn.Conv2d(channels, out, 1, bias=False)
            self.widen_norm = nn.BatchNorm2d(out)
        self.over_bands = nn.Conv2d(out, out, (3, 1), stride=(stride, 1), padding=(1, 0), groups=out, bias=False)
        self.band_norm = SubSpectralNorm(out)
        self.over_time = TimeConv(out, out, (1, 3), causal=causal, dilation=dilation, groups=out)
        self.time_norm = nn.BatchNorm2d(out)
        self.mix = nn.Conv2d(out, out, 1, bias=False)
        self.dropout = nn.Dropout2d(_DROPOUT)

    def forward(self, x: Tensor) -> Tensor:
        y = F.relu(self.widen_norm(self.widen(x))) if self.first else x
        y = self.band_norm(self.over_bands(y))
        z = F.silu(self.time_norm(self.over_time(y.mean(dim=2, keepdim=True))))
        y = y + self.dropout(self.mix(z))
        return F.relu(y if self.first else y + x)


class SubSpectralNorm(nn.Module):
    """Batch normalisation of each of five sub-bands by itself (Chang et al., ICASSP 2021, arXiv:2103.13620)."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.norm = nn.BatchNorm2d(channels * SUB_BANDS)

    def forward(self, x: Tensor) -> Tensor:
        _, channels, bands, frames = x.shape
        split = x.reshape(-1, channels * SUB_BANDS, bands // SUB_BANDS, frames)
        normed: Tensor = self.norm(split)
        return normed.reshape(-1, channels, bands, frames)


class TimeConv(nn.Conv2d):
    """A convolution over [N, C, bands, frames] that keeps the number of frames (but for its stride).

    causal : all padding in time stands on the past side. Padding in frequency is symmetric, or none.
    """

    def __init__(
        self,
        channels: int,
        out: int,
        kernel: tuple[int, int],
        *,
        causal: bool,
        stride: tuple[int, int] = (1, 1),
        dilation: int = 1,
        groups: int = 1,
        pad_bands: bool = True,
    ) -> None:
        reach = (kernel[1] - 1) * dilation
        self.past = reach if causal else 0
        padding = (kernel[0] // 2 if pad_bands else 0, 0 if causal else reach // 2)
        super().__init__(
            channels, out, kernel, stride=stride, padding=padding, dilation=(1, dilation), groups=groups, bias=False
        )

    def forward(self, x: Tensor) -> Tensor:
        padded = F.pad(x, (self.past, 0)) if self.past else x
        convolved: Tensor = self._conv_forward(padded, self.weight, None)
        return convolved
