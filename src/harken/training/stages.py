"""Train the stages of a recipe file, one after the other. An interrupted run can be resumed.

train_stages     train all stages
resume_stages    continue an interrupted run

RUN/stages.json     the stages and the folders          RUN/NAME/    the run of each stage
RUN/model.onnx      the model of the last stage
"""

import os
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import torch

from harken.errors import HarkenError
from harken.files import replacing
from harken.tasks.protocol import Material
from harken.tasks.recipe import Recipe
from harken.tasks.recipe_file import Stage
from harken.training.run import TrainingResult, require_new_folder, resume, train
from harken.training.stages_file import read_stages, write_stages


def train_stages(stages: Sequence[Stage], material: Material, out: Path, *, devices: int = 1) -> TrainingResult:
    """Train all stages.

    Parameters
    ----------
    stages
        The stages, as `read_recipe_file` returns them.
    material
        The folders of recordings, the same for all stages.
    out
        Folder for the run.
    devices
        See `harken.training.run.train`.

    Returns
    -------
    TrainingResult
        The result of the last stage, with the model at RUN/model.onnx.

    Raises
    ------
    HarkenError
        If `out` already contains a run or is not a folder, a stage cannot be trained, or torchrun started the processes.
    """
    _refuse_torchrun()
    if os.environ.get("LOCAL_RANK", "0") == "0":  # the other processes find what the first one has written already
        require_new_folder(out)
        write_stages(out, stages, material)
    return resume_stages(out, devices=devices)


def _refuse_torchrun() -> None:
    if torch.distributed.is_torchelastic_launched():
        raise HarkenError(
            "torchrun cannot train several stages: use --devices, or train each stage as a run of its own"
        )


def resume_stages(out: Path, *, devices: int = 1) -> TrainingResult:
    """Continue with the first stage that is not finished.

    Parameters
    ----------
    out
        Folder of the run.
    devices
        See `harken.training.run.train`.

    Raises
    ------
    HarkenError
        If RUN/stages.json cannot be read, a stage cannot be trained, or torchrun started the processes.
    """
    _refuse_torchrun()
    stages, material = read_stages(out)
    names = {stage.name for stage in stages}
    last = stages[-1]
    for stage in stages:
        folder = out / stage.name
        if (folder / "model.onnx").is_file() and stage is not last:
            continue
        with _restored_environment():
            if (folder / "recipe.json").is_file():
                result = resume(folder, devices=devices)
            else:
                result = train(_with_folders(stage.recipe, names, out), material, folder, devices=devices)
        if not result.first_process:  # The first process starts others for each stage, with the same command.
            return result
    with replacing(out / "model.onnx") as temporary:
        shutil.copyfile(result.model, temporary)
    return replace(result, model=out / "model.onnx")


@contextmanager
def _restored_environment() -> Iterator[None]:
    """Restore the environment variables. With those of the last stage, Lightning would start no processes for the next."""
    before = dict(os.environ)
    try:
        yield
    finally:
        os.environ.clear()
        os.environ.update(before)


def _with_folders(recipe: Recipe, stages: set[str], out: Path) -> Recipe:
    """Return a recipe in which names of stages are replaced with their folders."""

    def folder(name: str) -> str:
        return str(out / name) if name in stages else name

    return replace(recipe, start_from=folder(recipe.start_from), teacher=tuple(map(folder, recipe.teacher)))
