"""Passes that are recorded on a GPU compute what the network computes."""

import copy

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from harken.models.registry import NETWORKS, build_network
from harken.training.graphs import Replay

needs_gpu = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")


def test_without_a_gpu_a_network_is_run() -> None:
    network = build_network("harken_tiny", classes=12, bands=40, frames=98).eval()
    features = torch.randn(3, 40, 98)
    assert torch.equal(Replay()(network, features), network(features))


def _step(call: Replay | None, network: nn.Module, features: Tensor, labels: Tensor) -> tuple[float, dict[str, Tensor]]:
    network.zero_grad(set_to_none=True)
    loss = F.cross_entropy((network(features) if call is None else call(network, features)).float(), labels)
    loss.backward()  # type: ignore[no-untyped-call]
    return loss.item(), {name: p.grad.clone() for name, p in network.named_parameters() if p.grad is not None}


@needs_gpu
@pytest.mark.parametrize("name", sorted(NETWORKS))
def test_a_replayed_step_is_the_step(name: str) -> None:
    raw = NETWORKS[name].front_end == "raw"
    shape = (16, 1, 8_000) if raw else (16, 40, 98)
    network = build_network(name, classes=12, bands=shape[1], frames=shape[2]).cuda().train()
    for module in network.modules():  # its draws would differ
        if isinstance(module, nn.Dropout | nn.Dropout2d):
            module.p = 0.0
    plain, replay = copy.deepcopy(network), Replay()
    for size in (16, 16, 7, 16):  # recorded, replayed, run, replayed
        features, labels = torch.randn(size, *shape[1:], device="cuda"), torch.randint(12, (size,), device="cuda")
        loss, gradients = _step(replay, network, features, labels)
        expected_loss, expected = _step(None, plain, features, labels)
        assert loss == pytest.approx(expected_loss, rel=1e-3)
        for key, gradient in expected.items():
            assert (gradients[key] - gradient).norm() <= 2e-3 * gradient.norm() + 1e-5, key
        with torch.no_grad():
            for ours, theirs in ((network, gradients), (plain, expected)):
                for key, parameter in ours.named_parameters():
                    parameter.sub_(theirs[key], alpha=0.01)
    for key, value in plain.state_dict().items():  # what normalisation remembers, too
        assert torch.allclose(network.state_dict()[key].float(), value.float(), rtol=1e-2, atol=1e-3), key


@needs_gpu
def test_replayed_dropout_is_drawn_anew_and_follows_the_seed() -> None:
    network = nn.Sequential(nn.Flatten(), nn.Linear(40 * 98, 12), nn.Dropout(0.5)).cuda().train()
    features, replay = torch.randn(4, 40, 98, device="cuda"), Replay()
    replay(network, features)
    drawn = []
    for seed in (1, 2, 1):
        torch.manual_seed(seed)
        drawn.append(replay(network, features).detach().clone())
    assert torch.equal(drawn[0], drawn[2])
    assert not torch.equal(drawn[0], drawn[1])
