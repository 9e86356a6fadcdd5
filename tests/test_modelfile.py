import copy
import errno
import math
import multiprocessing
import pickle
import unicodedata
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from pathlib import Path

import numpy as np
import pytest

from harken.errors import HarkenError
from harken.runtime import modelfile
from harken.runtime.listener import Listener
from harken.runtime.modelfile import ModelFile, bundled_models, find_model, report_folder
from harken.runtime.recognizer import Recognizer
from harken.runtime.streamfile import StreamFile

LABELS = ("yes", "no", "_unknown_", "_silence_")


def windows_of(*amplitudes, window=8000):
    """Return one window whose quarters have the given amplitudes."""
    return np.repeat(np.array(amplitudes, np.float32), window // 4)[None]


def expected(*amplitudes):
    scores = np.exp(20 * np.square(amplitudes))
    return scores / scores.sum()


def test_the_card_contains_the_metadata(make_model):
    path = make_model(recipe={"name": "v12", "epochs": 40}, corpus="Speech Commands", validation_accuracy=0.975)
    model = ModelFile(path)
    assert model.path == path
    assert model.card.labels == LABELS
    assert model.card.words == ("yes", "no")
    assert (model.card.sample_rate, model.card.window) == (8000, 8000)
    assert model.card.thresholds == {"yes": 0.5}
    assert model.card.fields == {
        "recipe": {"name": "v12", "epochs": 40},
        "corpus": "Speech Commands",
        "validation_accuracy": 0.975,
    }


def test_thresholds_are_optional(make_model):
    assert ModelFile(make_model(thresholds=None)).card.thresholds == {}


def test_a_metadata_entry_of_another_tool_is_kept_as_text(make_model):
    model = ModelFile(make_model(raw={"onnx.infer": "onnxruntime.quant"}))
    assert model.card.fields == {"onnx.infer": "onnxruntime.quant"}


@pytest.mark.parametrize("threads", [1, 2])
def test_probabilities_are_those_of_the_network(make_model, threads):
    model = ModelFile(make_model(), threads=threads)
    amplitudes = (0.1, 0.5, 0.2, 0.3)
    probabilities = model.probabilities(windows_of(*amplitudes))
    assert probabilities.dtype == np.float32
    np.testing.assert_allclose(probabilities, expected(*amplitudes)[None], rtol=1e-5)


@pytest.mark.parametrize("count", [0, 1, 63, 64, 65, 130])
def test_any_number_of_windows_can_be_classified(make_model, count):
    draws = np.random.default_rng(1).uniform(0, 0.6, (count, 4))
    windows = np.repeat(draws, 2000, axis=1).astype(np.float32)
    probabilities = ModelFile(make_model()).probabilities(windows)
    assert probabilities.shape == (count, 4)
    assert probabilities.dtype == np.float32
    np.testing.assert_allclose(probabilities, np.array([expected(*row) for row in draws]).reshape(-1, 4), rtol=1e-4)


def test_windows_need_not_be_contiguous(make_model):
    windows = np.repeat(windows_of(0.1, 0.5, 0.2, 0.3), 2, axis=1)[:, ::2]
    probabilities = ModelFile(make_model()).probabilities(windows)
    np.testing.assert_allclose(probabilities, expected(0.1, 0.5, 0.2, 0.3)[None], rtol=1e-5)


@pytest.mark.parametrize("shape", [(8000,), (1, 7999), (1, 8001), (1, 1, 8000), (0, 5)])
def test_windows_of_the_wrong_shape_are_refused(make_model, shape):
    with pytest.raises(HarkenError, match=r"pass \[N, 8000\]$"):
        ModelFile(make_model()).probabilities(np.zeros(shape, np.float32))


@pytest.mark.parametrize("kind", [np.float16, np.float64, ">f4"])
def test_windows_of_any_float_type_are_converted(make_model, kind):
    model, windows = ModelFile(make_model()), windows_of(0.125, 0.5, 0.25, 0.375)  # which float16 holds exactly
    np.testing.assert_array_equal(model.probabilities(windows.astype(kind)), model.probabilities(windows))


@pytest.mark.parametrize(
    ("windows", "message"),
    [
        (np.zeros((1, 8000), np.int16), r"^windows has the type int16: pass floats, .* divide int16 by 32768$"),
        (np.zeros((1, 8000), bool), "^windows has the type bool: pass floats"),
        ([[0.0] * 8000], "^windows is of the type list: pass an array"),
        (
            windows_of(0.1, np.nan, 0.2, 0.3),
            "^windows contains NaN or infinite samples: check where they come from$",
        ),
        (windows_of(0.1, -np.inf, 0.2, 0.3), "^windows contains NaN or infinite samples"),
        (np.full((1, 8000), 1e300), "^windows contains NaN or infinite samples"),
    ],
)
def test_windows_that_are_not_finite_floats_are_refused(make_model, windows, message):
    with pytest.raises(HarkenError, match=message):
        ModelFile(make_model()).probabilities(windows)


@pytest.mark.parametrize("threads", ["2", 1.5, 0, -1, None])
def test_a_wrong_number_of_threads_is_not_blamed_on_the_model(make_model, threads):
    for open_file, model in ((ModelFile, make_model()), (Recognizer, make_model()), (StreamFile, "tiny.stream")):
        with pytest.raises(HarkenError, match=f"^threads={threads!r}: give a whole number, 1 or more$"):
            open_file(model, threads=threads)


@pytest.mark.parametrize("missing", ["labels", "sample_rate", "window"])
def test_a_model_without_required_metadata_is_refused(make_model, missing):
    path = make_model(**{missing: None})
    with pytest.raises(HarkenError, match=f"^{path} lacks the metadata {missing}: "):
        ModelFile(path)


@pytest.mark.parametrize(
    "metadata",
    [{"labels": "yes"}, {"raw": {"labels": "yes, no"}}, {"sample_rate": "fast"}, {"sample_rate": [8000]},
     {"window": "one second"}, {"thresholds": [0.5]}, {"thresholds": {"yes": "high"}}],
)  # fmt: skip
def test_metadata_that_cannot_be_read_is_refused(make_model, metadata):
    path = make_model(**metadata)
    with pytest.raises(HarkenError, match=f"^{path} contains metadata that harken cannot read: "):
        ModelFile(path)


@pytest.mark.parametrize(
    ("names", "wanted"), [({"input_name": "x"}, "waveform"), ({"output_name": "y"}, "probabilities")]
)
def test_a_model_with_other_input_or_output_names_is_refused(make_model, names, wanted):
    path = make_model(**names)
    with pytest.raises(HarkenError, match=f"^{path} lacks the input or output `{wanted}`: create the model with "):
        ModelFile(path)


def test_a_model_that_does_not_match_its_metadata_is_refused(make_model):
    path = make_model(labels=["yes", "no", "up"])
    with pytest.raises(HarkenError, match=rf"^{path}: the shape of `probabilities` is .*metadata says \[N, 3\]"):
        ModelFile(path)
    path = make_model(window=16000)
    with pytest.raises(HarkenError, match=rf"^{path}: the shape of `waveform` is .*metadata says \[N, 16000\]"):
        ModelFile(path)


def test_a_file_that_is_not_onnx_is_refused(tmp_path):
    for content in (b"", b"not a model"):
        path = tmp_path / "model.onnx"
        path.write_bytes(content)
        with pytest.raises(HarkenError, match=f"^{path} is not an ONNX model that can be run: export it again$"):
            ModelFile(path)


@pytest.mark.parametrize(
    ("metadata", "message"),
    [
        ({"labels": ["yes", "n\x1bo", "up", "down"]}, r"the label 'n\\x1bo', which is not a word"),
        ({"labels": ["yes", "", "up", "down"]}, "the label '', which is not a word"),
        ({"labels": ["yes", "line\nbreak", "up", "down"]}, "which is not a word"),
        ({"labels": ["yes", None, "up", "down"]}, "the label None, which is not a word"),
        ({"labels": ["yes", "yes", "up", "down"]}, "the label 'yes' twice"),
        ({"thresholds": {"yes": 7}}, "the threshold 7.0 for 'yes'"),
        ({"sample_rate": 0}, "a sample rate of 0 Hz"),
        ({"sample_rate": 1e999}, "metadata that harken cannot read"),
        ({"lead_in": -5}, "metadata `lead_in` of .* is not a number of samples"),
        ({"raw": {"lead_in": "null"}}, "metadata `lead_in` of .* is not a number of samples"),
        ({"temperature": 0}, "metadata `temperature` of .* is not a number above 0"),
        ({"temperature": [1.0]}, "metadata `temperature` of .* is not a number above 0"),
        ({"raw": {"labels": 200_000 * "["}}, "metadata that harken cannot read"),
    ],
)
def test_metadata_with_impossible_values_is_refused(make_model, metadata, message):
    path = make_model(**{"labels": ["yes", "no", "up", "down"], "sample_rate": 8000, "window": 8000} | metadata)
    with pytest.raises(HarkenError, match=message) as refused:
        ModelFile(path)
    assert len(str(refused.value).splitlines()) == 1


def test_a_model_without_words_is_refused(make_model):
    path = make_model(labels=["_unknown_", "_silence_"])
    with pytest.raises(HarkenError, match=f"^{path} has no words: give another model$"):
        ModelFile(path)


def test_words_of_all_scripts_can_be_labels(make_model):
    labels = ["نمی\u200cخواهم", "क्षे\u200dत्र", "e\u0301te\u0301", "turn it off"]
    composed = tuple(unicodedata.normalize("NFC", label) for label in labels)
    assert ModelFile(make_model(labels=labels)).card.labels == composed


def test_a_file_whose_metadata_was_damaged_is_refused_in_one_line(make_model, tmp_path):
    content, rng = make_model().read_bytes(), np.random.default_rng(0)
    start = content.index(b"sample_rate") - 100
    damaged, messages = tmp_path / "damaged.onnx", []
    for _ in range(100):
        changed = bytearray(content)
        for place in rng.integers(start, len(content), 3):
            changed[place] = rng.integers(256)
        damaged.write_bytes(changed)
        try:
            Recognizer(damaged)
        except HarkenError as error:
            messages.append(str(error))
    assert len(messages) > 30
    assert all(message.startswith(str(damaged)) and len(message.splitlines()) == 1 for message in messages)


def test_models_can_be_pickled_and_copied(make_model, monkeypatch, tmp_path):
    path, clip = make_model(), np.random.default_rng(0).uniform(-0.5, 0.5, 8000).astype(np.float32)
    monkeypatch.chdir(path.parent)
    recognizer = Recognizer(path.name, threads=2, sensitivity=0.8)
    monkeypatch.chdir(tmp_path)
    expected = recognizer.predict(clip, source_rate=8000)
    listener = Listener(recognizer, source_rate=44_100, hop_ms=50, gate_db=-math.inf)
    listener.set_thresholds({listener.labels[0]: 0.123})
    for copied in (pickle.loads(pickle.dumps((recognizer, listener))), copy.deepcopy((recognizer, listener))):
        assert copied[0].predict(clip, source_rate=8000) == expected
        assert copied[0].card == recognizer.card
        assert copied[1].settings == listener.settings
        assert [event.word for event in copied[1].push(clip)] == [event.word for event in listener.push(clip)]
        listener.reset()
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as pool:
        assert pool.submit(partial(recognizer.predict, source_rate=8000), clip).result(120) == expected
    path.unlink()
    with pytest.raises(HarkenError, match=path.name):
        copy.copy(recognizer.model._session)


def test_a_streaming_model_can_be_pickled():
    model = StreamFile("tiny.stream", sensitivity=0.2)
    copied = pickle.loads(pickle.dumps(model))
    assert (copied.card, copied.step) == (model.card, model.step)
    samples = np.random.default_rng(0).uniform(-0.5, 0.5, (1, model.step)).astype(np.float32)
    for found, expected in zip(
        copied.advance(samples, copied.start()), model.advance(samples, model.start()), strict=True
    ):
        np.testing.assert_array_equal(found, expected)


def test_a_model_is_found_by_its_path_and_by_the_folder_of_its_run(make_model, tmp_path):
    run = tmp_path / "run"
    run.mkdir()
    with pytest.raises(HarkenError, match=f"^{run} is a folder without model.onnx: "):
        find_model(run)
    path = make_model(run / "model.onnx")
    assert find_model(run) == find_model(str(run)) == find_model(path) == path


def test_a_model_that_does_not_exist_is_refused(tmp_path):
    path = tmp_path / "none.onnx"
    with pytest.raises(HarkenError, match=rf"^{path} is neither a model file nor a bundled model \(there are "):
        find_model(path)


@pytest.mark.parametrize("model", [None, 5, b"base", ["base"]])
def test_what_is_neither_a_name_nor_a_path_is_refused(model):
    message = f"^{type(model).__name__} is not a model: pass the path of a model file or the name of a bundled model$"
    for open_file in (Recognizer, ModelFile, StreamFile):
        with pytest.raises(HarkenError, match=message):
            open_file(model)


def test_a_path_that_cannot_be_looked_up_is_refused_in_one_line():
    with pytest.raises(
        HarkenError, match=r"^x{5000} cannot be opened: File name too long; check the path and its perm"
    ):
        find_model(5000 * "x")


def test_a_file_that_cannot_be_read_is_not_taken_for_a_damaged_one(make_model, monkeypatch):
    path = make_model()

    def refuse(*_):
        raise PermissionError(errno.EACCES, "Permission denied")

    monkeypatch.setattr(Path, "open", refuse)
    with pytest.raises(HarkenError, match=f"^{path} cannot be opened: Permission denied; check the path and its perm"):
        ModelFile(path)


def test_bundled_models_are_listed_smallest_first_and_found_by_name(monkeypatch, tmp_path, make_model):
    weights = tmp_path / "weights"
    weights.mkdir()
    make_model(weights / "large.onnx", note="x" * 1000)
    make_model(weights / "base.onnx")
    (weights / "base.md").write_text("its card")
    monkeypatch.setattr(modelfile, "files", lambda package: tmp_path)
    assert bundled_models() == ("base", "large")
    assert find_model("large") == weights / "large.onnx"
    with pytest.raises(HarkenError, match=r"\(there are base, large\): check the path$"):
        find_model("small")
    # A name always means the bundled model, even if there is a file of this name. A path always means the file.
    (tmp_path / "run" / "base").mkdir(parents=True)
    make_model(tmp_path / "run" / "base" / "model.onnx")
    make_model(tmp_path / "run" / "large")
    monkeypatch.chdir(tmp_path / "run")
    assert [find_model(name) for name in ("base", "large")] == [weights / "base.onnx", weights / "large.onnx"]
    assert [find_model(name) for name in ("./base", "./large")] == [Path("base/model.onnx"), Path("large")]


def test_reports_on_bundled_models_go_to_the_working_folder(make_model):
    for name in ("tiny", "tiny.stream"):
        assert report_folder(find_model(name)) == Path()
    path = make_model()
    assert report_folder(path) == path.parent


def test_bundled_models_can_be_opened():
    for name in bundled_models():
        assert isinstance(find_model(name), Path)
        assert ModelFile(name).card.words
