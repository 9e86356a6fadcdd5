"""Restore a network that can be trained from the weights in a model file.

The ONNX exporter folds each batch normalization into the convolution before it. `restore_spotter` separates the two again.
They compute the same as before, but the statistics of the normalization have to be measured again, on waveforms.
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
_TOLERANCE = 1e-4  # largest accepted difference of a probability
_MAX_NAMES = 3  # number of layers that an error message names


def restore_spotter(path: Path, waveforms: Tensor) -> Spotter:
    """Return the spotter of a model file, in evaluation mode.

    Parameters
    ----------
    path
        Model file.
    waveforms
        Some hundreds of clips like those it was trained on, [N, samples]. The statistics of the normalizations are
        measured on them.

    Raises
    ------
    HarkenError
        If the file does not contain every weight under its name (the exporter rewrites recurrent layers), or if the
        restored network computes other probabilities than the file.
    """
    model = ModelFile(path)
    try:
        recipe = Recipe.from_json(model.card.fields["recipe"])
    except (KeyError, TypeError) as error:
        raise HarkenError(
            f"{path} does not say which recipe it was trained with: give the folder of its run instead"
        ) from error
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
    missing_layers = _unfold(spotter, {name.rpartition(".")[0] for name in missing}, stored, fresh, waveforms)
    if missing_layers:
        rest = len(missing_layers) - _MAX_NAMES
        names = ", ".join(missing_layers[:_MAX_NAMES]) + (f" and {rest} more layers" if rest > 0 else "")
        raise HarkenError(f"{path} contains no trainable weights of {names}: give the folder of its run instead")
    difference = _difference(spotter, model, waveforms)
    if not difference <= _TOLERANCE:
        raise HarkenError(
            f"{path} and the network restored from it differ by {difference:.2g}: give the folder of its run instead"
        )
    return spotter


@torch.no_grad()
def _unfold(
    spotter: Spotter, lacking: set[str], stored: dict[str, Tensor], fresh: dict[str, Tensor], waveforms: Tensor
) -> list[str]:
    """Restore each normalization that was folded into a convolution, and return the layers that still lack weights.

    A single pass through the network visits the layers in order, so that each one is measured after those before it are
    restored.
    """
    convolutions = {id(layer): name for name, layer in spotter.network.named_modules() if isinstance(layer, nn.Conv2d)}
    # By id of a convolution's output, which is kept so that no other tensor gets its id.
    outputs: dict[int, tuple[nn.Conv2d, str, Tensor]] = {}
    found: set[str] = set()

    def remember(layer: nn.Module, _: object, output: Tensor) -> None:
        assert isinstance(layer, nn.Conv2d)
        outputs[id(output)] = layer, convolutions[id(layer)], output

    def restore(name: str, norm: nn.BatchNorm2d, features: Tensor) -> Tensor | None:
        if id(features) not in outputs:
            return None
        layer, source, _ = outputs.pop(id(features))
        # Scale the weights to the size of untrained ones, which the recipe's learning rate is meant for.
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
