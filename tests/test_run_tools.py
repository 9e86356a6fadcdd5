"""The tools that change the weights of finished runs: tools/average.py and tools/shift_class.py."""

import json
import runpy
import shutil
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
import torch

from harken.runtime.modelfile import ModelFile
from harken.training.run import train
from tiny_training import recipe, tiny_networks, weights, write_material

TOOLS = Path(__file__).parents[1] / "tools"
Tool = Callable[..., int]


@pytest.fixture(scope="module", autouse=True)
def _networks() -> Iterator[None]:
    with tiny_networks():
        yield


@pytest.fixture(scope="module", params=["best", "last"])
def finished(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a run that keeps the best epoch, and one that keeps the last."""
    folder = tmp_path_factory.mktemp("run")
    train(recipe(f"keep={request.param}", "epochs=2"), write_material(folder / "corpus"), folder / "run")
    return folder / "run"


@pytest.fixture
def tool(monkeypatch: pytest.MonkeyPatch) -> Tool:
    """Return a function that runs a tool and returns its exit code."""
    monkeypatch.syspath_prepend(TOOLS)  # as for a script

    def call(name: str, *arguments: object) -> int:
        monkeypatch.setattr(sys, "argv", [name, *map(str, arguments)])
        try:
            runpy.run_path(str(TOOLS / name), run_name="__main__")
        except SystemExit as done:
            return int(done.code or 0)
        return 0

    return call


def test_the_average_of_a_run_with_itself_is_the_run(finished: Path, tool: Tool, tmp_path: Path) -> None:
    out = tmp_path / "mean"
    assert tool("average.py", finished, finished, out) == 0
    (checkpoint,) = out.glob("*.ckpt")
    torch.testing.assert_close(weights(out, checkpoint.name), weights(finished))


def test_a_shifted_class_has_a_higher_logit(finished: Path, tool: Tool, tmp_path: Path) -> None:
    """Compare with the same run shifted by 0, so that both stand for the last epoch."""
    for name, logits in (("same", 0), ("higher", 2)):
        assert tool("shift_class.py", finished, "middle", logits, tmp_path / name) == 0
    same, higher = (ModelFile(tmp_path / name) for name in ("same", "higher"))
    waveforms = np.random.default_rng(0).uniform(-0.1, 0.1, (8, same.card.window)).astype(np.float32)
    before, after = (model.card.temperature * np.log(model.probabilities(waveforms)) for model in (same, higher))
    row = same.card.labels.index("middle")
    change = (after - before) - (after - before)[:, [row - 1]]  # a softmax ignores what all logits have in common
    expected = np.where(np.arange(change.shape[1]) == row, 2.0, 0.0)
    np.testing.assert_allclose(change, np.broadcast_to(expected, change.shape), atol=0.05)


def test_runs_with_other_numbers_of_words_have_no_average(
    finished: Path, tool: Tool, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    fewer = tmp_path / "fewer"
    shutil.copytree(finished, fewer)
    for path in fewer.glob("*.ckpt"):
        content = torch.load(path, weights_only=True)
        shorter = {name: weight[:-1] if weight.dim() else weight for name, weight in content["state_dict"].items()}
        torch.save({**content, "state_dict": shorter}, path)
    assert tool("average.py", finished, fewer, tmp_path / "mean") == 2
    assert "have weights of other shapes: give runs with the same words\n" in capsys.readouterr().err
    assert not (tmp_path / "mean").exists()


def test_a_failure_leaves_no_folder(
    finished: Path, tool: Tool, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    moved = tmp_path / "moved"
    shutil.copytree(finished, moved)
    (moved / "material.json").write_text(json.dumps({"data": [str(tmp_path / "gone")]}))
    assert tool("average.py", finished, moved, tmp_path / "mean") == 2
    assert "gone" in capsys.readouterr().err
    monkeypatch.setattr("harken.training.finish.finish", lambda *_: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        tool("average.py", finished, finished, tmp_path / "mean")
    assert not (tmp_path / "mean").exists()


def test_a_shift_that_is_not_finite_is_refused(
    finished: Path, tool: Tool, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert tool("shift_class.py", finished, "middle", "nan", tmp_path / "new") == 2
    assert capsys.readouterr().err == "shift_class.py: LOGITS is nan: give a finite number\n"


def test_an_existing_folder_and_an_unknown_class_are_refused(
    finished: Path, tool: Tool, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert tool("shift_class.py", finished, "maybe", 1, tmp_path / "new") == 2
    assert "has no class maybe: its classes are" in capsys.readouterr().err
    assert not (tmp_path / "new").exists()
    for arguments in (("average.py", finished, finished), ("shift_class.py", finished, "middle", 1)):
        assert tool(*arguments, finished) == 2
        assert capsys.readouterr().err == f"{arguments[0]}: {finished} already exists: give a folder that does not\n"
