"""Start a run with the weights of an earlier one.

initialize_weights    put what a run or a model file has learned into a fresh spotter, which may be wider or have other classes
"""

import torch
from torch import nn

from harken.errors import HarkenError
from harken.models.spotter import Spotter
from harken.models.widen import widen_weights
from harken.runtime.modelfile import ModelFile
from harken.tasks.protocol import Task
from harken.tasks.recipe import Recipe
from harken.training.trained_networks import load_trained, open_trained


def initialize_weights(spotter: Spotter, source: str, recipe: Recipe, task: Task) -> None:
    """Put what a run or model file has learnt into a fresh spotter.

    Where it tells other classes apart, the answers that both know are kept and the others begin fresh: what makes up
    words in general is learnt already. Raises HarkenError when its layers, rate or window are others.
    """
    try:
        model = open_trained(source, recipe)
        network = load_trained(source, model, recipe, task).network
        if model.card.labels != task.labels:
            network = _with_classes(network, model, task.labels)
        widen_weights(network, spotter.network, seed=recipe.seed)
    except HarkenError as error:
        raise HarkenError(
            f"{recipe.network} cannot start from {source}: {error} (or begin afresh: --set start_from=)"
        ) from error


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
