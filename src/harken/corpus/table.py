"""Read folders of recordings as a table of clips.

read_corpus     corpus folders -> Corpus
read_speakers   speakers.csv -> the speaker of each path
Corpus          the clips of one or more folders
Clip            one recording of a word
audio_files     all audio files below a folder
skipped_audio   a note on those that harken cannot read
same_content    groups of files with the same content

A corpus folder contains one folder for each word (`yes/…`, `no/…`) with WAV, FLAC, OGG, MP3 or AIFF files. The speaker of a clip
comes from the first of these that is there:

1. the name of the file, `<speaker>_nohash_<take>` (as in Speech Commands)
2. `speakers.csv` beside the word folders, with the columns `path,speaker`
3. a folder between the word's folder and the clip

Otherwise the speaker is not known. `_background_noise_` contains noise and not words. `_unknown_` and `_silence_`, which the
official test archives contain, are treated like words. Words are in Unicode's composed form (NFC), however the folders'
names are written.
"""

import csv
import hashlib
import json
import os
import re
import unicodedata
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import overload

from harken.audio.clip import AUDIO_SUFFIXES
from harken.cache import default_cache
from harken.corpus.layout import (
    NOISE_FOLDER,
    check_layout,
    folder_word,
    may_be_outer,
    note_on_name,
    note_on_skipped,
)
from harken.corpus.walk import FileRow, combine_digests, fingerprint, leads_up, walk
from harken.errors import HarkenError, reporting_unreadable, require_list
from harken.files import replacing
from harken.labels import normalize_word

SYNTHESIS_NOTE = "synthesis.json"  # file that harken.synth writes beside the sides of a synthetic corpus

_PROBE_BYTES = 4096
SPEECH_COMMANDS_NAME = re.compile(r"[0-9a-f]{8}_nohash_\d+")


@dataclass(frozen=True, slots=True)
class Clip:
    """One recording of a word. `speaker` is "" if it is not known."""

    path: Path
    word: str
    speaker: str

    @property
    def name(self) -> str:
        """`word/stem`, which is the same for one recording in any folder and any encoding."""
        return f"{self.word}/{self.path.stem}"


@dataclass(frozen=True)
class _ClipFolder:
    """A folder of clips: its path as the user gave it, the word's folder, and the speakers that `speakers.csv` lists."""

    path: Path
    word: Path
    listed_speakers: Mapping[str, str]  # by path below the corpus folder

    def clip(self, name: str) -> Clip:
        path = self.path / name
        speaker, nohash, _ = path.stem.partition("_nohash_")
        if not nohash:
            inner = self.path.relative_to(self.word).parts
            below = normalize_word(path.relative_to(self.word.parent).as_posix())
            folder = inner[0] if inner else ""  # the outermost folder below the word is the speaker's
            speaker = self.listed_speakers.get(below, folder)
        return Clip(path, normalize_word(self.word.name), speaker)


class _WordFiles:
    """The files of one word, in order, and their fingerprint."""

    def __init__(self, rows: list[FileRow]) -> None:
        self.rows = rows
        self.fingerprint = fingerprint(rows)


class Clips(Sequence[Clip]):
    """The clips found in corpus folders, ordered by word and then by file name.

    The Clip objects are created at the first access. A run whose corpus is packed already needs only the fingerprints of
    the files, and creating ten thousand paths takes longer than listing the files.
    """

    def __init__(self, files: Mapping[str, _WordFiles], folders: Mapping[str, _ClipFolder]) -> None:
        self._files = files  # by word
        self._folders = folders  # by absolute path

    @property
    def fingerprints(self) -> list[bytes]:
        """The fingerprint of the files of each word."""
        return [files.fingerprint for files in self._files.values()]

    @property
    def paths(self) -> list[str]:
        """The path of each clip, in order."""
        prefixes = {absolute: f"{folder.path}{os.sep}" for absolute, folder in self._folders.items()}
        return [prefixes[folder] + name for files in self._files.values() for name, folder, _, _ in files.rows]

    @property
    def words(self) -> list[str]:
        """The word of each clip, in order."""
        return [word for word, files in self._files.items() for _ in files.rows]

    def of_words(self, words: Sequence[str]) -> "Clips":
        """Return the clips of `words`, in that order. Words without clips are skipped."""
        return Clips({word: self._files[word] for word in words if word in self._files}, self._folders)

    @cached_property
    def _clips(self) -> tuple[Clip, ...]:
        return tuple(self._folders[row[1]].clip(row[0]) for files in self._files.values() for row in files.rows)

    @overload
    def __getitem__(self, index: int) -> Clip: ...
    @overload
    def __getitem__(self, index: slice) -> tuple[Clip, ...]: ...
    def __getitem__(self, index: int | slice) -> Clip | tuple[Clip, ...]:
        return self._clips[index]

    def __iter__(self) -> Iterator[Clip]:
        return iter(self._clips)

    def __len__(self) -> int:
        return sum(len(files.rows) for files in self._files.values())

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Sequence) and self._clips == tuple(other)

    def __hash__(self) -> int:
        return hash(self._clips)


