"""The folder of a run: its recipe, its folders of recordings, and its best weights.

write_run          write the recipe and the folders
read_run           read both
expect_run         check that a run has a given recipe and given folders
lock_run           keep other processes from training a run
load_checkpoint    load a checkpoint, without running code that it may contain
load_weights       load the weights of a checkpoint into a module
load_spotter       load the best weights
"""

import json
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from filelock import FileLock, Timeout
from torch import Tensor

from harken.errors import HarkenError
from harken.files import replacing
from harken.models.spotter import Spotter
from harken.tasks.protocol import Material
from harken.tasks.recipe import Recipe
from harken.training.module import TrainingModule


def write_run(out: Path, recipe: Recipe, material: Material) -> None:
    """Write a run's recipe, and its folders as absolute paths. The recipe is written last, because it marks a complete run."""
    _write(out / "material.json", json.dumps(material.to_json(), indent=1))
    _write(out / "recipe.json", json.dumps(asdict(recipe), indent=1))


def read_run(out: Path) -> tuple[Recipe, Material]:
    """Return the recipe and the folders of a run. Raises HarkenError if `out` does not contain one."""
    try:
        recipe = Recipe.from_json(json.loads((out / "recipe.json").read_text(encoding="utf-8")))
        folders = json.loads((out / "material.json").read_text(encoding="utf-8"))
        return recipe, Material.from_json(folders)
    except (OSError, ValueError, TypeError, AttributeError) as error:
        raise HarkenError(f"{out} contains no readable run: give the folder that was passed to --out") from error


def expect_run(out: Path, recipe: Recipe, material: Material) -> None:
    """Raise HarkenError if `out` contains no run, or a run with another recipe or other folders."""
    found, folders = read_run(out)
    if (found, folders.to_json()) != (recipe, material.to_json()):
        raise HarkenError(f"{out} contains a run with another recipe or other folders: choose another folder")


@contextmanager
def lock_run(out: Path) -> Iterator[None]:
    """Keep other processes from training a run. The lock ends with the process, even if it is killed.

    Raises
    ------
    HarkenError
        If another process trains this run, or the folder cannot be written.
    """
    path = out / ".lock"
    lock = FileLock(path)
    try:
        out.mkdir(parents=True, exist_ok=True)
        lock.acquire(timeout=0)
    except Timeout as error:
        raise HarkenError(
            f"{out} is being trained by another process: wait for it, or choose another folder"
        ) from error
    except OSError as error:
        raise HarkenError(f"cannot write {path}: {error.strerror}; choose a folder you may write to") from error
    try:
        yield
    finally:
        with suppress(OSError):
            path.unlink()
        lock.release()


def load_spotter(out: Path, classes: int) -> Spotter:
    """Return the spotter of a run with the weights that become the model, on the CPU and in evaluation mode.

    Parameters
    ----------
    out
        Folder of the run.
    classes
        Number of classes.

    Raises
    ------
    HarkenError
        If `out` contains no run, or no epoch of it is finished.
    """
    recipe, _ = read_run(out)
    checkpoint = out / f"{recipe.keep}.ckpt"
    if not checkpoint.is_file():
        raise HarkenError(f"{out} contains no finished epoch: train it first")
    module = TrainingModule(recipe, Spotter(recipe, classes), steps_per_epoch=1)
    load_weights(module, checkpoint)
    return module.final_spotter()


def load_checkpoint(path: Path) -> dict[str, Any]:
    """Return the content of a checkpoint: tensors, numbers and texts in plain containers.

    A checkpoint is a pickle, and a pickle can run any program when it is loaded. The folder of a run may come from somebody
    else, so anything but plain content is refused before it is loaded.

    Raises
    ------
    HarkenError
        If the file cannot be read, is damaged, or contains anything else.
    """
    try:
        with warnings.catch_warnings(action="ignore"):  # torch warns about some pickles before it refuses them
            content = torch.load(path, map_location="cpu", weights_only=True)
    except OSError as error:
        raise HarkenError(f"{path} cannot be read: {error.strerror}; check the path and its permissions") from error
    except Exception as error:  # damaged files end in errors of many types
        raise HarkenError(
            f"{path} is damaged, or contains code instead of weights: it was not loaded; get the run again from its author"
        ) from error
    checkpoint: dict[str, Any] = content if isinstance(content, dict) else {}
    state = checkpoint.get("state_dict")
    if not isinstance(state, dict) or not all(isinstance(weight, Tensor) for weight in state.values()):
        raise HarkenError(f"{path} is not a checkpoint of harken: give the folder that was passed to --out")
    found: dict[str, Any] = checkpoint
    return found


def load_weights(module: TrainingModule, path: Path) -> None:
    """Load the weights of a checkpoint into a module. Raises HarkenError if they do not fit it."""
    try:
        module.load_state_dict(load_checkpoint(path)["state_dict"])
    except RuntimeError as error:
        raise HarkenError(
            f"{path} contains the weights of another network than its recipe.json: get the run again from its author"
        ) from error


def _write(path: Path, text: str) -> None:
    with replacing(path) as temporary:
        temporary.write_text(text, encoding="utf-8")
