"""The tools that change the weights of finished runs: average, shift_class and pair."""

import json
import runpy
import shutil
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from unittest.mock import patch

import numpy as np
import pytest
import torch
from torch import Tensor

from harken.models.registry import NETWORKS, Network
from harken.models.spotter import Spotter
from harken.runtime.modelfile import ModelFile
from harken.tasks.protocol import make_task
from harken.training import run as run_module
from harken.training.initial_weights import initialize_weights
from harken.training.run import train
from harken.training.run_folder import load_spotter, read_run
from tiny_training import WORDS, not_finished, recipe, tiny_networks, weights, write_material

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


# Two networks that make a pair, and a corpus for them.

PAIR = {
    "look_ahead": Network("look_ahead", "bc_resnet:BCResNet", "log_mel", "", "", {"tau": 0.5}),
    "causal": Network("causal", "bc_resnet:BCResNet", "log_mel", "", "", {"tau": 0.5, "causal": True}),
    "pair": Network(
        "pair", "bc_resnet_pair:BCResNetPair", "log_mel", "", "",
        {"first": {"tau": 0.5}, "second": {"tau": 0.5, "causal": True}},
    ),
}  # fmt: skip
CLASSES = len(WORDS) + 1  # and silence


def train_member(name: str, folder: Path) -> Path:
    """Train one of the networks of a pair, without its model file."""
    settings = (f"network={name}", "bands=40", "sample_rate=16000", "epochs=1", "keep=last")
    with patch.object(run_module, "finish", not_finished):
        train(recipe(*settings), write_material(folder / f"corpus of {name}"), folder / name)
    return folder / name


@pytest.fixture(scope="module")
def members(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Path, Path]]:
    """Return runs of both networks."""
    with patch.dict(NETWORKS, PAIR):
        folder = tmp_path_factory.mktemp("members")
        yield train_member("look_ahead", folder), train_member("causal", folder)


def centered_logits(run: Path) -> Tensor:
    spotter = load_spotter(run, CLASSES)
    waveforms = 0.1 * torch.randn(8, read_run(run)[0].samples, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        logits = spotter(waveforms)
    return logits - logits.mean(dim=1, keepdim=True)  # a softmax ignores what all logits have in common


def test_a_pair_is_the_mean_of_two_runs(members: tuple[Path, Path], tool: Tool, tmp_path: Path) -> None:
    pair = tmp_path / "pair"
    assert tool("pair.py", *members, pair, "--network", "pair") == 0
    expected = torch.stack([centered_logits(run) for run in members]).mean(0)
    torch.testing.assert_close(centered_logits(pair), expected, atol=1e-5, rtol=0)
    for run in members:  # another training starts from the network of its kind, out of the model file
        own, material = read_run(run)
        started = Spotter(own, CLASSES)
        initialize_weights(started, str(pair), own, make_task(own, material))
        torch.testing.assert_close(started.network.state_dict(), load_spotter(run, CLASSES).network.state_dict())


def test_a_shifted_pair_is_shifted_by_as_much(
    members: tuple[Path, Path], tool: Tool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("average.finish", not_finished)
    assert tool("pair.py", *members, tmp_path / "pair", "--network", "pair") == 0
    assert tool("shift_class.py", tmp_path / "pair", "middle", 2, tmp_path / "higher") == 0
    change = centered_logits(tmp_path / "higher") - centered_logits(tmp_path / "pair")
    row = make_task(*read_run(members[0])).labels.index("middle")
    torch.testing.assert_close(change[:, row] - change[:, row - 1], torch.full((8,), 2.0), atol=1e-4, rtol=0)


def test_networks_at_the_wrong_place_are_no_pair(
    members: tuple[Path, Path], tool: Tool, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    first, second = members
    out = tmp_path / "pair"
    for *arguments, reason in (
        (second, first, "--network", "pair", f"{second} is a causal, which is not the first network of pair"),
        (first, second, "--network", "causal", "causal is not a pair of networks: give bc_resnet_pair"),
    ):
        assert tool("pair.py", *arguments[:2], out, *arguments[2:]) == 2
        assert reason in capsys.readouterr().err
        assert not out.exists()