@dataclass(frozen=True)
class Corpus:
    """The clips of one or more corpus folders, ordered by word and then by file name.

    Attributes
    ----------
    roots
        The folders.
    clips
        The clips, without duplicates.
    noise
        Recordings in the folders' `_background_noise_`.
    duplicates
        Clips that were left out because the same recording is in the table already, each with the clip that is kept.
    notes
        What the user should know about the folders, one line each.
    """

    roots: tuple[Path, ...]
    clips: Sequence[Clip]
    noise: tuple[Path, ...] = ()
    duplicates: tuple[tuple[Clip, Clip], ...] = ()
    notes: tuple[str, ...] = ()

    @property
    def words(self) -> tuple[str, ...]:
        """The words, sorted."""
        clips = self.clips
        return tuple(sorted(set(clips.words if isinstance(clips, Clips) else (clip.word for clip in clips))))

    def of_words(self, words: Sequence[str]) -> "Corpus":
        """Return a corpus of only the clips of `words`, ordered by these and then by file name.

        Raises HarkenError if a word has no clips.
        """
        words = [normalize_word(word) for word in words]
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
    """Read corpus folders as one table.

    A recording that occurs twice counts once: a clip of Speech Commands with the same name, or a file with the same content
    under the same word.

    Parameters
    ----------
    folders
        Corpus folders.
    words
        Read only these words, in this order, and skip the folders of others. Default: all words.
    cache
        Folder that stores which clips are duplicates, so that unchanged files are not opened again. Default: harken's
        cache folder.

    Raises
    ------
    HarkenError
        If `folders` is a single folder. If a folder is missing, contains no clips, or does not have one folder for each
        word. If one of `words` has no clips.
    """
    require_list(folders, "folders", "folder")
    roots = tuple(Path(folder) for folder in folders)
    words = None if words is None else [normalize_word(word) for word in words]
    if not roots:
        raise HarkenError("no corpus given: add --data DIR, a folder with one folder for each word")
    rows: dict[str, list[FileRow]] = defaultdict(list)
    clip_folders: dict[str, _ClipFolder] = {}
    noise: list[Path] = []
    notes: list[str] = []
    known: set[str] = set()
    for root in roots:
        with reporting_unreadable(root):
            known_here = _read_folder(root, words, rows, clip_folders, notes)
        if not known_here:
            if audio_files(root):
                raise HarkenError(
                    f"{root} contains clips, but no folders of words: give the folder that contains {root.name}, or move "
                    "the clips into a folder for each word"
                )
            raise HarkenError(
                f"{root} contains no clips: a corpus has one folder for each word, with WAV, FLAC, OGG, MP3 or AIFF files"
            )
        known |= known_here
        noise += audio_files(root / NOISE_FOLDER) if (root / NOISE_FOLDER).is_dir() else []
    if words is not None:
        _check_words(words, sorted(rows), roots, sorted(known))
    wanted = sorted(rows) if words is None else words
    table = {word: _WordFiles(_sort_rows(rows[word], clip_folders)) for word in wanted}
    note = (cache or default_cache()) / f"{_digest_of_roots(roots, words)}.table"
    kept, duplicates = _remove_duplicates(table, note)
    pairs = ((clip_folders[one[1]].clip(one[0]), clip_folders[first[1]].clip(first[0])) for one, first in duplicates)
    return Corpus(roots, Clips(kept, clip_folders), tuple(noise), tuple(pairs), tuple(notes))


def audio_files(path: str | Path) -> list[Path]:
    """Return the audio files below a folder, sorted. Hidden files are skipped.

    Parameters
    ----------
    path
        A folder, or a single file, which is returned alone.

    Raises
    ------
    HarkenError
        If `path` does not exist, or is a pipe or a device. If a folder contains only audio that harken cannot read.
    """
    found, skipped = _search(path)
    note_on_skipped(Path(path), skipped, len(found))
    return found


def skipped_audio(path: str | Path) -> str:
    """Return a note on the audio files below a folder that `audio_files` skips, or an empty text."""
    found, skipped = _search(path)
    return note_on_skipped(Path(path), skipped, len(found)) if found else ""


