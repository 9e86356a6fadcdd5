"""Folders of recordings as a table of clips.

A corpus folder holds one folder a word (`yes/…`, `no/…`) of WAV, FLAC, OGG or MP3. The speaker of a clip comes from
its name `<speaker>_nohash_<take>` (Speech Commands), else from `speakers.csv` beside the words (columns
`path,speaker`), else from a folder between word and clip; else it is not known. `_background_noise_` holds noise, not
words; `_unknown_` and `_silence_` (the official test archives) are taken as they are.
"""

import csv
import hashlib
import os
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from harken.audio import AUDIO_SUFFIXES
from harken.errors import HarkenError

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
class Corpus:
    """The clips of one or more folders, in order of word, then of file name.

    roots : the folders. noise : recordings of their `_background_noise_`. repeats : clips left out since the very
    same recording stands in the table already, each with the clip that it repeats.
    """

    roots: tuple[Path, ...]
    clips: tuple[Clip, ...]
    noise: tuple[Path, ...] = ()
    repeats: tuple[tuple[Clip, Clip], ...] = ()

    @property
    def words(self) -> tuple[str, ...]:
        """The words, sorted."""
        return tuple(sorted({clip.word for clip in self.clips}))

    def of_words(self, words: Sequence[str]) -> "Corpus":
        """Return the clips of `words` alone, in that order of words, then by file name.

        Raises HarkenError when a word has no clip.
        """
        by_word = defaultdict(list)
        for clip in self.clips:
            by_word[clip.word].append(clip)
        missing = [word for word in words if word not in by_word]
        if missing:
            raise HarkenError(
                f"{self._names()} holds no clip of {', '.join(missing)}: its words are {_some(self.words)}"
            )
        clips = tuple(clip for word in words for clip in sorted(by_word[word], key=lambda clip: clip.path.name))
        return Corpus(self.roots, clips, self.noise, self.repeats)

    def _names(self) -> str:
        return " + ".join(map(str, self.roots))


def read_corpus(folders: Iterable[str | Path]) -> Corpus:
    """Read corpus folders as one table; the same clip twice (same name, or same bytes under one word) counts once.

    Raises HarkenError when a folder is missing or holds no clip.
    """
    roots = tuple(Path(folder) for folder in folders)
    if not roots:
        raise HarkenError("no corpus was named: give a folder of one-word folders with --data DIR")
    clips: list[Clip] = []
    noise: list[Path] = []
    for root in roots:
        found = _read_folder(root)
        if not found:
            raise HarkenError(f"{root} holds no clips: a corpus has one folder a word with WAV, FLAC, OGG or MP3 in it")
        clips += found
        noise += audio_files(root / NOISE_FOLDER) if (root / NOISE_FOLDER).is_dir() else []
    clips.sort(key=lambda clip: (clip.word, clip.path.name, str(clip.path)))
    kept, repeats = _without_repeats(clips)
    return Corpus(roots, tuple(kept), tuple(noise), tuple(repeats))


def audio_files(path: str | Path) -> list[Path]:
    """Return the audio files below a folder, sorted; of a file, the file itself. Hidden files are passed over.

    Raises HarkenError when `path` does not exist.
    """
    path = Path(path)
    if path.is_file():
        return [path]
    if not path.is_dir():
        raise HarkenError(f"{path} does not exist: check the path")
    found = []
    for folder, subfolders, names in os.walk(path):
        subfolders[:] = sorted(name for name in subfolders if not name.startswith("."))
        for name in names:
            if not name.startswith(".") and os.path.splitext(name)[1].lower() in AUDIO_SUFFIXES:  # noqa: PTH122 - 4x faster than Path
                found.append(Path(folder, name))
    return sorted(found)


def _read_folder(root: Path) -> list[Clip]:
    if not root.is_dir():
        what = "is a file" if root.exists() else "does not exist"
        raise HarkenError(f"{root} {what}: name a folder of one-word folders")
    if (root / SYNTHESIS_NOTE).is_file():
        raise HarkenError(
            f"{root} holds the sides of a synthesised corpus: name {root / 'train'}, or its test beside it"
        )
    listed = _read_speakers(root / "speakers.csv")
    clips = []
    for folder in sorted(root.iterdir()):
        if not folder.is_dir() or folder.name == NOISE_FOLDER or folder.name.startswith("."):
            continue
        for path in audio_files(folder):
            speaker, nohash, _ = path.stem.partition("_nohash_")
            if not nohash:
                inner = path.relative_to(folder).parent.as_posix()
                speaker = listed.get(path.relative_to(root).as_posix(), "" if inner == "." else inner)
            clips.append(Clip(path, folder.name, speaker))
    return clips


def _read_speakers(path: Path) -> dict[str, str]:
    if not path.is_file():
        return {}
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:  # spreadsheets write a byte order mark
            rows = csv.DictReader(file, restval="")
            if not {"path", "speaker"} <= set(rows.fieldnames or ()):
                raise HarkenError(f"{path} lacks a header with the columns path,speaker: add it as the first line")
            return {row["path"]: row["speaker"] for row in rows}
    except UnicodeDecodeError as error:
        raise HarkenError(f"{path} is not UTF-8 text: save it as such") from error


def _without_repeats(clips: Sequence[Clip]) -> tuple[list[Clip], list[tuple[Clip, Clip]]]:
    first: dict[object, Clip] = {}
    kept, repeats = [], []
    same_bytes = {path: digest for digest, paths in same_content([c.path for c in clips]) for path in paths}
    for clip in clips:
        # Only Speech Commands names are unique in the world; elsewhere take1.wav may be anybody's.
        keys: list[object] = [clip.name] if "_nohash_" in clip.path.stem else []
        if clip.path in same_bytes:
            keys.append((clip.word, same_bytes[clip.path]))
        earlier = next((first[key] for key in keys if key in first), None)
        if earlier is None:
            kept.append(clip)
        else:
            repeats.append((clip, earlier))
        for key in keys:
            first.setdefault(key, clip)
    return kept, repeats


def same_content(paths: Iterable[Path]) -> list[tuple[str, list[Path]]]:
    """Return groups of two or more files with the same bytes, each with the SHA-256 of its content."""
    # Three sieves, each dearer than the one before: nearly every clip falls through the first two.
    groups: list[tuple[object, list[Path]]] = _grouped(paths, lambda path: path.stat().st_size)
    groups = [group for _, same in groups for group in _grouped(same, _probe)]
    return [(str(digest), same) for _, group in groups for digest, same in _grouped(group, _digest)]


def _grouped(paths: Iterable[Path], key: Callable[[Path], object]) -> list[tuple[object, list[Path]]]:
    groups = defaultdict(list)
    for path in paths:
        groups[key(path)].append(path)
    return [(value, same) for value, same in groups.items() if len(same) > 1]


def _probe(path: Path) -> bytes:
    with path.open("rb") as file:
        file.seek(max(0, path.stat().st_size // 2 - _PROBE_BYTES // 2))
        return file.read(_PROBE_BYTES)


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _some(words: Sequence[str], most: int = 12) -> str:
    return ", ".join(words[:most]) + (", …" if len(words) > most else "")
