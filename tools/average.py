"""Average the weights of runs that were trained from the same weights, and write a model file as training does.

python tools/average.py RUN RUN... OUT

The average of a run and a run that continues it keeps what the first was better at (M. Wortsman et al., 2022,
arXiv:2109.01903). The average of several runs that continue the same run makes fewer errors than each of them
(arXiv:2203.05482). A RUN is a run folder, which stands for its last epoch, or a checkpoint such as RUN/best.ckpt. OUT becomes
a run folder with a model file, with the recipe and validation set of the last RUN.
"""

import argparse
import shutil
import sys
from pathlib import Path
from typing import Any

import torch

from harken.errors import HarkenError
from harken.tasks.protocol import make_task
from harken.training.finish import finish
from harken.training.run_folder import load_checkpoint, load_spotter, read_run


def last_checkpoint(run: Path) -> Path:
    """Return the checkpoint of a run's last epoch. An average of runs has only one checkpoint."""
    return next((path for path in (run / "last.ckpt", run / "best.ckpt") if path.is_file()), run)


def main() -> None:
    """Write OUT, and print the accuracy of its model on the validation set."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("runs", type=Path, nargs="+", metavar="RUN", help="run folders or checkpoints to average")
    parser.add_argument("out", type=Path, metavar="OUT", help="run folder to create")
    options = parser.parse_args()
    checkpoints = [last_checkpoint(run) for run in options.runs]
    recipe, _ = read_run(checkpoints[-1].parent)
    for path in checkpoints:
        if read_run(path.parent)[0].network != recipe.network:
            raise HarkenError(f"{path} and {checkpoints[-1]} have different networks: give runs of the same network")
    loaded = [load_checkpoint(path) for path in checkpoints]
    mean = loaded[-1]
    for path, checkpoint in zip(checkpoints, loaded, strict=True):
        if _shapes(checkpoint) != _shapes(mean):  # one more word is another row of the last layer
            raise HarkenError(
                f"{path} and {checkpoints[-1]} have weights of other shapes: give runs with the same words"
            )
    for name, weight in mean["state_dict"].items():
        if weight.is_floating_point():
            weight.copy_(torch.stack([each["state_dict"][name] for each in loaded]).mean(0))
    write_run(mean, checkpoints[-1].parent, options.out)


def _shapes(checkpoint: dict[str, Any]) -> dict[str, torch.Size]:
    return {name: weight.shape for name, weight in checkpoint["state_dict"].items()}


def write_run(checkpoint: dict[str, Any], like: Path, out: Path) -> None:
    """Write a run folder with a model file, with the recipe and validation set of `like`, and print the model's accuracy."""
    if out.exists():
        raise HarkenError(f"{out} already exists: give a folder that does not")
    recipe, material = read_run(like)
    task = make_task(recipe, material)
    out.mkdir(parents=True)
    try:
        for name in ("recipe.json", "material.json"):
            shutil.copy(like / name, out / name)
        torch.save(checkpoint, out / f"{recipe.keep}.ckpt")
        spotter = load_spotter(out, len(task.labels))
        accuracy = finish(spotter, recipe, material, task, out / "model.onnx")
    except BaseException:
        shutil.rmtree(out)
        raise
    print(f"{100 * accuracy:.2f} %")


if __name__ == "__main__":
    try:
        main()
    except HarkenError as error:
        print(f"average.py: {error}", file=sys.stderr)
        sys.exit(2)