def _search(path: str | Path) -> tuple[list[Path], Counter[str]]:
    """Return the audio files below a folder, and the number of other files by suffix."""
    skipped: Counter[str] = Counter()
    if not str(path):
        raise HarkenError("a path is empty: give a file or a folder")
    path = Path(path)
    with reporting_unreadable(path):
        if path.is_file():
            return [path], skipped
        if not path.is_dir():
            why = (
                "is a pipe or a device: write its data to a file first"
                if path.exists()
                else "does not exist: check the path"
            )
            raise HarkenError(f"{path} {why}")
    found = []
    for folder, subfolders, names in os.walk(path, followlinks=True):
        subfolders[:] = sorted(
            name for name in subfolders if not (name.startswith(".") or leads_up(f"{folder}{os.sep}{name}"))
        )
        for name in names:
            suffix = os.path.splitext(name)[1].lower()  # noqa: PTH122 - four times as fast as Path
            if name.startswith("."):
                continue
            if suffix in AUDIO_SUFFIXES:
                found.append(Path(folder, name))
            else:
                skipped[suffix] += 1
    return sorted(found), skipped


def _read_folder(
    root: Path,
    words: Sequence[str] | None,
    rows: dict[str, list[FileRow]],
    clip_folders: dict[str, _ClipFolder],
    notes: list[str],
) -> set[str]:
    """Add the files of a corpus folder to `rows`, by word, its folders to `clip_folders`, and what to know to `notes`.

    Return the words of the folder: those with clips, and those that were skipped.
    """
    if not root.is_dir():
        what = "is a file" if root.exists() else "does not exist"
        raise HarkenError(f"{root} {what}: give a folder with one folder for each word")
    if (root / SYNTHESIS_NOTE).is_file():
        raise HarkenError(
            f"{root} contains the two sides of a synthetic corpus: give {root / 'train'} or {root / 'test'}"
        )
    listed = read_speakers(root / "speakers.csv")
    known = set()
    folders: list[Path] = []
    nested: list[Path] = []  # folders whose clips are all in folders of their own
    for folder in sorted(root.iterdir()):
        if not folder.is_dir() or folder.name == NOISE_FOLDER or folder.name.startswith("."):
            continue
        if words is not None and normalize_word(folder.name) not in words:
            known.add(normalize_word(folder.name))
            folders.append(folder)
            nested += [folder] if may_be_outer(folder) else []
            continue
        top = str(folder.absolute())
        skipped: Counter[str] = Counter()
        found = walk(top, skipped)
        notes += filter(None, [note_on_skipped(folder, skipped, len(found))])
        if not found:
            continue
        word = folder_word(folder)
        notes += filter(None, [note_on_name(folder)])
        for absolute, files in found.items():
            clip_folders[absolute] = _ClipFolder(folder / Path(absolute).relative_to(top), folder, listed)
            rows[word] += files
        known.add(word)
        folders.append(folder)
        nested += [] if top in found else [folder]
    check_layout(root, folders, nested)
    return known


def _check_words(
    wanted: Sequence[str], words: Sequence[str], roots: Iterable[Path], present: Sequence[str] = ()
) -> None:
    """Raise HarkenError unless all of `wanted` are in `words`. The message lists `present` (default: `words`)."""
    if missing := [word for word in wanted if word not in words]:
        names = " + ".join(map(str, roots))
        raise HarkenError(
            f"{names} contains no clips of {', '.join(missing)}: its words are {_join_some(present or words)}"
        )


def read_speakers(path: Path) -> dict[str, str]:
    """Return the speakers that a `speakers.csv` lists, by path below its folder. Without the file, there are none.

    Raises
    ------
    HarkenError
        The file is not CSV with the columns path,speaker, or lists only clips that do not exist.
    """
    if not path.is_file():
        return {}
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:  # spreadsheets write a byte order mark
            rows = csv.DictReader(file, restval="")
            if not {"path", "speaker"} <= set(rows.fieldnames or ()):
                raise HarkenError(f"{path} has no header with the columns path,speaker: add it as the first line")
            listed = {_relative_path(path.parent, row["path"]): row["speaker"].strip() for row in rows}
    except (UnicodeDecodeError, csv.Error) as error:
        raise HarkenError(f"{path} is not comma-separated UTF-8 text: save it in that format") from error
    if listed and not any(_exists(path.parent, name) for name in listed):
        raise HarkenError(
            f"{path} lists only clips that do not exist ({next(iter(listed))}): write paths as word/file.wav"
        )
    return {normalize_word(name): speaker for name, speaker in listed.items()}


def _exists(root: Path, name: str) -> bool:
    """Return whether a file exists, whichever form of Unicode its name has on this disk."""
    return any((root / unicodedata.normalize(form, name)).is_file() for form in ("NFC", "NFD"))


