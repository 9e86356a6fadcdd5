"""The tutorial by harken beside the tutorial in Keras: loading, training, predicting, memory, on the same clips.

python benchmarks/tutorial.py --data DIR [--clips N] [--rounds 3] [--out benchmarks/tutorial.md]

Run it with the Python that has harken[train,flac], on a machine that does nothing else; DIR holds one folder a word. The
Keras side (tutorial_keras.py) gets an environment of its own, build/keras-venv, made at the first run. In each round
each side runs three fresh processes, in turn with the other's: load (into an empty cache), train (which loads again)
and predict. Ratios are taken round by round.
"""

import argparse
import json
import os
import platform
import shutil
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
BUILD = HERE.parent / "build"
KERAS_VENV = BUILD / "keras-venv"
KERAS_REQUIREMENTS = (
    "tensorflow-cpu==2.21.0",
    "keras==3.15.1",
    "librosa==0.11.0",
    "soundfile==0.14.0",
    "soxr==1.1.0",
    "numpy==2.4.6",
    "scikit-learn==1.9.1",
)
WORDS = ("yes", "no", "up", "down", "left", "right", "on", "off", "stop", "go")
SUFFIXES = (".wav", ".flac", ".ogg")
SIDES = ("keras", "harken")
EPOCHS = 3  # the first warms up
BATCH = 32
IDLE = 0.5  # load average up to which the machine does nothing else
BUSY = "- **Measured beside other work: of the rows below, those of CPU time and of memory alone can be relied on.**"
CANDIDATES = 300  # of which the first 200 of exact length are predicted

Results = dict[str, dict[str, Any]]  # stage -> what the process of that stage reported


@dataclass(frozen=True)
class Measure:
    """A row of the table. rising : more is better. target : the least ratio to reach, where there is one."""

    name: str
    unit: str
    value: Callable[[Results], float]
    rising: bool = False
    target: float | None = None

    def ratio(self, keras: Results, harken: Results) -> float:
        """Return how many times better harken is."""
        ratio = self.value(harken) / self.value(keras)
        return ratio if self.rising else 1 / ratio


def training_rate(results: Results) -> float:
    """Return examples/s from the end of an epoch's first step to the end of its last, the warm-up epoch left out."""
    steps, examples = results["train"]["steps"], results["train"]["train_clips"]
    per_epoch = len(steps) // EPOCHS
    epochs = [steps[start : start + per_epoch] for start in range(per_epoch, len(steps), per_epoch)]
    return len(epochs) * (examples - BATCH) / sum(epoch[-1] - epoch[0] for epoch in epochs)


def whole_epoch(results: Results) -> float:
    """Return the seconds from the second epoch's first step to the last epoch's, validation and checkpoint included."""
    steps = results["train"]["steps"]
    per_epoch = len(steps) // EPOCHS
    return (steps[-per_epoch] - steps[per_epoch]) / (EPOCHS - 2)


def listed_before(results: Results) -> float:
    """Return the seconds of loading again without listing the folder, which Keras does in no time."""
    return results["train"].get("pack_s", results["train"]["load_s"])


MEASURES = (
    Measure("first loading + resampling", "s", lambda r: r["load"]["load_s"], target=3),
    Measure("loading again", "s", lambda r: r["train"]["load_s"], target=100),
    Measure("loading again, the folder listed before", "s", listed_before),
    Measure("first loading, CPU time of all processes", "s", lambda r: r["load"]["cpu_s"]),
    Measure("loading again, CPU time", "s", lambda r: r["train"]["cpu_s"]),
    Measure("training", "examples/s", training_rate, rising=True, target=1.1),
    Measure("a whole epoch, with validation and checkpoint", "s", whole_epoch),
    Measure("prediction of one clip, from an array", "ms", lambda r: 1e3 * r["predict"]["array_s"], target=50),
    Measure("prediction of one clip, from its file", "ms", lambda r: 1e3 * r["predict"]["file_s"], target=50),
    Measure("peak memory, loading", "MB", lambda r: r["load"]["peak_mb"]),
    Measure("peak memory, training", "MB", lambda r: r["train"]["peak_mb"]),
    Measure("peak memory, predicting", "MB", lambda r: r["predict"]["peak_mb"]),
)


