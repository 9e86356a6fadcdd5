"""The stages of a recipe file: each starts from the one before, and an interrupted run continues."""

import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from harken.cli.main import _hint_at_resume
from harken.errors import HarkenError
from harken.runtime.modelfile import ModelFile
from harken.tasks.protocol import Material, make_task
from harken.tasks.recipe_file import Stage
from harken.training import stages as stages_module
from harken.training.run_folder import load_spotter
from harken.training.stages import resume_stages, train_stages
from harken.training.stages_file import has_stages, write_stages
from harken.training.teachers import NetworkTeacher
from harken.training.trained_networks import find_teacher, load_trained, open_trained
from tiny_training import recipe, tiny_networks, weights, write_material


@pytest.fixture(scope="module", autouse=True)
def _networks() -> Iterator[None]:
    with tiny_networks():
        yield


@pytest.fixture(scope="module")
def material(tmp_path_factory: pytest.TempPathFactory) -> Material:
    return write_material(tmp_path_factory.mktemp("corpus"))


def two_stages() -> tuple[Stage, Stage]:
    return Stage("words", recipe("epochs=2")), Stage("more", recipe("epochs=1", "start_from=words", "keep=last"))


def test_an_interrupted_run_continues_with_the_stage_that_is_not_finished(
    material: Material, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "run"
    train = stages_module.train

    def interrupted(wanted, *arguments, **options):
        if wanted.start_from:
            raise KeyboardInterrupt
        return train(wanted, *arguments, **options)

    with monkeypatch.context() as patch:
        patch.setattr(stages_module, "train", interrupted)
        with pytest.raises(KeyboardInterrupt):
            train_stages(two_stages(), material, out)
    assert has_stages(out)
    assert not (out / "model.onnx").exists()
    before = (out / "words" / "model.onnx").stat().st_mtime_ns
    result = resume_stages(out)
    assert (out / "words" / "model.onnx").stat().st_mtime_ns == before
    assert result.model == out / "model.onnx"
    assert (out / "model.onnx").read_bytes() == (out / "more" / "model.onnx").read_bytes()
    assert ModelFile(out).card.fields["recipe"]["start_from"] == "words"
    assert weights(out / "more").keys() == weights(out / "words").keys()
    with pytest.raises(HarkenError, match="already contains a run: continue it with --resume"):
        train_stages(two_stages(), material, out)
    with pytest.raises(HarkenError, match="already contains a run: continue it with --resume"):
        train(recipe(), material, out)


def test_another_run_starts_from_the_last_stage(
    material: Material, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "run"
    train_stages(two_stages(), material, out)
    wanted = recipe(f"start_from={out}", f"teacher={out}")
    task = make_task(wanted, material)
    found = load_trained(str(out), open_trained(str(out), wanted), wanted, task).network.state_dict()
    last = load_spotter(out / "more", len(task.labels)).network.state_dict()
    assert all(value.equal(last[name]) for name, value in found.items())
    monkeypatch.setattr("torch.cuda.is_available", lambda: True)
    assert isinstance(find_teacher(str(out), wanted, task), NetworkTeacher)


def test_a_run_of_stages_needs_a_new_folder_of_its_own_name(
    material: Material, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(HarkenError, match="base is the name of a bundled model"):
        train_stages(two_stages(), material, Path("base"))
    (tmp_path / "file").touch()
    with pytest.raises(HarkenError, match="file is a file: choose a folder"):
        train_stages(two_stages(), material, tmp_path / "file")
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_after_an_interruption_the_command_says_how_to_continue(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for folder, file in (("stages", "stages.json"), ("single", "recipe.json"), ("none", "other.json")):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / file).touch()
        with pytest.raises(KeyboardInterrupt), _hint_at_resume(tmp_path / folder):
            raise KeyboardInterrupt
        assert (f"harken train --resume {tmp_path / folder}" in capsys.readouterr().err) == (folder != "none")


@pytest.mark.parametrize("text", ["{", "{}", '{"stages": [], "material": {}}', '{"stages": 3, "material": {}}'])
def test_a_damaged_list_of_stages_is_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / "stages.json").write_text(text)
    with pytest.raises(HarkenError, match=r"stages\.json is not the list"):
        resume_stages(tmp_path)
    shutil.rmtree(tmp_path)


def test_a_stage_whose_name_leads_out_of_the_run_is_refused(material: Material, tmp_path: Path) -> None:
    out = tmp_path / "run"
    write_stages(out, two_stages(), material)
    text = (out / "stages.json").read_text(encoding="utf-8")
    (out / "stages.json").write_text(text.replace('"name": "words"', '"name": "../words"'), encoding="utf-8")
    with pytest.raises(HarkenError, match=r"stages\.json is not the list"):
        resume_stages(out)
    assert [path.name for path in tmp_path.iterdir()] == ["run"]


def test_the_last_epoch_can_be_the_model(material: Material, tmp_path: Path) -> None:
    from harken.training.run import train

    result = train(replace(recipe("epochs=2"), keep="last"), material, tmp_path / "run")
    shipped = load_spotter(tmp_path / "run", len(ModelFile(result.model).card.labels)).network.state_dict()
    last = weights(tmp_path / "run", "last.ckpt")
    for name, value in shipped.items():
        assert value.equal(last[f"average.module.{name}"])
