"""Compare networks of up to 60,000 parameters under one training budget, and the effect of each part of the training.

python benchmarks/accuracy.py --data DIR [--data DIR] --noise DIR --speech DIR [--train-only DIR]... --work DIR
                              [--epochs 4] [--teacher MODEL] [--only networks|changes] [--out benchmarks/accuracy.md]

Every network is trained with the same settings of the recipe v12 and evaluated on the recipe's fixed validation list. Then
one setting at a time is changed for one network, with two seeds. Each training is a run in the work folder. An interrupted
benchmark continues where it stopped. The page is written after the networks, and after each change.
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
MAX_PARAMETERS = 60_000
CHANGED_NETWORK = "harken_base"
SEEDS = (7, 8)
FLAGS = ("data", "noise", "speech", "train_only")  # options that name folders


@dataclass(frozen=True)
class Change:
    """One change to the recipe.

    `settings` are recipe values. `words` tells whether the corpora of --train-only are used.
    """

    name: str
    settings: tuple[str, ...] = ()
    words: bool = True

    @property
    def key(self) -> str:
        """The prefix of the names of its runs."""
        parts = ["teacher" if setting.startswith("teacher=") else setting for setting in self.settings]
        return "-".join(parts) or ("recipe" if self.words else "no-train-only")


def changes(teacher: str | None) -> list[Change]:
    """Return the changes to try."""
    listed = [
        Change("the recipe"),
        Change("without the corpora for training only", words=False),
        Change("random frequency response for each clip", ("max_filter_db=12", "cut_probability=0.15")),
        Change("words spliced with continuous speech as `_unknown_`", ("spliced_share=0.2",)),
        Change("background speech behind clips", ("talk_probability=0.3",)),
        Change("noise suppression, as on phones", ("suppression_probability=0.2",)),
        Change("without background noise", ("noise_probability=0",)),
        Change("without rooms", ("room_probability=0",)),
        Change("without masking of bands and frames", ("band_masks=0", "frame_masks=0")),
        Change("mixup", ("mixup=0.2",)),
        Change("weights of the last step instead of a moving average", ("average_decay=0",)),
        Change("synthetic steady noise in addition to recorded noise", ("steady_noise_share=0.3",)),
        Change("chains of other words in addition to continuous speech", ("chained_share=0.4",)),
        Change("words at any position in the window", ("shift_ms=180",)),
    ]
    if teacher is not None:
        listed.append(Change(f"distilled from {Path(teacher).name}", (f"teacher={teacher}",)))
    return listed


@dataclass(frozen=True)
class Trained:
    """The result of a run: accuracy, training time in seconds, and the command as a reader would type it."""

    accuracy: float
    seconds: float
    command: str


def corpus_options(corpora: Sequence[tuple[str, Path]], name: Callable[[Path], str]) -> list[str]:
    return [part for flag, folder in corpora for part in (f"--{flag.replace('_', '-')}", name(folder))]


def short_name(folder: Path) -> str:
    """Return the name of a corpus as a reader would type it, for synthesized ones with the folders above DIR/train."""
    return "/".join(folder.parts[-3:]) if folder.name == "train" else folder.name


def train(options: argparse.Namespace, name: str, network: str, settings: list[str], *, words: bool = True) -> Trained:
    """Train a run, or continue it, unless it is complete."""
    run = options.work / name
    corpora = [(flag, folder) for flag in FLAGS for folder in getattr(options, flag) if words or flag != "train_only"]
    recipe_options = ["--recipe", "v12", "--network", network]
    sets = [part for setting in (f"epochs={options.epochs}", *settings) for part in ("--set", setting)]
    if (run / "recipe.json").is_file():
        found = read_run(run)[0]
        wanted = with_settings(find_recipe("v12"), [f"network={network}", f"epochs={options.epochs}", *settings])
        found, wanted = (replace(recipe, teacher=(), start_from="") for recipe in (found, wanted))  # stored as paths
        if found != wanted:
            sys.exit(f"{run} contains a run of another recipe: give another --work, or delete it")
    if not (run / "model.onnx").is_file():
        print(f"training {name}", flush=True)
        harken = [sys.executable, "-m", "harken"]
        started = (run / "recipe.json").is_file()
        command = (
            ["train", "--resume", run]
            if started
            else ["train", *recipe_options, *corpus_options(corpora, str), *sets, "--out", run]
        )
        if code := subprocess.run([*harken, *command]).returncode:
            sys.exit(f"training {name} ended with exit code {code}: start the benchmark again to continue")
    fields = ModelFile(run).card.fields
    with (run / "history.csv").open() as file:
        epochs = [float(row["seconds"]) for row in csv.DictReader(file)]
    seconds = len(epochs) * statistics.median(
        epochs
    )  # The median ignores epochs during which the machine was suspended.
    command = shlex.join(
        ["harken", "train", *recipe_options, *corpus_options(corpora, short_name), *sets, "--out", "RUN"]
    )
    return Trained(fields["validation_accuracy"], seconds, command)


def percent(accuracy: float, clips: int) -> str:
    low, high = wilson_interval(round(accuracy * clips), clips)
    return f"{100 * accuracy:.2f} % ({100 * low:.1f} to {100 * high:.1f})"


def network_rows(options: argparse.Namespace) -> tuple[list[str], list[str]]:
    """Return the rows of the networks that are trained, and of those that are only listed."""
    counted = {name: count_by_name(name) for name in NETWORKS if not name.startswith("tutorial")}
    rows, commands, others = [], [], []
    for name, counts in sorted(counted.items(), key=lambda item: item[1].parameters):
        cost = f"| `{name}` | {counts.parameters:,} | {counts.multiply_adds / 1e6:.1f} M |"
        if counts.parameters > MAX_PARAMETERS:
            others.append(f"{cost} not trained here |  |")
            continue
        if options.only == "changes" and not (options.work / name / "model.onnx").is_file():
            continue
        trained = train(options, name, name, [])
        rows.append(f"{cost} {percent(trained.accuracy, options.validation_clips)} | {trained.seconds / 60:.1f} min |")
        commands.append(trained.command.replace(f"--network {name}", "--network NETWORK"))
    return [*rows, *others], commands


def change_rows(options: argparse.Namespace) -> Iterator[str]:
    """Yield the row of each change that was trained with both seeds."""
    first: list[float] = []
    for number, change in enumerate(changes(options.teacher)):
        found = []
        for seed in SEEDS:
            name = f"{change.key}-{seed}"
            if options.only == "networks" and not (options.work / name / "model.onnx").is_file():
                break
            found.append(
                train(options, name, CHANGED_NETWORK, [f"seed={seed}", *change.settings], words=change.words).accuracy
            )
        if len(found) < len(SEEDS):
            continue
        first = first or found
        differences = [100 * (one - other) for one, other in zip(found, first, strict=True)]
        shares = " | ".join(f"{100 * accuracy:.2f} %" for accuracy in found)
        mean = sum(differences) / len(differences)
        settings = ", ".join(f"`{setting}`" for setting in change.settings) or (
            "no `--train-only`" if not change.words else ""
        )
        yield f"| {change.name} | {settings} | {shares} | {'' if number == 0 else f'{mean:+.2f}'} |"


def write(options: argparse.Namespace, rows: list[str], commands: list[str], changed: list[str]) -> None:
    """Write the page with the results so far."""
    lines = [
        "# Networks under one training budget, and what improves them",
        "",
        f"- `python benchmarks/accuracy.py {shlex.join(shown_arguments(options))}`",
        f"- recipe v12, {options.epochs} epochs, evaluated on its fixed list of {options.validation_clips:,} validation clips",
        "",
        "The budget is small: it ranks networks by how fast they learn, and none reaches its best accuracy. The",
        "[bundled models](../src/harken/weights) were trained for longer, in several stages.",
        "",
        "| network | parameters | multiply-adds | validation accuracy | training |",
        "|---|---|---|---|---|",
        *rows,
        "",
        "An interval is the uncertainty due to the number of clips, for one trained network. Another seed changes the accuracy,",
        "too. The training time is the number of epochs times the median epoch, on one core beside other work: compare it with",
        "care. The command of each row was",
        "",
        *(f"    {command}" for command in dict.fromkeys(commands)),
        "",
    ]
    if changed:
        lines += [
            f"## One change at a time, `{CHANGED_NETWORK}`",
            "",
            "| change | settings | " + " | ".join(f"seed {seed}" for seed in SEEDS) + " | points, mean |",
            "|---|---|" + "---|" * (len(SEEDS) + 1),
            *changed,
            "",
            "The commands are those above with `--set seed=7` or `8` and the settings. The first row shows how much two seeds of",
            "one recipe differ; a smaller effect of a change is not significant. Clean validation clips do not show the effect",
            "of a change in noise, background speech or with muffled microphones.",
            "",
        ]
    listed = changes(options.teacher)
    if left := [change.name for change in listed if not any(row.startswith(f"| {change.name} |") for row in changed)]:
        lines += [f"Not trained yet: {'; '.join(left)}.", ""]
    options.out.write_text("\n".join(lines), encoding="utf-8")


def shown_arguments(options: argparse.Namespace) -> list[str]:
    """Return the arguments of the command as a reader would type them."""
    corpora = [(flag, folder) for flag in FLAGS for folder in getattr(options, flag)]
    arguments = [*corpus_options(corpora, short_name), "--work", "runs", "--epochs", str(options.epochs)]
    return arguments if options.teacher is None else [*arguments, "--teacher", Path(options.teacher).name]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, action="append", required=True, help="corpus; repeatable")
    parser.add_argument("--noise", type=Path, action="append", required=True, help="folder of noise; repeatable")
    parser.add_argument("--speech", type=Path, action="append", default=[], help="folder of speech; repeatable")
    parser.add_argument("--train-only", type=Path, action="append", default=[], help="corpus for training only")
    parser.add_argument("--work", type=Path, required=True, help="folder for the runs")
    parser.add_argument("--epochs", type=int, default=4, help="epochs of each training")
    parser.add_argument("--teacher", help="model to distill from, for the row on distillation")
    parser.add_argument("--only", choices=("networks", "changes"), help="train only these")
    parser.add_argument(
        "--validation-clips", type=int, default=2_300, help="number of clips in the recipe's validation list"
    )
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
