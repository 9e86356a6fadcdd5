import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from lightning.pytorch.accelerators import CUDAAccelerator

from harken.errors import HarkenError
from harken.models.spotter import Spotter
from harken.tasks.protocol import Material
from harken.training import run
from harken.training.stages import resume_stages, train_stages
from tiny_training import PLAIN, history, not_finished, recipe, tiny_networks, weights, write_material

_WORKER = """
import sys
from pathlib import Path

sys.path.insert(0, sys.argv[1])
import tiny_training
from harken.training import run
from harken.tasks.protocol import Material

run.finish = tiny_training.not_finished
with tiny_training.tiny_networks():
    run.train(tiny_training.recipe(*tiny_training.PLAIN), Material(data=(Path(sys.argv[2]),)), Path(sys.argv[3]))
"""


def test_two_processes_train_like_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    material = write_material(tmp_path / "corpus")
    monkeypatch.setattr(run, "finish", not_finished)
    monkeypatch.setattr(CUDAAccelerator, "is_available", lambda: False)  # both on the CPU
    with tiny_networks():
        run.train(recipe(*PLAIN), material, tmp_path / "one")
        torch.manual_seed(recipe().seed)
        fresh = Spotter(recipe(*PLAIN), 3).state_dict()
    (tmp_path / "worker.py").write_text(_WORKER)
    launch = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2", str(tmp_path / "worker.py")]
    arguments = [str(Path(__file__).parent), str(material.data[0]), str(tmp_path / "two")]
    quiet = {**os.environ, "OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""}
    done = subprocess.run([sys.executable, *launch, *arguments], env=quiet, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    one, two = weights(tmp_path / "one"), weights(tmp_path / "two")
    torch.testing.assert_close(one, two, rtol=0, atol=1e-5)
    assert (
        max((one[f"spotter.{name}"] - value).abs().max() for name, value in fresh.items()) > 0.1
    )  # training has changed the weights
    for name in ("train_loss", "train_accuracy", "validation_loss", "validation_accuracy"):
        values = [[float(row[name]) for row in history(tmp_path / out)] for out in ("one", "two")]
        assert values[0] == pytest.approx(values[1], abs=1e-4)


_STAGES_WORKER = """
import sys
from pathlib import Path

sys.path.insert(0, sys.argv[1])
import tiny_training
from harken.tasks.protocol import Material
from harken.tasks.recipe_file import Stage
from harken.training.stages import train_stages

with tiny_training.tiny_networks():
    first, second = tiny_training.recipe("epochs=2"), tiny_training.recipe("epochs=1", "start_from=words")
    stages = Stage("words", first), Stage("more", second)
    result = train_stages(stages, Material(data=(Path(sys.argv[2]),)), Path(sys.argv[3]), devices=2)
print("first" if result.first_process else "other", result.model.parent.name)
"""


def test_two_processes_train_the_stages_of_a_recipe_file(tmp_path: Path) -> None:
    material = write_material(tmp_path / "corpus")
    (tmp_path / "worker.py").write_text(_STAGES_WORKER)
    arguments = [tmp_path / "worker.py", Path(__file__).parent, material.data[0], tmp_path / "run"]
    quiet = {**os.environ, "OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""}
    done = subprocess.run([sys.executable, *arguments], env=quiet, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    # Each stage has a second process of its own.
    assert sorted(done.stdout.split("\n")) == ["", "first run", "other more", "other words"]
    assert len(history(tmp_path / "run" / "words")) == 2
    assert len(history(tmp_path / "run" / "more")) == 1
    assert (tmp_path / "run" / "model.onnx").read_bytes() == (tmp_path / "run" / "more" / "model.onnx").read_bytes()


def test_torchrun_with_several_stages_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TORCHELASTIC_RUN_ID", "x")
    with pytest.raises(HarkenError, match="torchrun cannot train several stages: use --devices"):
        resume_stages(tmp_path)
    with pytest.raises(HarkenError, match="torchrun cannot train several stages"):
        train_stages([], Material(data=()), tmp_path / "run")
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(("world", "here", "wanted"), [(8, 4, (4, 2)), (2, 2, (2, 1)), (3, 1, (1, 3))])
def test_torchrun_sets_the_number_of_processes(
    monkeypatch: pytest.MonkeyPatch, world: int, here: int, wanted: tuple[int, int]
) -> None:
    monkeypatch.setenv("TORCHELASTIC_RUN_ID", "x")
    monkeypatch.setenv("WORLD_SIZE", str(world))
    monkeypatch.setenv("LOCAL_WORLD_SIZE", str(here))
    assert run._process_counts(1) == wanted


def test_more_gpus_than_available_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    assert run._process_counts(2) == (2, 1)
    with pytest.raises(HarkenError, match="devices=3 must be from 1 to 2, the number of GPUs"):
        run._process_counts(3)
