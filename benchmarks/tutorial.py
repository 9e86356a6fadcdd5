"""Compare the tutorial in harken with the tutorial in Keras: loading, training, prediction and memory, on the same clips.

python benchmarks/tutorial.py --data DIR [--clips N] [--rounds 3] [--out benchmarks/tutorial.md]

Run it with a Python that has harken[train,flac], on an otherwise idle machine. DIR contains one folder per word. The Keras
version (tutorial_keras.py) gets an environment of its own, build/keras-venv, which is created at the first run. In each round,
both run three fresh processes in turn: load (into an empty cache), train (which loads again) and predict. The ratios are
computed for each round.
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
EPOCHS = 3  # The first is a warm-up.
BATCH = 32
MAX_IDLE_LOAD = 0.5  # load average up to which the machine counts as idle
BUSY_NOTE = "- **Measured beside other work: only the rows on CPU time and memory are reliable.**"
CANDIDATES = 300  # The first 200 of exact length are predicted.

Results = dict[str, dict[str, Any]]  # the report of the process of each stage


@dataclass(frozen=True)
class Measure:
    """A row of the table. `rising` means that more is better; `target` is the ratio to reach, if any."""

    name: str
    unit: str
    value: Callable[[Results], float]
    rising: bool = False
    target: float | None = None

    def ratio(self, keras: Results, harken: Results) -> float:
        """Return by which factor harken is better."""
        ratio = self.value(harken) / self.value(keras)
        return ratio if self.rising else 1 / ratio


def training_rate(results: Results) -> float:
    """Return the examples per second from the end of an epoch's first step to the end of its last, without warm-up."""
    steps, examples = results["train"]["steps"], results["train"]["train_clips"]
    per_epoch = len(steps) // EPOCHS
    epochs = [steps[start : start + per_epoch] for start in range(per_epoch, len(steps), per_epoch)]
    return len(epochs) * (examples - BATCH) / sum(epoch[-1] - epoch[0] for epoch in epochs)


def whole_epoch(results: Results) -> float:
    """Return the seconds per epoch, including validation and checkpoint: from the first step of one to that of the next."""
    steps = results["train"]["steps"]
    per_epoch = len(steps) // EPOCHS
    return (steps[-per_epoch] - steps[per_epoch]) / (EPOCHS - 2)


def load_without_listing(results: Results) -> float:
    """Return the seconds for loading again without listing the folder, which takes no time in Keras."""
    return results["train"].get("pack_s", results["train"]["load_s"])


MEASURES = (
    Measure("first loading, with resampling", "s", lambda r: r["load"]["load_s"], target=3),
    Measure("loading again", "s", lambda r: r["train"]["load_s"], target=100),
    Measure("loading again, without listing the folder", "s", load_without_listing),
    Measure("first loading, CPU time of all processes", "s", lambda r: r["load"]["cpu_s"]),
    Measure("loading again, CPU time", "s", lambda r: r["train"]["cpu_s"]),
    Measure("training", "examples/s", training_rate, rising=True, target=1.1),
    Measure("one epoch, with validation and checkpoint", "s", whole_epoch),
    Measure("prediction of one clip, from an array", "ms", lambda r: 1e3 * r["predict"]["array_s"], target=50),
    Measure("prediction of one clip, from its file", "ms", lambda r: 1e3 * r["predict"]["file_s"], target=50),
    Measure("peak memory, loading", "MB", lambda r: r["load"]["peak_mb"]),
    Measure("peak memory, training", "MB", lambda r: r["train"]["peak_mb"]),
    Measure("peak memory, predicting", "MB", lambda r: r["predict"]["peak_mb"]),
)


def keras_python() -> Path:
    """Return the Python of the Keras environment. It is created if it is missing or has other versions."""
    python = KERAS_VENV / "bin" / "python"
    installed = KERAS_VENV / "requirements.txt"
    wanted = "\n".join(KERAS_REQUIREMENTS)
    if not installed.is_file() or installed.read_text() != wanted:
        print(f"installing {', '.join(KERAS_REQUIREMENTS)} into {KERAS_VENV.relative_to(HERE.parent)}", flush=True)
        venv = [sys.executable, "-m", "venv", "--clear", KERAS_VENV]
        pip = [python, "-m", "pip", "install", "--quiet", *KERAS_REQUIREMENTS]
        for command in (venv, pip):
            if code := subprocess.run(command).returncode:
                sys.exit(f"cannot create the Keras environment: {' '.join(command[1:3])} ended with exit code {code}")
        installed.write_text(wanted)
    return python


def clips_of(data: Path) -> list[Path]:
    """Return the clips of the ten words, word by word. Exit if a word has none."""
    found = []
    for word in WORDS:
        folder = data / word
        clips = sorted(path for path in folder.iterdir() if path.suffix in SUFFIXES) if folder.is_dir() else []
        if not clips:
            sys.exit(f"{data} has no clips of {word} (WAV, FLAC or OGG): give a folder with one folder per word")
        found += clips
    return found


