"""The wake words of several models, and their thresholds."""

from pathlib import Path

import pytest

pytest.importorskip("wyoming")

from conftest import MakeModel
from harken.runtime.listener_settings import ListenerSettings
from harken.runtime.modelfile import bundled_models
from harken.runtime.two_stage import TwoStage
from harken.serve.wyoming_models import Thresholds, WakeWords
from wyoming_client import LISTENER, RATE


def test_bundled_models_are_described() -> None:
    words = WakeWords(["base", "tiny"])
    models = words.info().wake[0].models
    assert [model.name for model in models[:3]] == ["yes", "no", "up"]
    assert models[10].name == "yes_tiny"
    assert all(model.languages == ["en"] for model in models)
    assert {"base", "tiny"} <= set(bundled_models())


def test_sensitivity_moves_the_thresholds_of_all_models() -> None:
    plain, lenient = (WakeWords(["tiny"], sensitivity=sensitivity) for sensitivity in (None, 1.0))
    thresholds = [ListenerSettings.from_card(next(iter(words._given)).card).thresholds for words in (plain, lenient)]
    assert all(thresholds[1][word] < thresholds[0][word] for word in thresholds[0])


def test_a_threshold_can_be_for_the_word_of_one_of_two_models(make_model: MakeModel, tmp_path: Path) -> None:
    models = [make_model(tmp_path / f"{name}.onnx", listener=LISTENER) for name in ("one", "two")]
    words = WakeWords([str(model) for model in models], thresholds=Thresholds.read(["yes_two=0.9", "yes=0.8", "0.7"]))
    assert [word.name for word in words.words] == ["yes", "no", "yes_two", "no_two"]
    found = [words.listener(model, ["yes", "no"], RATE).settings.thresholds for model in words._given]
    assert [(thresholds["yes"], thresholds["no"]) for thresholds in found] == [(0.8, 0.7), (0.9, 0.7)]


def test_a_folder_without_models_and_thresholds_of_no_word_are_warned_of(
    make_model: MakeModel, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    WakeWords([], [tmp_path], thresholds=Thresholds.read(["yes=0.9"]))
    assert [record.getMessage() for record in caplog.records if record.levelname == "WARNING"] == [
        "--threshold yes=...: no model has this word yet; there are none",
        f"there is no wake word yet: put a model file (.onnx) into {tmp_path}",
    ]
    caplog.clear()
    make_model(tmp_path / "one.onnx", listener=LISTENER)
    WakeWords([], [tmp_path], thresholds=Thresholds.read(["yes=0.9", "maybe=0.8"]))
    assert [record.getMessage() for record in caplog.records if record.levelname == "WARNING"] == [
        "--threshold maybe=...: no model has this word yet; there are yes, no"
    ]


def test_two_models_joined_by_a_plus_are_one_model() -> None:
    words = WakeWords(["tiny.stream+base", "tiny.stream+base"])
    (model,) = words._given
    assert isinstance(model.recognizer, TwoStage)
    assert (model.name, model.bundled, len(words.words)) == ("tiny.stream+base", True, 10)
    assert set(words.select(["tiny.stream+base"]).answers[model]) == set(model.card.words)
    assert words.listener(model, ["stop"], RATE).settings.thresholds["go"] == 1.0
