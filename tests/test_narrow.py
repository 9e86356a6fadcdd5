"""Copying the most important channels into a narrower network."""

from types import SimpleNamespace
from typing import Any, cast

import pytest
import torch

from harken.models.bc_resnet import BCResNet
from harken.models.narrow import is_narrower, narrow_weights
from harken.models.spotter import Spotter
from harken.tasks.recipe import find_recipe, with_settings
from harken.training import initial_weights


def network(tau: float) -> BCResNet:
    torch.manual_seed(1)
    made = BCResNet(5, 40, 50, tau=tau, causal=True, time_stride=2)
    for layer in made.modules():
        if isinstance(layer, torch.nn.BatchNorm2d):  # values that differ from the initial ones
            assert layer.running_mean is not None
            assert layer.running_var is not None
            torch.nn.init.uniform_(layer.running_mean, -0.5, 0.5)
            torch.nn.init.uniform_(layer.running_var, 0.5, 2)
            torch.nn.init.uniform_(layer.weight, 0.5, 2)
            torch.nn.init.uniform_(layer.bias, -0.5, 0.5)
    return made.eval()


def hidden_in(small: BCResNet, tau: float) -> BCResNet:
    """Return a wider network whose other channels are all zero, at random places."""
    generator = torch.Generator().manual_seed(4)
    wide = BCResNet(5, 40, 50, tau=tau, causal=True, time_stride=2).eval()
    places: dict[tuple[int, int], torch.Tensor] = {}

    def places_of(count: int, of: int) -> torch.Tensor:
        if (count, of) not in places:
            places[count, of] = torch.randperm(of, generator=generator)[:count].sort().values
        return places[count, of]

    learned = small.state_dict()
    for name, weight in wide.state_dict().items():
        value = learned[name]
        weight.zero_() if "running_var" not in name else weight.fill_(1)
        index = [slice(None)] * weight.ndim
        if "band_norm" in name and weight.ndim:
            rows = places_of(len(value) // 5, len(weight) // 5)
            weight[(5 * rows[:, None] + torch.arange(5)).flatten()] = value
            continue
        grid = [
            places_of(value.shape[axis], weight.shape[axis])
            if value.shape[axis] != weight.shape[axis]
            else torch.arange(weight.shape[axis])
            for axis in range(len(index))
        ]
        if weight.ndim:
            weight[torch.meshgrid(*grid, indexing="ij")] = value
        else:
            weight.copy_(value)
    return wide


@pytest.mark.parametrize("tau", [1.5, 2, 3])
def test_channels_without_weight_are_left_out(tau: float) -> None:
    small, found = network(1), network(1)
    wide = hidden_in(small, tau)
    features = torch.randn(4, 40, 50, generator=torch.Generator().manual_seed(2))
    with torch.no_grad():
        torch.testing.assert_close(wide(features), small(features), atol=1e-4, rtol=1e-4)
    for weight in found.state_dict().values():
        weight.zero_()
    narrow_weights(wide, found)
    for name, weight in small.state_dict().items():
        torch.testing.assert_close(found.state_dict()[name], weight)


def test_a_network_of_the_same_width_is_copied() -> None:
    source, target = network(2), BCResNet(5, 40, 50, tau=2, causal=True, time_stride=2).eval()
    narrow_weights(source, target)
    features = torch.randn(4, 40, 50, generator=torch.Generator().manual_seed(2))
    with torch.no_grad():
        torch.testing.assert_close(target(features), source(features))


def test_only_a_network_with_fewer_channels_is_narrower() -> None:
    wide = network(2)
    assert is_narrower(wide, network(1))
    for other in (
        network(2),
        network(3),
        BCResNet(4, 40, 50, tau=1, causal=True, time_stride=2),  # fewer classes
        BCResNet(5, 80, 50, tau=1, causal=True, time_stride=2),  # more bands
    ):
        assert not is_narrower(wide, other)


def test_a_small_model_starts_from_a_wider_one(monkeypatch: pytest.MonkeyPatch) -> None:
    labels = ("yes", "no", "_silence_")
    small, base = (with_settings(find_recipe("v12"), [f"network=harken_{name}"]) for name in ("small", "base"))
    wide, started, wanted = (Spotter(recipe, len(labels)) for recipe in (base, small, small))
    monkeypatch.setattr(
        initial_weights, "open_trained", lambda *_, **__: SimpleNamespace(card=SimpleNamespace(labels=labels))
    )
    monkeypatch.setattr(initial_weights, "load_trained", lambda *_: wide)
    initial_weights.initialize_weights(started, "base", small, cast("Any", SimpleNamespace(labels=labels)))
    assert isinstance(wide.network, BCResNet)
    assert isinstance(wanted.network, BCResNet)
    narrow_weights(wide.network, wanted.network)
    torch.testing.assert_close(started.network.state_dict(), wanted.network.state_dict())
