"""Folders of recordings as a table of clips.

A corpus folder holds one folder a word (`yes/…`, `no/…`) of WAV, FLAC, OGG or MP3. The speaker of a clip comes from
its name `<speaker>_nohash_<take>` (Speech Commands), else from `speakers.csv` beside the words (columns
`path,speaker`), else from a folder between word and clip; else it is not known. `_background_noise_` holds noise, not
words; `_unknown_` and `_silence_` (the official test archives) are taken as they are.
"""

import csv
import hashlib
import json
import os
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import overload

from harken.audio.clip import AUDIO_SUFFIXES
from harken.cache import default_cache
from harken.corpus.walk import Row, joined, leads_back, looks, walk
from harken.errors import HarkenError
from harken.files import replacing

NOISE_FOLDER = "_background_noise_"
SYNTHESIS_NOTE = "synthesis.json"  # what harken.synth leaves beside the sides of a corpus that it spoke

_PROBE_BYTES = 4096


@dataclass(frozen=True, slots=True)
class Clip:
    """One recording of one word. `speaker` is "" when nobody said who spoke."""

    path: Path
    word: str
    speaker: str

    @property
    def name(self) -> str:
        """`word/stem`: the same for one recording in any folder and any encoding."""
        return f"{self.word}/{self.path.stem}"


@dataclass(frozen=True)
class _Place:
    """A folder of clips: its path as it was named, the word's folder, and whose takes `speakers.csv` says they are."""

    path: Path
    word: Path
    listed: Mapping[str, str]  # from the path below the corpus folder

    def clip(self, name: str) -> Clip:
        path = self.path / name
        speaker, nohash, _ = path.stem.partition("_nohash_")
        if not nohash:
            inner = self.path.relative_to(self.word).parts
            below = path.relative_to(self.word.parent).as_posix()
            speaker = self.listed.get(below, inner[0] if inner else "")  # folders further down are takes of theirs
        return Clip(path, self.word.name, speaker)


class _Rows:
    """The files of one word, in order, and the digest of how they look."""

    def __init__(self, rows: list[Row]) -> None:
        self.rows = rows
        self.looks = looks(rows)


class Clips(Sequence[Clip]):
    """The clips that a walk over folders has found, in order of word, then of file name.

    They are made when one is asked for: a run that finds its corpus packed needs only how their files look, and ten
    thousand paths take longer to make than to look at.
    """

    def __init__(self, rows: Mapping[str, _Rows], places: Mapping[str, _Place]) -> None:
        self._rows = rows  # of each word
        self._places = places  # by absolute path

    @property
    def looks(self) -> list[bytes]:
        """The digest of how the files of each word look."""
        return [rows.looks for rows in self._rows.values()]

    @property
    def paths(self) -> list[str]:
        """The path of each clip, in order."""
        folders = {folder: f"{place.path}{os.sep}" for folder, place in self._places.items()}
        return [folders[folder] + name for rows in self._rows.values() for name, folder, _, _ in rows.rows]

    @property
    def words(self) -> list[str]:
        """The word of each clip, in order."""
        return [word for word, rows in self._rows.items() for _ in rows.rows]

    def of_words(self, words: Sequence[str]) -> "Clips":
        """Return the clips of `words` that it holds, in that order."""
        return Clips({word: self._rows[word] for word in words if word in self._rows}, self._places)

    @cached_property
    def _made(self) -> tuple[Clip, ...]:
        return tuple(self._places[row[1]].clip(row[0]) for rows in self._rows.values() for row in rows.rows)

    @overload
    def __getitem__(self, index: int) -> Clip: ...
    @overload
    def __getitem__(self, index: slice) -> tuple[Clip, ...]: ...
    def __getitem__(self, index: int | slice) -> Clip | tuple[Clip, ...]:
        return self._made[index]

    def __iter__(self) -> Iterator[Clip]:
        return iter(self._made)

    def __len__(self) -> int:
        return sum(len(rows.rows) for rows in self._rows.values())

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Sequence) and self._made == tuple(other)

    def __hash__(self) -> int:
        return hash(self._made)


@dataclass(frozen=True)
class Corpus:
    """The clips of one or more folders, in order of word, then of file name.

    roots : the folders. noise : recordings of their `_background_noise_`. repeats : clips left out since the very
    same recording stands in the table already, each with the clip that it repeats.
    """

    roots: tuple[Path, ...]
    clips: Sequence[Clip]
    noise: tuple[Path, ...] = ()
    repeats: tuple[tuple[Clip, Clip], ...] = ()

    @property
    def words(self) -> tuple[str, ...]:
        """The words, sorted."""
        clips = self.clips
        return tuple(sorted(set(clips.words if isinstance(clips, Clips) else (clip.word for clip in clips))))

    def of_words(self, words: Sequence[str]) -> "Corpus":
        """Return the clips of `words` alone, in that order of words, then by file name.

        Raises HarkenError when a word has no clip.
        """
        _check_words(words, self.words, self.roots)
        if isinstance(self.clips, Clips):
            return replace(self, clips=self.clips.of_words(words))
        by_word = defaultdict(list)
        for clip in self.clips:
            by_word[clip.word].append(clip)
        clips = tuple(clip for word in words for clip in sorted(by_word[word], key=lambda clip: clip.path.name))
        return replace(self, clips=clips)


