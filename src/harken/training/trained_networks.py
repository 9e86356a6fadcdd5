"""Open an earlier run or a model file as a network to train further, or as a teacher.

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
from harken.training.stages_file import has_stages, last_stage_folder
from harken.training.teachers import FileTeacher, NetworkTeacher, Teacher

_RESTORE_CLIPS = 300  # number of clips that a model file is restored with


def open_trained(source: str, recipe: Recipe, *, any_window: bool = False) -> ModelFile:
    """Open the model of a run, a model file or a bundled model.

    Parameters
    ----------
    source
        Folder of a run, path of a model file, or name of a bundled model.
    recipe
        The recipe that the model is to be used with.
    any_window
        Whether its window may differ from the recipe's.

    Raises
    ------
    HarkenError
        If `source` is none of these, or its sample rate or window differs from the recipe's.
    """
    if not Path(source).exists() and source not in bundled_models():
        raise HarkenError(
            f"{source} is neither a run nor a model file: give a folder passed to --out, a model file or a bundled model's name"
        )
    model = ModelFile(source)
    window = model.card.window if any_window else recipe.samples
    if (model.card.sample_rate, model.card.window) != (recipe.sample_rate, window):
        raise HarkenError(
            f"{source} has a sample rate of {model.card.sample_rate} Hz and a window of {model.card.window} samples, but this "
            f"recipe has {recipe.sample_rate} Hz and {recipe.samples} samples: use a model with the same values"
        )
    return model


def load_trained(source: str, model: ModelFile, recipe: Recipe, task: Task) -> Spotter:
    """Return the network of an opened model, with its weights and in evaluation mode.

    Parameters
    ----------
    source
        What `model` was opened from.
    model
        What `open_trained` returned.
    recipe, task
        Where clips come from, to measure the statistics of normalizations on.
    """
    if source not in bundled_models() and (folder := Path(source)).is_dir():
        run = last_stage_folder(folder) if has_stages(folder) else folder
        return load_spotter(run, len(model.card.labels))
    clips = _some_clips(recipe, task)
    missing = max(0, model.card.window - clips.shape[1])
    clips = np.pad(clips, ((0, 0), (0, missing)))[:, : model.card.window]
    return restore_spotter(model.path, torch.from_numpy(clips))


def _some_clips(recipe: Recipe, task: Task) -> NDArray[np.float32]:
    """Return a few hundred clips of the validation side, evenly spaced. If it is small, add clips of the training side."""
    waveforms, _ = side_waveforms(task, recipe, "validation")
    if len(waveforms) < _RESTORE_CLIPS:
        # Limited before it is read, since the training side can contain thousands of other words' clips.
        waveforms = np.concatenate([waveforms, side_waveforms(task, recipe, "train", most=_RESTORE_CLIPS)[0]])
    return waveforms[:: max(1, len(waveforms) // _RESTORE_CLIPS)]


def find_teacher(source: str, recipe: Recipe, task: Task) -> Teacher:
    """Return a teacher made of a run, a model file or a bundled model.

    Raises HarkenError if `source` is none of these, or if its classes, sample rate or window differ from the task's.
    """
    model = open_trained(source, recipe)
    if model.card.labels != task.labels:
        raise HarkenError(f"{source} has other classes than this run: use a teacher with the same classes")
    if torch.cuda.is_available():
        return NetworkTeacher(load_trained(source, model, recipe, task))
    return FileTeacher(model, threads=torch.get_num_threads())
