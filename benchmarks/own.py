"""Measure how many recordings a new word needs: from `base`, from random weights, and on the speech embedding.

python benchmarks/own.py --data speech_commands --data speech_commands_more --noise background_noise
    [--takes 5 10 20 40] [--words bed bird cat] [--starts base random embedding] [--epochs 15] [--out benchmarks/own.md]

For each number of recordings, a model is trained on that many recordings of each word, each by another speaker of the
training set. 20 clips of each other word (except the ten commands) are used as `_unknown_`. The model is evaluated on all
clips of the words in the validation set, by unseen speakers. The training of `base` used these words as `_unknown_`. The
speech embedding was trained by others on other recordings. It is trained with the recipe `own-embedding` and its own epochs.
"""

import argparse
import json
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from harken.corpus.split import official
from harken.corpus.table import Clip, Corpus, read_corpus
from harken.files import replacing
from harken.labels import COMMANDS

_OTHER_CLIPS = 20  # of each other word
_NAMES = {"base": "`base`", "random": "random weights", "embedding": "the speech embedding"}


def draw_clips(corpus: Corpus, side: str, word: str, takes: int) -> list[Clip]:
    """Return clips of a word in one set of the split, at most one per speaker, in random order."""
    clips = [
        clip for clip, where in zip(corpus.clips, official(corpus), strict=True) if (clip.word, where) == (word, side)
    ]
    order = np.random.default_rng(7).permutation(len(clips)).tolist()
    by_speaker = {clips[row].speaker: clips[row] for row in reversed(order)}
    return list(by_speaker.values())[:takes]


def link_clips(clips: Sequence[Clip], folder: Path) -> None:
    """Create a corpus folder of links to clips."""
    for clip in clips:
        (folder / clip.word).mkdir(parents=True, exist_ok=True)
        (folder / clip.word / clip.path.name).symlink_to(clip.path.resolve())


def recipe_of(start: str, epochs: int) -> list[str]:
    """Return the options of a training."""
    if start == "embedding":
        return ["--recipe", "own-embedding"]
    settings = ["--set", "start_from=", "--set", "learning_rate=0.006"] if start == "random" else []
    return ["--recipe", "own", "--set", f"epochs={epochs}", *settings]


def harken(*words: object) -> None:
    subprocess.run([sys.executable, "-m", "harken", *map(str, words)], check=True, stdout=subprocess.DEVNULL)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, action="append", required=True, help="corpus; repeatable")
    parser.add_argument("--noise", type=Path, required=True, help="folder of noise")
    parser.add_argument("--takes", type=int, nargs="+", default=[5, 10, 20, 40], help="recordings of each word")
    parser.add_argument("--words", nargs="+", default=["bed", "bird", "cat"], help="words to learn")
    parser.add_argument("--starts", nargs="+", choices=_NAMES, default=[*_NAMES], help="what to start from")
    parser.add_argument("--epochs", type=int, default=15, help="epochs of each training of the recipe own")
    parser.add_argument("--out", type=Path, help="page to write; default: none")
    options = parser.parse_args()
    corpus = read_corpus(options.data)
    others = [word for word in corpus.words if word not in (*COMMANDS, *options.words)]
    rows = []
    with tempfile.TemporaryDirectory() as work:
        root = Path(work)
        for word in others:
            link_clips(draw_clips(corpus, "train", word, _OTHER_CLIPS), root / "other")
        validation = [
            clip
            for clip, side in zip(corpus.clips, official(corpus), strict=True)
            if clip.word in options.words and side == "validation"
        ]
        link_clips(validation, root / "validation")
        for takes in options.takes:
            own = root / f"own-{takes}"
            for word in options.words:
                link_clips(draw_clips(corpus, "train", word, takes), own)
            cells = []
            for start in options.starts:
                run, figures = root / f"run-{takes}-{start}", root / "figures.json"
                folders = ["--data", own, "--other", root / "other", "--noise", options.noise, "--out", run]
                harken("train", *recipe_of(start, options.epochs), *folders)
                harken(
                    "evaluate", run, root / "validation", "--noise", options.noise, "--split", "all", "--json", figures
                )
                result = json.loads(figures.read_text())
                low, high = result["accuracy_interval"]
                cells.append(f"{100 * result['accuracy']:.1f} % ({100 * low:.1f} to {100 * high:.1f})")
            rows.append(f"| {takes} | {' | '.join(cells)} |")
            print(rows[-1], flush=True)
    command = f"python benchmarks/own.py {' '.join(sys.argv[1:])}"
    lines = [
        "# How many recordings a new word needs",
        "",
        f"- `{command}`",
        f"- {', '.join(options.words)}: {len(validation)} validation clips by unseen speakers; "
        f"{options.epochs} epochs per training with the recipe own",
        "",
        f"| recordings of each word | from {' | from '.join(_NAMES[start] for start in options.starts)} |",
        f"|---|{'---|' * len(options.starts)}",
        *rows,
        "",
        "Each recording is by another speaker. The training of `base` used these words as `_unknown_`. Accuracy is that of",
        "the most probable class, with `_unknown_` and `_silence_` among the classes. Each figure is of one training. Its",
        "interval covers only the number of clips: another training on so few recordings may be outside it.",
        "",
    ]
    if options.out:
        with replacing(options.out) as temporary:
            temporary.write_text("\n".join(lines), encoding="utf-8")


if __name__ == "__main__":
    main()
