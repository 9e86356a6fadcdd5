"""What a clip costs in training as the corpus grows from a thousand clips to a million: time and memory.

python benchmarks/scaling.py [--sizes 1000 10000 100000 1000000] [--work DIR] [--out benchmarks/scaling.md]

Each size gets a pack of synthetic clips of one second at 16 kHz (32 KB a clip: a million take 32 GB in the work folder,
which are removed), and a fresh process in which an epoch is drawn and batches are gathered in shuffled order, then heard
(gathered again and augmented as the recipe v12 does), without a network. A corpus that does not fit in memory is read
from the memory map: memory must not follow it.
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
_SHARD_ROWS = 62_464  # as harken.corpus.pack cuts them: the most blocks of 64 clips in 2 GB
_BLOCK = 976
_BATCHES = 100


def make_shards(folder: Path, clips: int) -> None:
    """Write a pack of `clips` noisy tones; a block of 976 different ones is repeated."""
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
    """Return the milliseconds a clip of drawing an epoch, of gathering and of augmenting, and the process's memory."""
    import torch

    from harken.corpus.pack import PackedClips
    from harken.tasks.protocol import Task
    from harken.tasks.recipe import find_recipe, with_settings
    from harken.training.batches import Epochs
    from harken.training.waveforms import WaveformLoader

    names = sorted(folder.glob("shard-*.npy"), key=lambda path: int(path.stem[6:]))
    shards = tuple(np.load(name, mmap_mode="r") for name in names)
    clips = sum(len(shard) for shard in shards)
    packed = PackedClips(shards, np.full(clips, _RATE, np.int32), _RATE, ())
    recipe = with_settings(find_recipe("v12"), ["unknown_share=0", "silence_share=0", "noise_probability=0"])
    task = Task(_WORDS, (), packed, np.arange(clips) % len(_WORDS), np.full(clips, "train"))
    base = _resident_bytes()

    started = time.perf_counter()
    rows, labels = (torch.from_numpy(drawn) for drawn in Epochs(task, recipe).draw(0))
    drawn = time.perf_counter() - started
    ear = WaveformLoader(task, recipe, torch.device("cpu"))
    gathered = heard = examples = 0.0
    for _ in range(-(-_BATCHES * recipe.batch_size // len(rows))):  # a small corpus is gone through more than once
        for some, of_them in zip(rows.split(recipe.batch_size), labels.split(recipe.batch_size), strict=True):
            started = time.perf_counter()
            ear.clips.gather(some)
            gathered += time.perf_counter() - started
            started = time.perf_counter()
            ear.hear(some, of_them)
            heard += time.perf_counter() - started
            examples += len(some)
            if examples >= _BATCHES * recipe.batch_size:
                break
    return {
        "draw_us": 1e6 * drawn / len(rows),
        "gather_ms": 1e3 * gathered / examples,
        "hear_ms": 1e3 * heard / examples,
        "own_mb": (_resident_bytes() - base) / 1e6,
        "peak_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024) / 1e6,
    }


def _resident_bytes() -> int:
    """Return the process's own memory; pages of mapped files, which the system takes back when it likes, left out."""
    fields = Path("/proc/self/statm").read_text().split()
    return (int(fields[1]) - int(fields[2])) * os.sysconf("SC_PAGE_SIZE")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sizes", type=int, nargs="+", default=[1_000, 10_000, 100_000, 1_000_000])
    parser.add_argument("--work", type=Path, default=Path(__file__).parent.parent / "build")
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "scaling.md")
    parser.add_argument("--measure", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.measure:
        print(json.dumps(measure(options.measure)))
        return
    options.work.mkdir(parents=True, exist_ok=True)
    need = 1.1 * 2 * _RATE * max(options.sizes)
    if shutil.disk_usage(options.work).free < need:
        sys.exit(
            f"{options.work} has less than {need / 1e9:.0f} GB free: name another folder with --work, or fewer --sizes"
        )
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    lines = [
        "# What a clip costs as the corpus grows",
        "",
        f"- `python benchmarks/scaling.py --sizes {' '.join(map(str, options.sizes))}`",
        f"- {os.cpu_count()} cores, {memory:.0f} GiB of memory; {_BATCHES} batches of 128, shuffled, a fresh process each",
        "",
        "| clips | GB | drawing, µs a clip | gathering, ms a clip | listener_run, ms a clip | own memory, MB | mapped too, MB |",
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
            f"| {found['hear_ms']:.2f} | {found['own_mb']:.0f} | {found['peak_mb']:.0f} |"
        )
        print(lines[-1], flush=True)
    lines += [
        "",
        "Drawing is of a whole epoch, gathering reads a batch's clips, listener_run gathers and augments them; none of it runs a",
        "network. Own memory is what the process holds beyond its modules; mapped pages the system takes back when it needs",
        "them. Where the corpus is larger than memory, gathering is first to wait for the disk, and",
        "listener_run finds the same clips in memory.",
    ]
    options.out.write_text("\n".join(lines) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
