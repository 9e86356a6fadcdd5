"""res15: a deep residual network with dilated convolutions (Tang & Lin, ICASSP 2018, arXiv:1710.10361)."""

import torch.nn.functional as F
from torch import Tensor, nn

_MAPS = 45
_CONVOLUTIONS = 13  # after the first: six residual pairs and one more


class Res15(nn.Module):
    """res15 over log-mel features [N, bands, frames] -> logits [N, classes].

    Tang & Lin, ICASSP 2018, arXiv:1710.10361. With twelve classes it has 237,882 parameters. All convolutions are 3 x 3
    without bias, with dilations of 1, 1, 1, 2, 2, 2, 4, 4, 4, 8, 8, 8 and 16, so that the last one covers 125 bands and
    frames. Batch normalization has no parameters and comes after ReLU. A residual connection skips two convolutions and is
    added before normalization. Each band is normalized by the statistics of the training clips first, because the paper's
    first convolution has no normalization.
    """

    def __init__(self, classes: int, bands: int, frames: int) -> None:
        super().__init__()
        self.norm = nn.BatchNorm1d(bands, affine=False)
        self.first = nn.Conv2d(1, _MAPS, 3, padding=1, bias=False)
        dilations = [2 ** (index // 3) for index in range(_CONVOLUTIONS)]
        self.convolutions = nn.ModuleList(
            nn.Conv2d(_MAPS, _MAPS, 3, padding=dilation, dilation=dilation, bias=False) for dilation in dilations
        )
        self.norms = nn.ModuleList(nn.BatchNorm2d(_MAPS, affine=False) for _ in dilations)
        self.output = nn.Linear(_MAPS, classes)

    def forward(self, features: Tensor) -> Tensor:
        x = F.relu(self.first(self.norm(features).unsqueeze(1)))
        path = x
        for index, (convolution, norm) in enumerate(zip(self.convolutions, self.norms, strict=True)):
            x = F.relu(convolution(x))
            if index % 2 == 1:
                x = path = x + path
            x = norm(x)
        logits: Tensor = self.output(x.mean(dim=(2, 3)))
        return logits