def read_corpus(
    folders: Iterable[str | Path], *, words: Sequence[str] | None = None, cache: Path | None = None
) -> Corpus:
    """Read corpus folders as one table; the same clip twice (same name, or same bytes under one word) counts once.

    words : read these alone, in this order; the folders of others are not looked into.
    cache : where it is noted which clips are repeats, so that files that look as before are not opened again.
    Raises HarkenError when a folder is missing or holds no clip, or one of `words` has none.
    """
    roots = tuple(Path(folder) for folder in folders)
    if not roots:
        raise HarkenError("no corpus was named: give a folder of one-word folders with --data DIR")
    rows: dict[str, list[Row]] = defaultdict(list)
    places: dict[str, _Place] = {}
    noise: list[Path] = []
    known: set[str] = set()
    for root in roots:
        known_here = _read_folder(root, words, rows, places)
        if not known_here:
            raise HarkenError(f"{root} holds no clips: a corpus has one folder a word with WAV, FLAC, OGG or MP3 in it")
        known |= known_here
        noise += audio_files(root / NOISE_FOLDER) if (root / NOISE_FOLDER).is_dir() else []
    if words is not None:
        _check_words(words, sorted(rows), roots, sorted(known))
    table = {word: _Rows(_in_order(rows[word], places)) for word in (sorted(rows) if words is None else words)}
    note = (cache or default_cache()) / f"{_digest_of(roots, words)}.table"
    kept, repeats = _without_repeats(table, note)
    pairs = ((places[one[1]].clip(one[0]), places[first[1]].clip(first[0])) for one, first in repeats)
    return Corpus(roots, Clips(kept, places), tuple(noise), tuple(pairs))


def audio_files(path: str | Path) -> list[Path]:
    """Return the audio files below a folder, sorted; of a file, the file itself. Hidden files are passed over.

    Raises HarkenError when `path` does not exist, or is a pipe or a device.
    """
    if not str(path):
        raise HarkenError("a path is empty: name a file or a folder")
    path = Path(path)
    if path.is_file():
        return [path]
    if not path.is_dir():
        why = (
            "is a pipe or a device: write what it gives to a file"
            if path.exists()
            else "does not exist: check the path"
        )
        raise HarkenError(f"{path} {why}")
    found = []
    for folder, subfolders, names in os.walk(path, followlinks=True):
        subfolders[:] = sorted(
            name for name in subfolders if not (name.startswith(".") or leads_back(f"{folder}{os.sep}{name}"))
        )
        for name in names:
            if not name.startswith(".") and os.path.splitext(name)[1].lower() in AUDIO_SUFFIXES:  # noqa: PTH122 - 4x faster than Path
                found.append(Path(folder, name))
    return sorted(found)


def _read_folder(
    root: Path, words: Sequence[str] | None, rows: dict[str, list[Row]], places: dict[str, _Place]
) -> set[str]:
    """Add the rows of a corpus folder to those of each word, and its folders to `places`.

    Returns the words that it has: those with clips, and those that were not asked for.
    """
    if not root.is_dir():
        what = "is a file" if root.exists() else "does not exist"
        raise HarkenError(f"{root} {what}: name a folder of one-word folders")
    if (root / SYNTHESIS_NOTE).is_file():
        raise HarkenError(
            f"{root} holds the sides of a synthesised corpus: name {root / 'train'}, or its test beside it"
        )
    listed = _read_speakers(root / "speakers.csv")
    known = set()
    for folder in sorted(root.iterdir()):
        if not folder.is_dir() or folder.name == NOISE_FOLDER or folder.name.startswith("."):
            continue
        if words is not None and folder.name not in words:
            known.add(folder.name)
            continue
        top = str(folder.absolute())
        for place, seen in walk(top).items():
            places[place] = _Place(folder / Path(place).relative_to(top), folder, listed)
            rows[folder.name] += seen
            known.add(folder.name)
    return known


def _check_words(wanted: Sequence[str], words: Sequence[str], roots: Iterable[Path], named: Sequence[str] = ()) -> None:
    """Raise HarkenError unless all of `wanted` are among `words`. named : what is said to be there instead."""
    if missing := [word for word in wanted if word not in words]:
        names = " + ".join(map(str, roots))
        raise HarkenError(f"{names} holds no clip of {', '.join(missing)}: its words are {_some(named or words)}")


