"""The streaming form: equal to the network over all of the history, and at work in a listener."""

import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch

from conftest import MakeModel
from harken.errors import HarkenError
from harken.export import onnx_stream
from harken.export.onnx_stream import (
    StreamingSpotter,
    stream_difference,
    whole_history,
    write_stream_file,
    write_stream_of_model,
)
from harken.models.onnx_writer import write_model_file
from harken.models.registry import NETWORKS
from harken.models.spotter import Spotter
from harken.runtime.listener import Listener
from harken.runtime.modelfile import ModelFile
from harken.runtime.recognizer import Recognizer
from harken.runtime.streamfile import StreamFile, open_stream_model
from harken.tasks.recipe import find_recipe, with_settings
from taught import RATE, speech_like, taught, words

CLASSES = 4
METADATA = {"labels": ["yes", "no", "up", "_silence_"], "sample_rate": RATE, "window": RATE}


def spotter(name: str) -> Spotter:
    """Return an untaught network whose normalisation has seen something, so that no constant hides in a zero."""
    torch.manual_seed(3)
    made = Spotter(with_settings(find_recipe("v12"), [f"network={name}"]), CLASSES)
    with torch.no_grad():
        for _ in range(3):
            made.train()(torch.from_numpy(words(RATE, 1, 2)))
        if hasattr(made.network, "classify"):
            made.network.classify.weight *= 30  # so that the untaught answers differ
    return made.eval()


