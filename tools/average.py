"""Average the weights of runs that went on from one another, and finish the result as training does.

python tools/average.py RUN RUN... OUT

Between a run and what it was trained on to, the middle keeps what the first was better at (M. Wortsman et al., 2022,
arXiv:2109.01903); the mean of several forks errs less than each (arXiv:2203.05482). A RUN is the folder of a run, for its last
epoch, or one of its checkpoints, as in RUN/best.ckpt. OUT becomes a run's folder with a model file, judged as the last RUN is.
"""

import argparse
import shutil
from pathlib import Path

import torch

from harken.errors import HarkenError
from harken.tasks.protocol import make_task
from harken.training.finish import finish
from harken.training.run_folder import load_spotter, read_run


def _checkpoint(run: Path) -> Path:
    """Return the checkpoint of a run's last epoch; of an average of runs, its only one."""
    return next((path for path in (run / "last.ckpt", run / "best.ckpt") if path.is_file()), run)


def main() -> None:
    """Write OUT, and print the accuracy of its model on the validation side."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("runs", type=Path, nargs="+")
    parser.add_argument("out", type=Path)
    options = parser.parse_args()
    checkpoints = [_checkpoint(run) for run in options.runs]
    recipe, material = read_run(checkpoints[-1].parent)
    for path in checkpoints:
        if read_run(path.parent)[0].network != recipe.network:
            raise HarkenError(f"{path} and {checkpoints[-1]} are of different networks: they have no middle")
    options.out.mkdir(parents=True)
    for name in ("recipe.json", "material.json"):
        shutil.copy(checkpoints[-1].parent / name, options.out / name)
    found = [torch.load(path, map_location="cpu", weights_only=False) for path in checkpoints]
    mean = found[-1]
    for name, weight in mean["state_dict"].items():
        if weight.is_floating_point():
            weight.copy_(torch.stack([each["state_dict"][name] for each in found]).mean(0))
    torch.save(mean, options.out / "best.ckpt")
    task = make_task(recipe, material)
    spotter = load_spotter(options.out, len(task.labels))
    print(f"{100 * finish(spotter, recipe, material, task, options.out / 'model.onnx'):.2f} %")


if __name__ == "__main__":
    main()
