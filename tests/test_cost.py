import json
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from harken.errors import HarkenError
from harken.evaluation.clips.cost import graph_multiply_adds, measure_cost
from harken.runtime.modelfile import ModelFile

CONV = 3 * 2 * 5 * 96  # 3 filters over 2 bands and 5 steps, at 96 positions
LSTM = 96 * (16 * 3 + 16 * 4)  # 96 steps, 4 cells of 4 gates
DENSE = 4 * 2
FRONT_END = 100 * 10 * 2  # 100 frames of 10 samples, 2 bands


@pytest.fixture
def model(tmp_path: Path) -> Path:
    """Return a model file with each kind of layer that is counted. The front-end's weights have its name."""

    def weight(name: str, *shape: int) -> onnx.TensorProto:
        values = 0.1 * np.random.default_rng(0).standard_normal(shape)
        return numpy_helper.from_array(values.astype(np.float32), name)

    def shape(name: str, *lengths: int) -> onnx.TensorProto:
        return numpy_helper.from_array(np.array(lengths), name)

    nodes = [
        helper.make_node("Reshape", ["waveform", "frames"], ["framed"]),
        helper.make_node("MatMul", ["framed", "spotter.front_end.filters"], ["bands"]),
        helper.make_node("Transpose", ["bands"], ["transposed"], perm=[0, 2, 1]),
        helper.make_node("Conv", ["transposed", "conv", "bias"], ["filtered"]),
        helper.make_node("Transpose", ["filtered"], ["steps"], perm=[2, 0, 1]),
        helper.make_node("LSTM", ["steps", "lstm_in", "lstm_recurrent"], ["", "last"], hidden_size=4),
        helper.make_node("Squeeze", ["last", "first"], ["cells"]),
        helper.make_node("Transpose", ["dense"], ["dense_transposed"], perm=[1, 0]),
        helper.make_node("MatMul", ["cells", "dense_transposed"], ["logits"]),
        helper.make_node("Softmax", ["logits"], ["probabilities"], axis=1),
    ]
    graph = helper.make_graph(
        nodes,
        "counted",
        [helper.make_tensor_value_info("waveform", TensorProto.FLOAT, ["clips", 1000])],
        [helper.make_tensor_value_info("probabilities", TensorProto.FLOAT, ["clips", 2])],
        [
            shape("frames", 0, 100, 10), shape("first", 0),
            weight("spotter.front_end.filters", 10, 2), weight("conv", 3, 2, 5), weight("bias", 3),
            weight("lstm_in", 1, 16, 3), weight("lstm_recurrent", 1, 16, 4), weight("dense", 2, 4),
        ],
    )  # fmt: skip
    made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)
    metadata: dict[str, Any] = {"labels": ["yes", "no"], "sample_rate": 8000, "window": 1000, "parameters": 153}
    helper.set_model_props(made, {key: json.dumps(value) for key, value in metadata.items()})
    path = tmp_path / "counted.onnx"
    onnx.save(made, str(path))
    return path


def test_multiply_adds_of_a_graph(model: Path) -> None:
    assert graph_multiply_adds(model) == (CONV + LSTM + DENSE, FRONT_END)


def test_measured_cost(model: Path) -> None:
    cost = measure_cost(ModelFile(model))
    assert cost.file_bytes == model.stat().st_size
    assert (cost.parameters, cost.multiply_adds, cost.front_end_multiply_adds) == (153, CONV + LSTM + DENSE, FRONT_END)
    assert 0 < cost.latency_ms_median <= cost.latency_ms_p99
    assert cost.runs >= 100
    if cost.resident_bytes is not None:
        assert cost.base_bytes is not None
        # An interpreter with numpy and onnxruntime. With torch, it would be many times that.
        assert 20_000_000 < cost.base_bytes <= cost.resident_bytes < 300_000_000
    assert json.loads(json.dumps(cost.to_json()))["parameters"] == 153


def test_a_model_that_does_not_run_is_an_error(model: Path) -> None:
    opened = ModelFile(model)
    model.write_bytes(model.read_bytes()[:-200])
    with pytest.raises(HarkenError, match="harken predict"):
        measure_cost(opened)


def test_parameters_are_counted_from_the_recipe() -> None:
    pytest.importorskip("torch")
    from dataclasses import asdict

    from harken.evaluation.clips.cost import _parameters
    from harken.runtime.modelfile import Card
    from harken.tasks.recipe import find_recipe

    recipe = json.loads(json.dumps(asdict(find_recipe("tutorial"))))
    card = Card(tuple(recipe["words"]), 8000, 8000, {}, {"recipe": recipe})
    assert _parameters(card) == 1_611_498
    assert _parameters(Card(("yes",), 8000, 8000, {}, {})) is None
