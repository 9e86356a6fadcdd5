"""Import a corpus: detect its layout, and write its recordings in harken's layout.

import_corpus   convert a folder or an archive
Imported        the number of recordings that were imported and left out
speaker_name    the name of a speaker for a file name

The result has a folder for each word, with files named `SPEAKER_nohash_TAKE`, so that harken keeps speakers apart. If the
source has a split, `splits.csv` contains it.
"""

import csv
import hashlib
import re
import shutil
import tempfile
import unicodedata
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from types import ModuleType

from harken.audio.clip import AUDIO_SUFFIXES
from harken.corpus.importers import audio_folder, edge_impulse, mswc, parquet, split_folders, word_folders
from harken.corpus.importers.recording import NOISE_NAMES, LeftOut, Recording
from harken.corpus.layout import NOISE_FOLDER
from harken.corpus.split import SPLITS_FILE, by_speaker
from harken.corpus.table import Clip
from harken.corpus.unpack import unpacked
from harken.errors import HarkenError
from harken.files import DISK_FULL
from harken.labels import UNKNOWN

# The first layout that recognizes a folder reads it.
LAYOUTS: tuple[ModuleType, ...] = (mswc, edge_impulse, parquet, audio_folder, split_folders, word_folders)
_ARCHIVES = (".zip", ".tgz", ".tar.gz", ".tm")
_DRAWN_SHARE = 0.1  # of the training clips, for validation
_MAX_NAME = 40  # characters; a longer name of a speaker is replaced by its hash


@dataclass(frozen=True)
class Imported:
    """The result of an import.

    Attributes
    ----------
    layout
        Name of the layout that was found.
    folder
        The new corpus.
    words
        Number of clips of each word.
    speakers
        Number of known speakers.
    sides
        Number of clips on each side, if the source has a split.
    noise
        Number of recordings of noise.
    drawn_validation
        Whether a tenth of the training speakers was chosen for validation, because the source has only a test side.
    left_out
        Number of recordings that were left out, by reason.
    """

    layout: str
    folder: Path
    words: Counter[str]
    speakers: int
    sides: Counter[str]
    noise: int
    drawn_validation: bool
    left_out: LeftOut


def import_corpus(source: Path, out: Path) -> Imported:
    """Convert a corpus into harken's layout.

    Parameters
    ----------
    source
        A folder, or a zip or tar.gz archive.
    out
        Folder to create.

    Returns
    -------
    Imported
        The number of recordings that were imported and left out.

    Raises
    ------
    HarkenError
        If the source is missing, damaged, cannot be read or has no known layout, or `out` exists already or cannot be
        written.
    """
    try:
        return _import(source, out)
    except OSError as error:
        if error.errno in DISK_FULL:  # the error may name the file that was to be copied
            raise HarkenError(f"cannot write {out}: {error.strerror}; free some disk space") from error
        raise HarkenError(f"cannot open {error.filename or source}: {error.strerror}; check its permissions") from error


def _import(source: Path, out: Path) -> Imported:
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise HarkenError(f"--out {out} exists already: give a new folder")
    with _opened(source) as root:
        layout = next((layout for layout in LAYOUTS if layout.recognize(root)), None)
        if layout is None:
            names = ", ".join(layout.NAME for layout in LAYOUTS)
            raise HarkenError(f"{source} has none of the layouts that harken knows ({names}): make one folder per word")
        try:
            out.parent.mkdir(parents=True, exist_ok=True)
            partial = Path(tempfile.mkdtemp(prefix=f".{out.name}-", dir=out.parent))
        except OSError as error:
            raise HarkenError(f"cannot write {out}: {error.strerror}; choose a folder you may write to") from error
        try:
            left_out: LeftOut = Counter()
            imported = _write(layout.read(root, left_out), partial, left_out)
            if not imported.words:
                why = "; ".join(f"{count:,}: {reason}" for reason, count in left_out.most_common(3)) or "it is empty"
                raise HarkenError(f"{source} contains no recording that can be taken ({why}): check the download")
            partial.chmod(0o755)  # mkdtemp gives access to the user only
            partial.replace(out)
        finally:
            shutil.rmtree(partial, ignore_errors=True)
    return replace(imported, layout=layout.NAME, folder=out)


@contextmanager
def _opened(source: Path) -> Iterator[Path]:
    """Yield the folder of a corpus, unpacked if it is an archive. A single folder in it, beside a README, is opened."""
    if source.is_dir():
        yield _innermost(source)
        return
    if not source.is_file():
        raise HarkenError(f"{source} does not exist: check the path")
    if not source.name.lower().endswith(_ARCHIVES):
        raise HarkenError(f"{source} is neither a folder nor a zip or tar.gz archive: give one of these")
    with tempfile.TemporaryDirectory() as temporary, unpacked(source, Path(temporary) / "corpus") as root:
        yield _innermost(root)


