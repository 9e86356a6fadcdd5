"""The published corpora that harken can download by name.

PublishedCorpus    an archive: its address and its contents
CORPORA            all of them, by name
find_corpus        a name -> its PublishedCorpus

Speech Commands: P. Warden, "Speech Commands: A Dataset for Limited-Vocabulary Speech Recognition", arXiv:1804.03209,
Creative Commons Attribution 4.0. A length or a SHA-256 is None where it is not known. Google has published no checksum of
mini-speech-commands: the one here is what several unrelated public projects compare it with.
"""

import difflib
from collections.abc import Mapping
from dataclasses import dataclass

from harken.corpus.table import NOISE_FOLDER
from harken.errors import HarkenError

_ORIGIN = "https://storage.googleapis.com/download.tensorflow.org/data"


@dataclass(frozen=True, kw_only=True)
class PublishedCorpus:
    """A published archive.

    Attributes
    ----------
    name
        Name of the corpus.
    url
        Address of the archive.
    recordings
        Number of WAV files in each folder, for words and background noise.
    archive_bytes
        Length of the archive.
    sha256
        Published checksum of the archive, in hexadecimal.
    """

    name: str
    url: str
    recordings: Mapping[str, int]
    archive_bytes: int | None = None
    sha256: str | None = None

    @property
    def folders(self) -> int:
        """Number of folders, without background noise."""
        return len(self.recordings.keys() - {NOISE_FOLDER})

    @property
    def clips(self) -> int:
        """Number of clips, without background noise."""
        return sum(count for folder, count in self.recordings.items() if folder != NOISE_FOLDER)


# fmt: off
_V1 = {
    NOISE_FOLDER: 6, "bed": 1713, "bird": 1731, "cat": 1733, "dog": 1746, "down": 2359, "eight": 2352, "five": 2357,
    "four": 2372, "go": 2372, "happy": 1742, "house": 1750, "left": 2353, "marvin": 1746, "nine": 2364, "no": 2375,
    "off": 2357, "on": 2367, "one": 2370, "right": 2367, "seven": 2377, "sheila": 1734, "six": 2369, "stop": 2380,
    "three": 2356, "tree": 1733, "two": 2373, "up": 2375, "wow": 1745, "yes": 2377, "zero": 2376,
}
_V2 = {
    NOISE_FOLDER: 6, "backward": 1664, "bed": 2014, "bird": 2064, "cat": 2031, "dog": 2128, "down": 3917,
    "eight": 3787, "five": 4052, "follow": 1579, "forward": 1557, "four": 3728, "go": 3880, "happy": 2054,
    "house": 2113, "learn": 1575, "left": 3801, "marvin": 2100, "nine": 3934, "no": 3941, "off": 3745, "on": 3845,
    "one": 3890, "right": 3778, "seven": 3998, "sheila": 2022, "six": 3860, "stop": 3872, "three": 3727, "tree": 1759,
    "two": 3880, "up": 3723, "visual": 1592, "wow": 2123, "yes": 4044, "zero": 4052,
}
_TEST_V1 = {
    "_silence_": 257, "_unknown_": 257, "down": 253, "go": 251, "left": 267, "no": 252, "off": 262, "on": 246,
    "right": 259, "stop": 249, "up": 272, "yes": 256,
}
_TEST_V2 = {
    "_silence_": 408, "_unknown_": 408, "down": 406, "go": 402, "left": 412, "no": 405, "off": 402, "on": 396,
    "right": 396, "stop": 411, "up": 425, "yes": 419,
}
# fmt: on

CORPORA: dict[str, PublishedCorpus] = {
    corpus.name: corpus
    for corpus in (
        PublishedCorpus(
            name="speech-commands-v0.01",
            url=f"{_ORIGIN}/speech_commands_v0.01.tar.gz",
            recordings=_V1,
            archive_bytes=1_489_096_277,
            sha256="743935421bb51cccdb6bdd152e04c5c70274e935c82119ad7faeec31780d811d",
        ),
        PublishedCorpus(
            name="speech-commands-v0.02",
            url=f"{_ORIGIN}/speech_commands_v0.02.tar.gz",
            recordings=_V2,
            archive_bytes=2_428_923_189,
            sha256="af14739ee7dc311471de98f5f9d2c9191b18aedfe957f4a6ff791c709868ff58",
        ),
        PublishedCorpus(
            name="mini-speech-commands",
            url=f"{_ORIGIN}/mini_speech_commands.zip",
            recordings=dict.fromkeys(("down", "go", "left", "no", "right", "stop", "up", "yes"), 1000),
            archive_bytes=182_082_353,
            sha256="49650f2341b26d886b46b3f4fb8fed59e30300b17550f1ee4a768b3106cf93a0",
        ),
        PublishedCorpus(
            name="speech-commands-test-v0.01",
            url=f"{_ORIGIN}/speech_commands_test_set_v0.01.tar.gz",
            recordings=_TEST_V1,
        ),
        PublishedCorpus(
            name="speech-commands-test-v0.02",
            url=f"{_ORIGIN}/speech_commands_test_set_v0.02.tar.gz",
            recordings=_TEST_V2,
            archive_bytes=112_563_277,
        ),
    )
}


def find_corpus(name: str) -> PublishedCorpus:
    """Return the corpus called `name`. Raises HarkenError, which suggests the closest name, if there is none."""
    if name in CORPORA:
        return CORPORA[name]
    nearest = difflib.get_close_matches(name, CORPORA, n=1, cutoff=0.4)
    guess = f"did you mean {nearest[0]}? " if nearest else ""
    raise HarkenError(f"no corpus is called {name!r}: {guess}harken can download {', '.join(CORPORA)}")
