"""Export to 8-bit ONNX: same answers, smaller file, same metadata, and no file if it disagrees."""

import json
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import onnx
import pytest

from harken.errors import HarkenError
from harken.export import comparison
from harken.export.comparison import too_many_differ
from harken.export.onnx_int8 import front_end_nodes, write_onnx_int8
from harken.models.onnx_writer import write_model_file
from harken.runtime.modelfile import ModelFile
from harken.tasks.recipe import Recipe, find_recipe
from trained_spotter import RATE, clips, train_spotter, words

LABELS = ("yes", "no", "up", "down", "left", "right", "on", "off", "stop", "go", "_unknown_", "_silence_")


@pytest.fixture(scope="module")
def recipe() -> Recipe:
    return replace(find_recipe("v12"), network="ds_cnn_s")


@pytest.fixture(scope="module")
def model(recipe: Recipe, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("source") / "model.onnx"
    card = {"labels": LABELS, "sample_rate": RATE, "window": recipe.samples, "recipe": asdict(recipe)}
    write_model_file(train_spotter(recipe, None, len(LABELS)), path, card | {"thresholds": {"yes": 0.5}})
    return path


def test_8_bits_give_the_same_answers_in_a_smaller_file(model: Path, tmp_path: Path) -> None:
    compared = words(RATE, *range(40, 52))
    truth = np.arange(len(compared)) % 12
    calibration = words(RATE, *range(30, 34))
    report = write_onnx_int8(model, tmp_path / "int8.onnx", compared, truth=truth, calibration=calibration)
    source, quantized = ModelFile(model), ModelFile(tmp_path / "int8.onnx")
    wanted, found = source.probabilities(compared), quantized.probabilities(compared)
    assert (
        report.agreement == (wanted.argmax(1) == found.argmax(1)).mean() >= 0.95
    )  # processors round differently: 46 to 48 of 48
    assert (report.accuracy, report.source_accuracy) == tuple((of.argmax(1) == truth).mean() for of in (found, wanted))
    assert report.largest_difference == np.abs(wanted - found).max() > 0
    assert np.isfinite(quantized.probabilities(clips(RATE))).all()  # also for digital silence
    assert quantized.card == source.card
    assert report.bytes == (tmp_path / "int8.onnx").stat().st_size < report.source_bytes
    beside = json.loads((tmp_path / "int8.onnx.json").read_text())
    assert (beside["path"], beside["agreement"]) == ("int8.onnx", report.agreement)


def test_the_front_end_stays_in_float(model: Path, tmp_path: Path) -> None:
    write_onnx_int8(model, tmp_path / "int8.onnx", words(RATE, 40), calibration=words(RATE, 30))
    graph = onnx.load(str(tmp_path / "int8.onnx")).graph
    before = {node.op_type for node in graph.node if node.name in front_end_nodes(graph)}
    assert "MatMul" in before  # the DFT and the mel filters
    assert not {"QuantizeLinear", "DequantizeLinear"} & before
    convolutions = [node for node in graph.node if node.op_type == "Conv"]
    maker = {output: node.op_type for node in graph.node for output in node.output}
    assert all(maker[node.input[0]] == "DequantizeLinear" for node in convolutions)


def test_an_export_that_disagrees_is_not_written(model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(comparison, "too_many_differ", lambda differing, clips, limit: (clips, limit) == (20, 0.03))
    message = r"int8.onnx was not written: \d+ of 20 clips .* calibrate on a larger corpus, or keep the model"
    with pytest.raises(HarkenError, match=message):
        write_onnx_int8(model, tmp_path / "int8.onnx", clips(RATE), calibration=clips(RATE, 1))
    assert list(tmp_path.iterdir()) == []


def test_a_few_differing_clips_are_not_significant() -> None:
    rejected = [
        (differing, number)
        for number in (1, 2, 69, 2000)
        for differing in range(100)
        if too_many_differ(differing, number, 0.03)
    ]
    assert [min(d for d, n in rejected if n == number) for number in (2, 69, 2000)] == [2, 6, 76]
    assert not any(n == 1 and d <= 1 for d, n in rejected)
    assert too_many_differ(1, 1, 0.01)


def test_an_8_bit_export_cannot_be_exported(model: Path, tmp_path: Path) -> None:
    write_onnx_int8(model, tmp_path / "int8.onnx", words(RATE, 40), calibration=words(RATE, 30), synthesized=True)
    assert json.loads((tmp_path / "int8.onnx.json").read_text())["synthesized"] is True
    with pytest.raises(HarkenError, match=r"int8.onnx is already an 8-bit export: give the model it was made from"):
        write_onnx_int8(tmp_path / "int8.onnx", tmp_path / "again.onnx", words(RATE, 40), calibration=words(RATE, 30))
    assert not (tmp_path / "again.onnx").exists()


def test_both_files_or_none(model: Path, tmp_path: Path) -> None:
    (tmp_path / "int8.onnx.json").mkdir()
    with pytest.raises(HarkenError, match=r"int8.onnx.json is a folder"):
        write_onnx_int8(model, tmp_path / "int8.onnx", clips(RATE), calibration=clips(RATE, 1))
    assert [path.name for path in tmp_path.iterdir()] == ["int8.onnx.json"]


def test_no_clips_are_an_error(model: Path, tmp_path: Path) -> None:
    with pytest.raises(HarkenError, match="no clips to calibrate"):
        write_onnx_int8(model, tmp_path / "int8.onnx", clips(RATE), calibration=clips(RATE)[:0])


def test_the_first_convolution_on_a_waveform_stays_in_float(tmp_path: Path) -> None:
    tutorial = replace(find_recipe("tutorial"), sample_rate=RATE)
    card = {"labels": LABELS, "sample_rate": RATE, "window": RATE}
    write_model_file(train_spotter(tutorial, None, 12), tmp_path / "model.onnx", card)
    graph = onnx.load(str(tmp_path / "model.onnx")).graph
    kept = [node.op_type for node in graph.node if node.name in front_end_nodes(graph)]
    assert kept.count("Conv") == 1
