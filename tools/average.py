"""Average the weights of two runs, of which the second went on from the first, and finish the result as training does.
FIRST may be the model file that SECOND began with.

python tools/average.py FIRST SECOND OUT

Between a run and what it was trained on to, the middle keeps what the first was better at (M. Wortsman et al., 2022,
arXiv:2109.01903). The last epochs are taken; OUT becomes a run's folder with a model file, judged as SECOND is.
"""

import argparse
import shutil
from pathlib import Path

import torch
from torch import Tensor

from harken.errors import HarkenError
from harken.tasks.protocol import Task, make_task
from harken.tasks.recipe import Recipe
from harken.training.finish import finish
from harken.training.run import load_earlier, load_spotter, read_run


def _last(run: Path) -> Path:
    """Return the checkpoint of a run's last epoch; of an average of runs, its only one."""
    last = run / "last.ckpt"
    return last if last.is_file() else run / "best.ckpt"


def _weights(first: Path, recipe: Recipe, task: Task) -> dict[str, Tensor]:
    """Return the weights of a run's last epoch, or of a model file, by their names in a checkpoint."""
    if first.is_dir():
        if read_run(first)[0].network != recipe.network:
            raise HarkenError(
                f"{first} is of {read_run(first)[0].network}, not of {recipe.network}: they have no middle"
            )
        weights: dict[str, Tensor] = torch.load(_last(first), map_location="cpu", weights_only=False)["state_dict"]
        return weights
    network = load_earlier(str(first), recipe, task).network.state_dict()
    return {
        prefix + name: value for name, value in network.items() for prefix in ("spotter.network.", "average.module.")
    }


def main() -> None:
    """Write OUT, and print the accuracy of its model on the validation side."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name in ("first", "second", "out"):
        parser.add_argument(name, type=Path)
    options = parser.parse_args()
    recipe, material = read_run(options.second)
    task = make_task(recipe, material)
    first = _weights(options.first, recipe, task)
    options.out.mkdir(parents=True)
    for name in ("recipe.json", "material.json"):
        shutil.copy(options.second / name, options.out / name)
    second = torch.load(_last(options.second), map_location="cpu", weights_only=False)
    for name, weight in second["state_dict"].items():
        if weight.is_floating_point() and name in first:  # not the front-end's constants
            weight.lerp_(first[name], 0.5)
    torch.save(second, options.out / "best.ckpt")
    spotter = load_spotter(options.out, len(task.labels))
    print(f"{100 * finish(spotter, recipe, material, task, options.out / 'model.onnx'):.2f} %")


if __name__ == "__main__":
    main()
