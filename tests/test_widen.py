"""Copying weights into a wider network."""

import pytest
import torch

from harken.errors import HarkenError
from harken.models.registry import build_network
from harken.models.widen import widen_weights


def network(tau: float, *, causal: bool = True) -> torch.nn.Module:
    torch.manual_seed(1)
    made = build_network("bc_resnet_1", classes=5, bands=40, frames=50, tau=tau, causal=causal)
    for layer in made.modules():
        if isinstance(layer, torch.nn.BatchNorm2d):  # values that differ from the initial ones
            torch.nn.init.uniform_(layer.running_mean, -0.5, 0.5)
            torch.nn.init.uniform_(layer.running_var, 0.5, 2)
            torch.nn.init.uniform_(layer.weight, 0.5, 2)
            torch.nn.init.uniform_(layer.bias, -0.5, 0.5)
    return made.eval()


@pytest.mark.parametrize("tau", [1, 2, 2.5])
def test_a_widened_network_computes_the_same(tau: float) -> None:
    narrow, wide = network(1), network(tau)
    widen_weights(narrow, wide, seed=3)
    features = torch.randn(4, 40, 50, generator=torch.Generator().manual_seed(2))
    with torch.no_grad():
        torch.testing.assert_close(wide(features), narrow(features), atol=1e-4, rtol=1e-4)


def test_copies_of_a_channel_have_different_shares() -> None:
    wide = network(2)
    widen_weights(network(1), wide, seed=3)
    incoming = wide.blocks[1].mix.weight[:, :, 0, 0]  # [16 out, 16 in], both copied from 8
    torch.testing.assert_close(
        incoming[:, :8] + incoming[:, 8:], network(1).blocks[1].mix.weight.repeat(2, 1, 1, 1)[:, :, 0, 0]
    )
    assert (incoming[:, :8] - incoming[:, 8:]).abs().max() > 0.01
    other = network(2)
    widen_weights(network(1), other, seed=4)
    assert not torch.equal(other.blocks[1].mix.weight, wide.blocks[1].mix.weight)


def test_other_layers_and_narrower_networks_are_refused() -> None:
    with pytest.raises(
        HarkenError, match="the two networks have different layers: start from a run of the same network"
    ):
        widen_weights(build_network("ds_cnn_s", classes=5, bands=40, frames=50), network(1), seed=0)
    with pytest.raises(HarkenError, match="would be narrower: start from a run of the same network"):
        widen_weights(network(2), network(1), seed=0)
