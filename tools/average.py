"""Average the weights of two runs, of which the second went on from the first, and finish the result as training does.

python tools/average.py FIRST SECOND OUT

Between a run and what it was trained on to, the middle keeps what the first was better at (M. Wortsman et al., 2022,
arXiv:2109.01903). The last epochs are taken; OUT becomes a run's folder with a model file, judged as SECOND is.
"""

import argparse
import shutil
from pathlib import Path

import torch

from harken.errors import HarkenError
from harken.tasks.protocol import make_task
from harken.training.finish import finish
from harken.training.folder import load_spotter, read_run


def _last(run: Path) -> Path:
    """Return the checkpoint of a run's last epoch; of an average of runs, its only one."""
    last = run / "last.ckpt"
    return last if last.is_file() else run / "best.ckpt"


def main() -> None:
    """Write OUT, and print the accuracy of its model on the validation side."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name in ("first", "second", "out"):
        parser.add_argument(name, type=Path)
    options = parser.parse_args()
    recipe, material = read_run(options.second)
    if read_run(options.first)[0].network != recipe.network:
        raise HarkenError(f"{options.first} and {options.second} are of different networks: they have no middle")
    options.out.mkdir(parents=True)
    for name in ("recipe.json", "material.json"):
        shutil.copy(options.second / name, options.out / name)
    first, second = (
        torch.load(_last(run), map_location="cpu", weights_only=False) for run in (options.first, options.second)
    )
    for name, weight in second["state_dict"].items():
        if weight.is_floating_point():
            weight.lerp_(first["state_dict"][name], 0.5)
    torch.save(second, options.out / "best.ckpt")
    task = make_task(recipe, material)
    spotter = load_spotter(options.out, len(task.labels))
    print(f"{100 * finish(spotter, recipe, material, task, options.out / 'model.onnx'):.2f} %")


if __name__ == "__main__":
    main()
