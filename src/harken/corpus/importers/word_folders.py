"""One folder for each word, as in harken's own corpora, the downloads of Teachable Machine, and many others.

Files directly in the corpus folder have no label and are left out. The lists of speakers and of the split that harken reads
beside the folders, such as `speakers.csv` and `testing_list.txt`, are read here, too.
"""

from collections.abc import Iterator
from pathlib import Path

from harken.audio.clip import AUDIO_SUFFIXES
from harken.corpus.importers.recording import (
    LeftOut,
    Recording,
    audio_below,
    file_recording,
    visible_files,
    visible_folders,
)
from harken.corpus.split import listed_sides
from harken.corpus.table import Clip, Corpus, read_speakers
from harken.labels import normalize_word

NAME = "folders of words"


def recognize(root: Path) -> bool:
    """Return whether the folder has this layout."""
    return any(any(audio_below(folder)) for folder in visible_folders(root))


def read(root: Path, left_out: LeftOut, *, side: str = "") -> Iterator[Recording]:
    """Yield the recordings of the folder.

    The speaker is part of the file name (`SPEAKER_nohash_TAKE`), or listed in `speakers.csv`, or the name of the folder
    between word and file.
    """
    listed = read_speakers(root / "speakers.csv")
    left_out["no label"] += sum(
        path.is_file() and path.suffix.lower() in AUDIO_SUFFIXES
        for path in root.iterdir()
        if not path.name.startswith(".")
    )
    clips = [
        Clip(file, folder.name, _speaker(root, file, listed))
        for folder in visible_folders(root)
        for file in visible_files(folder)
    ]
    sides = [side] * len(clips) if side else listed_sides(Corpus((root,), clips), clips)
    for clip, found in zip(clips, sides, strict=True):
        yield from file_recording(clip.path, clip.word, left_out, speaker=clip.speaker, side=found or "")
    left_out += LeftOut()  # removes counts of 0


def _speaker(root: Path, file: Path, listed: dict[str, str]) -> str:
    speaker, nohash, _ = file.stem.partition("_nohash_")
    within = file.relative_to(root)
    folders = within.parts[1:-1]
    return speaker if nohash else listed.get(normalize_word(within.as_posix()), folders[0] if folders else "")
