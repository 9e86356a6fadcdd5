"""Restoring a trainable network from a model file."""

from collections.abc import Callable
from functools import cache
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch

from conftest import MakeModel
from harken.errors import HarkenError
from harken.models.onnx_writer import change_metadata, write_model_file
from harken.models.spotter import Spotter
from harken.tasks.recipe import Recipe, find_recipe, with_settings
from harken.training.restore import restore_spotter
from trained_spotter import RATE, train_spotter, words

CLASSES = 4

Trained = Callable[[str], tuple[Spotter, Path]]


def v12(network: str) -> Recipe:
    return with_settings(find_recipe("v12"), [f"network={network}"])


def write_model(spotter: Spotter, recipe: Recipe, path: Path, temperature: float) -> Path:
    labels = ["yes", "no", "up", "_silence_"]
    metadata = {
        "labels": labels,
        "sample_rate": RATE,
        "window": RATE,
        "recipe": vars(recipe),
        "temperature": temperature,
    }
    write_model_file(spotter, path, metadata, temperature=temperature)
    return path


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Trained:
    """Return a network by its name, trained, and its model file, which is to be read only."""
    root = tmp_path_factory.mktemp("restore")

    @cache
    def train_and_write(network: str) -> tuple[Spotter, Path]:
        spotter = train_spotter(v12(network), None, CLASSES)
        return spotter, write_model(spotter, v12(network), root / f"{network}.onnx", 0.7)

    return train_and_write


@pytest.mark.parametrize("network", ["harken_tiny", "ds_cnn_s"])
def test_a_restored_network_computes_the_same_and_has_weights_of_the_usual_size(network: str, trained: Trained) -> None:
    source, path = trained(network)
    known_voices = torch.from_numpy(words(RATE, 1, 2))
    restored = restore_spotter(path, known_voices)
    new_voices = torch.from_numpy(words(RATE, 30))
    with torch.no_grad():
        torch.testing.assert_close(restored(new_voices), source(new_voices), atol=1e-3, rtol=1e-3)
        norm = next(layer for layer in restored.network.modules() if isinstance(layer, torch.nn.BatchNorm2d))
        entered: list[torch.Tensor] = []
        norm.register_forward_pre_hook(lambda _, inputs: entered.append(inputs[0]))
        restored(known_voices)
        torch.testing.assert_close(norm.running_mean, entered[0].mean((0, 2, 3)), atol=1e-4, rtol=1e-3)
        torch.testing.assert_close(norm.running_var, entered[0].var((0, 2, 3), correction=0), atol=1e-4, rtol=1e-3)
    fresh = {name: weight.std().item() for name, weight in Spotter(v12(network), CLASSES).network.named_parameters()}
    stem = next(name for name, weight in restored.network.named_parameters() if weight.ndim == 4)
    assert dict(restored.network.named_parameters())[stem].std().item() == pytest.approx(fresh[stem], rel=0.5)


def test_the_bundled_models_can_be_restored() -> None:
    noise = torch.from_numpy(0.1 * np.random.default_rng(0).standard_normal((8, RATE)).astype(np.float32))
    from harken.runtime.modelfile import bundled_models, find_model

    for name in bundled_models():
        assert not restore_spotter(find_model(name), noise).training


def test_a_file_without_recipe_or_weights_is_refused(make_model: MakeModel, tmp_path: Path) -> None:
    with pytest.raises(
        HarkenError, match="does not say which recipe it was trained with: give the folder of its run instead"
    ):
        restore_spotter(make_model(), torch.zeros(2, 8000))
    recipe = with_settings(find_recipe("tutorial"), ["network=tutorial_lstm"])
    path = tmp_path / "lstm.onnx"
    labels = ["yes", "no", "up", "down"]
    metadata = {"labels": labels, "sample_rate": 8000, "window": 8000, "recipe": vars(recipe)}
    write_model_file(Spotter(recipe, CLASSES).eval(), path, metadata)
    with pytest.raises(HarkenError, match=r"contains no trainable weights of .*lstm.*: give"):
        restore_spotter(path, torch.zeros(2, 8000))


def test_the_message_names_three_of_many_layers_without_weights(trained: Trained, tmp_path: Path) -> None:
    model = onnx.load(str(trained("harken_tiny")[1]))
    for tensor in model.graph.initializer:  # as a quantizer renames them
        for node in model.graph.node:
            node.input[:] = [f"{name}_quantized" if name == tensor.name else name for name in node.input]
        tensor.name += "_quantized"
    path = tmp_path / "model.onnx"
    onnx.save(model, str(path))
    with pytest.raises(
        HarkenError, match=r"contains no trainable weights of [\w.]+, [\w.]+, [\w.]+ and \d+ more layers: give"
    ):
        restore_spotter(path, torch.from_numpy(words(RATE, 1)))


def test_a_file_that_computes_something_else_is_refused(trained: Trained, tmp_path: Path) -> None:
    path = tmp_path / "model.onnx"
    change_metadata(trained("harken_tiny")[1], path, {"temperature": 5.0})
    with pytest.raises(HarkenError, match=r"differ by 0\.\d"):
        restore_spotter(path, torch.from_numpy(words(RATE, 1)))
