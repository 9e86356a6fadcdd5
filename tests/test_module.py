import pytest
import torch
from torch import Tensor

from conftest import tone
from harken.models.spotter import Spotter
from harken.tasks.recipe import RECIPES, Recipe, with_settings
from harken.training.module import TrainingModule, learning_rate_factor, moving_average

RATE = 4_000


def make_recipe(*settings: str) -> Recipe:
    return with_settings(
        RECIPES["own"], ["network=att_rnn", f"sample_rate={RATE}", "window_s=0.2", "bands=20", *settings]
    )


def test_learning_rate_warms_up_then_falls_as_a_half_cosine() -> None:
    cosine = make_recipe("epochs=10", "warmup_epochs=2")
    found = [learning_rate_factor(cosine, epoch) for epoch in (0, 1, 2, 6, 10, 11)]
    assert found == pytest.approx([1e-3, 0.5, 1, 0.5, 0, 0])
    constant = make_recipe("epochs=10", "warmup_epochs=0", "schedule=constant")
    assert [learning_rate_factor(constant, epoch) for epoch in (0, 5, 10)] == [1, 1, 1]


def test_moving_average_adapts_fast_at_first_and_copies_counters() -> None:
    old, counter = torch.zeros(1), torch.tensor(3)
    moving_average(0.9)([old], [torch.ones(1)], torch.tensor(0))
    moving_average(0.9)([counter], [torch.tensor(8)], torch.tensor(0))
    assert old.item() == pytest.approx(0.9)  # keeps 1 / 10
    assert counter == 8
    old = torch.zeros(1)
    moving_average(0.9)([old], [torch.ones(1)], 10_000)
    assert old.item() == pytest.approx(0.1)


def module_of(*settings: str) -> TrainingModule:
    wanted = make_recipe(*settings)
    return TrainingModule(wanted, Spotter(wanted, 3), steps_per_epoch=1)


def test_the_average_becomes_the_final_network() -> None:
    module = module_of()
    assert module.average is not None
    for parameter in module.average.module.parameters():
        parameter.data.fill_(0.25)
    assert all((parameter == 0.25).all() for parameter in module.final_spotter().network.parameters())
    assert not module.final_spotter().training
    assert module_of("average_decay=0").average is None


def test_features_keep_full_precision_under_autocast() -> None:
    spotter = module_of().spotter
    waveform = torch.from_numpy(tone(500, 0.2, RATE))[None]
    wanted = spotter.front_end(waveform)
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(spotter.features(waveform), wanted)
        assert not torch.equal(spotter.front_end(waveform), wanted)


class StubLoader:
    """Silence for any rows. The classes are two keywords and `_unknown_`."""

    keywords = 2
    unknown = 2

    def load_augmented(self, rows: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        return torch.zeros(len(rows), 800), torch.eye(3)[labels]

    def left_context(self, waveform: Tensor) -> Tensor:
        return waveform


@pytest.mark.parametrize(("network", "masked"), [("att_rnn", True), ("tutorial_cnn", False)])
def test_masks_apply_to_bands_but_not_to_raw_waveforms(
    network: str, masked: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[Tensor] = []
    module = module_of(f"network={network}")
    module.waveforms = StubLoader()  # type: ignore[assignment]
    monkeypatch.setattr(module, "log", lambda *_, **__: None)
    module.spec_augment.register_forward_hook(lambda _, inputs, output: seen.append(output))
    module.training_step((torch.tensor([0, 1]), torch.tensor([0, 1])), 0)
    assert bool(seen) == masked


def test_dropout_masks_of_different_steps_are_independent(monkeypatch: pytest.MonkeyPatch) -> None:
    # Each step seeds the generator again, with a number close to the last one.
    module = module_of("network=tutorial_cnn")
    module.waveforms = StubLoader()  # type: ignore[assignment]
    monkeypatch.setattr(module, "log", lambda *_, **__: None)
    masks: list[Tensor] = []
    dropout = module.spotter.network.get_submodule("conv1_dropout")
    dropout.register_forward_pre_hook(lambda _, inputs: torch.ones_like(inputs[0]))
    dropout.register_forward_hook(lambda _, inputs, output: masks.append((output != 0).flatten()))
    for step in range(200):
        monkeypatch.setattr(TrainingModule, "global_step", step)
        module.training_step((torch.tensor([0, 1]), torch.tensor([0, 1])), 0)
    kept = torch.stack(masks).double()  # [steps, places]
    assert kept.mean().item() == pytest.approx(0.7, abs=0.003)  # six standard deviations, as below
    assert kept.mean(dim=0).var().item() == pytest.approx(0.21 / 200, rel=0.14)  # no place is kept more than others
    for distance in (1, 2, 4, 64):
        both = (kept[:-distance] - 0.7) * (kept[distance:] - 0.7) / 0.21
        assert both.mean().item() == pytest.approx(0, abs=0.009)


class ConstantTeacher:
    """A teacher that returns the same logits for every waveform."""

    def __init__(self, *logits: float) -> None:
        self._logits = torch.tensor(logits, dtype=torch.float32)

    def logits(self, waveform: torch.Tensor) -> torch.Tensor:
        return self._logits.expand(len(waveform), -1)


def test_distillation_uses_the_mean_of_the_teachers_logits() -> None:
    wanted = make_recipe("teacher_share=1")
    teachers = [ConstantTeacher(4, 0, 0), ConstantTeacher(0, 2, 0)]
    module = TrainingModule(wanted, Spotter(wanted, 3), steps_per_epoch=1, teachers=teachers)
    module.waveforms = StubLoader()  # type: ignore[assignment]
    waveform, labels = torch.zeros(5, wanted.samples), torch.zeros(5, dtype=torch.int64)

    def loss(*logits: float) -> float:
        losses = module._add_distillation(
            torch.zeros(5), torch.tensor(logits).expand(5, -1), waveform, labels, torch.arange(5)
        )
        return losses.mean().item()

    assert loss(2, 1, 0) == pytest.approx(0, abs=1e-6)
    assert loss(4, 0, 0) > 0.1
    assert loss(0, 2, 0) > 0.1


def test_rows_that_are_not_taught_keep_their_loss() -> None:
    wanted = make_recipe("teacher_share=0.5")
    module = TrainingModule(wanted, Spotter(wanted, 3), steps_per_epoch=1, teachers=[ConstantTeacher(4, 0, 0)])
    module.waveforms = StubLoader()  # type: ignore[assignment]
    logits = torch.tensor([[4.0, 0.0, 0.0]]).expand(4, -1)
    # The teacher takes all four examples for the first keyword. The last one is none, so its answer is not used there.
    labels = torch.tensor([0, 0, 1, 2])
    losses = module._add_distillation(
        torch.tensor([1.0, 2.0, 3.0, 4.0]), logits, torch.zeros(4, wanted.samples), labels, torch.tensor([0, 2, 3])
    )
    assert losses.tolist() == pytest.approx([0.5, 2.0, 1.5, 4.0], abs=1e-6)
