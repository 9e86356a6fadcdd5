"""Recorded passes compute the same as the network."""

import copy

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from harken.models.registry import NETWORKS, build_network
from harken.training.cuda_graphs import CudaGraphRunner

needs_gpu = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")


def test_without_a_gpu_the_network_runs_directly() -> None:
    network = build_network("harken_tiny", classes=12, bands=40, frames=98).eval()
    features = torch.randn(3, 40, 98)
    assert torch.equal(CudaGraphRunner()(network, features), network(features))


def _step(
    call: CudaGraphRunner | None, network: nn.Module, features: Tensor, labels: Tensor
) -> tuple[float, dict[str, Tensor]]:
    network.zero_grad(set_to_none=True)
    loss = F.cross_entropy((network(features) if call is None else call(network, features)).float(), labels)
    loss.backward()  # type: ignore[no-untyped-call]
    return loss.item(), {name: p.grad.clone() for name, p in network.named_parameters() if p.grad is not None}


@needs_gpu
@pytest.mark.parametrize("name", sorted(NETWORKS))
def test_a_replayed_step_equals_a_direct_one(name: str) -> None:
    shape = {"raw": (1, 8_000), "log_mel": (40, 98), "speech_mel": (32, 97)}[NETWORKS[name].front_end]
    network = build_network(name, classes=12, bands=shape[0], frames=shape[1]).train()
    # float64, because the TensorFloat-32 of convolutions alone changes the gradients of untrained weights by a tenth.
    network = network.to("cuda", torch.float64)
    for module in network.modules():
        if isinstance(module, nn.Dropout | nn.Dropout2d):  # the random masks would differ
            module.p = 0.0
    plain, replay = copy.deepcopy(network), CudaGraphRunner()
    for size in (16, 16, 7, 16):  # recorded, replayed, run directly, replayed
        features = torch.randn(size, *shape, device="cuda", dtype=torch.float64)
        labels = torch.randint(12, (size,), device="cuda")
        loss, gradients = _step(replay, network, features, labels)
        expected_loss, expected = _step(None, plain, features, labels)
        assert loss == pytest.approx(expected_loss, rel=1e-9)
        for key, gradient in expected.items():
            assert (gradients[key] - gradient).norm() <= 1e-6 * gradient.norm() + 1e-9, key
        with torch.no_grad():
            for ours, theirs in ((network, gradients), (plain, expected)):
                for key, parameter in ours.named_parameters():
                    parameter.sub_(theirs[key], alpha=0.01)
    for key, value in plain.state_dict().items():  # including the statistics of normalizations
        assert torch.allclose(network.state_dict()[key].double(), value.double(), rtol=1e-6, atol=1e-9), key


@needs_gpu
def test_a_replayed_network_learns_under_autocast() -> None:
    network = build_network("harken_base", classes=12, bands=40, frames=98).cuda().train()
    optimizer, replay = torch.optim.AdamW(network.parameters(), 3e-3, fused=True), CudaGraphRunner()
    features, labels = torch.randn(64, 40, 98, device="cuda"), torch.randint(12, (64,), device="cuda")
    for _ in range(60):
        with torch.autocast("cuda", torch.bfloat16):
            loss = F.cross_entropy(replay(network, features).float(), labels)
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
    assert loss.item() < 1.0  # it starts at log(12) = 2.5


@needs_gpu
def test_a_network_in_another_mode_runs_directly() -> None:
    network = build_network("harken_tiny", classes=12, bands=40, frames=98).cuda().train()
    features, replay = torch.randn(4, 40, 98, device="cuda"), CudaGraphRunner()
    replay(network, features)
    network.eval()
    assert torch.equal(replay(network, features), network(features))


@needs_gpu
def test_replayed_dropout_masks_are_new_and_follow_the_seed() -> None:
    network = nn.Sequential(nn.Flatten(), nn.Linear(40 * 98, 12), nn.Dropout(0.5)).cuda().train()
    features, replay = torch.randn(4, 40, 98, device="cuda"), CudaGraphRunner()
    drawn = []
    for seed in (1, 2, 1):  # the first call records
        torch.manual_seed(seed)
        drawn.append(replay(network, features).detach().clone())
    assert torch.equal(drawn[0], drawn[2])
    assert not torch.equal(drawn[0], drawn[1])
