"""What several tests share: a tiny synthetic corpus, model files of known behavior, and the real recordings where they are."""

import json
import os
import shutil
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
from numpy.typing import NDArray

# The ten words of the tutorial, in its order, and two that are none of them.
TEN_WORDS = ("yes", "no", "up", "down", "left", "right", "on", "off", "stop", "go")
OTHER_WORDS = ("bed", "cat")

# By the official rule six of these speakers train, two validate and two test.
SPEAKERS = (
    "00000001",
    "00000003",
    "00000004",
    "00000005",
    "00000006",
    "00000008",
    *("00000000", "00000007"),
    *("00000002", "0000002d"),
)
CORPUS_RATE = 16_000


def tone(frequency: float, seconds: float, rate: int, *, amplitude: float = 0.5) -> NDArray[np.float32]:
    """Return a sine, float32 [ceil(seconds * rate)]."""
    time = np.arange(round(seconds * rate)) / rate
    return (amplitude * np.sin(2 * np.pi * frequency * time)).astype(np.float32)


def level(samples: NDArray[np.floating[Any]], frequency: float, rate: int) -> float:
    """Return the amplitude of the sine of a frequency, measured in the middle half of the samples."""
    middle = samples[len(samples) // 4 : len(samples) - len(samples) // 4]
    window = np.hanning(len(middle))
    time = np.arange(len(middle)) / rate
    return float(2 * abs((middle * window * np.exp(-2j * np.pi * frequency * time)).sum()) / window.sum())


def spoken(word: str, speaker: str, seconds: float = 1.0) -> NDArray[np.float32]:
    """Return a chirp for a word: start and slope are the word's; pitch, level and noise the speaker's."""
    number = (*TEN_WORDS, *OTHER_WORDS).index(word)
    draws = np.random.default_rng([number, int(speaker, 16)])
    time = np.arange(round(seconds * CORPUS_RATE)) / CORPUS_RATE
    start = 300.0 * 1.28**number * draws.uniform(0.97, 1.03)
    slope = start * (0.5 if number % 2 else -0.3)
    chirp = draws.uniform(0.2, 0.6) * np.sin(2 * np.pi * (start * time + slope * time**2 / 2)) * np.hanning(len(time))
    return (chirp + 0.005 * draws.standard_normal(len(time))).astype(np.float32)


@pytest.fixture(scope="session", autouse=True)
def _own_cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HARKEN_CACHE", str(tmp_path_factory.mktemp("cache")))
        patch.delenv("HARKEN_KOKORO", raising=False)  # the voices that are counted on are the extra's
        yield


@pytest.fixture(scope="session")
def tiny_corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Speech Commands in small: twelve words by ten speakers, one clip of one second each, and noise. Read it only."""
    root = tmp_path_factory.mktemp("tiny_corpus")
    for word in (*TEN_WORDS, *OTHER_WORDS):
        (root / word).mkdir()
        for speaker in SPEAKERS:
            soundfile.write(root / word / f"{speaker}_nohash_0.wav", spoken(word, speaker), CORPUS_RATE)
    (root / "_background_noise_").mkdir()
    noise = 0.1 * np.random.default_rng(5).standard_normal(40 * CORPUS_RATE)
    soundfile.write(root / "_background_noise_" / "white.wav", noise, CORPUS_RATE)
    return root


MakeModel = Callable[..., Path]
Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def make_model(tmp_path: Path) -> MakeModel:
    """Return a maker of model files that hear which quarter of the window holds the most energy.

    The probabilities of the four labels are the softmax of 20 x the quarters' mean squares. What is given by name goes
    into the metadata as JSON in place of the usual; None leaves an entry out.
    """
    onnx = pytest.importorskip("onnx")
    helper, numpy_helper, FLOAT = onnx.helper, onnx.numpy_helper, onnx.TensorProto.FLOAT

    def make(
        path: Path | None = None,
        *,
        size: int = 8000,
        input_name: str = "waveform",
        output_name: str = "probabilities",
        raw: dict[str, str] | None = None,
        **metadata: Any,
    ) -> Path:
        path = path or tmp_path / "quarters.onnx"
        nodes = [
            helper.make_node("Mul", [input_name, input_name], ["squares"]),
            helper.make_node("Reshape", ["squares", "quarters"], ["parts"]),
            helper.make_node("ReduceMean", ["parts", "last"], ["energies"], keepdims=0),
            helper.make_node("Mul", ["energies", "slope"], ["scores"]),
            helper.make_node("Softmax", ["scores"], [output_name], axis=1),
        ]
        constants = [
            numpy_helper.from_array(np.array([-1, 4, size // 4]), "quarters"),
            numpy_helper.from_array(np.array([2]), "last"),
            numpy_helper.from_array(np.array(20.0, np.float32), "slope"),
        ]
        graph = helper.make_graph(
            nodes,
            "quarters",
            [helper.make_tensor_value_info(input_name, FLOAT, ["N", size])],
            [helper.make_tensor_value_info(output_name, FLOAT, ["N", 4])],
            constants,
        )
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)
        entries = {
            "labels": ["yes", "no", "_unknown_", "_silence_"],
            "sample_rate": 8000,
            "window": size,
            "thresholds": {"yes": 0.5},
            **metadata,
        }
        texts = {key: json.dumps(value) for key, value in entries.items() if value is not None} | (raw or {})
        helper.set_model_props(model, texts)
        onnx.save(model, str(path))
        return path

    return make


def _shared(name: str) -> Path:
    home = os.environ.get("HARKEN_SHARED") or Path(__file__).parents[2] / "shared"
    folder = Path(home) / name
    if not folder.is_dir():
        pytest.skip(
            f"the recordings {name} are not here: put them beside the project as ../shared/{name}, "
            "or name the folder that holds them in HARKEN_SHARED"
        )
    return folder


@pytest.fixture(scope="session")
def speech_commands() -> Path:
    """A part of Speech Commands, FLAC."""
    return _shared("speech_commands")


@pytest.fixture(scope="session")
def speech_commands_more() -> Path:
    """More of Speech Commands, Opus."""
    return _shared("speech_commands_more")


@pytest.fixture(scope="session")
def speech_without_commands() -> Path:
    """Read speech in which no command occurs."""
    return _shared("speech_without_commands")


@pytest.fixture(scope="session")
def background_noise() -> Path:
    """Everyday noise, recordings of five seconds."""
    return _shared("background_noise")


@pytest.fixture(scope="session")
def wake_phrases() -> Path:
    """Two wake phrases by many speakers, in a folder each."""
    return _shared("wake_phrases")


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    """Return a caller of the command line that gives exit code, standard output and standard error."""
    from harken.cli.main import main

    def call(*words: object) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["harken", *map(str, words)])
        monkeypatch.setenv("COLUMNS", "160")
        with pytest.raises(SystemExit) as ended:
            main()
        code = ended.value.code
        out, err = capsys.readouterr()
        return code if isinstance(code, int) else int(code is not None), out, err

    return call


@pytest.fixture(scope="session")
def chromium() -> str:
    """Return the path of the browser."""
    pytest.importorskip("playwright.sync_api", reason="playwright, which controls the browser, is not installed")
    for name in ("chromium", "chromium-browser", "google-chrome"):
        if found := shutil.which(name):
            return found
    pytest.skip("Chromium is not installed; on Debian and Ubuntu, run: apt install chromium")


@pytest.fixture(scope="session")
def ort(request: pytest.FixtureRequest) -> Path:
    """Return a folder with onnxruntime-web. It is downloaded once and cached between test runs."""
    from harken.errors import HarkenError
    from harken.export import web

    assert request.config.cache is not None
    try:
        return web.fetch_ort(request.config.cache.mkdir("harken"))
    except HarkenError as error:
        pytest.skip(str(error))


@pytest.fixture(scope="session")
def microphone_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the audio that the browser's microphone plays in a loop: three words with pauses."""
    from driving import WORDS
    from serving import synthesize, write_clip

    audio = np.concatenate([synthesize(word, after_s=1.2) for word in WORDS])
    return write_clip(tmp_path_factory.mktemp("microphone") / "words.wav", audio)


@pytest.fixture(scope="session")
def exported(ort: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with the exported page of the model `base`."""
    from harken.export import web

    folder = tmp_path_factory.mktemp("web") / "page"
    assert web.write_web("base", folder, ort=ort) == folder / "index.html"
    return folder
