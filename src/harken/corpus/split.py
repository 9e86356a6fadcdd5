"""Which side of the split a clip is on.

official   Speech Commands' own rule, by speaker, stable as the corpus grows (arXiv:1804.03209, section 7)
by_speaker any corpus: whole speakers on one side; by take where speakers are not known or there is only one
tutorial   the tutorial's two calls of scikit-learn's train_test_split
"""

import hashlib
from collections import Counter, defaultdict
from collections.abc import Sequence
from typing import Literal

import numpy as np

from harken.corpus.table import Clip, Corpus
from harken.errors import HarkenError

Side = Literal["train", "validation", "test"]

# The constant of the published rule: it sets how a hash becomes a percentage.
_MOST_CLIPS_PER_WORD = 2**27 - 1


def official(corpus: Corpus, *, validation_percent: float = 10.0, test_percent: float = 10.0) -> list[Side]:
    """Return each clip's side by the official rule; the corpus's own lists overrule the hash where they are present.

    The lists are `validation_list.txt` and `testing_list.txt` in a corpus folder, one `word/file.wav` a line.
    """
    listed = _read_lists(corpus)
    return [
        listed.get(clip.name) or official_side(clip.path.stem, validation_percent, test_percent)
        for clip in corpus.clips
    ]


def official_side(stem: str, validation_percent: float = 10.0, test_percent: float = 10.0) -> Side:
    """Return the side of the clip `<speaker>_nohash_<take>`: SHA-1 of the speaker as a percentage."""
    speaker, nohash, _ = stem.partition("_nohash_")
    # Without the mark the published code hashes the whole file name, and its files all end in .wav.
    hashed = int(hashlib.sha1((speaker if nohash else f"{stem}.wav").encode()).hexdigest(), 16)
    percentage = (hashed % (_MOST_CLIPS_PER_WORD + 1)) * (100.0 / _MOST_CLIPS_PER_WORD)
    if percentage < validation_percent:
        return "validation"
    return "test" if percentage < validation_percent + test_percent else "train"


def _read_lists(corpus: Corpus) -> dict[str, Side]:
    sides: dict[str, Side] = {}
    names: tuple[tuple[str, Side], ...] = (("validation_list.txt", "validation"), ("testing_list.txt", "test"))
    for root in corpus.roots:
        for file_name, side in names:
            path = root / file_name
            if path.is_file():
                try:
                    lines = path.read_text(encoding="utf-8").splitlines()
                except UnicodeDecodeError as error:
                    raise HarkenError(f"{path} is not UTF-8 text: save it as such, or fetch it again") from error
                sides |= {line.strip().rpartition(".")[0]: side for line in lines}
    return sides


def by_speaker(clips: Sequence[Clip], *, validation: float, test: float, seed: int) -> list[Side]:
    """Put whole speakers on one side so that `validation` and `test` (fractions of the clips) are about filled.

    A wanted side gets at least one speaker while two or more are there to share. Clips of nobody known, and all clips
    where there is but one speaker, are split by take instead, word by word.
    """
    counts = Counter(clip.speaker for clip in clips if clip.speaker)
    rng = np.random.default_rng(seed)
    of_speaker: dict[str, Side] = {}
    if len(counts) > 1:
        speakers = sorted(counts)
        rng.shuffle(speakers)
        of_speaker = dict(zip(speakers, _fill([counts[s] for s in speakers], validation, test), strict=True))
    takes = defaultdict(list)
    for row, clip in enumerate(clips):
        if clip.speaker not in of_speaker:
            takes[clip.word].append(row)
    of_take: dict[int, Side] = {}
    for word in sorted(takes):
        rows = rng.permutation(takes[word]).tolist()
        of_take.update(zip(rows, _fill([1] * len(rows), validation, test), strict=True))
    return [of_speaker.get(clip.speaker) or of_take[row] for row, clip in enumerate(clips)]


def _fill(sizes: Sequence[int], validation: float, test: float) -> list[Side]:
    """Hand out items in order: each goes to the first side of validation and test that wants half of it or more.

    A wanted side that would stay empty gets the smallest item that trains, as long as another is left to train.
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
    """Return the tutorial's sides: a fifth to test, stratified, then a fifth of the rest to validation, not stratified.

    The members are those of scikit-learn's train_test_split. labels : [clips], the class of each row.
    Raises HarkenError when there are too few clips to stratify.
    """
    from sklearn.model_selection import train_test_split

    try:
        rest, test = train_test_split(np.arange(len(labels)), test_size=0.2, random_state=seed, stratify=labels)
        _, validation = train_test_split(rest, test_size=0.2, random_state=seed)
    except ValueError as error:
        raise HarkenError(f"{len(labels)} clips cannot be split: each word needs two, each side one a word") from error
    sides: list[Side] = ["train"] * len(labels)
    for row in test:
        sides[row] = "test"
    for row in validation:
        sides[row] = "validation"
    return sides
