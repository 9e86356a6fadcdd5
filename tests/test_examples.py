"""The clips of a folder that a model is evaluated on."""

from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from conftest import MakeModel
from harken.audio.clip import load_clip
from harken.errors import HarkenError
from harken.evaluation.clips.evaluate import evaluate_clips
from harken.evaluation.clips.examples import gather_examples
from harken.labels import SILENCE, UNKNOWN
from harken.runtime.modelfile import Card, ModelFile
from harken.runtime.recognizer import Recognizer
from harken.tasks.protocol import Material, make_task
from small_corpora import PEOPLE, RATE, own_names, recipe, write_corpus, write_noise


@pytest.fixture(scope="module")
def noise(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Write ten recordings of one second, some of which are held out."""
    return write_noise(tmp_path_factory.mktemp("noise"), *(f"noise{number}" for number in range(10)))


def test_own_evaluates_unknown_if_other_words_are_given(tmp_path: Path, noise: Path) -> None:
    data = write_corpus(tmp_path / "mine", own_names(["lamp", "door"], PEOPLE))
    other = write_corpus(tmp_path / "other", own_names(["cup"], PEOPLE))
    wanted = recipe("own")
    task = make_task(wanted, Material(data=(data,), other=(other,), noise=(noise,)))
    card = Card(task.labels, RATE, wanted.samples, {}, {"recipe": asdict(wanted)})
    examples = gather_examples(card, [data], None, noise=[noise], other=[other])
    assert sorted(set(examples.truth.tolist())) == [0, 1, 2, 3]
    without = gather_examples(card, [data], None, noise=[noise])
    assert sorted(set(without.truth.tolist())) == [0, 1, 3]
    with pytest.raises(HarkenError, match=r"are not the model's \(door, lamp\)"):
        gather_examples(card, [other], None, noise=[noise])


def test_a_folder_with_unknown_is_evaluated_whole_or_on_the_given_side(tmp_path: Path, noise: Path) -> None:
    data = write_corpus(tmp_path / "mine", own_names(["lamp", "door", UNKNOWN], PEOPLE))
    wanted = recipe("own")
    task = make_task(wanted, Material(data=(data,), noise=(noise,)))
    card = Card(task.labels, RATE, wanted.samples, {}, {"recipe": asdict(wanted)})
    whole = gather_examples(card, [data], None, noise=[noise])
    assert len(whole.truth) == 72
    (note,) = whole.notes
    assert "all clips were evaluated; --split validation evaluates only the validation set" in note
    assert not gather_examples(card, [data], "all", noise=[noise]).notes
    validation = gather_examples(card, [data], "validation", noise=[noise])
    assert len(validation.truth) == len(task.rows("validation")) + len(task.silence)
    assert set(validation.truth.tolist()) == {0, 1, 2, 3}

    write_corpus(data, [f"{SILENCE}/quiet"])
    archive = gather_examples(card, [data], "validation", noise=[noise])
    assert len(archive.truth) == 73
    (note,) = archive.notes
    assert "--split validation has no effect" in note
    assert not gather_examples(card, [data], None, noise=[noise]).notes


def test_another_split_than_in_training_is_noticed(tmp_path: Path, noise: Path) -> None:
    data = write_corpus(tmp_path / "mine", own_names(["lamp", "door"], PEOPLE))
    wanted = recipe("own")
    task = make_task(wanted, Material(data=(data,), noise=(noise,)))
    train, validation = (len(task.rows(side)) for side in ("train", "validation"))

    def warning(train: int, validation: int) -> str:
        clips = {"train": train, "validation": validation, "test": 0}
        card = Card(task.labels, RATE, wanted.samples, {}, {"recipe": asdict(wanted), "clips": clips})
        return gather_examples(card, [data], None, noise=[noise]).overlap_warning

    assert warning(train, validation) == ""
    assert warning(train + 5, validation) == ""  # of --train-only
    assert f"had {train - 2} training clips" in warning(train - 2, validation)
    assert f"had {validation + 1} validation clips" in warning(train, validation + 1)


def test_all_clips_of_a_training_folder_are_noticed(tmp_path: Path) -> None:
    data = write_corpus(tmp_path / "mine", ["yes/one"])
    for fields, warned in (({"corpus": ["other", "mine"]}, True), ({"corpus": ["other"]}, False), ({}, False)):
        card = Card(("yes",), RATE, RATE, {}, fields)
        warning = gather_examples(card, [data], "all").overlap_warning
        assert warning.startswith(f"{data} has the name of a folder that the model was trained on") == warned
        assert bool(warning) == warned


def test_short_clips_are_placed_as_for_a_prediction(tmp_path: Path, make_model: MakeModel) -> None:
    data = write_corpus(tmp_path / "data", ["yes/short"], seconds=0.5)
    for fields in ({"lead_in": 500}, {"lead_in": 5000}, {"recipe": asdict(recipe("own")), "lead_in": 200}, {}):
        recognizer = Recognizer(make_model(sample_rate=RATE, window=8000, **fields))
        (row,) = gather_examples(recognizer.card, [data], "all").waveforms
        expected = recognizer.best_window(load_clip(data / "yes" / "short.wav", RATE))
        np.testing.assert_array_equal(row, expected)


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"split": "foo"}, "^split='foo': give validation, test or all$"),
        ({"split": "train"}, "^split='train': give validation, test or all$"),
        ({"folders": "sc"}, "^folders is a single folder: pass a list of folders$"),
        ({"folders": Path("sc")}, "^folders is a single folder"),
        ({"noise": Path("noise")}, "^noise is a single folder: pass a list of folders$"),
        ({"other": "other"}, "^other is a single folder"),
        ({"model": "base"}, r"^model is of the type str: pass an opened model, such as ModelFile\('base'\)$"),
    ],
)
def test_wrong_arguments_of_an_evaluation_are_refused(
    tmp_path: Path, make_model: MakeModel, changed: dict[str, Any], message: str
) -> None:
    data = write_corpus(tmp_path / "data", ["yes/clip", "no/clip"])
    given: dict[str, Any] = {"model": ModelFile(make_model()), "folders": [data], "split": "all"}
    assert evaluate_clips(**given).clips == 2
    with pytest.raises(HarkenError, match=message):
        evaluate_clips(**given | changed)
