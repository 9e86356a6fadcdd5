"""A teacher answers with a network's logits, whether it is at work in PyTorch or in ONNX Runtime."""

from pathlib import Path

import numpy as np
import pytest
import torch

from harken.models.onnx_writer import write_model_file
from harken.models.spotter import Spotter
from harken.runtime.modelfile import ModelFile
from harken.tasks.recipe import find_recipe, with_settings
from harken.training.teachers import FileTeacher, NetworkTeacher

LABELS = ["yes", "no", "_unknown_", "_silence_"]


@pytest.fixture
def spotter() -> Spotter:
    """Return an untaught network that answers differently to different clips."""
    recipe = with_settings(find_recipe("v12"), ["network=harken_tiny", "window_s=0.5"])
    torch.manual_seed(1)
    made = Spotter(recipe, len(LABELS))
    with torch.no_grad():
        for _ in range(30):  # until its normalisations know what they hear
            made.train()(waveforms(20))
    made.network.classify.weight.data *= 30
    return made.eval()


def waveforms(count: int) -> torch.Tensor:
    rng = np.random.default_rng(0)
    tones = np.sin(rng.uniform(0.02, 2, (count, 1)) * np.arange(8000)) + 0.1 * rng.standard_normal((count, 8000))
    return torch.from_numpy((0.1 * tones).astype(np.float32))


@pytest.mark.parametrize("temperature", [1.0, 0.7])
def test_a_file_answers_with_its_networks_logits(spotter: Spotter, temperature: float, tmp_path: Path) -> None:
    path = tmp_path / "model.onnx"
    metadata = {"labels": LABELS, "sample_rate": 16000, "window": 8000, "temperature": temperature}
    write_model_file(spotter, path, metadata, temperature=temperature)
    heard = waveforms(11)  # no multiple of what is heard at once
    wanted = NetworkTeacher(spotter).logits(heard)
    found = FileTeacher(ModelFile(path), threads=2).logits(heard)
    assert wanted.std(dim=0).min() > 0.1  # answers that are all alike would mean nothing
    torch.testing.assert_close(found - found[:, :1], wanted - wanted[:, :1], atol=1e-3, rtol=1e-4)


def test_a_network_that_teaches_does_not_learn(spotter: Spotter) -> None:
    teacher = NetworkTeacher(spotter.train())
    before = {name: value.clone() for name, value in spotter.state_dict().items()}
    assert not teacher.logits(waveforms(6)).requires_grad
    for name, value in spotter.state_dict().items():
        torch.testing.assert_close(value, before[name])


def test_an_impossible_answer_keeps_finite_logits(spotter: Spotter, tmp_path: Path) -> None:
    spotter.network.classify.bias.data[0] += 1e4
    write_model_file(spotter, tmp_path / "model.onnx", {"labels": LABELS, "sample_rate": 16000, "window": 8000})
    assert FileTeacher(ModelFile(tmp_path / "model.onnx")).logits(waveforms(5)).isfinite().all()
