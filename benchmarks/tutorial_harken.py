"""The tutorial in harken, with the same steps as tutorial_keras.py. benchmarks/tutorial.py runs it.

python benchmarks/tutorial_harken.py load | train | predict --data DIR --run RUN --result FILE [--epochs N] [--clips FILE]

Packs are written to $HARKEN_CACHE. `train` calls the function behind `harken train`.
"""

import argparse
import json
import resource
import statistics
import time
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from typing import Any

PACKAGES = ("harken", "torch", "lightning", "onnxruntime", "miniaudio", "soxr", "numpy")
PREDICTED = 200
WARM_UP = 10


def load_corpus(data: Path) -> dict[str, Any]:
    """Return the number of clips of exact length, and the seconds to read all samples and classes.

    `pack_s` is the time without listing the folder, `cpu_s` the CPU time of all processes and cores.
    """
    from harken.audio.clip import load_clip
    from harken.corpus.pack import pack
    from harken.corpus.table import audio_files, read_corpus
    from harken.tasks.recipe import find_recipe

    recipe = find_recipe("tutorial")
    load_clip(audio_files(data / recipe.words[0])[0], recipe.sample_rate)  # as tutorial_keras.py does
    started, cpu = time.perf_counter(), cpu_seconds()
    corpus = read_corpus([data], words=recipe.words)
    listed = time.perf_counter()
    packed = pack(corpus.clips, sample_rate=recipe.sample_rate, samples=recipe.samples)
    # Training reads the memory map as needed. Here all of it is read, since opening a file is not loading it.
    assert max(int(shard.max()) for shard in packed.shards) > 0
    classes = [recipe.words.index(word) for word in corpus.clips.words]
    assert len(classes) == len(packed)
    ended = time.perf_counter()
    exact = int((packed.lengths == recipe.samples).sum())
    return {"load_s": ended - started, "pack_s": ended - listed, "cpu_s": cpu_seconds() - cpu, "clips": exact}


def cpu_seconds() -> float:
    """Return the CPU time of this process and of its ended child processes."""
    children = resource.getrusage(resource.RUSAGE_CHILDREN)
    return time.process_time() + children.ru_utime + children.ru_stime


def load(options: argparse.Namespace) -> dict[str, Any]:
    return load_corpus(options.data)


def train(options: argparse.Namespace) -> dict[str, Any]:
    loaded = load_corpus(options.data)
    from harken.threads import let_threads_yield

    let_threads_yield()  # as the command line does before it imports torch
    from torch.optim.optimizer import register_optimizer_step_post_hook

    from harken.cli.main import train as train_command
    from harken.runtime.modelfile import ModelFile

    steps: list[float] = []
    register_optimizer_step_post_hook(lambda *_: steps.append(time.perf_counter()))
    settings = [f"epochs={options.epochs}"]
    train_command(recipe="tutorial", data=[options.data], out=options.run, settings=settings)
    fields = ModelFile(options.run).card.fields
    return {
        **loaded,
        "parameters": fields["parameters"],
        "train_clips": fields["clips"]["train"],
        "steps": steps,
        "validation_accuracy": fields["validation_accuracy"],
        "versions": {name: version(name) for name in PACKAGES if find_spec(name)},
    }


def predict(options: argparse.Namespace) -> dict[str, Any]:
    from harken import Recognizer
    from harken.audio.clip import load_clip

    recognizer = Recognizer(options.run)
    waveforms = {}
    for path in options.clips.read_text().splitlines():
        if len(waveforms) < PREDICTED and (samples := load_clip(path, recognizer.sample_rate)).size == 8000:
            waveforms[path] = samples
    for _ in range(WARM_UP):
        recognizer.predict(next(iter(waveforms.values())), source_rate=recognizer.sample_rate)
    array_s, file_s = [], []
    for samples in waveforms.values():
        started = time.perf_counter()
        recognizer.predict(samples, source_rate=recognizer.sample_rate)
        array_s.append(time.perf_counter() - started)
    for path in waveforms:
        started = time.perf_counter()
        recognizer.predict(path)
        file_s.append(time.perf_counter() - started)
    return {"predicted": len(waveforms), "array_s": statistics.median(array_s), "file_s": statistics.median(file_s)}


def main() -> None:
    stages = {"load": load, "train": train, "predict": predict}
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("stage", choices=stages)
    for name in ("--data", "--run", "--result"):
        parser.add_argument(name, type=Path, required=True)
    parser.add_argument("--epochs", type=int, default=100)
    parser.add_argument("--clips", type=Path)
    options = parser.parse_args()
    options.result.write_text(json.dumps(stages[options.stage](options)))


if __name__ == "__main__":
    main()
