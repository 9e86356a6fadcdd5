"""Run a network's forward and backward passes as CUDA graphs.

These networks consist of hundreds of small kernels. On a GPU, launching them one by one takes longer than running them.
"""

from typing import Any

import torch
from torch import Tensor, nn


class CudaGraphRunner:
    """Call networks on features. On a GPU, record their passes at the first call and replay them afterwards.

    Weights, moving averages and gradients are those of the network, and each call draws new dropout masks. The next call
    overwrites the result.

    A network runs without replay if the features have another shape than at the first call (such as an epoch's last
    batch), if it is in another mode (training or evaluation), or if several processes train, because these average
    gradients while they are computed.
    """

    def __init__(self) -> None:
        self._recorded: dict[nn.Module, tuple[torch.Size, nn.Module]] = {}

    def __call__(self, network: nn.Module, features: Tensor) -> Tensor:
        if features.device.type == "cuda" and not torch.distributed.is_initialized():
            if network not in self._recorded:
                self._recorded[network] = (features.shape, _record(network, features))
            shape, recorded = self._recorded[network]
            if features.shape == shape and network.training == recorded.training:
                network = recorded
        logits: Tensor = network(features)
        return logits


def _record(network: nn.Module, features: Tensor) -> nn.Module:
    # Recording runs the network several times, which must not change its state or this step's random draws. A resumed run
    # records at another step, and would otherwise drift from an uninterrupted one.
    before = {name: value.clone() for name, value in network.state_dict().items()}
    torch.clear_autocast_cache()
    with (
        torch.random.fork_rng(devices=[features.device]),
        # Without the cache, each cast of a weight is recorded in the graph.
        torch.autocast("cuda", enabled=torch.is_autocast_enabled("cuda"), cache_enabled=False),
    ):
        recorded: Any = torch.cuda.make_graphed_callables(_Wrapper(network), (features.detach(),))
    network.load_state_dict(before)
    module: nn.Module = recorded
    return module


class _Wrapper(nn.Module):
    """Contains a network, because recording replaces the `forward` of the module that it gets."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.train(network.training)
        self.network = network

    def forward(self, features: Tensor) -> Tensor:
        logits: Tensor = self.network(features)
        return logits
