"""How many recordings a word of one's own needs, beginning with `base` and with fresh weights.

python benchmarks/own.py --data speech_commands --data speech_commands_more --noise background_noise
    [--takes 5 10 20 40] [--words bed bird cat] [--epochs 15] [--out benchmarks/own.md]

Of each word so many recordings train, each by another person of the train side; 20 of each other word that is no command
train as `_unknown_`. Judged are all clips of the words on the validation side: by strangers. `base` heard the words as other
ones when it was trained.
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

_OTHERS = 20  # clips of each other word
_STARTS = {"`base`": [], "fresh weights": ["--set", "start_from=", "--set", "learning_rate=0.006"]}


def draw(corpus: Corpus, side: str, word: str, takes: int) -> list[Clip]:
    """Return clips of a word on a side, no two by one speaker, in an order that a seed draws."""
    clips = [
        clip for clip, where in zip(corpus.clips, official(corpus), strict=True) if (clip.word, where) == (word, side)
    ]
    order = np.random.default_rng(7).permutation(len(clips)).tolist()
    by_speaker = {clips[row].speaker: clips[row] for row in reversed(order)}
    return list(by_speaker.values())[:takes]


def lay(clips: Sequence[Clip], folder: Path) -> None:
    """Lay links to clips into a corpus folder."""
    for clip in clips:
        (folder / clip.word).mkdir(parents=True, exist_ok=True)
        (folder / clip.word / clip.path.name).symlink_to(clip.path.resolve())


def harken(*words: object) -> None:
    subprocess.run([sys.executable, "-m", "harken", *map(str, words)], check=True, stdout=subprocess.DEVNULL)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, action="append", required=True)
    parser.add_argument("--noise", type=Path, required=True)
    parser.add_argument("--takes", type=int, nargs="+", default=[5, 10, 20, 40])
    parser.add_argument("--words", nargs="+", default=["bed", "bird", "cat"])
    parser.add_argument("--epochs", type=int, default=15)
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    corpus = read_corpus(options.data)
    others = [word for word in corpus.words if word not in (*COMMANDS, *options.words)]
    rows = []
    with tempfile.TemporaryDirectory() as work:
        root = Path(work)
        for word in others:
            lay(draw(corpus, "train", word, _OTHERS), root / "other")
        judged = [
            clip
            for clip, side in zip(corpus.clips, official(corpus), strict=True)
            if clip.word in options.words and side == "validation"
        ]
        lay(judged, root / "judged")
        for takes in options.takes:
            mine = root / f"mine-{takes}"
            for word in options.words:
                lay(draw(corpus, "train", word, takes), mine)
            found = []
            for number, settings in enumerate(_STARTS.values()):
                run, figures = root / f"run-{takes}-{number}", root / "figures.json"
                given = ["--data", mine, "--other", root / "other", "--noise", options.noise, "--out", run]
                harken("train", "--recipe", "own", *given, "--set", f"epochs={options.epochs}", *settings)
                harken("evaluate", run, root / "judged", "--noise", options.noise, "--split", "all", "--json", figures)
                read = json.loads(figures.read_text())
                low, high = read["accuracy_interval"]
                found.append(f"{100 * read['accuracy']:.1f} % ({100 * low:.1f} to {100 * high:.1f})")
            rows.append(f"| {takes} | {' | '.join(found)} |")
            print(rows[-1], flush=True)
    command = f"python benchmarks/own.py {' '.join(sys.argv[1:])}"
    lines = [
        "# How many recordings a word of one's own needs",
        "",
        f"- `{command}`",
        f"- {', '.join(options.words)}: {len(judged)} clips by strangers are judged; {options.epochs} epochs a run",
        "",
        f"| recordings of each word | beginning with {' | with '.join(_STARTS)} |",
        f"|---|{'---|' * len(_STARTS)}",
        *rows,
        "",
        "Each recording is by another person. `base` heard these words as other ones when it was trained. Right: the most",
        "probable class, `_unknown_` and `_silence_` among them. Each figure is of one training: the",
        "interval is of the clips alone, and another training on so few may fall outside it.",
        "",
    ]
    if options.out:
        with replacing(options.out) as temporary:
            temporary.write_text("\n".join(lines), encoding="utf-8")


if __name__ == "__main__":
    main()
