"""A network's passes as CUDA graphs: on a GPU, starting its hundreds of small kernels takes longer than they do."""

from typing import Any

import torch
from torch import Tensor, nn


class Replay:
    """Calls networks on features; on a GPU their passes are recorded at the first call and then replayed as a whole.

    Weights, moving averages and gradients stay those of the network, and dropout is drawn anew. What comes out is
    overwritten by the next call. Features of another shape than the first, as of an epoch's last batch, and networks in
    another mode are not replayed but run; so is all where several processes train, which average gradients as they arise.
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
    # Recording runs the network several times. Neither what it remembers nor the draws of this step must show it: a resumed
    # run, which records in another step, would drift from an unbroken one.
    before = {name: value.clone() for name, value in network.state_dict().items()}
    torch.clear_autocast_cache()
    with (
        torch.random.fork_rng(devices=[features.device]),
        # A weight that was cast outside of the graph would be missed by it.
        torch.autocast("cuda", enabled=torch.is_autocast_enabled("cuda"), cache_enabled=False),
    ):
        recorded: Any = torch.cuda.make_graphed_callables(_Whole(network), (features.detach(),))
    network.load_state_dict(before)
    module: nn.Module = recorded
    return module


class _Whole(nn.Module):
    """A network in a module of its own, since recording replaces a module's `forward`."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.train(network.training)
        self.network = network

    def forward(self, features: Tensor) -> Tensor:
        logits: Tensor = self.network(features)
        return logits
