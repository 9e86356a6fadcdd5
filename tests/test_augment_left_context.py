"""Sound before a window."""

import pytest
import torch
from torch import Tensor

from harken.errors import HarkenError
from harken.models.bc_resnet import BCResNet
from harken.models.spotter import Spotter
from harken.tasks.recipe import RECIPES, with_settings
from harken.training.augment import LeftContext
from harken.training.module import TrainingModule

SAMPLES = 400


class ConstantBank:
    """A bank with windows of one constant level, which distinguishes them from other sound."""

    def __init__(self, level: float) -> None:
        self.level = level

    def draw(self, count: int) -> Tensor:
        return torch.full((count, SAMPLES), self.level)


def examples() -> Tensor:
    return torch.arange(1000)[:, None].expand(1000, SAMPLES) / 1000


def test_the_window_comes_last_after_one_of_four_kinds_of_sound() -> None:
    torch.manual_seed(0)
    waveform = examples()
    extended = LeftContext(1.0, speech=ConstantBank(-0.5), noise=ConstantBank(-2.0))(waveform)
    assert extended.shape == (1000, 2 * SAMPLES)
    assert torch.equal(extended[:, SAMPLES:], waveform)
    context = extended[:, 0]
    assert torch.equal(extended[:, :SAMPLES], context[:, None].expand(1000, SAMPLES))
    silent = context == 0
    other = context == waveform.roll(1, 0)[:, 0]
    drawn = context < 0
    assert (silent | other | drawn).all()
    assert silent.float().mean() == pytest.approx(0.1, abs=0.03)
    assert drawn.float().mean() == pytest.approx(0.5, abs=0.05)
    assert -2.0 <= context.min() < -0.5  # noise, up to 30 dB below its level
    assert context[drawn].max() > -0.1


def test_a_share_of_batches_is_changed_and_none_in_evaluation() -> None:
    torch.manual_seed(0)
    context = LeftContext(0.5, speech=None, noise=None)
    grown = sum(context(examples()).shape[1] > SAMPLES for _ in range(200))
    assert grown == pytest.approx(100, abs=25)
    assert context.eval()(examples()).shape[1] == SAMPLES
    assert LeftContext(0.0, speech=None, noise=None)(examples()).shape[1] == SAMPLES


def test_a_network_classifies_the_window_with_state_from_before() -> None:
    torch.manual_seed(0)
    network = BCResNet(12, 40, 98, causal=True, time_stride=2)
    for _ in range(30):  # untrained normalizations reduce the signal to almost nothing
        network(torch.randn(8, 40, 98))
    network.eval()
    window, before = torch.randn(3, 40, 98), torch.randn(3, 40, 100)
    with torch.no_grad():
        alone, after, maps = network(window), network(torch.cat([before, window], dim=2)), []
        network.last.register_forward_hook(lambda *call: maps.append(call[-1]))
        network(torch.cat([before, window], dim=2))
        window_map = torch.relu(network.expand_norm(network.expand(maps[0][..., -49:])))
        expected = network.classify(window_map.mean(dim=(2, 3), keepdim=True)).flatten(1)
    torch.testing.assert_close(after, expected)
    assert (after - alone).abs().max() > 1e-3


def test_networks_that_look_ahead_are_refused() -> None:
    recipe = with_settings(RECIPES["v12"], ["left_context_probability=0.5", "network=bc_resnet_1"])
    with pytest.raises(
        HarkenError,
        match=r"left_context_probability=.* needs a network without look-ahead, and bc_resnet_1 looks ahead",
    ):
        TrainingModule(recipe, Spotter(recipe, 12), steps_per_epoch=1)
