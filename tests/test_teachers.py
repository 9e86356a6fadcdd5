"""Teachers return the logits of a network, in PyTorch and in ONNX Runtime."""

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
    """Return an untrained network whose logits differ between clips."""
    recipe = with_settings(find_recipe("v12"), ["network=harken_tiny", "window_s=0.5"])
    torch.manual_seed(1)
    made = Spotter(recipe, len(LABELS))
    with torch.no_grad():
        for _ in range(30):  # until the statistics of its normalizations fit the clips
            made.train()(waveforms(20))
    made.network.classify.weight.data *= 30
    return made.eval()


def waveforms(count: int) -> torch.Tensor:
    rng = np.random.default_rng(0)
    tones = np.sin(rng.uniform(0.02, 2, (count, 1)) * np.arange(8000)) + 0.1 * rng.standard_normal((count, 8000))
    return torch.from_numpy((0.1 * tones).astype(np.float32))


@pytest.mark.parametrize("temperature", [1.0, 0.7])
def test_a_file_returns_the_logits_of_its_network(spotter: Spotter, temperature: float, tmp_path: Path) -> None:
    path = tmp_path / "model.onnx"
    metadata = {"labels": LABELS, "sample_rate": 16000, "window": 8000, "temperature": temperature}
    write_model_file(spotter, path, metadata, temperature=temperature)
    clips = waveforms(11)  # not a multiple of the batch size
    wanted = NetworkTeacher(spotter).logits(clips)
    found = FileTeacher(ModelFile(path), threads=2).logits(clips)
    assert wanted.std(dim=0).min() > 0.1  # equal logits for all clips would prove nothing
    torch.testing.assert_close(found - found[:, :1], wanted - wanted[:, :1], atol=1e-3, rtol=1e-4)


def test_a_teacher_network_does_not_change(spotter: Spotter) -> None:
    teacher = NetworkTeacher(spotter.train())
    before = {name: value.clone() for name, value in spotter.state_dict().items()}
    assert not teacher.logits(waveforms(6)).requires_grad
    for name, value in spotter.state_dict().items():
        torch.testing.assert_close(value, before[name])


def test_logits_of_impossible_classes_are_finite(spotter: Spotter, tmp_path: Path) -> None:
    spotter.network.classify.bias.data[0] += 1e4
    write_model_file(spotter, tmp_path / "model.onnx", {"labels": LABELS, "sample_rate": 16000, "window": 8000})
    assert FileTeacher(ModelFile(tmp_path / "model.onnx")).logits(waveforms(5)).isfinite().all()
