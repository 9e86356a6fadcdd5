from pathlib import Path

import numpy as np
import pytest

from harken.errors import HarkenError
from harken.runtime import modelfile
from harken.runtime.modelfile import ModelFile, bundled_models, find_model, page_folder

LABELS = ("yes", "no", "_unknown_", "_silence_")


def windows_of(*amplitudes, window=8000):
    """Return one window of quarters with the given amplitudes."""
    return np.repeat(np.array(amplitudes, np.float32), window // 4)[None]


def expected(*amplitudes):
    scores = np.exp(20 * np.square(amplitudes))
    return scores / scores.sum()


def test_the_card_holds_what_the_metadata_say(make_model):
    path = make_model(recipe={"name": "v12", "epochs": 40}, licence="CC BY 4.0", validation_accuracy=0.975)
    model = ModelFile(path)
    assert model.path == path
    assert model.card.labels == LABELS
    assert model.card.words == ("yes", "no")
    assert (model.card.sample_rate, model.card.window) == (8000, 8000)
    assert model.card.thresholds == {"yes": 0.5}
    assert model.card.fields == {
        "recipe": {"name": "v12", "epochs": 40},
        "licence": "CC BY 4.0",
        "validation_accuracy": 0.975,
    }


def test_thresholds_may_be_absent(make_model):
    assert ModelFile(make_model(thresholds=None)).card.thresholds == {}


def test_an_entry_of_another_tool_is_kept_as_text(make_model):
    model = ModelFile(make_model(raw={"onnx.infer": "onnxruntime.quant"}))
    assert model.card.fields == {"onnx.infer": "onnxruntime.quant"}


@pytest.mark.parametrize("threads", [1, 2])
def test_probabilities_are_the_networks(make_model, threads):
    model = ModelFile(make_model(), threads=threads)
    amplitudes = (0.1, 0.5, 0.2, 0.3)
    found = model.probabilities(windows_of(*amplitudes))
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, expected(*amplitudes)[None], rtol=1e-5)


@pytest.mark.parametrize("count", [0, 1, 63, 64, 65, 130])
def test_batches_of_any_size(make_model, count):
    draws = np.random.default_rng(1).uniform(0, 0.6, (count, 4))
    windows = np.repeat(draws, 2000, axis=1).astype(np.float32)
    found = ModelFile(make_model()).probabilities(windows)
    assert found.shape == (count, 4)
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, np.array([expected(*row) for row in draws]).reshape(-1, 4), rtol=1e-4)


def test_windows_need_not_be_contiguous(make_model):
    windows = np.repeat(windows_of(0.1, 0.5, 0.2, 0.3), 2, axis=1)[:, ::2]
    found = ModelFile(make_model()).probabilities(windows)
    np.testing.assert_allclose(found, expected(0.1, 0.5, 0.2, 0.3)[None], rtol=1e-5)


@pytest.mark.parametrize("shape", [(8000,), (1, 7999), (1, 8001), (1, 1, 8000), (0, 5)])
def test_windows_of_another_shape_are_refused(make_model, shape):
    with pytest.raises(HarkenError, match=r"pass \[N, 8000\]$"):
        ModelFile(make_model()).probabilities(np.zeros(shape, np.float32))


@pytest.mark.parametrize("missing", ["labels", "sample_rate", "window"])
def test_a_model_without_the_metadata_is_named(make_model, missing):
    path = make_model(**{missing: None})
    with pytest.raises(HarkenError, match=f"^{path} lacks the metadata {missing}: "):
        ModelFile(path)


@pytest.mark.parametrize(
    "metadata",
    [{"labels": "yes"}, {"raw": {"labels": "yes, no"}}, {"sample_rate": "fast"}, {"sample_rate": [8000]},
     {"window": "one second"}, {"thresholds": [0.5]}, {"thresholds": {"yes": "high"}}],
)  # fmt: skip
def test_metadata_that_are_not_harkens_are_named(make_model, metadata):
    path = make_model(**metadata)
    with pytest.raises(HarkenError, match=f"^{path} holds metadata that are not harken's JSON: "):
        ModelFile(path)


@pytest.mark.parametrize("names", [{"input_name": "x"}, {"output_name": "y"}])
def test_a_model_of_other_names_is_refused(make_model, names):
    path = make_model(**names)
    with pytest.raises(HarkenError, match=f"^{path} has no input `waveform` and output `probabilities`"):
        ModelFile(path)


def test_a_model_that_its_metadata_do_not_fit_is_refused(make_model):
    path = make_model(labels=["yes", "no", "up"])
    with pytest.raises(HarkenError, match=rf"^{path} has `probabilities` of shape .*, its metadata say \[N, 3\]"):
        ModelFile(path)
    path = make_model(window=16000)
    with pytest.raises(HarkenError, match=rf"^{path} has `waveform` of shape .*, its metadata say \[N, 16000\]"):
        ModelFile(path)


def test_what_is_no_onnx_file_is_refused(tmp_path):
    for content in (b"", b"not a model"):
        path = tmp_path / "model.onnx"
        path.write_bytes(content)
        with pytest.raises(HarkenError, match=f"^{path} is not an ONNX model that can be run: export it again$"):
            ModelFile(path)


def test_a_model_is_found_by_path_and_by_the_folder_of_its_run(make_model, tmp_path):
    run = tmp_path / "run"
    run.mkdir()
    with pytest.raises(HarkenError, match=f"^{run} is a folder without model.onnx: "):
        find_model(run)
    path = make_model(run / "model.onnx")
    assert find_model(run) == find_model(str(run)) == find_model(path) == path


def test_a_model_that_does_not_exist_is_named(tmp_path):
    with pytest.raises(HarkenError, match=rf"^{tmp_path / 'none.onnx'} is no model file, nor a bundled model \(there "):
        find_model(tmp_path / "none.onnx")


def test_bundled_models_are_found_by_name_smallest_first(monkeypatch, tmp_path, make_model):
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
    # Whatever lies in the working folder, a name stands for the same model; a path stands for what lies there.
    (tmp_path / "run" / "base").mkdir(parents=True)
    make_model(tmp_path / "run" / "base" / "model.onnx")
    make_model(tmp_path / "run" / "large")
    monkeypatch.chdir(tmp_path / "run")
    assert [find_model(name) for name in ("base", "large")] == [weights / "base.onnx", weights / "large.onnx"]
    assert [find_model(name) for name in ("./base", "./large")] == [Path("base/model.onnx"), Path("large")]


def test_pages_of_models_in_the_box_go_to_the_working_folder(make_model):
    for name in ("tiny", "tiny.stream"):
        assert page_folder(find_model(name)) == Path()
    path = make_model()
    assert page_folder(path) == path.parent


def test_bundled_models_can_be_opened():
    for name in bundled_models():
        assert isinstance(find_model(name), Path)
        assert ModelFile(name).card.words
