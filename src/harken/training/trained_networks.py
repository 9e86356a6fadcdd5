"""Open what an earlier run or a model file has learned, as a network that can train on or answer as a teacher.

open_trained    a run's folder, a model file's path or the name of a bundled model -> ModelFile
load_trained    the same, as a Spotter with its weights
find_teacher    the same, as a teacher
"""

from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from harken.errors import HarkenError
from harken.models.spotter import Spotter
from harken.runtime.modelfile import ModelFile, bundled_models
from harken.tasks.protocol import Task, side_waveforms
from harken.tasks.recipe import Recipe
from harken.training.restore import restore_spotter
from harken.training.run_folder import load_spotter
from harken.training.teachers import FileTeacher, NetworkTeacher, Teacher

_REOPENED_WITH = 300  # clips


def open_trained(source: str, recipe: Recipe) -> ModelFile:
    """Open a run's result, a model file or a bundled model. Raises HarkenError when it is none, or has another rate or window."""
    if not Path(source).exists() and source not in bundled_models():
        raise HarkenError(f"{source} holds no run, nor is it a model file: name the folder given to --out, or a model")
    model = ModelFile(source)
    if (model.card.sample_rate, model.card.window) != (recipe.sample_rate, recipe.samples):
        raise HarkenError(f"{source} has another rate or another window: train one with these")
    return model


def load_trained(source: str, model: ModelFile, recipe: Recipe, task: Task) -> Spotter:
    """Return the network of an opened model with its weights, in evaluation mode."""
    if source not in bundled_models() and Path(source).is_dir():
        return load_spotter(Path(source), len(model.card.labels))
    return restore_spotter(model.path, torch.from_numpy(_some_clips(recipe, task)))


def _some_clips(recipe: Recipe, task: Task) -> NDArray[np.float32]:
    """Return a few hundred clips of the validation side, evenly from all its classes; where it is small, of both sides."""
    waveforms, _ = side_waveforms(task, recipe, "validation")
    if len(waveforms) < _REOPENED_WITH:
        # Thinned before it is read: beside a few words of one's own, thousands of others may train.
        waveforms = np.concatenate([waveforms, side_waveforms(task, recipe, "train", most=_REOPENED_WITH)[0]])
    return waveforms[:: max(1, len(waveforms) // _REOPENED_WITH)]


def find_teacher(source: str, recipe: Recipe, task: Task) -> Teacher:
    """Return what a student asks of a run's folder, a model file's path, or a name in the box.

    Raises HarkenError when `source` is none of these, or answers another question than the recipe asks.
    """
    model = open_trained(source, recipe)
    if model.card.labels != task.labels:
        raise HarkenError(f"{source} has other classes: train one with these")
    if torch.cuda.is_available():
        return NetworkTeacher(load_trained(source, model, recipe, task))
    return FileTeacher(model, threads=torch.get_num_threads())
