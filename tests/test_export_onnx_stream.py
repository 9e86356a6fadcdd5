"""Export to onnx-stream: equal to the network over the whole history, and usable in a listener."""

import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
import torch

from conftest import MakeModel
from harken.errors import HarkenError
from harken.export import onnx_stream
from harken.export.onnx_stream import (
    StreamingSpotter,
    full_history_probabilities,
    stream_difference,
    write_stream_file,
    write_stream_of_model,
)
from harken.models.onnx_writer import change_metadata, write_model_file
from harken.models.registry import NETWORKS
from harken.models.spotter import Spotter
from harken.runtime.listener import Listener
from harken.runtime.modelfile import ModelFile, find_model
from harken.runtime.recognizer import Recognizer
from harken.runtime.streamfile import StreamFile
from harken.runtime.two_stage import open_stream_model
from harken.tasks.recipe import find_recipe, with_settings
from trained_spotter import RATE, speech_like, train_spotter, words

CLASSES = 4
METADATA = {"labels": ["yes", "no", "up", "_silence_"], "sample_rate": RATE, "window": RATE}


def spotter(name: str) -> Spotter:
    """Return an untrained network with normalization statistics, so that no constant is hidden by a zero."""
    torch.manual_seed(3)
    made = Spotter(with_settings(find_recipe("v12"), [f"network={name}"]), CLASSES)
    with torch.no_grad():
        for _ in range(3):
            made.train()(torch.from_numpy(words(RATE, 1, 2)))
        if hasattr(made.network, "classify"):
            made.network.classify.weight *= 30  # so that the answers of the untrained network differ
    return made.eval()