@pytest.fixture(scope="module", params=["harken_tiny", "harken_base"])
def written(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[Spotter, Path]:
    """A network, and its streaming form with steps of 100 ms."""
    whole = spotter(request.param)
    path = tmp_path_factory.mktemp("forms") / "stream.onnx"
    write_stream_file(whole, path, METADATA)
    return whole, path


def test_the_file_equals_the_network_over_all_of_the_history(written: tuple[Spotter, Path]) -> None:
    whole, path = written
    assert stream_difference(StreamingSpotter(whole, RATE, RATE // 10), path) < 1e-4


@pytest.mark.parametrize("name", ["harken_tiny", "harken_base"])
@pytest.mark.parametrize("step", [320, 1600])
def test_steps_equal_the_network_over_all_of_the_history(name: str, step: int) -> None:
    streaming = StreamingSpotter(spotter(name), RATE, step)
    sound, state, found = speech_like(3 * RATE, 5), torch.zeros(1, streaming.size), []
    with torch.no_grad():
        for start in range(0, sound.size - step + 1, step):
            probabilities, state = streaming(torch.from_numpy(sound[None, start : start + step]), state)
            found.append(probabilities[0].numpy())
    wanted = whole_history(streaming, sound)
    assert np.abs(np.stack(found) - wanted).max() < 1e-4
    assert np.ptp(wanted, axis=0).max() > 0.02  # answers that are all alike would mean nothing


def test_streams_side_by_side_do_not_touch(written: tuple[Spotter, Path]) -> None:
    form = StreamFile(written[1])
    sounds = np.stack([speech_like(RATE, seed) for seed in range(3)])
    state, alone = form.start(3), [form.start() for _ in range(3)]
    for start in range(0, RATE, form.step):
        together, state = form.advance(sounds[:, start : start + form.step], state)
        for number in range(3):
            one, alone[number] = form.advance(sounds[number : number + 1, start : start + form.step], alone[number])
            assert np.abs(one[0] - together[number]).max() < 1e-6


def test_a_listener_takes_either_form(tmp_path: Path) -> None:
    recipe = with_settings(find_recipe("v12"), ["network=harken_tiny"])
    learned = taught(recipe, None, CLASSES)
    metadata = METADATA | {
        "labels": ["yes", "no", "up", "down"],
        "thresholds": dict.fromkeys(("yes", "no", "up", "down"), 0.5),
    }
    write_model_file(learned, tmp_path / "model.onnx", metadata)
    write_stream_file(learned, tmp_path / "stream.onnx", metadata)
    quiet = np.zeros(2 * RATE, np.float32)
    sound = np.concatenate([part for word in words(RATE, 77)[:CLASSES] for part in (quiet, word)] + [quiet])
    for opened in (open_stream_model(tmp_path / "model.onnx"), open_stream_model(tmp_path / "stream.onnx")):
        listener = Listener(opened, source_rate=RATE)
        events = listener.push(sound) + listener.finish()
        # Which words, is a matter of training and of the machine: a window hears one second, a stream all before it.
        assert len(events) >= 3
        assert listener.skipped > 20  # the gate spares both the silence
        listener.reset()
        again = [event for start in range(0, sound.size, 777) for event in listener.push(sound[start : start + 777])]
        assert again + listener.finish() == events
    assert isinstance(open_stream_model(tmp_path / "model.onnx"), Recognizer)


def test_what_does_not_stream_is_refused(written: tuple[Spotter, Path], make_model: MakeModel, tmp_path: Path) -> None:
    for name in ("bc_resnet_1", "ds_cnn_s"):
        with pytest.raises(HarkenError, match="only networks without look-ahead stream"):
            write_stream_file(spotter(name), tmp_path / "stream.onnx", METADATA)
    with pytest.raises(HarkenError, match="is no multiple of 20 ms"):
        write_stream_file(spotter("harken_base"), tmp_path / "stream.onnx", METADATA, step_ms=30)
    assert not list(tmp_path.iterdir())
    with pytest.raises(HarkenError, match="is no streaming form"):
        StreamFile(make_model())
    with pytest.raises(HarkenError, match="is no model file, nor a bundled model"):
        StreamFile(tmp_path / "nothing.onnx")
    with pytest.raises(HarkenError, match="is a streaming form"):
        ModelFile(written[1])
    with pytest.raises(HarkenError, match=r"is not the step of .*give 100"):
        Listener(StreamFile(written[1]), source_rate=RATE, hop_ms=50)


@pytest.mark.parametrize("name", sorted(NETWORKS))
def test_networks_that_are_called_causal_stream_and_no_others(name: str) -> None:
    whole = Spotter(with_settings(find_recipe("v12"), [f"network={name}"]), CLASSES)
    if NETWORKS[name].causal:
        StreamingSpotter(whole, RATE, RATE // 10)
        return
    with pytest.raises(HarkenError, match="only networks without look-ahead stream"):
        StreamingSpotter(whole, RATE, RATE // 10)


def test_a_model_file_alone_is_enough(tmp_path: Path) -> None:
    write_stream_of_model("tiny", tmp_path / "tiny.onnx")
    made, bundled = StreamFile(tmp_path / "tiny.onnx"), StreamFile("tiny.stream")
    assert made.card.thresholds == bundled.card.thresholds
    assert "listener" not in made.card.fields
    sound = speech_like(RATE, 6)
    found, wanted = (np.concatenate(list(steps(form, sound))) for form in (made, bundled))
    np.testing.assert_allclose(found, wanted, atol=1e-4)
    assert np.ptp(wanted, axis=0).max() > 0.1


def test_the_check_says_what_was_compared(tmp_path: Path) -> None:
    heard = words(RATE, 3)[:5]
    report = write_stream_of_model("tiny", tmp_path / "tiny.onnx", clips=heard)
    form, source = StreamFile(tmp_path / "tiny.onnx"), ModelFile("tiny")
    ends = np.stack([list(steps(form, clip))[-1][0] for clip in heard])
    assert report.agreement == (ends.argmax(axis=1) == source.probabilities(heard).argmax(axis=1)).mean()
    assert 0 < report.source_difference < 1e-4
    assert 0 < report.largest_difference < 1e-4
    assert report.step_ms > 0
    beside = json.loads((tmp_path / "tiny.onnx.json").read_text())
    assert (beside["path"], beside["clips"], beside["agreement"]) == ("tiny.onnx", 5, report.agreement)
    assert beside["bytes"] == (tmp_path / "tiny.onnx").stat().st_size


def test_a_network_that_is_not_its_sources_is_not_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(onnx_stream, "source_difference", lambda *_: 0.5)
    with pytest.raises(HarkenError, match=r"a.onnx was not written: its network differs from .*tiny.onnx by 0.5"):
        write_stream_of_model("tiny", tmp_path / "a.onnx")
    monkeypatch.undo()
    monkeypatch.setattr(onnx_stream, "stream_difference", lambda *_: 0.5)
    with pytest.raises(HarkenError, match=r"/a.onnx was not written: its answers differ from the network's by 0.5"):
        write_stream_of_model("tiny", tmp_path / "a.onnx")
    assert not list(tmp_path.iterdir())


def steps(form: StreamFile, sound: np.ndarray) -> Iterator[np.ndarray]:
    state = form.start()
    for start in range(0, sound.size, form.step):
        probabilities, state = form.advance(sound[None, start : start + form.step], state)
        yield probabilities
