"""Raise or lower the logit of a class, and write a model file as training does.

python tools/shift_class.py RUN LABEL LOGITS OUT

How readily a network answers with a class depends on the share of that class in training. A constant added to its logit has
the effect of another share (A. K. Menon et al., 2021, arXiv:2007.07314). OUT becomes a run folder with a model file, with the
recipe and validation set of the run folder RUN.
"""

import argparse
import math
import sys
from pathlib import Path

from average import last_checkpoint, write_run

from harken.errors import HarkenError
from harken.tasks.protocol import make_task
from harken.training.run_folder import load_checkpoint, read_run


def main() -> None:
    """Write OUT, and print the accuracy of its model on the validation set."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path, metavar="RUN", help="run folder; its last epoch is used")
    parser.add_argument("label", metavar="LABEL", help="class, for example _silence_")
    parser.add_argument("logits", type=float, metavar="LOGITS", help="number to add to its logit")
    parser.add_argument("out", type=Path, metavar="OUT", help="run folder to create")
    options = parser.parse_args()
    if not math.isfinite(options.logits):
        raise HarkenError(f"LOGITS is {options.logits}: give a finite number")
    labels = make_task(*read_run(options.run)).labels
    if options.label not in labels:
        raise HarkenError(f"{options.run} has no class {options.label}: its classes are {', '.join(labels)}")
    checkpoint = load_checkpoint(last_checkpoint(options.run))
    weights = checkpoint["state_dict"]
    for network in ("spotter.network.", "average.module."):
        biases = [name for name in weights if name.startswith(network) and name.endswith(".bias")]
        if biases:  # the last layer classifies
            weights[biases[-1]][labels.index(options.label)] += options.logits
    write_run(checkpoint, options.run, options.out)


if __name__ == "__main__":
    try:
        main()
    except HarkenError as error:
        print(f"shift_class.py: {error}", file=sys.stderr)
        sys.exit(2)
