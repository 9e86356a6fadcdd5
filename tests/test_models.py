"""Published sizes, initial weights, computation and export of the networks, and the table of layers."""

import io
import math

import numpy as np
import onnxruntime
import pytest
import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from harken.errors import HarkenError
from harken.models import NETWORKS, build_network
from harken.models.summary import Layer, count_by_name, count_parameters, layer_table, multiply_adds, table_by_name

LOG_MEL = [name for name, network in NETWORKS.items() if network.front_end == "log_mel"]
NORMALIZING = [name for name in LOG_MEL if not NETWORKS[name].class_path.startswith("bc_resnet")]
RECURRENT = ["tutorial_lstm", "att_rnn"]
SHAPES = {"raw": (1, 8_000), "log_mel": (40, 98), "speech_mel": (32, 97)}  # bands and frames of a second


def build(name: str, classes: int = 12, bands: int = 40, frames: int = 98) -> nn.Module:
    torch.manual_seed(3)
    if NETWORKS[name].front_end != "log_mel":
        bands, frames = SHAPES[NETWORKS[name].front_end]
    return build_network(name, classes=classes, bands=bands, frames=frames)


def features_for(name: str, examples: int = 4, frames: int = 98) -> torch.Tensor:
    generator = torch.Generator().manual_seed(5)
    if NETWORKS[name].front_end == "raw":
        return 0.1 * torch.randn(examples, 1, 8_000, generator=generator)
    bands, usual = SHAPES[NETWORKS[name].front_end]
    return 3 * torch.randn(examples, bands, min(frames, usual), generator=generator) - 7


@pytest.mark.parametrize(
    ("name", "parameters"),
    [
        ("tutorial_cnn", 1_611_498),
        ("tutorial_lstm", 236_938),
        ("bc_resnet_1", 9_232),  # the paper: 9.2 K
        ("bc_resnet_1_5", 17_154),
        ("bc_resnet_2", 27_284),  # 27.3 K
        ("bc_resnet_3", 54_168),  # 54.2 K
        ("bc_resnet_6", 187_812),  # 188 K
        ("bc_resnet_8", 321_068),  # 321 K
        ("ds_cnn_s", 23_756),
        ("ds_cnn_m", 138_128),
        ("ds_cnn_l", 416_772),
        ("res15", 237_882),  # 238 K
        ("matchboxnet_3x2x64", 87_108),
        ("att_rnn", 180_977),
        ("embedding_head", 359_756),  # of these, 31,628 are trained
    ],
)
def test_parameters(name: str, parameters: int) -> None:
    assert count_by_name(name).parameters == parameters


@pytest.mark.parametrize(("name", "budget"), [("tiny", 10_000), ("base", 60_000), ("large", 330_000)])
def test_networks_of_the_bundled_models_stay_within_their_budget(name: str, budget: int) -> None:
    assert count_by_name(f"harken_{name}").parameters <= budget


@pytest.mark.parametrize(
    ("name", "classes", "bands", "parameters"),
    [("matchboxnet_3x2x64", 30, 64, 92_766), ("att_rnn", 36, 80, 202_249)],  # the papers: 93 K, 202 K
)
def test_parameters_with_the_papers_input(name: str, classes: int, bands: int, parameters: int) -> None:
    assert count_parameters(build(name, classes=classes, bands=bands)) == parameters


def test_ds_cnn_s_has_as_many_parameters_as_mlperf_tiny_counts() -> None:
    network = build("ds_cnn_s")
    norms = [module for module in network.modules() if isinstance(module, nn.BatchNorm2d)]
    assert count_parameters(network) + sum(2 * norm.num_features for norm in norms) == 24_908  # mean and variance


