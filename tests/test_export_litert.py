"""LiteRT: the source's answers from a flatbuffer, metadata beside it, and nothing left where it disagrees."""

import json
from dataclasses import asdict, replace
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from harken.errors import HarkenError
from harken.export.comparison import FormReport
from harken.export.litert import LitertFile, write, write_litert
from harken.export.litert.convert import _prepared
from harken.models.onnx_writer import write_model_file
from harken.models.spotter import Spotter
from harken.runtime.modelfile import ModelFile
from harken.tasks.recipe import Recipe, find_recipe
from harken.training.module import TrainingModule
from taught import RATE, clips, taught, words

LABELS = ("yes", "no", "up", "down", "left", "right", "on", "off", "stop", "go", "_unknown_", "_silence_")
with_litert = pytest.mark.skipif(
    find_spec("litert_torch") is None, reason="the extra `litert` is not installed: pip install 'harken[litert]'"
)


@pytest.fixture(scope="module")
def recipe() -> Recipe:
    return replace(find_recipe("v12"), network="ds_cnn_s")


@pytest.fixture(scope="module")
def spotter(recipe: Recipe) -> Spotter:
    return taught(recipe, None, len(LABELS))


@pytest.fixture(scope="module")
def model(spotter: Spotter, recipe: Recipe, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of that network: its model file, and its best weights beside it."""
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
) -> tuple[Path, FormReport]:
    path = tmp_path_factory.mktemp("litert") / "float.tflite"
    return path, write_litert(model, path, compared[0], truth=compared[1])


@pytest.fixture
def converted_before(written: tuple[Path, FormReport], monkeypatch: pytest.MonkeyPatch) -> None:
    """Take the converter's answer from before: it thinks for many seconds."""
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
def test_float32_answers_as_the_source_and_says_what_it_is(
    model: Path, compared: tuple[Any, Any], written: tuple[Path, FormReport]
) -> None:
    from ai_edge_litert.interpreter import Interpreter

    path, report = written
    wanted = ModelFile(model).probabilities(compared[0])
    judge = Interpreter(str(path)).get_signature_runner()
    found = np.concatenate([judge(waveform=clip[None])["probabilities"] for clip in compared[0]])
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
@pytest.mark.usefixtures("converted_before")
def test_in_8_bits_the_front_end_stays_in_float(model: Path, compared: tuple[Any, Any], tmp_path: Path) -> None:
    path = tmp_path / "int8.tflite"
    report = write_litert(model, path, compared[0], calibration=words(RATE, *range(30, 34)))
    assert 0.97 <= report.agreement <= 1
    assert report.largest_difference > 0
    assert report.accuracy is None
    form = LitertFile(path)
    assert form.input["dtype"] == form.output["dtype"] == np.float32
    assert np.isfinite(form.run(clips(RATE))[0]).all()  # digital silence among them
    # The log-mels are handed over in 8 bits, under their own name.
    found = [(name, kind) for name, kind in tensors(path) if not name.endswith("_quantized")]
    front_end = {kind for name, kind in found if name.startswith("front_end/")}
    network = {kind for name, kind in found if name.startswith("network/")}
    assert "FLOAT32" in front_end
    assert "INT8" not in front_end
    assert "INT8" in network
    assert "FLOAT32" not in network


@with_litert
def test_without_its_front_end_8_bits_are_the_whole_graph(
    model: Path, spotter: Spotter, compared: tuple[Any, Any], tmp_path: Path
) -> None:
    path = tmp_path / "features.tflite"
    report = write_litert(model, path, compared[0], calibration=words(RATE, *range(30, 34)), features=True)
    assert report.agreement >= 0.97
    assert report.bytes < report.source_bytes / 3
    assert "FLOAT32" not in {kind for _, kind in tensors(path)}
    told = json.loads(Path(f"{path}.json").read_text())["input"]
    assert (told["name"], told["shape"], told["dtype"]) == ("features", [1, 40, 98], "int8")
    # As a microcontroller does it: quantised by what stands in the JSON.
    features = spotter.front_end(torch.from_numpy(compared[0][:1])).numpy()
    given = np.clip(np.round(features / told["scale"]) + told["zero_point"], -128, 127).astype(np.int8)
    from ai_edge_litert.interpreter import Interpreter

    answer = Interpreter(str(path)).get_signature_runner()(features=given)["probabilities"]
    assert answer.dtype == np.int8
    assert answer.argmax() == LitertFile(path).run(features)[0].argmax()


@with_litert
@pytest.mark.usefixtures("converted_before")
@pytest.mark.parametrize(
    ("limit", "value", "bits", "said"),
    [
        ("_TOLERANCE", -1.0, 32, "differ from the model file's by"),
        ("too_many_differ", lambda *_: True, 8, "calibrate on more clips"),
    ],
)
def test_a_form_that_disagrees_is_not_left(
    model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, limit: str, value: Any, bits: int, said: str
) -> None:
    monkeypatch.setattr(write, limit, value)
    calibration = clips(RATE, 1) if bits == 8 else None
    with pytest.raises(HarkenError, match=f"bad.tflite was not written: .*{said}"):
        write_litert(model, tmp_path / "bad.tflite", clips(RATE), calibration=calibration)
    assert list(tmp_path.iterdir()) == []


@with_litert
def test_a_file_that_is_none(tmp_path: Path) -> None:
    (tmp_path / "bad.tflite").write_bytes(b"not a flatbuffer, whatever its name")
    with pytest.raises(HarkenError, match=r"bad.tflite is no LiteRT model that can be run"):
        LitertFile(tmp_path / "bad.tflite")


@pytest.fixture(scope="module")
def broadcast() -> Spotter:
    """An untaught BC-ResNet whose normalisations have seen something: factors of either sign, none of them 1."""
    torch.manual_seed(0)
    made = Spotter(replace(find_recipe("v12"), network="harken_tiny"), len(LABELS))
    with torch.no_grad():
        for parameter in made.network.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
        for _ in range(3):
            made.train()(torch.from_numpy(words(RATE, 1, 2)))
    return made.eval()


def test_a_model_file_alone_gives_the_weights_too(broadcast: Spotter, recipe: Recipe, tmp_path: Path) -> None:
    card = {"labels": LABELS, "sample_rate": RATE, "window": RATE}
    card |= {"recipe": asdict(replace(recipe, network="harken_tiny"))}
    write_model_file(broadcast, tmp_path / "model.onnx", card)
    heard = words(RATE, 3, 4)
    opened = write._spotter(ModelFile(tmp_path / "model.onnx"), heard)
    with torch.no_grad():
        found, wanted = opened(torch.from_numpy(heard)), broadcast(torch.from_numpy(heard))
    assert (found - wanted).abs().max() < 1e-3 * wanted.abs().max()


def test_folded_sub_spectral_norms_compute_the_same(broadcast: Spotter) -> None:
    heard = torch.from_numpy(words(RATE, 1, 2))
    before = broadcast.network.blocks[0].over_bands.weight.clone()
    with torch.no_grad():
        wanted, found = broadcast(heard), _prepared(broadcast)(heard)
    assert (found - wanted).abs().max() < 1e-4 * wanted.abs().max()
    assert torch.equal(broadcast.network.blocks[0].over_bands.weight, before)  # a copy was folded


def test_a_network_that_hears_the_waveform_has_no_features(tmp_path: Path) -> None:
    tutorial = find_recipe("tutorial")
    card = {"labels": LABELS, "sample_rate": 8000, "window": 8000, "recipe": asdict(tutorial)}
    spotter = Spotter(tutorial, len(LABELS)).eval()
    with torch.no_grad():
        for parameter in spotter.parameters():  # fresh biases are all zeros, which the exporter keeps once for all
            parameter.add_(0.01 * torch.randn_like(parameter))
    write_model_file(spotter, tmp_path / "model.onnx", card)
    with pytest.raises(HarkenError, match="hears the waveform itself: export it without --features"):
        write_litert(tmp_path / "model.onnx", tmp_path / "x.tflite", np.zeros((2, 8000), np.float32), features=True)


def test_no_clips(model: Path, tmp_path: Path) -> None:
    with pytest.raises(HarkenError, match="no clips to check"):
        write_litert(model, tmp_path / "x.tflite", clips(RATE)[:0])