def _read_speakers(path: Path) -> dict[str, str]:
    if not path.is_file():
        return {}
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:  # spreadsheets write a byte order mark
            rows = csv.DictReader(file, restval="")
            if not {"path", "speaker"} <= set(rows.fieldnames or ()):
                raise HarkenError(f"{path} lacks a header with the columns path,speaker: add it as the first line")
            listed = {_below(path.parent, row["path"]): row["speaker"].strip() for row in rows}
    except (UnicodeDecodeError, csv.Error) as error:
        raise HarkenError(f"{path} is not comma-separated UTF-8 text: save it as such") from error
    if listed and not any((path.parent / name).is_file() for name in listed):
        raise HarkenError(f"{path} names no clip that is there ({next(iter(listed))}): write paths as word/file.wav")
    return listed


def _below(root: Path, path: str) -> str:
    """Return a path of speakers.csv as `word/file.wav`, though it be absolute, begin with ./ or come from Windows."""
    given = Path(path.strip().replace("\\", "/"))
    with suppress(ValueError):
        given = given.relative_to(root.absolute())
    return given.as_posix()


def _in_order(rows: list[Row], places: Mapping[str, _Place]) -> list[Row]:
    if rows[0][1] == rows[-1][1]:  # one folder, since the rows of a folder stand together
        return sorted(rows)
    return sorted(rows, key=lambda row: (row[0], str(places[row[1]].path / row[0])))


_Table = dict[str, _Rows]  # of each word


def _without_repeats(table: _Table, note: Path) -> tuple[_Table, list[tuple[Row, Row]]]:
    """Return the table without repeats, and each of them with the row that it repeats."""
    look = joined("repeats 1", (rows.looks for rows in table.values()))
    found = _noted(note, look)
    if found is None:
        found = {word: same for word, rows in table.items() if (same := _repeats(rows.rows))}
        with suppress(OSError, HarkenError), replacing(note) as temporary:  # without the note, files are read again
            temporary.write_text(json.dumps({"looks": look, "repeats": found}))
    kept, repeats = dict(table), []
    for word, same in found.items():
        rows = table[word].rows
        gone = {one for one, _ in same}
        kept[word] = _Rows([row for number, row in enumerate(rows) if number not in gone])
        repeats += [(rows[one], rows[first]) for one, first in same]
    return kept, repeats


def _noted(note: Path, look: str) -> dict[str, list[tuple[int, int]]] | None:
    try:
        noted = json.loads(note.read_text())
        if noted["looks"] != look:
            return None
        return {word: [(one, first) for one, first in same] for word, same in noted["repeats"].items()}
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _repeats(rows: Sequence[Row]) -> list[tuple[int, int]]:
    """Return the places of the repeats among one word's rows, each with the place of the row that it repeats."""
    sizes = Counter(row[2] for row in rows)
    alike = [Path(folder, name) for name, folder, size, _ in rows if sizes[size] > 1 and size >= 0]
    same_bytes = {(str(path.parent), path.name): key for key, same in same_content(alike) for path in same}
    first: dict[object, int] = {}
    repeats = []
    for number, (name, folder, _, _) in enumerate(rows):
        # Only Speech Commands names are unique in the world; elsewhere take1.wav may be anybody's.
        keys: list[object] = [os.path.splitext(name)[0]] if "_nohash_" in name else []  # noqa: PTH122
        if (folder, name) in same_bytes:
            keys.append((same_bytes[folder, name],))
        earlier = next((first[key] for key in keys if key in first), None)
        if earlier is not None:
            repeats.append((number, earlier))
        for key in keys:
            first.setdefault(key, number)
    return repeats


def _digest_of(roots: Iterable[Path], words: Sequence[str] | None) -> str:
    form = "roots" if words is None else f"roots {list(words)}"
    return joined(form, (os.fsencode(root.absolute()) + b"\0" for root in roots))


def same_content(paths: Iterable[Path]) -> list[tuple[str, list[Path]]]:
    """Return groups of two or more files with the same bytes, each with the SHA-256 of its content."""
    # Three sieves, each dearer than the one before: nearly every clip falls through the first two.
    groups: list[tuple[object, list[Path]]] = _grouped(paths, lambda path: path.stat().st_size)
    groups = [group for _, same in groups for group in _grouped(same, _probe)]
    return [(str(digest), same) for _, group in groups for digest, same in _grouped(group, _digest)]


def _grouped(paths: Iterable[Path], key: Callable[[Path], object]) -> list[tuple[object, list[Path]]]:
    groups = defaultdict(list)
    for path in paths:
        with suppress(OSError):  # what cannot be read is told where it is packed
            groups[key(path)].append(path)
    return [(value, same) for value, same in groups.items() if len(same) > 1]


def _probe(path: Path) -> bytes:
    with path.open("rb", buffering=0) as file:  # a whole corpus of WAV may be of one size
        file.seek(max(0, os.fstat(file.fileno()).st_size // 2 - _PROBE_BYTES // 2))
        return file.read(_PROBE_BYTES)


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _some(words: Sequence[str], most: int = 12) -> str:
    return ", ".join(words[:most]) + (", …" if len(words) > most else "")
