"""The clips of the demo: those that train, and those of unseen speakers that evaluate.

real_voices        mini-speech-commands, downloaded: eight words by many people
synthetic_voices   the ten commands in voices that are installed as packages
own_clips          folders that the user names
"""

import itertools
import json
import os
import shutil
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from harken.corpus.catalog import find_corpus
from harken.corpus.importers.convert import speaker_name
from harken.corpus.reachable import is_reachable
from harken.corpus.split import official
from harken.corpus.table import Clip, read_corpus
from harken.errors import HarkenError
from harken.extras import install_command
from harken.files import replacing
from harken.labels import COMMANDS

REAL = "mini-speech-commands"
CLIPS = 300  # of each word, for training: as many as two networks learn from in a few minutes

_SOURCES = "sources.json"  # the user's folders whose clips the demo's folder holds
_LEAST_UNSEEN = 20  # clips of each word by unseen speakers
_TAKES, _UNSEEN_SHARE = 300, 0.2  # synthetic: of each word; a fifth of them in voices that training never uses
_ROOM_FRACTION, _SNR_DB = 0.2, (20.0, 50.0)
_SEED = 8  # holds out Piper's voice, and trains with Hibari's

# Most of espeak-ng's 700 voices are hard to understand: whispers, robots, accents that turn "down" into "don". These are
# the accents and variants of which the bundled model `base` recognized most.
_ACCENTS = frozenset({"en-us", "en-gb", "en-gb-x-rp", "en-gb-scotland"})
_VARIANTS = frozenset(
    {
        *("f1", "f2", "f3", "f4", "f5", "m1", "m2", "m3", "m5", "m6", "klatt", "klatt3", "klatt4", "klatt6"),
        *("adam", "announcer", "annie", "aunty", "benjamin", "diogo", "edward", "grandpa", "henrique", "hugo", "jacky"),
        *("miguel", "nguyen", "pablo", "reed", "rob", "sandro"),
    }
)


@dataclass(frozen=True)
class Voices:
    """What the demo trains and evaluates with.

    folder : for all that the demo makes of these voices. train, test : corpora without a common speaker. words : all are
    in both. what : who speaks, for the page. synthetic : whether it is machines that speak.
    """

    folder: Path
    train: Path
    test: Path
    words: tuple[str, ...]
    what: str
    synthetic: bool = False


def real_is_at_hand(out: Path, url: str | None) -> bool:
    """Return whether the real voices lie in the demo's folder, whole or in part, or their server answers."""
    place = out / REAL
    return place.is_dir() or place.with_name(f"{REAL}.part").is_file() or is_reachable(url or find_corpus(REAL).url)


def real_voices(out: Path, url: str | None = None) -> Voices:
    """Download mini-speech-commands, if it is not there, and part its speakers. url : another place of the archive."""
    from harken.corpus.fetch import get_corpus

    what = "people of mini-speech-commands (Google's Speech Commands, CC BY 4.0)"
    return _parted([get_corpus(REAL, out / REAL, url=url)], out / "real", what)


def own_clips(out: Path, folders: Sequence[Path]) -> Voices:
    """Split the user's folders by speaker. Raise HarkenError if `out` holds the clips of other folders."""
    names = ", ".join(map(str, folders))
    sources = json.dumps(sorted(str(folder.resolve()) for folder in folders), indent=1).encode()
    note = out / _SOURCES
    begun = any((out / name).exists() for name in (_SOURCES, "train", "test"))
    if begun and not (note.is_file() and note.read_bytes() == sources):
        raise HarkenError(f"{out} holds other clips than those of {names}: add --out FOLDER (with make: OUT=FOLDER)")
    return _parted(folders, out, f"the speakers of {names}", sources)


def synthetic_voices(out: Path) -> Voices:
    """Speak the ten commands in the synthetic voices that are easy to understand."""
    from harken.synth import synthesize_corpus

    folder = out / "synthetic"
    made = synthesize_corpus(
        COMMANDS,
        folder / "voices",
        takes=_TAKES,
        seed=_SEED,
        held_out_fraction=_UNSEEN_SHARE,
        room_fraction=_ROOM_FRACTION,
        snr_db=_SNR_DB,
        voices_named=chosen_voices(),
    )
    if made.test is None:
        raise HarkenError(
            f"only one family of voices is installed, so none is left for evaluation; run {install_command('synth')}"
        )
    what = "synthetic voices, in which the model base, trained on people, rejects many words"
    return Voices(folder, made.train, made.test, COMMANDS, what, synthetic=True)


def chosen_voices() -> list[str]:
    """Return the names of the installed voices that are easy to understand."""
    from harken.synth.voices import engine_of, voices

    return [
        voice.name
        for voice in voices()
        if engine_of(voice) in ("hibari", "piper")
        or (voice.accent in _ACCENTS and voice.family.removeprefix("espeak-") in _VARIANTS)
    ]


def _parted(folders: Sequence[Path], out: Path, what: str, sources: bytes = b"") -> Voices:
    """Link the clips of `folders` into OUT/train and OUT/test, which have no speaker in common.

    The sides are those of Speech Commands' official split: no clip in OUT/test is by a speaker that a bundled model was
    trained on. Where the folders hold no test side, the validation side takes its place. `sources` is the content of
    OUT/sources.json, if that is to be written.
    """
    corpus = read_corpus(folders)
    words = tuple(word for word in COMMANDS if word in corpus.words)
    if len(words) < 2:
        raise HarkenError(f"{folders[0]} holds fewer than two of the words {', '.join(COMMANDS)}: name another folder")
    sides = official(corpus)
    counts = Counter((side, clip.word) for side, clip in zip(sides, corpus.clips, strict=True))
    unseen = next((s for s in ("test", "validation") if all(counts[s, w] >= _LEAST_UNSEEN for w in words)), None)
    if unseen is None:
        raise HarkenError(
            f"{folders[0]} has fewer than {_LEAST_UNSEEN} clips of some word by the speakers of its test side: add clips"
        )
    if sources:  # before the first clip, so that an interrupted demo can go on
        with replacing(out / _SOURCES) as temporary:
            temporary.write_bytes(sources)
    used = Counter[tuple[str, str]]()
    names: set[tuple[str, str]] = set()
    for side, clip in zip(sides, corpus.clips, strict=True):
        name = {"train": "train", unseen: "test"}.get(side)
        if name is None or clip.word not in words:
            continue
        used[name, clip.word] += 1
        if name == "test" or used[name, clip.word] <= CLIPS:
            _link(clip.path, out / name / clip.word / _name(clip, names))
    return Voices(out, out / "train", out / "test", words, what)


def _name(clip: Clip, used: set[tuple[str, str]]) -> str:
    """Return a file name for a clip that states its speaker and that no clip of its word has, and add it to `used`."""
    stem, speaker = clip.path.stem, speaker_name(clip.speaker)
    if speaker and "_nohash_" not in stem:
        stem = f"{speaker}_nohash_{stem}"
    stems = itertools.chain([stem], (f"{stem}-{number}" for number in itertools.count(2)))
    free = next(stem for stem in stems if (clip.word, stem.casefold()) not in used)  # some disks ignore case
    used.add((clip.word, free.casefold()))
    return free + clip.path.suffix


def _link(source: Path, target: Path) -> None:
    """Give a clip a second name: as a hard link, and as a copy where the disk has none or `source` lies on another."""
    if target.is_file():
        return
    with replacing(target) as temporary:
        temporary.unlink()
        try:
            os.link(source, temporary)
        except OSError:
            shutil.copyfile(source, temporary)