def smaller_corpus(data: Path, count: int, folder: Path) -> Path:
    """Create a corpus folder with links to `count` clips, evenly from the ten words."""
    for word in WORDS:
        (folder / word).mkdir(parents=True)
    clips = clips_of(data)
    for number in range(min(count, len(clips))):
        clip = clips[number * len(clips) // min(count, len(clips))]
        (folder / clip.parent.name / clip.name).symlink_to(clip.resolve())
    return folder


def run(side: str, stage: str, python: Path, data: Path, work: Path, clips: Path) -> dict[str, Any]:
    """Run one stage of one side in a fresh process, and return its report with `peak_mb` added."""
    result, log = work / f"{side}-{stage}.json", work / f"{side}-{stage}.log"
    command = [python, HERE / f"tutorial_{side}.py", stage, "--data", data, "--run", work / side, "--result", result]
    command += ["--epochs", str(EPOCHS), "--clips", clips]
    # Only CPUs are compared. In each round, harken's cache is empty at first.
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
    kilobyte = 1 if sys.platform == "darwin" else 1024  # On macOS, ru_maxrss is in bytes.
    return {**json.loads(result.read_text()), "peak_mb": usage.ru_maxrss * kilobyte / 1e6}


def run_round(pythons: dict[str, Path], data: Path, work: Path, clips: Path) -> dict[str, Results]:
    """Run all stages of both sides in turn, and check that both did the same work."""
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
                f"{stage}: {count} is {keras[stage][count]} in Keras and {harken[stage][count]} in harken: not the same work"
            )
    return results


def machine() -> str:
    """Return processor, cores, memory and operating system in one line."""
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.is_file() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    name = names[0] if names else platform.processor() or platform.machine()
    return f"{name}, {os.cpu_count()} cores, {memory:.0f} GiB, {platform.system()}, Python {platform.python_version()}"


def number(value: float) -> str:
    """Return a value as text with three digits."""
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"


def table(rounds: list[dict[str, Results]]) -> list[str]:
    """Return the table of medians and ratios in Markdown."""
    lines = ["| | Keras | harken | ratio, median (min to max) | target |", "|---|---|---|---|---|"]
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
    """Return the whole page in Markdown."""
    last = {side: rounds[-1][side]["train"] for side in SIDES}
    versions = {side: ", ".join(f"{name} {of}" for name, of in last[side]["versions"].items()) for side in SIDES}
    accuracy = {
        side: statistics.median(each[side]["train"]["validation_accuracy"] for each in rounds) for side in SIDES
    }
    lines = [
        "# The tutorial in harken and in Keras",
        "",
        f"- `{command}`",
        f"- {machine()}; load average {load:.1f} before the first round",
        *([BUSY_NOTE] if load > MAX_IDLE_LOAD else []),
        f"- Keras: {versions['keras']}",
        f"- harken: {versions['harken']}",
        f"- {last['keras']['clips']:,} clips of exactly one second, {last['keras']['train_clips']:,} for training; "
        f"{last['keras']['parameters']:,} parameters; {len(rounds)} rounds",
        "",
        *table(rounds),
        "",
        "Each value is the median over the rounds. A ratio is the factor by which harken is better in one round. Every round",
        "runs fresh processes, in turn, on files that the system has read before. The Keras version loads, resamples (librosa)",
        "and predicts clip by clip. harken loads first into an empty cache and then from that cache, until it has read every",
        "sample. Its processes share the first loading, and their CPU times are added up.",
        f"Training is {EPOCHS} epochs at batch size {BATCH}. The first is left out; the others count from the end of the first",
        "step to the end of the last, without validation. Prediction is the median of",
        f"{rounds[-1]['keras']['predict']['predicted']} clips, `model.predict` against "
        "`Recognizer.predict`. Peak memory is that of the main process, with mapped files and",
        "without the processes that decode audio.",
        f"Validation accuracy after {EPOCHS} epochs: Keras {100 * accuracy['keras']:.1f} %, "
        f"harken {100 * accuracy['harken']:.1f} %.",
        "",
    ]
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="corpus: a folder with one folder per word")
    parser.add_argument("--clips", type=int, help="number of clips to use; default: all")
    parser.add_argument("--rounds", type=int, default=3, help="times to measure both")
    parser.add_argument("--out", type=Path, default=HERE / "tutorial.md", help="page to write")
    options = parser.parse_args()
    clips_of(options.data)  # Reject a wrong folder before gigabytes are installed.
    load = os.getloadavg()[0]
    pythons = {"keras": keras_python(), "harken": Path(sys.executable)}
    BUILD.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory(dir=BUILD) as folder:
        work = Path(folder)
        data = options.data if options.clips is None else smaller_corpus(options.data, options.clips, work / "corpus")
        clips = clips_of(data)
        for clip in clips:
            clip.read_bytes()  # Both sides then find the files in the system's cache.
        chosen = clips[:: max(1, len(clips) // CANDIDATES)]
        (work / "clips.txt").write_text("\n".join(map(str, chosen)))
        rounds = []
        for turn in range(options.rounds):
            rounds.append(run_round(pythons, data, work / f"round-{turn}", work / "clips.txt"))
            ratios = [measure.ratio(rounds[-1]["keras"], rounds[-1]["harken"]) for measure in MEASURES]
            shown = (f"{measure.name} {number(ratio)}" for measure, ratio in zip(MEASURES, ratios, strict=True))
            print(f"round {turn + 1}, ratios: {'; '.join(shown)}", flush=True)
    command = f"python benchmarks/tutorial.py --data {options.data.name}"
    command += f" --clips {options.clips}" if options.clips is not None else ""
    text = page(rounds, f"{command} --rounds {options.rounds}", load)
    options.out.write_text(text, encoding="utf-8")
    print(text)


if __name__ == "__main__":
    main()