def keras_python() -> Path:
    """Return the Python of the Keras environment, which is made where it is missing or of other versions."""
    python = KERAS_VENV / "bin" / "python"
    made = KERAS_VENV / "requirements.txt"
    wanted = "\n".join(KERAS_REQUIREMENTS)
    if not made.is_file() or made.read_text() != wanted:
        print(f"installing {', '.join(KERAS_REQUIREMENTS)} into {KERAS_VENV.relative_to(HERE.parent)}", flush=True)
        venv = [sys.executable, "-m", "venv", "--clear", KERAS_VENV]
        pip = [python, "-m", "pip", "install", "--quiet", *KERAS_REQUIREMENTS]
        for command in (venv, pip):
            if code := subprocess.run(command).returncode:
                sys.exit(f"the Keras environment cannot be made: {' '.join(command[1:3])} ended with {code}")
        made.write_text(wanted)
    return python


def clips_of(data: Path) -> list[Path]:
    """Return the clips of the ten words, word by word; ends the program where a word has none."""
    found = []
    for word in WORDS:
        folder = data / word
        clips = sorted(path for path in folder.iterdir() if path.suffix in SUFFIXES) if folder.is_dir() else []
        if not clips:
            sys.exit(f"{data} has no clips of {word} (WAV, FLAC or OGG): name a folder of one-word folders")
        found += clips
    return found


