"""Networks of up to 60,000 parameters under one budget, and what each part of the training brings.

python benchmarks/accuracy.py --data DIR [--data DIR] --noise DIR --speech DIR [--train-only DIR]... --work DIR
                              [--epochs 4] [--teacher MODEL] [--only networks|changes] [--out benchmarks/accuracy.md]

Every network trains by the recipe v12, whose settings are the same for all, and is judged on the recipe's fixed validation
list. Then one setting at a time is changed on one network, with two seeds. Each training is a run in the work folder:
started again, the benchmark goes on where it stopped. The page is written after the networks, and after each change.
"""

import argparse
import csv
import shlex
import statistics
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from harken.evaluation.metrics import wilson_interval
from harken.models.registry import NETWORKS
from harken.models.summary import count_by_name
from harken.runtime.modelfile import ModelFile
from harken.tasks.recipe import find_recipe, with_settings
from harken.training.run_folder import read_run

HERE = Path(__file__).resolve().parent
MOST_PARAMETERS = 60_000
CHANGED = "harken_base"
SEEDS = (7, 8)
FLAGS = ("data", "noise", "speech", "train_only")  # options that name folders


@dataclass(frozen=True)
class Change:
    """One departure from the recipe. settings : recipe values. words : whether the corpora of --train-only take part."""

    name: str
    settings: tuple[str, ...] = ()
    words: bool = True

    @property
    def key(self) -> str:
        """What its runs are named after."""
        said = ["teacher" if setting.startswith("teacher=") else setting for setting in self.settings]
        return "-".join(said) or ("recipe" if self.words else "no-train-only")


def changes(teacher: str | None) -> list[Change]:
    """Return the departures that are tried."""
    listed = [
        Change("the recipe"),
        Change("without the corpora that only train", words=False),
        Change("each clip through a drawn frequency response", ("max_filter_db=12", "cut_probability=0.15")),
        Change("words that turn into running speech among `_unknown_`", ("spliced_share=0.2",)),
        Change("running speech behind clips", ("talk_probability=0.3",)),
        Change("steady noise taken away, as phones do", ("suppression_probability=0.2",)),
        Change("without noise behind clips", ("noise_probability=0",)),
        Change("without rooms", ("room_probability=0",)),
        Change("without masks of bands and frames", ("band_masks=0", "frame_masks=0")),
        Change("mixup", ("mixup=0.2",)),
        Change("weights of the last step, no moving average", ("average_decay=0",)),
        Change("steady noise that is made among the recorded", ("steady_noise_share=0.3",)),
        Change("other words, chained, among running speech", ("chained_share=0.4",)),
        Change("words anywhere in the window", ("shift_ms=180",)),
    ]
    if teacher is not None:
        listed.append(Change(f"distilled from {Path(teacher).name}", (f"teacher={teacher}",)))
    return listed


@dataclass(frozen=True)
class Trained:
    """What came of a run. seconds : of its epochs, by their median. command : as a reader would type it."""

    accuracy: float
    seconds: float
    command: str


def given(corpora: Sequence[tuple[str, Path]], said: Callable[[Path], str]) -> list[str]:
    return [part for flag, folder in corpora for part in (f"--{flag.replace('_', '-')}", said(folder))]


def short(folder: Path) -> str:
    """Return a corpus' name as a reader would type it; a side of a synthesised one with the folders above it."""
    return "/".join(folder.parts[-3:]) if folder.name == "train" else folder.name


def train(options: argparse.Namespace, name: str, network: str, settings: list[str], *, words: bool = True) -> Trained:
    """Train a run, or go on with it, unless it is there."""
    run = options.work / name
    corpora = [(flag, folder) for flag in FLAGS for folder in getattr(options, flag) if words or flag != "train_only"]
    asked = ["--recipe", "v12", "--network", network]
    sets = [part for setting in (f"epochs={options.epochs}", *settings) for part in ("--set", setting)]
    if (run / "recipe.json").is_file():
        found = read_run(run)[0]
        wanted = with_settings(find_recipe("v12"), [f"network={network}", f"epochs={options.epochs}", *settings])
        if replace(found, teacher=(), start_from="") != replace(wanted, teacher=(), start_from=""):  # kept as paths
            sys.exit(f"{run} holds a run of another recipe: name another --work, or remove it")
    if not (run / "model.onnx").is_file():
        print(f"training {name}", flush=True)
        harken = [sys.executable, "-m", "harken"]
        begun = (run / "recipe.json").is_file()
        command = ["train", "--resume", run] if begun else ["train", *asked, *given(corpora, str), *sets, "--out", run]
        if code := subprocess.run([*harken, *command]).returncode:
            sys.exit(f"training {name} ended with {code}: start again to go on with it")
    fields = ModelFile(run).card.fields
    with (run / "history.csv").open() as file:
        epochs = [float(row["seconds"]) for row in csv.DictReader(file)]
    seconds = len(epochs) * statistics.median(epochs)  # one in which the machine slept does not count
    said = shlex.join(["harken", "train", *asked, *given(corpora, short), *sets, "--out", "RUN"])
    return Trained(fields["validation_accuracy"], seconds, said)


def percent(accuracy: float, clips: int) -> str:
    low, high = wilson_interval(round(accuracy * clips), clips)
    return f"{100 * accuracy:.2f} % ({100 * low:.1f} to {100 * high:.1f})"