@pytest.fixture(scope="module", params=["harken_tiny", "harken_base"])
def written(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[Spotter, Path]:
    """Return a network, and its streaming model with steps of 100 ms."""
    network = spotter(request.param)
    path = tmp_path_factory.mktemp("stream") / "stream.onnx"
    write_stream_file(network, path, METADATA)
    return network, path


def test_the_file_equals_the_network_over_the_whole_history(written: tuple[Spotter, Path]) -> None:
    network, path = written
    assert stream_difference(StreamingSpotter(network, RATE, RATE // 10), path) < 1e-4


@pytest.mark.parametrize("name", ["harken_tiny", "harken_base"])
@pytest.mark.parametrize(
    ("step_ms", "window_ms"),
    # Shorter and longer than the reach of each convolution over time, and longer than the window.
    [(20, 1000), (180, 1000), (400, 1000), (400, 300)],
)
def test_steps_of_any_length_equal_the_network_over_the_whole_history(
    name: str, step_ms: int, window_ms: int, tmp_path: Path
) -> None:
    network, path, window = spotter(name), tmp_path / "stream.onnx", RATE * window_ms // 1000
    write_stream_file(network, path, METADATA | {"window": window}, step_ms=step_ms, temperature=0.3)
    stream_file, sound = StreamFile(path), speech_like(3 * RATE, 5)
    streaming = StreamingSpotter(network, window, stream_file.step, temperature=0.3)
    whole = sound[: sound.size // stream_file.step * stream_file.step]
    found, wanted = np.concatenate(list(steps(stream_file, whole))), full_history_probabilities(streaming, whole)
    # A small part of how much the answers vary: those of a network without training hardly differ over a few long steps.
    assert np.abs(found - wanted).max() < min(1e-4, 0.01 * np.ptp(wanted, axis=0).max())


def test_a_step_has_few_nodes(written: tuple[Spotter, Path], tmp_path: Path) -> None:
    # Starting a node takes longer than its arithmetic. What onnxruntime runs counts, not what is in the file.
    options = onnxruntime.SessionOptions()
    options.optimized_model_filepath = str(tmp_path / "optimized.onnx")
    options.log_severity_level = 3
    onnxruntime.InferenceSession(written[1], options, providers=["CPUExecutionProvider"])
    operators = [node.op_type for node in onnx.load(tmp_path / "optimized.onnx").graph.node]
    assert len(operators) <= 215
    assert not {"BatchNormalization", "Sigmoid", "Expand"} & set(operators)


def test_parallel_streams_are_independent(written: tuple[Spotter, Path]) -> None:
    stream_file = StreamFile(written[1])
    sounds = np.stack([speech_like(RATE, seed) for seed in range(3)])
    state, alone = stream_file.start(3), [stream_file.start() for _ in range(3)]
    for start in range(0, RATE, stream_file.step):
        together, state = stream_file.advance(sounds[:, start : start + stream_file.step], state)
        for number in range(3):
            chunk = sounds[number : number + 1, start : start + stream_file.step]
            one, alone[number] = stream_file.advance(chunk, alone[number])
            assert np.abs(one[0] - together[number]).max() < 1e-6


def test_a_listener_takes_either_model(tmp_path: Path) -> None:
    recipe = with_settings(find_recipe("v12"), ["network=harken_tiny"])
    trained = train_spotter(recipe, None, CLASSES)
    metadata = METADATA | {
        "labels": ["yes", "no", "up", "down"],
        "thresholds": dict.fromkeys(("yes", "no", "up", "down"), 0.5),
    }
    write_model_file(trained, tmp_path / "model.onnx", metadata)
    write_stream_file(trained, tmp_path / "stream.onnx", metadata)
    quiet = np.zeros(2 * RATE, np.float32)
    sound = np.concatenate([part for word in words(RATE, 77)[:CLASSES] for part in (quiet, word)] + [quiet])
    for opened in (open_stream_model(tmp_path / "model.onnx"), open_stream_model(tmp_path / "stream.onnx")):
        listener = Listener(opened, source_rate=RATE)
        events = listener.push(sound) + listener.finish()
        # Which words are detected depends on training and machine: a window sees one second, a stream the whole history.
        assert len(events) >= 3
        assert listener.skipped > 20  # Both skip the silence.
        listener.reset()
        again = [event for start in range(0, sound.size, 777) for event in listener.push(sound[start : start + 777])]
        assert again + listener.finish() == events
    assert isinstance(open_stream_model(tmp_path / "model.onnx"), Recognizer)


def test_bad_input_is_an_error(written: tuple[Spotter, Path], make_model: MakeModel, tmp_path: Path) -> None:
    for name in ("bc_resnet_1", "ds_cnn_s"):
        with pytest.raises(HarkenError, match="cannot be exported to onnx-stream"):
            write_stream_file(spotter(name), tmp_path / "stream.onnx", METADATA)
    with pytest.raises(HarkenError, match="is not a multiple of 20 ms"):
        write_stream_file(spotter("harken_base"), tmp_path / "stream.onnx", METADATA, step_ms=30)
    assert not list(tmp_path.iterdir())
    with pytest.raises(HarkenError, match="is not a streaming model"):
        StreamFile(make_model())
    with pytest.raises(HarkenError, match="is neither a model file nor a bundled model"):
        StreamFile(tmp_path / "nothing.onnx")
    with pytest.raises(HarkenError, match="is a streaming model, which works only for streams"):
        ModelFile(written[1])
    with pytest.raises(HarkenError, match=r"does not match the step of .*set it to 100"):
        Listener(StreamFile(written[1]), source_rate=RATE, hop_ms=50)


def test_samples_of_any_float_type_are_converted() -> None:
    stream_file = StreamFile("tiny.stream")
    samples = np.round(speech_like(stream_file.step, 3)[None], 3).astype(np.float16)
    wanted = stream_file.advance(samples.astype(np.float32), stream_file.start())
    for kind in (np.float16, np.float64):
        for found, expected in zip(stream_file.advance(samples.astype(kind), stream_file.start()), wanted, strict=True):
            np.testing.assert_array_equal(found, expected)


def test_samples_and_states_that_do_not_fit_are_refused() -> None:
    stream_file = StreamFile("tiny.stream")
    step, state = stream_file.step, stream_file.start()
    for samples in (np.zeros((1, step // 2), np.float32), np.zeros(step, np.float32)):
        with pytest.raises(HarkenError, match=rf"^samples of shape .* do not fit the model: pass \[streams, {step}\]$"):
            stream_file.advance(samples, state)
    with pytest.raises(HarkenError, match=r"^samples has the type int16: pass floats, .* divide int16 by 32768$"):
        stream_file.advance(np.zeros((1, step), np.int16), state)
    with pytest.raises(HarkenError, match=r"^samples is of the type list: pass an array"):
        stream_file.advance([[0.0] * step], state)
    zeros = np.zeros((2, step), np.float32)
    for other in (state, state[0], np.zeros((2, 5), np.float32)):
        with pytest.raises(HarkenError, match=r"^a state of shape .* pass one of shape \(2, .*\), from start\(2\) or"):
            stream_file.advance(zeros, other)
    for wrong in (stream_file.start(2).astype(np.float64), None):
        with pytest.raises(HarkenError, match=r"^the state is not an array of float32: pass the one from start"):
            stream_file.advance(zeros, wrong)


@pytest.mark.parametrize("streams", [-1, 1.5, "1", None])
def test_a_wrong_number_of_streams_is_refused(streams: int) -> None:
    with pytest.raises(HarkenError, match=f"^streams={streams!r}: give a whole number, 0 or more$"):
        StreamFile("tiny.stream").start(streams)


@pytest.mark.parametrize("name", sorted(NETWORKS))
def test_only_networks_that_are_called_causal_can_stream(name: str) -> None:
    network = Spotter(with_settings(find_recipe("v12"), [f"network={name}"]), CLASSES)
    if NETWORKS[name].causal:
        StreamingSpotter(network, RATE, RATE // 10)
        return
    with pytest.raises(HarkenError, match="cannot be exported to onnx-stream"):
        StreamingSpotter(network, RATE, RATE // 10)


def test_a_model_file_without_its_run_is_enough(tmp_path: Path) -> None:
    write_stream_of_model("tiny", tmp_path / "tiny.onnx")
    made, bundled = StreamFile(tmp_path / "tiny.onnx"), StreamFile("tiny.stream")
    assert made.card.thresholds == bundled.card.thresholds
    assert "listener" not in made.card.fields
    sound = speech_like(RATE, 6)
    found, wanted = (np.concatenate(list(steps(each, sound))) for each in (made, bundled))
    np.testing.assert_allclose(found, wanted, atol=1e-4)
    assert np.ptp(wanted, axis=0).max() > 0.1


def test_shifts_that_are_not_separate_for_clips_and_streams_are_kept(tmp_path: Path) -> None:
    change_metadata(find_model("tiny"), tmp_path / "shifts.onnx", {"sensitivity": [0.0] * 11})
    write_stream_of_model(tmp_path / "shifts.onnx", tmp_path / "shifts.stream.onnx")
    assert StreamFile(tmp_path / "shifts.stream.onnx").card.fields["sensitivity"] == [0.0] * 11


def test_the_check_reports_what_was_compared(tmp_path: Path) -> None:
    clips = words(RATE, 3)[:5]
    report = write_stream_of_model("tiny", tmp_path / "tiny.onnx", clips=clips)
    stream_file, source = StreamFile(tmp_path / "tiny.onnx"), ModelFile("tiny")
    ends = np.stack([list(steps(stream_file, clip))[-1][0] for clip in clips])
    assert report.agreement == (ends.argmax(axis=1) == source.probabilities(clips).argmax(axis=1)).mean()
    assert 0 < report.source_difference < 1e-4
    assert 0 < report.largest_difference < 1e-4
    assert report.step_ms > 0
    beside = json.loads((tmp_path / "tiny.onnx.json").read_text())
    assert (beside["path"], beside["clips"], beside["agreement"]) == ("tiny.onnx", 5, report.agreement)
    assert beside["bytes"] == (tmp_path / "tiny.onnx").stat().st_size


def test_a_network_that_differs_from_the_original_is_not_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(onnx_stream, "source_difference", lambda *_: 0.5)
    with pytest.raises(
        HarkenError, match=r"a.onnx was not written: its network's probabilities differ from .*tiny.onnx by 0.5"
    ):
        write_stream_of_model("tiny", tmp_path / "a.onnx")
    monkeypatch.undo()
    monkeypatch.setattr(onnx_stream, "stream_difference", lambda *_: 0.5)
    with pytest.raises(
        HarkenError, match=r"/a.onnx was not written: its probabilities differ from the network's by 0.5"
    ):
        write_stream_of_model("tiny", tmp_path / "a.onnx")
    assert not list(tmp_path.iterdir())


def steps(stream_file: StreamFile, sound: np.ndarray) -> Iterator[np.ndarray]:
    state = stream_file.start()
    for start in range(0, sound.size, stream_file.step):
        probabilities, state = stream_file.advance(sound[None, start : start + stream_file.step], state)
        yield probabilities
