"""The folder of a run: its recipe, its folders of recordings, and its best weights.

write_run       write the recipe and the folders
read_run        read both
expect_run      check that a run has a given recipe and given folders
load_spotter    load the best weights
load_checkpoint load a checkpoint that may come from a stranger
"""

import json
import pickle
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch

from harken.errors import HarkenError
from harken.files import replacing
from harken.models.spotter import Spotter
from harken.tasks.protocol import Material
from harken.tasks.recipe import Recipe
from harken.training.module import TrainingModule


def write_run(out: Path, recipe: Recipe, material: Material) -> None:
    """Write a run's recipe, and its folders as absolute paths. The recipe is written last, because it marks a complete run."""
    _write(out / "material.json", _material_to_json(material))
    _write(out / "recipe.json", json.dumps(asdict(recipe), indent=1))


def read_run(out: Path) -> tuple[Recipe, Material]:
    """Return the recipe and the folders of a run. Raises HarkenError if `out` does not contain one."""
    try:
        recipe = Recipe.from_json(json.loads((out / "recipe.json").read_text(encoding="utf-8")))
        folders = json.loads((out / "material.json").read_text(encoding="utf-8"))
        return recipe, Material(**{key: tuple(map(Path, value)) for key, value in folders.items()})
    except (OSError, ValueError, TypeError, AttributeError) as error:
        raise HarkenError(f"{out} contains no readable run: give the folder that was passed to --out") from error


def expect_run(out: Path, recipe: Recipe, material: Material) -> None:
    """Raise HarkenError if `out` contains no run, or a run with another recipe or other folders."""
    found, folders = read_run(out)
    if (found, _material_to_json(folders)) != (recipe, _material_to_json(material)):
        raise HarkenError(f"{out} contains a run with another recipe or other folders: choose another folder")


def load_spotter(out: Path, classes: int) -> Spotter:
    """Return the spotter of a run with its best weights, on the CPU and in evaluation mode.

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
    module.load_state_dict(load_checkpoint(checkpoint)["state_dict"])
    return module.final_spotter()


def load_checkpoint(path: Path) -> dict[str, Any]:
    """Load a checkpoint on the CPU: tensors and plain values alone, never code.

    Raises HarkenError when the file holds anything else.
    """
    try:
        checkpoint: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
    except (pickle.UnpicklingError, RuntimeError, EOFError) as error:
        raise HarkenError(
            f"{path} holds no plain weights: train the run again, and don't use checkpoints you don't trust"
        ) from error
    return checkpoint


def _material_to_json(material: Material) -> str:
    folders = {key: [str(path.absolute()) for path in value] for key, value in vars(material).items()}
    return json.dumps(folders, indent=1)


def _write(path: Path, text: str) -> None:
    with replacing(path) as temporary:
        temporary.write_text(text, encoding="utf-8")
