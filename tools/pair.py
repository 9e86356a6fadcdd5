"""Join two runs into one network that averages their logits, and write a model file as training does.

python tools/pair.py FIRST SECOND OUT [--network bc_resnet_pair]

FIRST and SECOND are run folders of the two networks of a pair, which were trained on the same classes with the same front-end.
OUT becomes a run folder with a model file, with the validation set of FIRST.
"""

import argparse
import sys
from dataclasses import replace
from pathlib import Path

from average import write_run

from harken.errors import HarkenError
from harken.models.bc_resnet_pair import BCResNetPair
from harken.models.registry import find_network
from harken.models.spotter import Spotter
from harken.tasks.protocol import make_task
from harken.tasks.recipe import Recipe
from harken.training.module import TrainingModule
from harken.training.run_folder import load_spotter, read_run


def main() -> None:
    """Write OUT, and print the accuracy of its model on the validation set."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("first", type=Path, metavar="FIRST", help="run folder of the first network")
    parser.add_argument("second", type=Path, metavar="SECOND", help="run folder of the second network")
    parser.add_argument("out", type=Path, metavar="OUT", help="run folder to create")
    parser.add_argument("--network", default="bc_resnet_pair", metavar="NAME", help="name of the pair")
    options = parser.parse_args()
    recipe, material = read_run(options.first)
    task = make_task(recipe, material)
    paired = replace(recipe, network=options.network)
    pair = find_network(options.network)
    if not pair.class_path.endswith(":BCResNetPair"):
        raise HarkenError(f"{options.network} is not a pair of networks: give bc_resnet_pair")
    for place in ("first", "second"):
        run = getattr(options, place)
        other, of_run = read_run(run)
        if make_task(other, of_run).labels != task.labels:
            raise HarkenError(f"{run} has other classes than {options.first}: give runs with the same classes")
        if _front_end(other) != _front_end(recipe):
            raise HarkenError(f"{run} has another front-end than {options.first}: give runs with the same one")
        if find_network(other.network).options != pair.options[place]:
            raise HarkenError(f"{run} is a {other.network}, which is not the {place} network of {options.network}")
    module = TrainingModule(paired, Spotter(paired, len(task.labels)), steps_per_epoch=1)
    network = module.spotter.network
    assert isinstance(network, BCResNetPair)
    for run, member in ((options.first, network.first), (options.second, network.second)):
        member.load_state_dict(load_spotter(run, len(task.labels)).network.state_dict())
    if module.average is not None:
        module.average.module.load_state_dict(network.state_dict())
    write_run({"state_dict": module.state_dict()}, options.first, options.out, paired)


def _front_end(recipe: Recipe) -> tuple[float, ...]:
    return recipe.sample_rate, recipe.window_s, recipe.bands, recipe.frame_ms, recipe.hop_ms


if __name__ == "__main__":
    try:
        main()
    except HarkenError as error:
        print(f"pair.py: {error}", file=sys.stderr)
        sys.exit(2)
