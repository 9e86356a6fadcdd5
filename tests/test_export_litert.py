"""Export to LiteRT: the answers of the original, metadata beside the file, and no file if it disagrees."""

import json
import sys
import types
from dataclasses import asdict, replace
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from harken.errors import HarkenError
from harken.export import comparison
from harken.export.comparison import ExportReport
from harken.export.litert import LitertFile, write, write_litert
from harken.export.litert.convert import _prepare
from harken.models.onnx_writer import write_model_file
from harken.models.spotter import Spotter
from harken.runtime.modelfile import ModelFile
from harken.tasks.recipe import Recipe, find_recipe
from harken.training.module import TrainingModule
from trained_spotter import RATE, clips, train_spotter, words

LABELS = ("yes", "no", "up", "down", "left", "right", "on", "off", "stop", "go", "_unknown_", "_silence_")
with_litert = pytest.mark.skipif(
    find_spec("litert_torch") is None, reason="the extra `litert` is not installed: pip install 'harken[litert]'"
)


@pytest.fixture(scope="module")
def recipe() -> Recipe:
    return replace(find_recipe("v12"), network="ds_cnn_s")


@pytest.fixture(scope="module")
def spotter(recipe: Recipe) -> Spotter:
    return train_spotter(recipe, None, len(LABELS))


