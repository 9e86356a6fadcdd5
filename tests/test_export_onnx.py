from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from torch import Tensor, nn

from conftest import tone
from harken.errors import HarkenError
from harken.models import onnx_writer as export
from harken.models.onnx_writer import WithProbabilities, change_metadata, largest_difference, write_model_file
from harken.runtime.modelfile import ModelFile

WINDOW = 400
METADATA: dict[str, Any] = {
    "labels": ["yes", "no", "_silence_"],
    "sample_rate": 4000,
    "window": WINDOW,
    "corpus": ["Käfer & Söhne"],
    "clips": {"train": 3},
}


class Small(nn.Module):
    """A network whose logits depend on the loudness of each quarter of the window."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.layers = nn.Sequential(nn.Linear(4, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Dropout(0.5), nn.Linear(8, 3))

    def forward(self, waveform: Tensor) -> Tensor:
        quarters = waveform.unflatten(1, (4, WINDOW // 4)).square().mean(2)
        logits: Tensor = 3 * self.layers(quarters)
        return logits


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> tuple[nn.Module, Path]:
    path = tmp_path_factory.mktemp("export") / "new" / "small.onnx"
    network = Small().train()
    write_model_file(network, path, METADATA, temperature=2.0)
    return network, path


def waveforms(count: int) -> np.ndarray[Any, np.dtype[np.float32]]:
    return np.stack([tone(100.0 * (row + 1), WINDOW / 4000, 4000) * (row + 1) / count for row in range(count)])


def test_metadata_are_stored_as_json(written: tuple[nn.Module, Path]) -> None:
    card = ModelFile(written[1]).card
    assert (card.labels, card.sample_rate, card.window) == (("yes", "no", "_silence_"), 4000, WINDOW)
    assert dict(card.fields) == {"corpus": ["Käfer & Söhne"], "clips": {"train": 3}}


def test_names_and_shapes_are_those_of_a_model_file(written: tuple[nn.Module, Path]) -> None:
    graph = onnx.load(written[1]).graph
    (given,), (answer,) = graph.input, graph.output
    assert (given.name, answer.name) == ("waveform", "probabilities")
    sizes = [
        [size.dim_param or size.dim_value for size in value.type.tensor_type.shape.dim] for value in (given, answer)
    ]
    assert sizes == [["clips", WINDOW], ["clips", 3]]


@pytest.mark.parametrize("count", [1, 2, 7])
def test_any_number_of_clips_has_the_probabilities_of_torch(written: tuple[nn.Module, Path], count: int) -> None:
    network, path = written
    found = ModelFile(path).probabilities(waveforms(count))
    with torch.no_grad():
        wanted = torch.softmax(network(torch.from_numpy(waveforms(count))) / 2.0, dim=1).numpy()
    assert found.shape == (count, 3)
    np.testing.assert_allclose(found, wanted, atol=1e-6)
    np.testing.assert_allclose(found.sum(1), 1, atol=1e-6)


def test_only_the_file_is_written_and_the_network_is_in_evaluation_mode(written: tuple[nn.Module, Path]) -> None:
    network, path = written
    assert [entry.name for entry in path.parent.iterdir()] == ["small.onnx"]
    assert not network.training


def test_largest_difference_detects_another_network(written: tuple[nn.Module, Path]) -> None:
    network, path = written
    assert largest_difference(WithProbabilities(network, 2.0), path, WINDOW) < 1e-6
    assert largest_difference(WithProbabilities(network, 1.0), path, WINDOW) > 1e-3


@pytest.mark.parametrize("difference", [2e-4, float("nan")])
def test_a_file_that_disagrees_is_not_written(
    written: tuple[nn.Module, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, difference: float
) -> None:
    class Program:
        model_proto = onnx.load(written[1])

    monkeypatch.setattr(torch.onnx, "export", lambda *_, **__: Program)  # A real export takes seconds.
    monkeypatch.setattr(export, "largest_difference", lambda *_: difference)
    old = tmp_path / "old.onnx"
    old.write_bytes(b"an older model")
    for path in (tmp_path / "fresh.onnx", old):
        with pytest.raises(HarkenError, match="was not written: its probabilities differ from the network's by"):
            write_model_file(Small(), path, METADATA)
    assert [entry.name for entry in tmp_path.iterdir()] == ["old.onnx"]
    assert old.read_bytes() == b"an older model"


def test_changed_metadata_are_added_to_the_others(written: tuple[nn.Module, Path], tmp_path: Path) -> None:
    _, path = written
    copy = tmp_path / "copy.onnx"
    change_metadata(path, copy, {"thresholds": {"yes": 0.5}, "clips": {"train": 4}})
    change_metadata(copy, copy, {"license": "CC BY 4.0"})
    card = ModelFile(copy).card
    assert card.thresholds == {"yes": 0.5}
    assert dict(card.fields) == {"corpus": ["Käfer & Söhne"], "clips": {"train": 4}, "license": "CC BY 4.0"}
    np.testing.assert_array_equal(
        ModelFile(copy).probabilities(waveforms(2)), ModelFile(path).probabilities(waveforms(2))
    )
    assert ModelFile(path).card.thresholds == {}


def test_the_file_contains_no_paths_of_the_training_machine(written: tuple[nn.Module, Path]) -> None:
    assert str(Path(__file__).parent).encode() not in written[1].read_bytes()
    assert b"stack_trace" not in written[1].read_bytes()