@pytest.mark.parametrize("name", NETWORKS)
def test_logits_have_a_row_per_example_and_do_not_depend_on_the_batch(name: str) -> None:
    network, features = build(name).eval(), features_for(name)
    with torch.no_grad():
        logits = network(features)
        alone = network(features[2:3])
    assert logits.shape == (4, 12)
    assert logits.std(dim=0).min() > 0, "the input does not matter"
    torch.testing.assert_close(logits[2:3], alone, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", LOG_MEL)
def test_any_number_of_frames_and_bands(name: str) -> None:
    network = build(name, classes=3, bands=80, frames=61).eval()
    with torch.no_grad():
        assert network(torch.randn(2, 80, 61)).shape == (2, 3)


@pytest.mark.parametrize("name", NETWORKS)
def test_every_weight_gets_a_gradient(name: str) -> None:
    network = build(name)
    loss = nn.functional.cross_entropy(network(features_for(name)), torch.tensor([0, 3, 7, 11]))
    loss.backward()
    for path, parameter in network.named_parameters():
        if not parameter.requires_grad:  # the speech embedding stays as it is
            assert path.startswith("embedding."), path
            continue
        assert parameter.grad is not None, path
        assert parameter.grad.isfinite().all(), path
        if parameter.ndim > 1:  # a bias before a normalization has no effect
            assert parameter.grad.abs().max() > 0, path


@pytest.mark.parametrize("name", NORMALIZING)
def test_input_is_normalized_by_band(name: str) -> None:
    network, features = build(name), features_for(name)
    loudness = torch.linspace(-9, 4, 40)[:, None]
    torch.manual_seed(1)
    reference = network(features)
    torch.manual_seed(1)
    torch.testing.assert_close(network(features * 2.5 + loudness), reference, rtol=1e-3, atol=1e-4)


def test_impossible_inputs_are_refused() -> None:
    with pytest.raises(HarkenError, match="needs the raw waveform, not 40 bands"):
        build_network("tutorial_cnn", classes=10, bands=40, frames=98)
    with pytest.raises(HarkenError, match="356 samples are too few"):
        build_network("tutorial_cnn", classes=10, bands=1, frames=356)
    assert build_network("tutorial_cnn", classes=10, bands=1, frames=357)(torch.zeros(1, 1, 357)).shape == (1, 10)
    with pytest.raises(HarkenError, match="no size 'xl': choose one of s, m, l"):
        build_network("ds_cnn_s", classes=12, bands=40, frames=98, size="xl")
    with pytest.raises(HarkenError, match="did you mean ds_cnn_s"):
        count_by_name("dscnn_s")


def test_tutorial_cnn_computes_the_same_as_the_tutorials_keras_network() -> None:
    network = build("tutorial_cnn", classes=10).eval()
    waveform = features_for("tutorial_cnn", examples=1)
    weights = {name: value.numpy() for name, value in network.state_dict().items()}

    x = waveform[0].numpy().T  # [samples, 1]: channels last and the tutorial's order, ReLU before max-pool
    for number in (1, 2, 3, 4):
        kernel = weights[f"conv{number}.weight"][:, :, 0].transpose(2, 1, 0)  # Keras: [length, channels, filters]
        windows = np.lib.stride_tricks.sliding_window_view(x, len(kernel), axis=0)  # [time, channels, length]
        x = np.maximum(np.einsum("tck,kcf->tf", windows, kernel) + weights[f"conv{number}.bias"], 0)
        x = x[: len(x) // 3 * 3].reshape(-1, 3, x.shape[1]).max(axis=1)
    x = x.reshape(-1)
    for number in (1, 2):
        x = np.maximum(weights[f"dense{number}.weight"] @ x + weights[f"dense{number}.bias"], 0)
    expected = weights["output.weight"] @ x + weights["output.bias"]

    with torch.no_grad():
        np.testing.assert_allclose(network(waveform)[0].numpy(), expected, atol=1e-5)


def test_tutorial_cnn_has_the_gradients_of_relu_before_pooling() -> None:
    ours = build("tutorial_cnn", classes=10).eval()
    layers = dict(ours.named_children())
    order = [f"conv{number}{part}" for number in (1, 2, 3, 4) for part in ("", "_relu", "_pool")]
    order += ["flatten", "dense1", "dense1_relu", "dense2", "dense2_relu", "output"]
    tutorials = nn.Sequential(*(layers[name] for name in order))
    waveform = features_for("tutorial_cnn")
    target = torch.tensor([0, 3, 7, 9])
    gradients = []
    for logits in (ours(waveform), tutorials(waveform.unsqueeze(2))):
        ours.zero_grad()
        nn.functional.cross_entropy(logits, target).backward()
        gradients.append([parameter.grad.clone() for parameter in ours.parameters()])
    for left, right in zip(*gradients, strict=True):
        torch.testing.assert_close(left, right, rtol=0, atol=1e-8)


def test_tutorial_cnn_has_glorot_initial_weights() -> None:
    network = build("tutorial_cnn", classes=10)
    for name, fan_in, fan_out in (("conv2", 8 * 11, 16 * 11), ("dense1", 6_080, 256), ("dense2", 256, 128)):
        layer = network.get_submodule(name)
        limit = math.sqrt(6 / (fan_in + fan_out))
        assert layer.weight.abs().max().item() == pytest.approx(limit, rel=0.01)
        assert layer.weight.abs().max().item() <= limit
        assert layer.weight.std().item() == pytest.approx(limit / math.sqrt(3), rel=0.05)
        assert (layer.bias == 0).all()


@pytest.mark.parametrize("name", RECURRENT)
def test_lstms_have_initial_weights_as_in_keras(name: str) -> None:
    network = build(name)
    for lstm in (network.lstm1, network.lstm2):
        units = lstm.hidden_size
        for direction in ("", "_reverse") if lstm.bidirectional else ("",):
            inputs = getattr(lstm, f"weight_ih_l0{direction}")
            assert inputs.abs().max() <= math.sqrt(6 / (lstm.input_size + 4 * units))
            recurrent = getattr(lstm, f"weight_hh_l0{direction}")
            torch.testing.assert_close(recurrent.T @ recurrent, torch.eye(units), rtol=0, atol=1e-5)
            bias = getattr(lstm, f"bias_ih_l0{direction}") + getattr(lstm, f"bias_hh_l0{direction}")
            expected = torch.zeros(4 * units)
            expected[units : 2 * units] = 1  # torch's gates: input, forget, cell, output
            assert torch.equal(bias, expected)


def test_ds_cnn_pads_like_tensorflow() -> None:
    shapes = {size: {row.name: row.output_shape for row in table_by_name(f"ds_cnn_{size}")} for size in "sml"}
    assert shapes["s"]["first.conv"] == (20, 49, 64)
    assert shapes["s"]["blocks.3.pointwise"] == (20, 49, 64)
    assert shapes["m"]["first.conv"] == (40, 49, 172)
    assert shapes["m"]["blocks.0.depthwise"] == (20, 25, 172)
    assert shapes["l"]["blocks.4.pointwise"] == (20, 25, 276)


def test_res15_dilations() -> None:
    convolutions = [row.kind for row in table_by_name("res15") if row.name.startswith("convolutions")]
    dilations = [int(kind.rpartition("x")[2]) if "dilation" in kind else 1 for kind in convolutions]
    assert dilations == [1, 1, 1, 2, 2, 2, 4, 4, 4, 8, 8, 8, 16]


def test_layer_table_of_the_tutorials_network() -> None:
    rows = table_by_name("tutorial_cnn")
    assert [(row.name, row.output_shape, row.parameters) for row in rows if row.parameters] == [
        ("conv1", (7_988, 8), 112),
        ("conv2", (2_652, 16), 1_424),
        ("conv3", (876, 32), 4_640),
        ("conv4", (286, 64), 14_400),
        ("dense1", (256,), 1_556_736),
        ("dense2", (128,), 32_896),
        ("output", (10,), 1_290),
    ]
    assert rows[0] == Layer("conv1", "Conv2d 1x13", (7_988, 8), 112, 7_988 * 8 * 13)
    assert [row.kind for row in rows[:4]] == ["Conv2d 1x13", "MaxPool2d 1x3", "ReLU", "Dropout"]
    assert [row.output_shape for row in rows if row.name.endswith("_pool")] == [
        (2_662, 8), (884, 16), (292, 32), (95, 64),
    ]  # fmt: skip
    assert next(row for row in rows if row.name == "flatten").output_shape == (6_080,)


def test_multiply_adds_calculated_by_hand() -> None:
    depthwise = nn.Conv1d(4, 4, 5, groups=4)  # 4 channels x 16 steps x 5 taps
    mix = nn.Conv1d(4, 6, 3, stride=2, dilation=2, bias=False)  # 6 channels x 6 steps x (4 x 3)
    network = nn.Sequential(depthwise, mix, nn.Linear(6, 10))  # for each of 6 channels: 6 -> 10
    rows = layer_table(network, 4, 20)
    assert rows == [
        Layer("0", "Conv1d 5 depthwise", (16, 4), 4 * 5 + 4, 320),
        Layer("1", "Conv1d 3, stride 2, dilation 2", (6, 6), 72, 432),
        Layer("2", "Linear", (6, 10), 70, 360),
    ]
    assert multiply_adds(network, 4, 20) == 1_112


@pytest.mark.parametrize(
    ("layer", "expected"),
    [
        (nn.LSTM(7, 5, batch_first=True), 11 * 4 * 5 * (7 + 5)),
        (nn.GRU(7, 5, batch_first=True, bidirectional=True), 11 * 2 * 3 * 5 * (7 + 5)),
        (nn.LSTM(7, 5, num_layers=2, batch_first=True), 11 * 4 * 5 * (7 + 5 + 5 + 5)),
        (nn.LSTM(7, 5), 1 * 4 * 5 * (7 + 5)),  # time is the first axis: one step of eleven examples
    ],
)
def test_multiply_adds_of_recurrent_layers(layer: nn.Module, expected: int) -> None:
    assert multiply_adds(layer, 11, 7) == expected


@pytest.mark.parametrize("name", [name for name in NETWORKS if name not in RECURRENT])
def test_multiply_adds_agree_with_torchs_flop_counter(name: str) -> None:
    network = build(name).eval()
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        network(features_for(name, examples=1))
    bands, frames = SHAPES[NETWORKS[name].front_end]
    assert 2 * multiply_adds(network, bands, frames) == counter.get_total_flops()


@pytest.mark.parametrize("name", NETWORKS)
def test_table_includes_every_parameter(name: str) -> None:
    parameters, total = count_by_name(name)
    rows = table_by_name(name)
    assert sum(row.parameters for row in rows) == parameters
    assert sum(row.multiply_adds for row in rows) == total > parameters / 2
    assert rows[-1].output_shape == (10 if name.startswith("tutorial_") else 12,)


def test_a_layer_that_runs_twice_has_its_parameters_once() -> None:
    shared = nn.Linear(6, 6)
    rows = layer_table(nn.Sequential(shared, nn.ReLU(), shared), 2, 6)
    assert [(row.name, row.parameters, row.multiply_adds) for row in rows] == [("0", 42, 72), ("1", 0, 0), ("0", 0, 72)]


def test_the_table_does_not_change_a_network() -> None:
    network = build("ds_cnn_s")
    network.first.eval()  # set to evaluation mode by the caller
    before = {name: value.clone() for name, value in network.state_dict().items()}
    modes = [module.training for module in network.modules()]
    layer_table(network, 40, 98)
    assert [module.training for module in network.modules()] == modes
    assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items())
    assert not any(module._forward_hooks for module in network.modules())


def test_counting_does_not_change_the_random_state() -> None:
    torch.manual_seed(8)
    expected = torch.rand(3)
    torch.manual_seed(8)
    count_by_name("ds_cnn_s")
    assert torch.equal(torch.rand(3), expected)


@pytest.mark.parametrize(
    "name",
    [
        "tutorial_cnn",
        "tutorial_lstm",
        "bc_resnet_1",
        "ds_cnn_s",
        "res15",
        "matchboxnet_3x2x64",
        "att_rnn",
        "embedding_head",
    ],
)
def test_exported_network_gives_the_same_logits_at_any_batch_size(name: str) -> None:
    frames = 8 if name in RECURRENT else 98  # exporting an LSTM takes longer with more frames
    network, features = build(name, frames=frames), features_for(name, examples=5, frames=frames)
    with torch.no_grad():
        network(features)  # so that running statistics differ from their initial values
        network.eval()
        expected = network(features).numpy()
    program = torch.onnx.export(
        network,
        (features[:2],),
        dynamo=True,
        opset_version=20,
        dynamic_shapes=({0: torch.export.Dim("examples")},),
        verbose=False,
    )
    buffer = io.BytesIO()
    program.save(buffer)
    session = onnxruntime.InferenceSession(buffer.getvalue(), providers=["CPUExecutionProvider"])
    for examples in (1, 5):
        logits = session.run(None, {"features": features[:examples].numpy()})[0]
        np.testing.assert_allclose(logits, expected[:examples], rtol=0, atol=1e-5)
