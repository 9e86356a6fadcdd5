"""DS-CNN: depthwise separable convolutions (Zhang et al. 2017, "Hello Edge", arXiv:1711.07128).

DSCNN    the network in the paper's three sizes; size s has the layout of MLPerf Tiny's keyword spotting reference
"""

from collections import OrderedDict
from dataclasses import dataclass

from torch import Tensor, nn

from harken.errors import HarkenError
from harken.models.dropout import Dropout


@dataclass(frozen=True)
class _Size:
    channels: int
    blocks: int
    first_stride: tuple[int, int]  # bands, frames
    second_stride: int
    dropout: tuple[float, float]  # after the first convolution, before pooling


_SIZES = {
    "s": _Size(64, 4, (2, 2), 1, (0.2, 0.4)),
    "m": _Size(172, 4, (1, 2), 2, (0.0, 0.0)),
    "l": _Size(276, 5, (1, 2), 2, (0.0, 0.0)),
}
_FIRST_KERNEL = (4, 10)  # bands, frames


class DSCNN(nn.Module):
    """DS-CNN over log-mel features [N, bands, frames] -> logits [N, classes].

    Zhang et al. 2017, "Hello Edge", arXiv:1711.07128. The sizes s, m and l have 23,756, 138,128 and 416,772 parameters with
    twelve classes, for any size of the input. MLPerf Tiny counts 24,908 for s, because it includes the 1,152 running
    statistics of batch normalizations. The paper uses 10 MFCCs every 20 ms, an eighth of 40 bands every 10 ms, so there are
    that many more multiply-adds here. Each band is normalized by the statistics of the training clips first, so that zero
    padding equals their mean.

    Parameters
    ----------
    classes, bands, frames
        Number of classes, mel bands and frames.
    size
        `s`, `m` or `l`.

    Raises
    ------
    HarkenError
        If there is no such size.
    """

    def __init__(self, classes: int, bands: int, frames: int, *, size: str = "s") -> None:
        super().__init__()
        if size not in _SIZES:
            raise HarkenError(f"DS-CNN has no size {size!r}: choose one of {', '.join(_SIZES)}")
        plan = _SIZES[size]
        channels = plan.channels
        self.norm = nn.BatchNorm1d(bands, affine=False)
        # Same padding as in TensorFlow, which puts the odd one after the input.
        before, after = zip(*(((kernel - 1) // 2, kernel // 2) for kernel in _FIRST_KERNEL), strict=True)
        self.pad = nn.ZeroPad2d((before[1], after[1], before[0], after[0]))
        self.first = nn.Sequential(_normalized("conv", nn.Conv2d(1, channels, _FIRST_KERNEL, stride=plan.first_stride)))
        self.dropout1 = Dropout(plan.dropout[0])
        self.blocks = nn.Sequential(
            *(_separable(channels, plan.second_stride if index == 0 else 1) for index in range(plan.blocks))
        )
        self.dropout2 = Dropout(plan.dropout[1])
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.output = nn.Linear(channels, classes)

    def forward(self, features: Tensor) -> Tensor:
        x = self.pad(self.norm(features).unsqueeze(1))
        x = self.blocks(self.dropout1(self.first(x)))
        logits: Tensor = self.output(self.pool(self.dropout2(x)).flatten(1))
        return logits


def _separable(channels: int, stride: int) -> nn.Sequential:
    """Return a depthwise separable block: a convolution of each channel, then one across the channels."""
    depthwise = nn.Conv2d(channels, channels, 3, stride=stride, padding=1, groups=channels)
    pointwise = nn.Conv2d(channels, channels, 1)
    return nn.Sequential(_normalized("depthwise", depthwise) | _normalized("pointwise", pointwise))


def _normalized(name: str, conv: nn.Conv2d) -> OrderedDict[str, nn.Module]:
    """Return a convolution with its normalization and ReLU."""
    norm = nn.BatchNorm2d(conv.out_channels)
    return OrderedDict({name: conv, f"{name}_norm": norm, f"{name}_relu": nn.ReLU(inplace=True)})
