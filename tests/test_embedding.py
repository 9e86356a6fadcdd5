"""tools/embedding.py against onnxruntime, on files of openWakeWord's making but with drawn weights."""

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

_TOOL = Path(__file__).parent.parent / "tools" / "embedding.py"


@pytest.fixture(scope="module")
def tool() -> ModuleType:
    spec = importlib.util.spec_from_file_location("embedding_tool", _TOOL)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("embedding")
    rng = np.random.default_rng(3)
    window = np.hanning(512)
    turns = 2 * np.pi * np.outer(np.arange(257), np.arange(512)) / 512
    _write(
        folder / "melspectrogram.onnx",
        [
            helper.make_node("Unsqueeze", ["waveform", "one"], ["x"]),
            helper.make_node("Conv", ["x", "real"], ["re"], strides=[160]),
            helper.make_node("Conv", ["x", "imaginary"], ["im"], strides=[160]),
            helper.make_node("Mul", ["re", "re"], ["re2"]),
            helper.make_node("Mul", ["im", "im"], ["im2"]),
            helper.make_node("Add", ["re2", "im2"], ["power"]),
            helper.make_node("Transpose", ["power"], ["frames"], perm=[0, 2, 1]),
            helper.make_node("MatMul", ["frames", "filters"], ["out"]),
        ],
        {
            "real": (window * np.cos(turns))[:, None],
            "imaginary": (-window * np.sin(turns))[:, None],
            "filters": rng.uniform(0, 1, (257, 32)) / 257,
        },
        {"one": np.array([1])},
        ["batch", "samples"],
    )
    nodes, weights, current = [], {}, "features"
    for number, (into, out, kernel, pads, pool) in enumerate(
        [
            (1, 24, (3, 3), (0, 1, 0, 1), None),
            (24, 48, (3, 1), (0, 0, 0, 0), (2, 2)),
            (48, 96, (1, 3), (0, 1, 0, 1), (1, 2)),
            (96, 96, (3, 8), (0, 0, 0, 0), None),
        ]
    ):
        weights[f"w{number}"] = rng.standard_normal((out, into, *kernel)) / np.sqrt(into * kernel[0] * kernel[1])
        inputs = [current, f"w{number}"]
        if number < 3:
            weights[f"b{number}"] = rng.standard_normal(out)
            inputs.append(f"b{number}")
        nodes.append(helper.make_node("Conv", inputs, [f"c{number}"], pads=list(pads)))
        current = f"c{number}"
        if number < 3:
            nodes.append(helper.make_node("LeakyRelu", [current], [f"l{number}"], alpha=0.2))
            nodes.append(helper.make_node("Max", [f"l{number}", "floor"], [f"a{number}"]))
            current = f"a{number}"
        if pool:
            nodes.append(helper.make_node("MaxPool", [current], [f"p{number}"], kernel_shape=pool, strides=pool))
            current = f"p{number}"
    nodes.append(helper.make_node("Identity", [current], ["out"]))
    weights["floor"] = np.full((1, 1, 1, 1), -0.4)
    _write(folder / "embedding_model.onnx", nodes, weights, {}, ["batch", 1, "frames", 32])
    return folder


def _write(
    path: Path,
    nodes: list[onnx.NodeProto],
    weights: dict[str, NDArray[np.float64]],
    axes: dict[str, NDArray[np.int64]],
    shape: list[str | int],
) -> None:
    stored = [numpy_helper.from_array(array.astype(np.float32), name) for name, array in weights.items()]
    stored += [numpy_helper.from_array(array, name) for name, array in axes.items()]
    (name,) = {node.input[0] for node in nodes[:1]}
    graph = helper.make_graph(
        nodes,
        path.stem,
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, shape)],
        [helper.make_tensor_value_info("out", TensorProto.FLOAT, None)],
        stored,
    )
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8), str(path))


def _run(path: Path, array: NDArray[np.float32]) -> NDArray[np.float32]:
    session = onnxruntime.InferenceSession(str(path))
    (out,) = session.run(None, {session.get_inputs()[0].name: array})
    return np.asarray(out)


def test_bands_are_those_of_the_stored_front_end(tool: ModuleType, folder: Path) -> None:
    waveform = torch.randn(2, 16_000, generator=torch.Generator().manual_seed(1)) * torch.tensor([[0.1], [0.001]])
    power = _run(folder / "melspectrogram.onnx", (waveform * 32_768).numpy())
    decibels = 10 * np.log10(power)
    assert np.abs(tool.Bands(folder / "melspectrogram.onnx")(waveform).numpy() - (decibels / 10 + 2)).max() < 1e-4


def test_silence_has_finite_bands_within_80_db(tool: ModuleType, folder: Path) -> None:
    click = torch.zeros(1, 16_000)
    click[0, 8_000] = 1.0
    bands = tool.Bands(folder / "melspectrogram.onnx")(click)
    assert torch.isfinite(bands).all()
    assert float(bands.max() - bands.min()) == pytest.approx(8.0)


def test_the_embedding_computes_what_its_file_does(tool: ModuleType, folder: Path) -> None:
    features = torch.randn(3, 1, 96, 32, generator=torch.Generator().manual_seed(2))
    stored = _run(folder / "embedding_model.onnx", features.numpy())
    mine = tool.embedding(folder / "embedding_model.onnx")(features).detach().numpy()
    assert mine.shape == stored.shape == (3, 96, 44, 1)
    assert np.abs(mine - stored).max() < 1e-4


def test_the_head_alone_trains(tool: ModuleType, folder: Path) -> None:
    network = tool.Embedding(12, 1, 16_000, folder=folder)
    logits = network(torch.randn(4, 1, 16_000) * 0.1)
    assert logits.shape == (4, 12)
    logits.square().sum().backward()
    assert all(p.grad is None for p in network.body.parameters())
    assert all(p.grad.abs().sum() > 0 for p in network.head[1].parameters())


def test_without_the_files_the_tool_says_how_it_is_used(tool: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", ["embedding.py", "nowhere", "train"])
    with pytest.raises(SystemExit, match="FOLDER holds"):
        tool.run()
