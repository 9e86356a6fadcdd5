"""Measure time and memory per clip in training as the corpus grows from a thousand clips to a million.

python benchmarks/scaling.py [--sizes 1000 10000 100000 1000000] [--work DIR] [--out benchmarks/scaling.md]

For each size, a pack of synthetic clips of one second at 16 kHz is written to the work folder (32 KB per clip, so 32 GB for a
million; it is deleted afterwards). A fresh process draws an epoch, gathers batches in shuffled order, then gathers and
augments them as the recipe v12 does. No network runs. A corpus that does not fit into memory is read from the memory map, so
the memory must not grow with it.
"""

import argparse
import json
import os
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

_RATE = 16_000
_WORDS = ("yes", "no", "up", "down", "left", "right", "on", "off", "stop", "go")
_SHARD_ROWS = 62_464  # as in harken.corpus.pack: the most blocks of 64 clips in 2 GB
_BLOCK = 976
_BATCHES = 100


def make_shards(folder: Path, clips: int) -> None:
    """Write a pack of `clips` noisy tones, by repeating a block of 976 different ones."""
    rng = np.random.default_rng(0)
    seconds = np.arange(_RATE) / _RATE
    tones = np.sin(2 * np.pi * rng.uniform(200, 2_000, (_BLOCK, 1)) * seconds) + 0.1 * rng.standard_normal(
        (_BLOCK, _RATE)
    )
    block = (8_000 * tones).astype(np.int16)
    for number, start in enumerate(range(0, clips, _SHARD_ROWS)):
        rows = min(_SHARD_ROWS, clips - start)
        shard = np.lib.format.open_memmap(
            folder / f"shard-{number}.npy", mode="w+", dtype=np.int16, shape=(rows, _RATE)
        )
        for first in range(0, rows, _BLOCK):
            shard[first : first + _BLOCK] = block[: min(_BLOCK, rows - first)]
        shard.flush()


def measure(folder: Path) -> dict[str, float]:
    """Return the time per clip for drawing an epoch, for gathering and for augmenting, and the memory of the process."""
    import torch

    from harken.corpus.pack import PackedClips
    from harken.tasks.protocol import Task
    from harken.tasks.recipe import find_recipe, with_settings
    from harken.training.batches import EpochSampler
    from harken.training.waveforms import WaveformLoader

    names = sorted(folder.glob("shard-*.npy"), key=lambda path: int(path.stem[6:]))
    shards = tuple(np.load(name, mmap_mode="r") for name in names)
    clips = sum(len(shard) for shard in shards)
    packed = PackedClips(shards, np.full(clips, _RATE, np.int32), _RATE, ())
    recipe = with_settings(find_recipe("v12"), ["unknown_share=0", "silence_share=0", "noise_probability=0"])
    task = Task(_WORDS, (), packed, np.arange(clips) % len(_WORDS), np.full(clips, "train"))
    base = _resident_bytes()

    started = time.perf_counter()
    rows, labels = (torch.from_numpy(drawn) for drawn in EpochSampler(task, recipe).draw(0))
    drawn = time.perf_counter() - started
    loader = WaveformLoader(task, recipe, torch.device("cpu"))
    gathered = augmented = examples = 0.0
    for _ in range(-(-_BATCHES * recipe.batch_size // len(rows))):  # A small corpus is used more than once.
        for some, of_them in zip(rows.split(recipe.batch_size), labels.split(recipe.batch_size), strict=True):
            started = time.perf_counter()
            loader.clips.gather(some)
            gathered += time.perf_counter() - started
            started = time.perf_counter()
            loader.load_augmented(some, of_them)
            augmented += time.perf_counter() - started
            examples += len(some)
            if examples >= _BATCHES * recipe.batch_size:
                break
    return {
        "draw_us": 1e6 * drawn / len(rows),
        "gather_ms": 1e3 * gathered / examples,
        "augment_ms": 1e3 * augmented / examples,
        "own_mb": (_resident_bytes() - base) / 1e6,
        "peak_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024) / 1e6,
    }


def _resident_bytes() -> int:
    """Return the memory of the process without pages of mapped files, which the system can free at any time."""
    fields = Path("/proc/self/statm").read_text().split()
    return (int(fields[1]) - int(fields[2])) * os.sysconf("SC_PAGE_SIZE")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sizes", type=int, nargs="+", default=[1_000, 10_000, 100_000, 1_000_000], help="clips")
    parser.add_argument(
        "--work", type=Path, default=Path(__file__).parent.parent / "build", help="folder for the packs"
    )
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "scaling.md", help="page to write")
    parser.add_argument("--measure", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.measure:
        print(json.dumps(measure(options.measure)))
        return
    options.work.mkdir(parents=True, exist_ok=True)
    need = 1.1 * 2 * _RATE * max(options.sizes)
    if shutil.disk_usage(options.work).free < need:
        sys.exit(
            f"{options.work} has less than {need / 1e9:.0f} GB free: give another folder with --work, or smaller --sizes"
        )
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    lines = [
        "# Time and memory per clip as the corpus grows",
        "",
        f"- `python benchmarks/scaling.py --sizes {' '.join(map(str, options.sizes))}`",
        f"- {os.cpu_count()} cores, {memory:.0f} GiB of memory; {_BATCHES} shuffled batches of 128, "
        "in a fresh process for each size",
        "",
        "| clips | GB | drawing, µs per clip | gathering, ms per clip | augmenting, ms per clip | own memory, MB "
        "| with mapped pages, MB |",
        "|---|---|---|---|---|---|---|",
    ]
    for clips in options.sizes:
        with tempfile.TemporaryDirectory(dir=options.work) as folder:
            make_shards(Path(folder), clips)
            done = subprocess.run(
                [sys.executable, __file__, "--measure", folder], check=True, capture_output=True, text=True
            )
        found = json.loads(done.stdout)
        lines.append(
            f"| {clips:,} | {2 * _RATE * clips / 1e9:.2f} | {found['draw_us']:.2f} | {found['gather_ms']:.3f} "
            f"| {found['augment_ms']:.2f} | {found['own_mb']:.0f} | {found['peak_mb']:.0f} |"
        )
        print(lines[-1], flush=True)
    lines += [
        "",
        "Drawing is the selection of a whole epoch. Gathering reads the clips of a batch. Augmenting gathers and augments them.",
        "No network runs. Own memory is that of the process beyond its modules. Mapped pages are freed by the system when it",
        "needs memory. If the corpus is larger than memory, gathering waits for the disk, and augmenting then finds the same",
        "clips in memory.",
    ]
    options.out.write_text("\n".join(lines) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
