"""BC-ResNet: broadcasted residual learning (Kim et al., Interspeech 2021, arXiv:2106.04140).

A 2-D path convolves over frequency. A 1-D path averages over frequency and convolves over time. Its result is broadcast
back over all bands. With `causal=True` the network does not look ahead, so that it can run frame by frame.
"""

import torch.nn.functional as F
from torch import Tensor, nn

from harken.errors import HarkenError

_STAGES = ((8, 2, 1, 1), (12, 2, 2, 2), (16, 4, 2, 4), (20, 4, 1, 8))  # channels, blocks, band stride, dilation
SUB_BANDS = 5
_DROPOUT = 0.1


class BCResNet(nn.Module):
    """BC-ResNet of width `tau` over log-mel features [N, bands, frames] -> logits [N, classes].

    Kim et al., Interspeech 2021, arXiv:2106.04140. Each band is normalized by the statistics of the training clips first,
    so that zero padding equals their mean. If there are more than `frames` frames, the mean over time only includes the
    last ones. Earlier frames influence it through the convolutions, as in a stream.

    Parameters
    ----------
    classes
        Number of classes.
    bands
        Number of mel bands, a multiple of 40 (which three halvings reduce to a multiple of five sub-bands).
    frames
        Number of frames in a window.
    tau
        Width: a factor for all numbers of channels.
    causal
        Pad convolutions over time only on the side of the past.
    time_stride
        Stride of the first convolution over time. 2 halves the frame rate, and with it the cost of all later layers.

    Raises
    ------
    HarkenError
        If `bands` is not a multiple of 40.
    """

    def __init__(
        self, classes: int, bands: int, frames: int, *, tau: float = 1.0, causal: bool = False, time_stride: int = 1
    ) -> None:
        super().__init__()
        if bands % (8 * SUB_BANDS):
            raise HarkenError(f"BC-ResNet needs a multiple of {8 * SUB_BANDS} mel bands, not {bands}: set bands=40")
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
    """A residual block: [N, channels, bands, frames] -> [N, out, bands / stride, frames].

    The first block of a stage changes the number of channels and has no identity path.
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
    """Separate batch normalization of five sub-bands (Chang et al., ICASSP 2021, arXiv:2103.13620)."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.norm = nn.BatchNorm2d(channels * SUB_BANDS)

    def forward(self, x: Tensor) -> Tensor:
        _, channels, bands, frames = x.shape
        split = x.reshape(-1, channels * SUB_BANDS, bands // SUB_BANDS, frames)
        normed: Tensor = self.norm(split)
        return normed.reshape(-1, channels, bands, frames)


class TimeConv(nn.Conv2d):
    """A convolution over [N, C, bands, frames] that keeps the number of frames, apart from its stride.

    If `causal` is set, all padding in time is on the side of the past. Padding in frequency is symmetric, or absent.
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
