"""Raise or lower the logit of a class, and write a model file as training does.

python tools/shift_class.py RUN LABEL LOGITS OUT

How readily a network answers with a class depends on the share of that class in training. A constant added to its logit has
the effect of another share (A. K. Menon et al., 2021, arXiv:2007.07314). OUT becomes a run folder with a model file, with the
recipe and validation set of RUN.
"""

import argparse
import shutil
import sys
from pathlib import Path

import torch

from harken.errors import HarkenError
from harken.tasks.protocol import make_task
from harken.training.finish import finish
from harken.training.run_folder import load_checkpoint, load_spotter, read_run


def main() -> None:
    """Write OUT, and print the accuracy of its model on the validation set."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path, metavar="RUN", help="run folder; its last epoch is used")
    parser.add_argument("label", metavar="LABEL", help="class, as _silence_")
    parser.add_argument("logits", type=float, metavar="LOGITS", help="number to add to its logit")
    parser.add_argument("out", type=Path, metavar="OUT", help="run folder to create")
    options = parser.parse_args()
    recipe, material = read_run(options.run)
    task = make_task(recipe, material)
    if options.label not in task.labels:
        raise HarkenError(f"{options.run} has no class {options.label}: its classes are {', '.join(task.labels)}")
    checkpoint = load_checkpoint(options.run / "last.ckpt")
    biases = [name for name in checkpoint["state_dict"] if name.endswith("network.classify.bias")]
    biases += [name for name in checkpoint["state_dict"] if name == "average.module.classify.bias"]
    if not biases:
        raise HarkenError(f"{options.run} has no layer named classify: give a run of a BC-ResNet")
    for name in biases:
        checkpoint["state_dict"][name][task.labels.index(options.label)] += options.logits
    options.out.mkdir(parents=True)
    for name in ("recipe.json", "material.json"):
        shutil.copy(options.run / name, options.out / name)
    torch.save(checkpoint, options.out / f"{recipe.keep}.ckpt")
    spotter = load_spotter(options.out, len(task.labels))
    print(f"{100 * finish(spotter, recipe, material, task, options.out / 'model.onnx'):.2f} %")


if __name__ == "__main__":
    try:
        main()
    except HarkenError as error:
        print(f"shift_class.py: {error}", file=sys.stderr)
        sys.exit(2)