def smaller(data: Path, count: int, folder: Path) -> Path:
    """Lay links to `count` clips, evenly taken from the ten words, into a corpus folder of its own."""
    for word in WORDS:
        (folder / word).mkdir(parents=True)
    clips = clips_of(data)
    for number in range(min(count, len(clips))):
        clip = clips[number * len(clips) // min(count, len(clips))]
        (folder / clip.parent.name / clip.name).symlink_to(clip.resolve())
    return folder


def run(side: str, stage: str, python: Path, data: Path, work: Path, clips: Path) -> dict[str, Any]:
    """Run one stage of one side in a fresh process and return what it reported, with `peak_mb`."""
    result, log = work / f"{side}-{stage}.json", work / f"{side}-{stage}.log"
    command = [python, HERE / f"tutorial_{side}.py", stage, "--data", data, "--run", work / side, "--result", result]
    command += ["--epochs", str(EPOCHS), "--clips", clips]
    # Only processors are compared; harken packs into the round's own cache, empty at first.
    environment = {
        **os.environ,
        "CUDA_VISIBLE_DEVICES": "",
        "HARKEN_CACHE": str(work / "cache"),
        "TF_CPP_MIN_LOG_LEVEL": "2",
    }
    with log.open("wb") as output:
        process = subprocess.Popen(command, env=environment, stdout=output, stderr=subprocess.STDOUT)
        _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode != 0:
        sys.exit(f"tutorial_{side}.py {stage} failed:\n{log.read_text(errors='replace')[-4000:]}")
    kilobyte = 1 if sys.platform == "darwin" else 1024  # ru_maxrss is in bytes there
    return {**json.loads(result.read_text()), "peak_mb": usage.ru_maxrss * kilobyte / 1e6}


def run_round(pythons: dict[str, Path], data: Path, work: Path, clips: Path) -> dict[str, Results]:
    """Run all stages of both sides, in turn, and make sure that both did the same work."""
    results: dict[str, Results] = {side: {} for side in SIDES}
    work.mkdir()
    for stage in ("load", "train", "predict"):
        for side in SIDES:
            results[side][stage] = run(side, stage, pythons[side], data, work, clips)
    shutil.rmtree(work)
    keras, harken = results["keras"], results["harken"]
    counts = [("load", "clips"), ("train", "clips"), ("train", "train_clips"), ("train", "parameters")]
    for stage, count in [*counts, ("predict", "predicted")]:
        if keras[stage][count] != harken[stage][count]:
            sys.exit(
                f"{stage}: {count} of Keras {keras[stage][count]}, of harken {harken[stage][count]}: not the same work"
            )
    return results


def machine() -> str:
    """Return processor, cores, memory and system in one line."""
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.is_file() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    name = names[0] if names else platform.processor() or platform.machine()
    return f"{name}, {os.cpu_count()} cores, {memory:.0f} GiB, {platform.system()}, Python {platform.python_version()}"


def number(value: float) -> str:
    """Return a value with three figures."""
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"


def table(rounds: list[dict[str, Results]]) -> list[str]:
    """Return the table of medians and ratios, in Markdown."""
    lines = ["| | Keras | harken | ratio, median (least to most) | to reach |", "|---|---|---|---|---|"]
    for measure in MEASURES:
        medians = [number(statistics.median(measure.value(each[side]) for each in rounds)) for side in SIDES]
        ratios = [measure.ratio(each["keras"], each["harken"]) for each in rounds]
        median, least, most = (number(value) for value in (statistics.median(ratios), min(ratios), max(ratios)))
        target = "" if measure.target is None else f"{measure.target}"
        lines.append(
            f"| {measure.name}, {measure.unit} | {medians[0]} | {medians[1]} | {median} ({least} to {most}) | {target} |"
        )
    return lines


def page(rounds: list[dict[str, Results]], command: str, load: float) -> str:
    """Return the whole page, in Markdown."""
    last = {side: rounds[-1][side]["train"] for side in SIDES}
    versions = {side: ", ".join(f"{name} {of}" for name, of in last[side]["versions"].items()) for side in SIDES}
    accuracy = {
        side: statistics.median(each[side]["train"]["validation_accuracy"] for each in rounds) for side in SIDES
    }
    lines = [
        "# The tutorial: harken beside Keras",
        "",
        f"- `{command}`",
        f"- {machine()}; load average {load:.1f} before the first round",
        *([BUSY] if load > IDLE else []),
        f"- Keras: {versions['keras']}",
        f"- harken: {versions['harken']}",
        f"- {last['keras']['clips']:,} clips of exactly one second, {last['keras']['train_clips']:,} to train; "
        f"{last['keras']['parameters']:,} parameters; rounds: {len(rounds)}",
        "",
        *table(rounds),
        "",
        "Each value is the median over the rounds; a ratio says how many times better harken is in one round. Every",
        "round runs fresh processes, one side after the other, on files that the system has read once. The Keras side",
        "loads, resamples (librosa) and predicts clip by clip. harken loads first into an empty cache, again from that",
        "cache, until it has read every sample; its processes share the first loading, whose CPU time is added up over the",
        f"cores. Training: {EPOCHS} epochs at batch {BATCH}, the first left out, from the end of an epoch's first step to",
        "the end of its last, so without validation. Prediction: the median of",
        f"{rounds[-1]['keras']['predict']['predicted']} clips, `model.predict` beside "
        "`Recognizer.predict`. Peak memory is that of the main process, mapped files",
        "included, the processes that decode left out.",
        f"Validation accuracy after {EPOCHS} epochs: Keras {100 * accuracy['keras']:.1f} %, "
        f"harken {100 * accuracy['harken']:.1f} %.",
        "",
    ]
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="folder of one-word folders")
    parser.add_argument("--clips", type=int, help="take this many clips instead of all")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--out", type=Path, default=HERE / "tutorial.md")
    options = parser.parse_args()
    clips_of(options.data)  # a wrong folder is refused before gigabytes are installed
    load = os.getloadavg()[0]
    pythons = {"keras": keras_python(), "harken": Path(sys.executable)}
    BUILD.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory(dir=BUILD) as folder:
        work = Path(folder)
        data = options.data if options.clips is None else smaller(options.data, options.clips, work / "corpus")
        clips = clips_of(data)
        for clip in clips:
            clip.read_bytes()  # so that no side meets a colder disk than the other
        chosen = clips[:: max(1, len(clips) // CANDIDATES)]
        (work / "clips.txt").write_text("\n".join(map(str, chosen)))
        rounds = []
        for turn in range(options.rounds):
            rounds.append(run_round(pythons, data, work / f"round-{turn}", work / "clips.txt"))
            ratios = [measure.ratio(rounds[-1]["keras"], rounds[-1]["harken"]) for measure in MEASURES]
            said = (f"{measure.name} {number(ratio)}" for measure, ratio in zip(MEASURES, ratios, strict=True))
            print(f"round {turn + 1}, ratios: {'; '.join(said)}", flush=True)
    command = f"python benchmarks/tutorial.py --data {options.data.name}"
    command += f" --clips {options.clips}" if options.clips is not None else ""
    text = page(rounds, f"{command} --rounds {options.rounds}", load)
    options.out.write_text(text, encoding="utf-8")
    print(text)


if __name__ == "__main__":
    main()