def _innermost(root: Path) -> Path:
    while not any(layout.recognize(root) for layout in LAYOUTS[:-1]):
        shown = [path for path in root.iterdir() if not path.name.startswith((".", "__MACOSX"))]
        inner = [path for path in shown if path.is_dir() or path.suffix.lower() in AUDIO_SUFFIXES]
        if len(inner) != 1 or not inner[0].is_dir() or not any(path.is_dir() for path in inner[0].iterdir()):
            break
        root = inner[0]
    return root


def _write(recordings: Iterable[Recording], folder: Path, left_out: LeftOut) -> Imported:
    takes: dict[tuple[str, str], int] = defaultdict(int)
    words: Counter[str] = Counter()
    speakers: set[str] = set()
    clips: list[Clip] = []  # with paths below the folder
    given: list[str] = []  # the side of each clip in the source
    noise = 0
    for recording in recordings:
        word = _folder_name(recording.word)
        if not word:
            left_out["a label that cannot be the name of a folder"] += 1
            continue
        if word.casefold() in NOISE_NAMES:
            noise += 1
            _store(recording, folder / NOISE_FOLDER / f"{noise - 1:05}{recording.suffix}")
            continue
        if word.startswith("_") and word != UNKNOWN:
            left_out[f"{word}: names that begin with _ are harken's own; rename it"] += 1
            continue
        speaker = speaker_name(recording.speaker)
        # Some file systems do not distinguish upper and lower case: `Go` and `go` are one folder there.
        same_path = (word.casefold(), speaker.casefold())
        number = takes[same_path]
        takes[same_path] += 1
        # Without `_nohash_` in its name, a clip counts as one of an unknown speaker.
        stem = f"{speaker}_nohash_{number}" if speaker else f"clip-{number:06}"
        path = f"{word}/{stem}{recording.suffix}"
        _store(recording, folder / path)
        words[word] += 1
        speakers |= {speaker} if speaker else set()
        clips.append(Clip(Path(path), word, speaker))
        given.append(recording.side)
    counted: Counter[str] = Counter()
    drawn = False
    if len(set(given)) > 1 and {"validation", "test"} & set(given):  # a single side is no split
        drawn = "validation" not in given
        sides = _with_validation(clips, given) if drawn else [side or "train" for side in given]
        counted.update(sides)
        with (folder / SPLITS_FILE).open("w", newline="", encoding="utf-8") as file:
            writer = csv.writer(file)
            writer.writerow(("path", "split"))
            writer.writerows((clip.path.as_posix(), side) for clip, side in zip(clips, sides, strict=True))
    return Imported("", folder, words, len(speakers), counted, noise, drawn and counted["validation"] > 0, left_out)


def _with_validation(clips: Sequence[Clip], given: Sequence[str]) -> list[str]:
    """Return the side of each clip, after a tenth of the training speakers was chosen for validation."""
    training = [row for row, side in enumerate(given) if side != "test"]
    drawn = by_speaker([clips[row] for row in training], validation=_DRAWN_SHARE, test=0, seed=0)
    sides = list(given)
    for row, side in zip(training, drawn, strict=True):
        sides[row] = side
    return sides


def _store(recording: Recording, path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    if isinstance(recording.audio, bytes):
        path.write_bytes(recording.audio)
    else:
        shutil.copyfile(recording.audio, path)


def _folder_name(word: str) -> str:
    """Return a word as the name of a folder, or "" if that is not possible."""
    name = re.sub(r"\s+", " ", unicodedata.normalize("NFC", word)).strip()
    unsafe = name.startswith(".") or any(sign in '/\\:*?"<>|' or ord(sign) < 32 for sign in name)
    try:
        return "" if unsafe or len(name.encode()) > 200 else name
    except UnicodeEncodeError:  # the name of a folder that is not UTF-8
        return ""


def speaker_name(speaker: str) -> str:
    """Return the name of a speaker for a file name. A name that is long or unusual is replaced by its hash."""
    speaker = speaker.strip()
    if not speaker or speaker.lower() in ("none", "nan", "na", "unknown"):
        return ""
    if len(speaker) <= _MAX_NAME and re.fullmatch(r"[A-Za-z0-9-]+", speaker):
        return speaker
    return hashlib.blake2b(speaker.encode(errors="surrogateescape"), digest_size=8).hexdigest()
