"""Split clips into training, validation and test.

official      the rule of Speech Commands: by speaker, and stable as the corpus grows (arXiv:1804.03209, section 7)
listed_sides  what the lists in the corpus folder state
by_speaker    any corpus: each speaker is on one side; by clip if speakers are not known or there is only one
tutorial      the tutorial's two calls of scikit-learn's train_test_split
"""

import csv
import hashlib
import os
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Literal

import numpy as np

from harken.corpus.table import SPEECH_COMMANDS_NAME, Clip, Corpus
from harken.errors import HarkenError
from harken.labels import normalize_word

Side = Literal["train", "validation", "test"]

SPLITS_FILE = "splits.csv"  # with the columns path,split; `harken corpus import` writes it

# Constant of the published rule, used to turn a hash into a percentage.
_MOST_CLIPS_PER_WORD = 2**27 - 1


def official(corpus: Corpus, *, validation_percent: float = 10.0, test_percent: float = 10.0) -> list[Side]:
    """Return each clip's side by the official rule. Lists in the corpus folder take precedence over it.

    Parameters
    ----------
    corpus
        The clips. The lists are `validation_list.txt` and `testing_list.txt`, with one path in each line, and `splits.csv`
        with the columns path,split, where split is train, validation or test. A path is `word/file.wav`, or
        `word/speaker/file.wav`, below the corpus folder.
    validation_percent, test_percent
        Share of the speakers on these sides, in percent.

    Raises
    ------
    HarkenError
        If a list is not UTF-8 text, or `splits.csv` does not have these columns and values.
    """
    percents = validation_percent, test_percent
    return [
        side or official_side(f"{clip.speaker}_nohash_" if clip.speaker else clip.path.stem, *percents)
        for clip, side in zip(corpus.clips, listed_sides(corpus, corpus.clips), strict=True)
    ]


def official_side(stem: str, validation_percent: float = 10.0, test_percent: float = 10.0) -> Side:
    """Return the side of the clip `<speaker>_nohash_<take>`. The SHA-1 of the speaker decides, as a percentage."""
    speaker, nohash, _ = stem.partition("_nohash_")
    # Without `_nohash_`, the published code hashes the whole file name, which always ends in .wav there.
    name = speaker if nohash else f"{stem}.wav"
    hashed = int(hashlib.sha1(name.encode(errors="surrogateescape")).hexdigest(), 16)  # a file's name can be any bytes
    percentage = (hashed % (_MOST_CLIPS_PER_WORD + 1)) * (100.0 / _MOST_CLIPS_PER_WORD)
    if percentage < validation_percent:
        return "validation"
    return "test" if percentage < validation_percent + test_percent else "train"


def listed_sides(corpus: Corpus, clips: Iterable[Clip]) -> list[Side | None]:
    """Return the side that the lists in the corpus folders state for each clip, or None. See `official`.

    A clip is looked up in the lists of its own folder. Those of the other folders count for folders without lists, and for clips
    of Speech Commands: they may be spread over several folders, and their names are unique, unlike clip-000000 and the like.
    """
    lists = {_with_separator(root): _read_lists(root) for root in corpus.roots}
    listed_anywhere: dict[str, Side] = {}
    for sides in lists.values():
        listed_anywhere |= sides
    if not listed_anywhere:
        return [None for _ in clips]

    def side_of(clip: Clip) -> Side | None:
        path = str(clip.path.with_suffix(""))
        top = max((top for top in lists if path.startswith(top)), key=len, default="")
        # A clip may be listed in another encoding.
        names = [normalize_word(name) for name in (path[len(top) :].replace(os.sep, "/"), clip.name)]
        own = lists.get(top, {})
        others = {} if own and not SPEECH_COMMANDS_NAME.fullmatch(clip.path.stem) else listed_anywhere
        return next((sides[name] for sides in (own, others) for name in names if name in sides), None)

    return [side_of(clip) for clip in clips]


def _with_separator(root: Path) -> str:
    """Return what the paths of a folder's clips begin with: nothing for the current folder."""
    return "" if root == Path() else os.path.join(root, "")  # noqa: PTH118 - Path drops the separator at the end


def _read_lists(root: Path) -> dict[str, Side]:
    """Return the sides that the lists of one corpus folder state, by path below it."""
    sides: dict[str, Side] = {}
    names: tuple[tuple[str, Side], ...] = (("validation_list.txt", "validation"), ("testing_list.txt", "test"))
    for file_name, side in names:
        path = root / file_name
        if path.is_file():
            try:
                lines = path.read_text(encoding="utf-8").splitlines()
            except UnicodeDecodeError as error:
                raise HarkenError(f"{path} is not UTF-8 text: save it as UTF-8, or download it again") from error
            sides |= {normalize_word(line.strip().rpartition(".")[0]): side for line in lines}
    return sides | _read_splits(root / SPLITS_FILE)


