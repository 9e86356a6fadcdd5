"""Start a run with weights that were learned earlier.

load_published_weights    load the weights of layers that are published ready-made
initialize_weights        copy the weights of a run or a model file into a new spotter, which can be wider or narrower
"""

import torch
from torch import nn

from harken.enrollment.bank import load_bank
from harken.errors import HarkenError
from harken.models.bc_resnet import BCResNet
from harken.models.embedding_head import EmbeddingHead
from harken.models.narrow import is_narrower, narrow_weights
from harken.models.spotter import Spotter
from harken.models.widen import widen_weights
from harken.runtime.modelfile import ModelFile
from harken.tasks.protocol import Task
from harken.tasks.recipe import Recipe
from harken.training.trained_networks import load_trained, open_trained


def load_published_weights(spotter: Spotter) -> None:
    """Load the weights of the speech embedding if the network contains it, and the statistics of its embeddings of speech.

    Raises
    ------
    HarkenError
        If the package that contains them is not installed.
    """
    if isinstance(spotter.network, EmbeddingHead):
        spotter.network.embedding.load()
        talk, norm = torch.from_numpy(load_bank("google").talk), spotter.network.norm
        assert norm.running_mean is not None
        assert norm.running_var is not None
        norm.running_mean.copy_(talk.mean(0))
        norm.running_var.copy_(talk.var(0))


def initialize_weights(spotter: Spotter, source: str, recipe: Recipe, task: Task) -> None:
    """Copy the weights of a run or a model file into a new spotter.

    If the classes differ, the outputs for classes that both have are copied, and the outputs for new classes keep
    untrained weights. The layers before them know what words consist of in any case.

    Parameters
    ----------
    spotter
        The spotter to change.
    source
        Folder of a run, path of a model file, or name of a bundled model.
    recipe, task
        What the spotter is to be trained with.

    Raises
    ------
    HarkenError
        If the source has other layers or another sample rate. Another window is accepted by networks whose layers do not
        depend on it.
    """
    try:
        model = open_trained(source, recipe, any_window=True)
        network = load_trained(source, model, recipe, task).network
        if model.card.labels != task.labels:
            network = _with_classes(network, model, task.labels)
        wanted = spotter.network
        if isinstance(network, BCResNet) and isinstance(wanted, BCResNet) and is_narrower(network, wanted):
            narrow_weights(network, wanted)
        else:
            widen_weights(network, wanted, seed=recipe.seed)
    except HarkenError as error:
        raise HarkenError(
            f"{recipe.network} cannot start from {source}: {error} (or start with new weights: --set start_from=)"
        ) from error


@torch.no_grad()
def _with_classes(network: nn.Module, model: ModelFile, labels: tuple[str, ...]) -> nn.Module:
    """Return the network with one output for each of `labels`. Outputs of classes that it does not have are untrained."""
    recipe = Recipe.from_json(model.card.fields["recipe"])
    resized, larger = (Spotter(recipe, len(labels) + more).network for more in (0, 1))
    learned, other_size = network.state_dict(), larger.state_dict()
    known = [(labels.index(label), row) for row, label in enumerate(model.card.labels) if label in labels]
    for name, weight in resized.state_dict().items():
        if weight.shape == other_size[name].shape:  # a weight that does not depend on the number of classes
            weight.copy_(learned[name])
            continue
        for new, old in known:
            weight[new] = learned[name][old]
    return resized.eval()
