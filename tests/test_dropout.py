import pytest
import torch

from harken.models.dropout import Dropout


def test_dropout_drops_its_share_and_scales_the_rest() -> None:
    torch.manual_seed(0)
    dropout = Dropout(0.3)
    x = torch.full((1001, 999), 7.0, requires_grad=True)  # not a multiple of four
    y = dropout(x)
    kept = y != 0
    torch.testing.assert_close(y[kept], torch.full_like(y[kept], 10.0))
    flat = kept.flatten().double()
    assert flat.mean().item() == pytest.approx(0.7, abs=0.003)  # six standard deviations
    for distance in (1, 2, 3, 4):  # values with the same random number and with different ones
        both = (flat[:-distance] * flat[distance:]).mean().item()
        assert both == pytest.approx(0.49, abs=0.003)
    y.sum().backward()
    torch.testing.assert_close(x.grad, kept / 0.7)


def test_dropout_follows_the_seed_and_does_nothing_in_evaluation() -> None:
    dropout, x = Dropout(0.5), torch.ones(8, 3, 1, 50)
    torch.manual_seed(4)
    first, second = dropout(x), dropout(x)
    torch.manual_seed(4)
    assert torch.equal(dropout(x), first)
    assert not torch.equal(first, second)
    assert dropout.eval()(x) is x
    assert torch.equal(Dropout(0.0)(x), x)


@pytest.mark.parametrize("layout", ["contiguous", "channels last", "with gaps"])
def test_dropout_keeps_the_memory_layout_of_its_input(layout: str) -> None:
    x = torch.full((3, 8, 2, 51), 7.0)
    x = {"contiguous": x, "channels last": x.to(memory_format=torch.channels_last), "with gaps": x[..., ::2]}[layout]
    x.requires_grad_()
    y = Dropout(0.3)(x)
    assert y.is_contiguous(memory_format=torch.channels_last) == (layout == "channels last")
    dropped = y == 0
    torch.testing.assert_close(y, torch.where(dropped, 0.0, 10.0))
    assert dropped.double().mean().item() == pytest.approx(0.3, abs=0.08)  # five standard deviations at least
    y.sum().backward()
    torch.testing.assert_close(x.grad, ~dropped / 0.7)