def _read_splits(path: Path) -> dict[str, Side]:
    if not path.is_file():
        return {}
    sides: dict[str, Side] = {}
    names: dict[str, Side] = {"train": "train", "validation": "validation", "test": "test"}
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            rows = csv.DictReader(file, restval="")
            if not {"path", "split"} <= set(rows.fieldnames or ()):
                raise HarkenError(f"{path} has no header with the columns path,split: add it as the first line")
            for row in rows:
                side = names.get(row["split"].strip())
                if side is None:
                    raise HarkenError(
                        f"{path}: the split of {row['path']} is {row['split']!r}; write train, validation or test"
                    )
                sides[normalize_word(row["path"].strip().rpartition(".")[0])] = side
    except (UnicodeDecodeError, csv.Error) as error:
        raise HarkenError(f"{path} is not comma-separated UTF-8 text: save it in that format") from error
    return sides


def by_speaker(clips: Sequence[Clip], *, validation: float, test: float, seed: int) -> list[Side]:
    """Return each clip's side, so that all clips of a speaker are on the same side.

    Each side with a share above 0 gets at least one speaker, as long as there are two or more to divide. Clips of unknown
    speakers, and all clips if there is only one speaker, are split individually, word by word.

    Parameters
    ----------
    clips
        Clips to split.
    validation, test
        Approximate share of the clips on these sides, as fractions.
    seed
        Random seed.
    """
    counts = Counter(clip.speaker for clip in clips if clip.speaker)
    rng = np.random.default_rng(seed)
    side_of_speaker: dict[str, Side] = {}
    if len(counts) > 1:
        speakers = sorted(counts)
        rng.shuffle(speakers)
        side_of_speaker = dict(zip(speakers, _fill([counts[s] for s in speakers], validation, test), strict=True))
    takes = defaultdict(list)
    for row, clip in enumerate(clips):
        if clip.speaker not in side_of_speaker:
            takes[clip.word].append(row)
    side_of_row: dict[int, Side] = {}
    for word in sorted(takes):
        rows = rng.permutation(takes[word]).tolist()
        side_of_row.update(zip(rows, _fill([1] * len(rows), validation, test), strict=True))
    return [side_of_speaker.get(clip.speaker) or side_of_row[row] for row, clip in enumerate(clips)]


def _fill(sizes: Sequence[int], validation: float, test: float) -> list[Side]:
    """Distribute items in order. Each goes to validation or test, whichever first has room for at least half of it.

    Items without such a side are for training. A wanted side that stays empty gets the smallest item of the training side,
    as long as another one is left there.
    """
    wanted: dict[Side, float] = {"validation": validation * sum(sizes), "test": test * sum(sizes)}
    room = dict(wanted)
    sides: list[Side] = []
    for size in sizes:
        side: Side = next((name for name, left in room.items() if left >= size / 2), "train")
        if side != "train":
            room[side] -= size
        sides.append(side)
    for name, clips in wanted.items():
        train = [item for item, side in enumerate(sides) if side == "train"]
        if clips > 0 and name not in sides and len(train) > 1:
            sides[min(train, key=lambda item: sizes[item])] = name
    return sides


def tutorial(labels: Sequence[int], *, seed: int) -> list[Side]:
    """Return each clip's side as in the tutorial.

    A fifth is for testing, stratified by class, and a fifth of the rest for validation, not stratified. The clips are the
    same as with scikit-learn's train_test_split.

    Parameters
    ----------
    labels
        Class of each clip.
    seed
        Random seed (`random_state`).

    Raises
    ------
    HarkenError
        If there are too few clips to stratify.
    """
    from sklearn.model_selection import train_test_split

    try:
        rest, test = train_test_split(np.arange(len(labels)), test_size=0.2, random_state=seed, stratify=labels)
        _, validation = train_test_split(rest, test_size=0.2, random_state=seed)
    except ValueError as error:
        raise HarkenError(
            f"{len(labels)} clips cannot be split: each word needs at least two, and each side one for each word"
        ) from error
    sides: list[Side] = ["train"] * len(labels)
    for row in test:
        sides[row] = "test"
    for row in validation:
        sides[row] = "validation"
    return sides
