"""A model file's weights back in a network that trains: long training adds up over machines and sessions.

The exporter folds a normalisation into the convolution before it. Taken apart again, the two compute the same, but the
normalisation's statistics have to be measured anew, on waveforms.
"""

from pathlib import Path

import numpy as np
import onnx
import torch
from onnx import numpy_helper
from torch import Tensor, nn

from harken.errors import HarkenError
from harken.models.spotter import Spotter
from harken.runtime.modelfile import ModelFile
from harken.tasks.recipe import Recipe

_PREFIX = "spotter.network."
_TOLERANCE = 1e-4  # in probability
_NAMED = 3  # layers, of those that lack weights


def restore_spotter(path: Path, waveforms: Tensor) -> Spotter:
    """Return the spotter of a model file, in evaluation mode.

    waveforms : [N, samples] such as it was trained on, some hundreds, from which the statistics of normalisations are
    taken. Raises HarkenError when the file does not hold every weight by its name (recurrent layers are rewritten by
    the exporter), or the network built from it answers otherwise than the file.
    """
    model = ModelFile(path)
    try:
        recipe = Recipe.from_json(model.card.fields["recipe"])
    except (KeyError, TypeError) as error:
        raise HarkenError(f"{path} does not say by which recipe it was made: name the folder of its run") from error
    spotter = Spotter(recipe, len(model.card.labels)).eval()
    stored = {
        tensor.name.removeprefix(_PREFIX): torch.from_numpy(numpy_helper.to_array(tensor).copy())
        for tensor in onnx.load(str(path)).graph.initializer
        if tensor.name.startswith(_PREFIX)
    }
    fresh = {name: value.clone() for name, value in spotter.network.state_dict().items()}
    missing = spotter.network.load_state_dict(
        {k: v for k, v in stored.items() if k in fresh}, strict=False
    ).missing_keys
    lost = _unfold(spotter, {name.rpartition(".")[0] for name in missing}, stored, fresh, waveforms)
    if lost:
        more = f" and {len(lost) - _NAMED} more layers" if len(lost) > _NAMED else ""
        named = ", ".join(lost[:_NAMED]) + more
        raise HarkenError(f"{path} holds no weights of {named} that can train on: name the folder of its run")
    difference = _difference(spotter, model, waveforms)
    if not difference <= _TOLERANCE:
        raise HarkenError(f"{path} and the network made of it differ by {difference:.2g}: name the folder of its run")
    return spotter


@torch.no_grad()
def _unfold(
    spotter: Spotter, lacking: set[str], stored: dict[str, Tensor], fresh: dict[str, Tensor], waveforms: Tensor
) -> list[str]:
    """Give each normalisation that was folded into a convolution its own numbers again; return what lacks weights still.

    One run through the network meets the layers in order, so that each is measured behind layers that are whole.
    """
    convolutions = {id(layer): name for name, layer in spotter.network.named_modules() if isinstance(layer, nn.Conv2d)}
    outputs: dict[int, tuple[nn.Conv2d, str, Tensor]] = {}
    found: set[str] = set()

    def remember(layer: nn.Module, _: object, output: Tensor) -> None:
        assert isinstance(layer, nn.Conv2d)
        outputs[id(output)] = layer, convolutions[id(layer)], output

    def restore(name: str, norm: nn.BatchNorm2d, features: Tensor) -> Tensor | None:
        if id(features) not in outputs:
            return None
        layer, source, _ = outputs[id(features)]
        # As large as fresh weights: beside those the recipe's learning rate has its meaning.
        scale = fresh[f"{source}.weight"].std() / layer.weight.std()
        for parameter in layer.parameters():
            parameter.mul_(scale)
        features = features * scale
        variance, mean = torch.var_mean(features, (0, 2, 3), correction=0)
        assert norm.running_mean is not None
        assert norm.running_var is not None
        norm.running_mean.copy_(mean)
        norm.running_var.copy_(variance)
        norm.weight.copy_((variance + norm.eps).sqrt() / scale)
        norm.bias.copy_(mean / scale + stored.get(f"{source}.weight_bias", torch.zeros(())))
        found.add(name)
        return features

    hooks = [
        layer.register_forward_hook(remember) for layer in spotter.network.modules() if isinstance(layer, nn.Conv2d)
    ]
    for name, layer in spotter.network.named_modules():
        if name in lacking and isinstance(layer, nn.BatchNorm2d):

            def before(norm: nn.Module, inputs: tuple[Tensor, ...], name: str = name) -> Tensor | None:
                assert isinstance(norm, nn.BatchNorm2d)
                return restore(name, norm, *inputs)

            hooks.append(layer.register_forward_pre_hook(before))
    spotter(waveforms)
    for hook in hooks:
        hook.remove()
    return sorted(lacking - found)


@torch.no_grad()
def _difference(spotter: Spotter, model: ModelFile, waveforms: Tensor) -> float:
    temperature = model.card.temperature
    ours = torch.softmax(spotter(waveforms) / temperature, dim=1).numpy()
    return float(np.abs(ours - model.probabilities(waveforms.numpy())).max())
