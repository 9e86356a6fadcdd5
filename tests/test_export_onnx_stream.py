"""The streaming form: equal to the network over all of the history, and at work in a listener."""

from pathlib import Path

import numpy as np
import pytest
import torch

from harken.errors import HarkenError
from harken.export.onnx import write_model_file
from harken.export.onnx_stream import StreamingSpotter, stream_difference, whole_history, write_stream_file
from harken.listener import Listener
from harken.modelfile import ModelFile
from harken.recognizer import Recognizer
from harken.streamfile import StreamFile, open_for_streams
from harken.tasks.recipe import find_recipe, with_settings
from harken.training.module import Spotter
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


@pytest.mark.parametrize("name", ["harken_tiny", "harken_base"])
@pytest.mark.parametrize("step_ms", [20.0, 100.0])
def test_steps_equal_the_network_over_all_of_the_history(name: str, step_ms: float, tmp_path: Path) -> None:
    whole = spotter(name)
    write_stream_file(whole, tmp_path / "stream.onnx", METADATA, step_ms=step_ms)
    streaming = StreamingSpotter(whole, RATE, round(step_ms * RATE / 1000))
    assert stream_difference(streaming, tmp_path / "stream.onnx") < 1e-4
    # And by torch itself, on something like speech; the answers must differ along the stream to mean anything.
    sound, state, found = speech_like(3 * RATE, 5), torch.zeros(1, streaming.size), []
    with torch.no_grad():
        for start in range(0, sound.size - streaming.step + 1, streaming.step):
            samples = torch.from_numpy(sound[None, start : start + streaming.step])
            probabilities, state = streaming(samples, state)
            found.append(probabilities[0].numpy())
    wanted = whole_history(streaming, sound)
    assert np.abs(np.stack(found) - wanted).max() < 1e-4
    assert np.ptp(wanted, axis=0).max() > 0.02


def test_streams_side_by_side_do_not_touch(tmp_path: Path) -> None:
    write_stream_file(spotter("harken_tiny"), tmp_path / "stream.onnx", METADATA)
    form = StreamFile(tmp_path / "stream.onnx")
    sounds = np.stack([speech_like(RATE, seed) for seed in range(3)])
    state, alone = form.start(3), [form.start() for _ in range(3)]
    for start in range(0, RATE, form.step):
        together, state = form.advance(sounds[:, start : start + form.step], state)
        for number in range(3):
            one, alone[number] = form.advance(sounds[number : number + 1, start : start + form.step], alone[number])
            assert np.abs(one[0] - together[number]).max() < 1e-6


def test_a_listener_hears_by_steps_what_it_hears_by_windows(tmp_path: Path) -> None:
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
    heard = []
    for opened in (open_for_streams(tmp_path / "model.onnx"), open_for_streams(tmp_path / "stream.onnx")):
        listener = Listener(opened, source_rate=RATE)
        events = listener.push(sound) + listener.finish()
        heard.append([event.word for event in events])
        assert listener.skipped > 20  # the gate spares both the silence
        listener.reset()
        again = [event for start in range(0, sound.size, 777) for event in listener.push(sound[start : start + 777])]
        assert again + listener.finish() == events
    assert isinstance(open_for_streams(tmp_path / "model.onnx"), Recognizer)
    assert heard[0] == heard[1]
    assert len(heard[0]) >= 3


def test_what_does_not_stream_is_refused(tmp_path: Path) -> None:
    for name in ("bc_resnet_1", "ds_cnn_s"):
        with pytest.raises(HarkenError, match="only networks without look-ahead stream"):
            write_stream_file(spotter(name), tmp_path / "stream.onnx", METADATA)
    with pytest.raises(HarkenError, match="is no multiple of 20 ms"):
        write_stream_file(spotter("harken_base"), tmp_path / "stream.onnx", METADATA, step_ms=30)
    assert not list(tmp_path.iterdir())
    write_model_file(spotter("harken_tiny"), tmp_path / "model.onnx", METADATA)
    write_stream_file(spotter("harken_tiny"), tmp_path / "stream.onnx", METADATA)
    with pytest.raises(HarkenError, match="is no streaming form"):
        StreamFile(tmp_path / "model.onnx")
    with pytest.raises(HarkenError, match="is no model file, nor a bundled model"):
        StreamFile(tmp_path / "nothing.onnx")
    with pytest.raises(HarkenError, match="is a streaming form"):
        ModelFile(tmp_path / "stream.onnx")
    with pytest.raises(HarkenError, match=r"is not the step of .*give 100"):
        Listener(StreamFile(tmp_path / "stream.onnx"), source_rate=RATE, hop_ms=50)
