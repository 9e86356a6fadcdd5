"""Recording a corpus of one's own: prompts, a level, and takes that are judged at once.

record_corpus    a source of sound -> DIR/WORD/SPEAKER_nohash_TAKE.wav
"""

import math
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import soundfile
from numpy.typing import NDArray

from harken.audio.resampler import to_mono
from harken.audio.sources import Source
from harken.audio.take import check_take
from harken.errors import HarkenError
from harken.files import replacing

TAKE_S = 2.0  # of listening for one word
_REST_S = 0.4  # after a take, for the eye to get to the next prompt


@dataclass(frozen=True)
class Moment:
    """What the one who speaks should see now.

    word : to say, "" while it rests. done, wanted : takes kept, and takes in all. level_db : of the last chunk's peak.
    fault : why the last take was not kept, "" if it was.
    """

    word: str
    done: int
    wanted: int
    level_db: float
    fault: str


def record_corpus(
    source: Source, folder: Path, words: Sequence[str], *, takes: int, speaker: str, show: Callable[[Moment], None]
) -> int:
    """Ask for `takes` of each word, word by turn, and return how many were kept this time.

    A take is 16-bit mono WAV of one second at the source's own rate. Takes of this speaker that are in `folder` count:
    a recording that was broken off goes on where it stopped.
    Raises HarkenError for a word or speaker that cannot name a file, and when the source ends.
    """
    _check(words, takes, speaker)
    chunks = _mono(source)
    kept = {word: _kept(folder / word, speaker) for word in words}
    moment = Moment("", sum(min(takes, count) for count in kept.values()), takes * len(words), -math.inf, "")
    before = moment.done
    for take in range(takes):
        for word in words:
            while kept[word] <= take:
                _listen(chunks, source.sample_rate, _REST_S, replace(moment, word=""), show)
                heard = _listen(chunks, source.sample_rate, TAKE_S, replace(moment, word=word), show)
                judged = check_take(heard, source.sample_rate)
                if judged.clip is None:
                    moment = replace(moment, fault=f"“{word}” was {judged.fault}")
                    continue
                with replacing(folder / word / f"{speaker}_nohash_{kept[word]}.wav") as temporary:
                    soundfile.write(temporary, judged.clip, source.sample_rate, subtype="PCM_16")
                kept[word] += 1
                moment = replace(moment, done=moment.done + 1, fault="")
    return moment.done - before


def _check(words: Sequence[str], takes: int, speaker: str) -> None:
    for word in words:
        if not re.fullmatch(r"[^\W_][\w '-]*", word):
            raise HarkenError(f"--words {word!r}: a word names a folder, so give letters and digits")
    if not words or len(set(words)) < len(words):
        raise HarkenError("--words: give the words to record, each once, as lights,music")
    if takes < 1:
        raise HarkenError(f"--takes {takes}: ask for 1 or more of each word")
    if not re.fullmatch(r"[A-Za-z0-9]+", speaker):
        raise HarkenError(f"--speaker {speaker}: it names files, so give letters and digits")


def _kept(folder: Path, speaker: str) -> int:
    takes = (file.stem.rpartition("_")[2] for file in folder.glob(f"{speaker}_nohash_[0-9]*.wav"))
    return max((int(take) for take in takes if take.isdecimal()), default=-1) + 1


def _mono(source: Source) -> Iterator[NDArray[np.float32]]:
    for chunk in source.chunks:
        yield to_mono(chunk)
    raise HarkenError(f"{source.name} has ended before all takes were made: record into the same folder to go on")


def _listen(
    chunks: Iterator[NDArray[np.float32]],
    sample_rate: int,
    seconds: float,
    moment: Moment,
    show: Callable[[Moment], None],
) -> NDArray[np.float32]:
    heard: list[NDArray[np.float32]] = []
    while sum(chunk.size for chunk in heard) < seconds * sample_rate:
        heard.append(next(chunks))
        peak = float(np.abs(heard[-1]).max(initial=0.0))
        show(replace(moment, level_db=20 * math.log10(peak) if peak else -math.inf))
    return np.concatenate(heard)