def network_rows(options: argparse.Namespace) -> tuple[list[str], list[str]]:
    """Return the rows of the networks that train, and of those that are only counted."""
    twelve = {name: count_by_name(name) for name in NETWORKS if not name.startswith("tutorial")}
    rows, commands, others = [], [], []
    for name, counts in sorted(twelve.items(), key=lambda item: item[1].parameters):
        cost = f"| `{name}` | {counts.parameters:,} | {counts.multiply_adds / 1e6:.1f} M |"
        if counts.parameters > MOST_PARAMETERS:
            others.append(f"{cost} not trained here |  |")
            continue
        if options.only == "changes" and not (options.work / name / "model.onnx").is_file():
            continue
        trained = train(options, name, name, [])
        rows.append(f"{cost} {percent(trained.accuracy, options.judged)} | {trained.seconds / 60:.1f} min |")
        commands.append(trained.command.replace(f"--network {name}", "--network NETWORK"))
    return [*rows, *others], commands


def change_rows(options: argparse.Namespace) -> Iterator[str]:
    """Yield the row of each change that both seeds have trained."""
    first: list[float] = []
    for number, change in enumerate(changes(options.teacher)):
        found = []
        for seed in SEEDS:
            name = f"{change.key}-{seed}"
            if options.only == "networks" and not (options.work / name / "model.onnx").is_file():
                break
            found.append(train(options, name, CHANGED, [f"seed={seed}", *change.settings], words=change.words).accuracy)
        if len(found) < len(SEEDS):
            continue
        first = first or found
        apart = [100 * (one - other) for one, other in zip(found, first, strict=True)]
        shares = " | ".join(f"{100 * accuracy:.2f} %" for accuracy in found)
        mean = sum(apart) / len(apart)
        settings = ", ".join(f"`{setting}`" for setting in change.settings) or (
            "no `--train-only`" if not change.words else ""
        )
        yield f"| {change.name} | {settings} | {shares} | {'' if number == 0 else f'{mean:+.2f}'} |"


def write(options: argparse.Namespace, rows: list[str], commands: list[str], changed: list[str]) -> None:
    """Write the page of what there is so far."""
    lines = [
        "# Networks under one budget, and what helps",
        "",
        f"- `python benchmarks/accuracy.py {shlex.join(shown(options))}`",
        f"- recipe v12, {options.epochs} epochs, judged on its fixed list of {options.judged:,} validation clips",
        "",
        "The budget is small: it ranks networks by how fast they learn, and none is at its best. The",
        "[models in the box](../src/harken/weights) trained for longer and on.",
        "",
        "| network | parameters | multiply-adds | validation accuracy | training |",
        "|---|---|---|---|---|",
        *rows,
        "",
        "An interval says how far the accuracy of one trained network is known from so many clips; another seed moves it",
        "too. Training is the epochs times the median epoch, on one core beside other work: compare it with care. Each row",
        "came of",
        "",
        *(f"    {command}" for command in dict.fromkeys(commands)),
        "",
    ]
    if changed:
        lines += [
            f"## One change at a time, `{CHANGED}`",
            "",
            "| change | settings | " + " | ".join(f"seed {seed}" for seed in SEEDS) + " | points, mean |",
            "|---|---|" + "---|" * (len(SEEDS) + 1),
            *changed,
            "",
            "The commands are those above with `--set seed=7` or `8` and the settings. Two seeds of one recipe differ by what",
            "the first row shows; a change that brings less than that is not shown to help, nor to harm. What a change does for",
            "noise, talk and muffled microphones is not seen in clean validation clips.",
            "",
        ]
    listed = changes(options.teacher)
    if left := [change.name for change in listed if not any(row.startswith(f"| {change.name} |") for row in changed)]:
        lines += [f"Not trained yet: {'; '.join(left)}.", ""]
    options.out.write_text("\n".join(lines), encoding="utf-8")


def shown(options: argparse.Namespace) -> list[str]:
    """Return the command's arguments as a reader would type them."""
    corpora = [(flag, folder) for flag in FLAGS for folder in getattr(options, flag)]
    said = [*given(corpora, short), "--work", "runs", "--epochs", str(options.epochs)]
    return said if options.teacher is None else [*said, "--teacher", Path(options.teacher).name]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, action="append", required=True)
    parser.add_argument("--noise", type=Path, action="append", required=True)
    parser.add_argument("--speech", type=Path, action="append", default=[])
    parser.add_argument("--train-only", type=Path, action="append", default=[])
    parser.add_argument("--work", type=Path, required=True, help="folder of the runs")
    parser.add_argument("--epochs", type=int, default=4)
    parser.add_argument("--teacher", help="model to distil from, for the row of that")
    parser.add_argument("--only", choices=("networks", "changes"))
    parser.add_argument("--judged", type=int, default=2_300, help="clips of the recipe's validation list")
    parser.add_argument("--out", type=Path, default=HERE / "accuracy.md")
    options = parser.parse_args()
    options.work.mkdir(parents=True, exist_ok=True)
    rows, commands = network_rows(options)
    changed: list[str] = []
    write(options, rows, commands, changed)
    for row in change_rows(options):
        changed.append(row)
        write(options, rows, commands, changed)
    print(options.out)


if __name__ == "__main__":
    main()