def _relative_path(root: Path, path: str) -> str:
    """Return a path of speakers.csv as `word/file.wav`, even if it is absolute, begins with ./ or was written on Windows."""
    given = Path(path.strip().replace("\\", "/"))
    with suppress(ValueError):
        given = given.relative_to(root.absolute())
    return given.as_posix()


def _sort_rows(rows: list[FileRow], clip_folders: Mapping[str, _ClipFolder]) -> list[FileRow]:
    if rows[0][1] == rows[-1][1]:  # all are in one folder, since the rows of a folder are adjacent
        return sorted(rows)
    return sorted(rows, key=lambda row: (row[0], str(clip_folders[row[1]].path / row[0])))


_Table = dict[str, _WordFiles]  # by word


def _remove_duplicates(table: _Table, note: Path) -> tuple[_Table, list[tuple[FileRow, FileRow]]]:
    """Return the table without duplicates, and each duplicate with the row that is kept."""
    mark = combine_digests("duplicates 2", (files.fingerprint for files in table.values()))
    found = _read_note(note, mark)
    if found is None:
        found = {word: same for word, files in table.items() if (same := _find_duplicates(files.rows))}
        with suppress(OSError, HarkenError), replacing(note) as temporary:  # without the note, files are read again
            temporary.write_text(json.dumps({"fingerprint": mark, "duplicates": found}))
    kept, duplicates = dict(table), []
    for word, same in found.items():
        rows = table[word].rows
        removed = {one for one, _ in same}
        kept[word] = _WordFiles([row for number, row in enumerate(rows) if number not in removed])
        duplicates += [(rows[one], rows[first]) for one, first in same]
    return kept, duplicates


def _read_note(note: Path, mark: str) -> dict[str, list[tuple[int, int]]] | None:
    try:
        content = json.loads(note.read_text())
        if content["fingerprint"] != mark:
            return None
        return {word: [(one, first) for one, first in same] for word, same in content["duplicates"].items()}
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _find_duplicates(rows: Sequence[FileRow]) -> list[tuple[int, int]]:
    """Return the numbers of duplicates among one word's rows, each with the number of the row that is kept."""
    sizes = Counter(row[2] for row in rows)
    same_size = [Path(folder, name) for name, folder, size, _ in rows if sizes[size] > 1 and size >= 0]
    content_of = {(str(path.parent), path.name): digest for digest, same in same_content(same_size) for path in same}
    first: dict[object, int] = {}
    duplicates = []
    for number, (name, folder, _, _) in enumerate(rows):
        # Names of Speech Commands are unique everywhere. Other names, such as take1.wav or me_nohash_0.wav, are not.
        stem = os.path.splitext(name)[0]  # noqa: PTH122
        keys: list[object] = [stem] if SPEECH_COMMANDS_NAME.fullmatch(stem) else []
        if (folder, name) in content_of:
            keys.append((content_of[folder, name],))
        earlier = next((first[key] for key in keys if key in first), None)
        if earlier is not None:
            duplicates.append((number, earlier))
        for key in keys:
            first.setdefault(key, number)
    return duplicates


def _digest_of_roots(roots: Iterable[Path], words: Sequence[str] | None) -> str:
    meaning = "roots" if words is None else f"roots {list(words)}"
    return combine_digests(meaning, (os.fsencode(root.absolute()) + b"\0" for root in roots))


def same_content(paths: Iterable[Path]) -> list[tuple[str, list[Path]]]:
    """Return groups of two or more files with the same content, each with the SHA-256 of that content."""
    # Three tests, each slower than the one before. The first two already separate nearly all clips.
    groups: list[tuple[object, list[Path]]] = _group_by(paths, lambda path: path.stat().st_size)
    groups = [group for _, same in groups for group in _group_by(same, _probe)]
    return [(str(digest), same) for _, group in groups for digest, same in _group_by(group, _digest)]


def _group_by(paths: Iterable[Path], key: Callable[[Path], object]) -> list[tuple[object, list[Path]]]:
    groups = defaultdict(list)
    for path in paths:
        with suppress(OSError):  # unreadable files are reported when they are packed
            groups[key(path)].append(path)
    return [(value, same) for value, same in groups.items() if len(same) > 1]


def _probe(path: Path) -> bytes:
    with path.open(
        "rb", buffering=0
    ) as file:  # the middle, since all WAV files of a corpus can have the same size and header
        file.seek(max(0, os.fstat(file.fileno()).st_size // 2 - _PROBE_BYTES // 2))
        return file.read(_PROBE_BYTES)


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _join_some(words: Sequence[str], most: int = 12) -> str:
    return ", ".join(words[:most]) + (", …" if len(words) > most else "")
