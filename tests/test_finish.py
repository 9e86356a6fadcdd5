"""Thresholds stored at the end of training."""

from pathlib import Path

import numpy as np
import pytest
import soundfile

from conftest import MakeModel
from harken.corpus.recordings import Recordings
from harken.evaluation.clips.examples import Examples
from harken.runtime.listener_settings import ListenerSettings
from harken.runtime.modelfile import ModelFile
from harken.tasks.protocol import Material
from harken.tasks.recipe import find_recipe, with_settings
from harken.training import finish

RECIPE = with_settings(find_recipe("v12"), ["sample_rate=8000"])
EXAMPLES = Examples(np.zeros((4, 8000), np.float32), np.array([0, 1, 2, 3]), tuple("abcd"), {})


def speech(folder: Path, name: str, seconds: int) -> Path:
    folder.mkdir()
    soundfile.write(folder / f"{name}.wav", 0.1 * np.random.default_rng(1).standard_normal(8000 * seconds), 8000)
    return folder


def test_each_folder_of_speech_is_calibrated_by_itself(
    make_model: MakeModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tried: list[tuple[float, tuple[float, ...]]] = []

    def calibrate(
        _: ModelFile, __: Examples, recordings: Recordings, *, alarms_per_minute: tuple[float, ...]
    ) -> dict[str, float]:
        tried.append((recordings.seconds(), alarms_per_minute))
        return {"yes": 0.7, "no": 0.4} if recordings.seconds() == 2 else {"yes": 0.5, "no": 0.9}

    monkeypatch.setattr(finish, "calibrate_thresholds", calibrate)
    folders = [speech(tmp_path / "read", "2412-1-1", 2), speech(tmp_path / "talk", "2428-1-1", 3)]
    training_only = speech(tmp_path / "train", "1001-1-1", 4)
    path = make_model()
    finish._store_thresholds(path, EXAMPLES, RECIPE, Material(data=(), speech=(*folders, training_only)))
    assert tried == [(2.0, (0.4, 0.5, 0.7, 1.0)), (3.0, (0.4, 0.5, 0.7, 1.0))]
    card = ModelFile(path).card
    assert ListenerSettings.from_card(card).thresholds == {"yes": 0.7, "no": 0.9}
    assert ListenerSettings.from_card(card).isolation == 5.0
    assert card.fields["rejection_where_thresholds_were_set"]["minutes"] == pytest.approx(5 / 60)


def test_no_thresholds_if_a_folder_of_speech_allows_none(
    make_model: MakeModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = iter([{"yes": 0.7, "no": 0.4}, {}])
    monkeypatch.setattr(finish, "calibrate_thresholds", lambda *_, **__: next(found))
    folders = [speech(tmp_path / "read", "2412-1-1", 1), speech(tmp_path / "talk", "2428-1-1", 1)]
    path = make_model(thresholds=None)
    finish._store_thresholds(path, EXAMPLES, RECIPE, Material(data=(), speech=tuple(folders)))
    assert "listener" not in ModelFile(path).card.fields


def test_no_thresholds_without_speakers_to_set_them(make_model: MakeModel, tmp_path: Path) -> None:
    path = make_model(thresholds=None)
    finish._store_thresholds(
        path, EXAMPLES, RECIPE, Material(data=(), speech=(speech(tmp_path / "train", "1001-1-1", 1),))
    )
    assert "listener" not in ModelFile(path).card.fields
