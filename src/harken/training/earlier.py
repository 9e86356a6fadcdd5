"""What an earlier run or a model file has learnt, to begin with or to learn from.

find_teacher    itself, of the same classes
begin_with      its weights put into a fresh spotter, which may be wider and tell other words apart
"""

from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from harken.errors import HarkenError
from harken.modelfile import ModelFile, bundled_models
from harken.models.widen import widen
from harken.spotter import Spotter
from harken.tasks.protocol import Task, side_waveforms
from harken.tasks.recipe import Recipe
from harken.training.folder import load_spotter
from harken.training.reopen import reopen
from harken.training.teachers import FileTeacher, NetworkTeacher, Teacher

_REOPENED_WITH = 300  # clips


def find_teacher(source: str, recipe: Recipe, task: Task) -> Teacher:
    """Return what a student asks of a run's folder, a model file's path, or a name in the box.

    Raises HarkenError when `source` is none of these, or answers another question than the recipe asks.
    """
    model = _open(source, recipe)
    if model.card.labels != task.labels:
        raise HarkenError(f"{source} has other classes: train one with these")
    if torch.cuda.is_available():
        return NetworkTeacher(_load(source, model, recipe, task))
    return FileTeacher(model, threads=torch.get_num_threads())


def begin_with(source: str, spotter: Spotter, recipe: Recipe, task: Task) -> None:
    """Put what a run or model file has learnt into a fresh spotter.

    Where it tells other classes apart, the answers that both know are kept and the others begin fresh: what makes up
    words in general is learnt already. Raises HarkenError when its layers, rate or window are others.
    """
    try:
        model = _open(source, recipe)
        network = _load(source, model, recipe, task).network
        if model.card.labels != task.labels:
            network = _with_classes(network, model, task.labels)
        widen(network, spotter.network, seed=recipe.seed)
    except HarkenError as error:
        raise HarkenError(
            f"{recipe.network} cannot start from {source}: {error} (or begin afresh: --set start_from=)"
        ) from error


def _open(source: str, recipe: Recipe) -> ModelFile:
    if not Path(source).exists() and source not in bundled_models():
        raise HarkenError(f"{source} holds no run, nor is it a model file: name the folder given to --out, or a model")
    model = ModelFile(source)
    if (model.card.sample_rate, model.card.window) != (recipe.sample_rate, recipe.samples):
        raise HarkenError(f"{source} has another rate or another window: train one with these")
    return model


def _load(source: str, model: ModelFile, recipe: Recipe, task: Task) -> Spotter:
    if source not in bundled_models() and Path(source).is_dir():
        return load_spotter(Path(source), len(model.card.labels))
    return reopen(model.path, torch.from_numpy(_some_clips(recipe, task)))


@torch.no_grad()
def _with_classes(network: nn.Module, model: ModelFile, labels: tuple[str, ...]) -> nn.Module:
    """Return the network with an answer for each of `labels`: those it knows as they are, the others fresh."""
    recipe = Recipe.from_json(model.card.fields["recipe"])
    remade, larger = (Spotter(recipe, len(labels) + more).network for more in (0, 1))
    learnt, other_size = network.state_dict(), larger.state_dict()
    known = [(labels.index(label), row) for row, label in enumerate(model.card.labels) if label in labels]
    for name, weight in remade.state_dict().items():
        if weight.shape == other_size[name].shape:  # whatever the number of classes
            weight.copy_(learnt[name])
            continue
        for new, old in known:
            weight[new] = learnt[name][old]
    return remade.eval()


def _some_clips(recipe: Recipe, task: Task) -> NDArray[np.float32]:
    """Return a few hundred clips of the validation side, evenly from all its classes; where it is small, of both sides."""
    waveforms, _ = side_waveforms(task, recipe, "validation")
    if len(waveforms) < _REOPENED_WITH:
        # Thinned before it is read: beside a few words of one's own, thousands of others may train.
        waveforms = np.concatenate([waveforms, side_waveforms(task, recipe, "train", most=_REOPENED_WITH)[0]])
    return waveforms[:: max(1, len(waveforms) // _REOPENED_WITH)]