@pytest.fixture(scope="module")
def model(spotter: Spotter, recipe: Recipe, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a run of that network, with its model file and its best weights."""
    run = tmp_path_factory.mktemp("run")
    (run / "recipe.json").write_text(json.dumps(asdict(recipe)))
    (run / "material.json").write_text(json.dumps({"data": ["corpus"]}))
    torch.save({"state_dict": TrainingModule(recipe, spotter, steps_per_epoch=1).state_dict()}, run / "best.ckpt")
    card = {"labels": LABELS, "sample_rate": RATE, "window": recipe.samples, "recipe": asdict(recipe)}
    card |= {"thresholds": {"yes": 0.5}, "listener": {"hop_ms": 100}, "temperature": 0.8}
    write_model_file(spotter, run / "model.onnx", card, temperature=0.8)
    return run


@pytest.fixture(scope="module")
def compared() -> tuple[np.ndarray[Any, np.dtype[np.float32]], np.ndarray[Any, np.dtype[np.int64]]]:
    return words(RATE, *range(40, 44)), np.tile(np.arange(12), 4)


@pytest.fixture(scope="module")
def written(
    model: Path, compared: tuple[Any, Any], tmp_path_factory: pytest.TempPathFactory
) -> tuple[Path, ExportReport]:
    path = tmp_path_factory.mktemp("litert") / "float.tflite"
    return path, write_litert(model, path, compared[0], truth=compared[1])


@pytest.fixture
def reused_conversion(written: tuple[Path, ExportReport], monkeypatch: pytest.MonkeyPatch) -> None:
    """Reuse the result of an earlier conversion, since one takes many seconds."""
    content = written[0].read_bytes()
    monkeypatch.setattr(write, "convert", lambda *_, **__: content)


def tensors(path: Path) -> list[tuple[str, str]]:
    """Return name and type of each tensor of a flatbuffer."""
    from ai_edge_litert.tools import flatbuffer_utils

    model = flatbuffer_utils.read_model_from_bytearray(bytearray(path.read_bytes()))
    return [
        (tensor.name.decode(), flatbuffer_utils.type_to_name(tensor.type))
        for graph in model.subgraphs
        for tensor in graph.tensors
    ]


@with_litert
def test_float32_gives_the_same_answers_and_has_metadata(
    model: Path, compared: tuple[Any, Any], written: tuple[Path, ExportReport]
) -> None:
    from ai_edge_litert.interpreter import Interpreter

    path, report = written
    wanted = ModelFile(model).probabilities(compared[0])
    runner = Interpreter(str(path)).get_signature_runner()
    found = np.concatenate([runner(waveform=clip[None])["probabilities"] for clip in compared[0]])
    assert report.largest_difference == pytest.approx(np.abs(found - wanted).max(), abs=1e-6)
    assert report.largest_difference < 1e-4
    assert report.agreement == 1
    assert report.accuracy == report.source_accuracy == (wanted.argmax(1) == compared[1]).mean() > 0.8
    assert report.bytes == path.stat().st_size
    assert report.clip_ms > 0
    assert report.source_clip_ms > 0
    beside = json.loads(Path(f"{path}.json").read_text())
    assert tuple(beside["labels"]) == LABELS
    assert (beside["sample_rate"], beside["window"], beside["thresholds"]) == (RATE, RATE, {"yes": 0.5})
    assert beside["listener"] == {"hop_ms": 100}
    assert beside["recipe"]["network"] == "ds_cnn_s"
    assert beside["input"] == {"name": "waveform", "shape": [1, RATE], "dtype": "float32"}
    assert beside["export"]["agreement"] == 1
    assert not [name for name, _ in tensors(path) if "torch" in name or "harken" in name]


@with_litert
@pytest.mark.usefixtures("reused_conversion")
def test_in_8_bits_the_front_end_stays_in_float(model: Path, compared: tuple[Any, Any], tmp_path: Path) -> None:
    path = tmp_path / "int8.tflite"
    report = write_litert(model, path, compared[0], calibration=words(RATE, *range(30, 34)))
    assert 0.97 <= report.agreement <= 1
    assert report.largest_difference > 0
    assert report.accuracy is None
    litert_file = LitertFile(path)
    assert litert_file.input["dtype"] == litert_file.output["dtype"] == np.float32
    assert np.isfinite(litert_file.run(clips(RATE))[0]).all()  # also for digital silence
    # The quantized log-mels are a further tensor, with a name of its own.
    found = [(name, kind) for name, kind in tensors(path) if not name.endswith("_quantized")]
    front_end = {kind for name, kind in found if name.startswith("front_end/")}
    network = {kind for name, kind in found if name.startswith("network/")}
    assert "FLOAT32" in front_end
    assert "INT8" not in front_end
    assert "INT8" in network
    assert "FLOAT32" not in network


@with_litert
def test_without_the_front_end_the_whole_graph_is_in_8_bits(
    model: Path, spotter: Spotter, compared: tuple[Any, Any], tmp_path: Path
) -> None:
    path = tmp_path / "features.tflite"
    report = write_litert(model, path, compared[0], calibration=words(RATE, *range(30, 34)), features=True)
    assert report.agreement >= 0.97
    assert report.bytes < report.source_bytes / 3
    assert "FLOAT32" not in {kind for _, kind in tensors(path)}
    described = json.loads(Path(f"{path}.json").read_text())["input"]
    assert (described["name"], described["shape"], described["dtype"]) == ("features", [1, 40, 98], "int8")
    # Quantize with the values of the JSON, as a microcontroller does.
    features = spotter.front_end(torch.from_numpy(compared[0][:1])).numpy()
    given = np.clip(np.round(features / described["scale"]) + described["zero_point"], -128, 127).astype(np.int8)
    from ai_edge_litert.interpreter import Interpreter

    answer = Interpreter(str(path)).get_signature_runner()(features=given)["probabilities"]
    assert answer.dtype == np.int8
    assert answer.argmax() == LitertFile(path).run(features)[0].argmax()


@with_litert
@pytest.mark.usefixtures("reused_conversion")
@pytest.mark.parametrize(
    ("limit", "value", "bits", "message"),
    [
        ("_TOLERANCE", -1.0, 32, "differ from the model file's by"),
        ("too_many_differ", lambda *_: True, 8, "calibrate on a larger corpus"),
    ],
)
def test_an_export_that_disagrees_is_not_written(
    model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, limit: str, value: Any, bits: int, message: str
) -> None:
    monkeypatch.setattr(comparison, limit, value)
    calibration = clips(RATE, 1) if bits == 8 else None
    with pytest.raises(HarkenError, match=f"bad.tflite was not written: .*{message}"):
        write_litert(model, tmp_path / "bad.tflite", clips(RATE), calibration=calibration)
    assert list(tmp_path.iterdir()) == []


@with_litert
def test_a_file_that_is_not_litert_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "bad.tflite").write_bytes(b"not a flatbuffer, whatever its name")
    with pytest.raises(HarkenError, match=r"bad.tflite is not a LiteRT model that can be run"):
        LitertFile(tmp_path / "bad.tflite")


@pytest.fixture(scope="module")
def broadcast() -> Spotter:
    """Return an untrained BC-ResNet with normalization statistics: its factors have both signs, and none is 1."""
    torch.manual_seed(0)
    made = Spotter(replace(find_recipe("v12"), network="harken_tiny"), len(LABELS))
    with torch.no_grad():
        for parameter in made.network.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
        for _ in range(3):
            made.train()(torch.from_numpy(words(RATE, 1, 2)))
    return made.eval()


def test_weights_are_restored_from_a_model_file_without_its_run(
    broadcast: Spotter, recipe: Recipe, tmp_path: Path
) -> None:
    card = {"labels": LABELS, "sample_rate": RATE, "window": RATE}
    card |= {"recipe": asdict(replace(recipe, network="harken_tiny"))}
    write_model_file(broadcast, tmp_path / "model.onnx", card)
    clips = words(RATE, 3, 4)
    opened = write._spotter(ModelFile(tmp_path / "model.onnx"), clips)
    with torch.no_grad():
        found, wanted = opened(torch.from_numpy(clips)), broadcast(torch.from_numpy(clips))
    assert (found - wanted).abs().max() < 1e-3 * wanted.abs().max()


def test_folded_sub_spectral_norms_compute_the_same(broadcast: Spotter) -> None:
    waveforms = torch.from_numpy(words(RATE, 1, 2))
    before = broadcast.network.blocks[0].over_bands.weight.clone()
    with torch.no_grad():
        wanted, found = broadcast(waveforms), _prepare(broadcast)(waveforms)
    assert (found - wanted).abs().max() < 1e-4 * wanted.abs().max()
    assert torch.equal(broadcast.network.blocks[0].over_bands.weight, before)  # A copy was folded.


def test_a_network_on_the_waveform_has_no_features(tmp_path: Path) -> None:
    tutorial = find_recipe("tutorial")
    card = {"labels": LABELS, "sample_rate": 8000, "window": 8000, "recipe": asdict(tutorial)}
    spotter = Spotter(tutorial, len(LABELS)).eval()
    with torch.no_grad():
        for (
            parameter
        ) in spotter.parameters():  # Initial biases are all zeros, which the exporter would store only once.
            parameter.add_(0.01 * torch.randn_like(parameter))
    write_model_file(spotter, tmp_path / "model.onnx", card)
    with pytest.raises(HarkenError, match="has no log-mel front-end: export it without --features"):
        write_litert(tmp_path / "model.onnx", tmp_path / "x.tflite", np.zeros((2, 8000), np.float32), features=True)


def test_no_clips_are_an_error(model: Path, tmp_path: Path) -> None:
    with pytest.raises(HarkenError, match="no clips to check"):
        write_litert(model, tmp_path / "x.tflite", clips(RATE)[:0])


def test_clips_of_another_shape_are_refused(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """LiteRT itself would fill its tensor with the first of several windows, or stop with an error of its own."""
    tensor = {"shape": np.array([1, 8]), "index": 0, "quantization": (0.0, 0), "dtype": np.float32}

    class Interpreter:
        def __init__(self, *_: object, **__: object) -> None: ...

        def allocate_tensors(self) -> None: ...

        def get_input_details(self) -> list[Any]:
            return [tensor]

        get_output_details = get_input_details

    module = types.ModuleType("ai_edge_litert.interpreter")
    module.Interpreter = Interpreter  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "ai_edge_litert", types.ModuleType("ai_edge_litert"))
    monkeypatch.setitem(sys.modules, "ai_edge_litert.interpreter", module)
    opened = LitertFile(tmp_path / "any.tflite")
    for shape in ((1, 4, 8), (8,), (4, 32), (32,), (0, 8)):
        with pytest.raises(HarkenError, match=r"do not fit .*any.tflite: pass \[N, 8\]"):
            opened.run(np.zeros(shape, np.float32))
