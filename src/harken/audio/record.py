"""Record a corpus of your own words: prompts, a level meter, and a check of each take.

record_corpus    record takes from a source as DIR/WORD/SPEAKER_nohash_TAKE.wav
record_phrase    record takes of one phrase as DIR/take-TAKE.wav
RecordingState   what to show to the speaker
"""

import math
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from harken.audio.clip import AUDIO_SUFFIXES
from harken.audio.resampler import Resampler
from harken.audio.save import save_audio
from harken.audio.sources import Source
from harken.audio.take import CLIP_S, check_take
from harken.errors import HarkenError

TAKE_S = 2.0  # length of the recording of one word
# The length of a recording, and of the clip that is cut out of it.
_WORD_LENGTHS = TAKE_S, CLIP_S
_PHRASE_LENGTHS = 3.0, 2.0
_PAUSE_S = 0.4  # before each prompt, so that the speaker has time to notice that the word changes


@dataclass(frozen=True)
class RecordingState:
    """What to show to the speaker at one moment of a recording.

    Attributes
    ----------
    word
        Word to say now. Empty during the pause before a prompt.
    done
        Number of takes kept so far.
    wanted
        Number of takes in total.
    level_db
        Peak level of the last chunk, in dB of full scale.
    fault
        Why the last take was not kept. Empty if it was kept.
    """

    word: str
    done: int
    wanted: int
    level_db: float
    fault: str


def record_corpus(
    source: Source,
    folder: Path,
    words: Sequence[str],
    *,
    takes: int,
    speaker: str,
    show: Callable[[RecordingState], None],
) -> int:
    """Record several takes of each word.

    The words are prompted in turn. A take that is too quiet, clipped, or cut off is recorded again. Takes of this speaker
    that are already in the folder count, so an interrupted recording can be continued. Each take is saved as one second
    (two seconds for a phrase of several words) of 16-bit mono WAV at the sample rate of the source.

    Parameters
    ----------
    source
        Source to record from, usually a microphone.
    folder
        Folder of the corpus, new or existing.
    words
        Words to record.
    takes
        Number of takes per word.
    speaker
        Name of the speaker for the file names: letters and digits.
    show
        Function that is called with the current state after each chunk.

    Returns
    -------
    int
        Number of takes recorded in this call.

    Raises
    ------
    HarkenError
        If a word or the speaker cannot be used in a file name, or if the source ends too early.
    """
    _check_arguments(words, takes, speaker)
    chunks = _mono_chunks(source, "record into the same folder to continue")
    kept = {word: _take_numbers(folder / word, speaker) for word in words}
    state = RecordingState(
        "", sum(min(takes, len(numbers)) for numbers in kept.values()), takes * len(words), -math.inf, ""
    )
    done_before = state.done
    for take in range(takes):
        for word in words:
            while len(kept[word]) <= take:
                lengths = _PHRASE_LENGTHS if " " in word else _WORD_LENGTHS
                number = min(set(range(len(kept[word]) + 1)) - kept[word])  # also that of a take that was deleted
                path = folder / word / f"{speaker}_nohash_{number}.wav"
                state = _record_take(chunks, source.sample_rate, replace(state, word=word), lengths, path, show)
                if not state.fault:
                    kept[word].add(number)
    return state.done - done_before


def record_phrase(
    source: Source, folder: Path, phrase: str, *, takes: int, show: Callable[[RecordingState], None]
) -> list[Path]:
    """Record several takes of one phrase, also of a single word that takes longer than a second.

    Parameters
    ----------
    source
        Source to record from, usually a microphone.
    folder
        Folder for the takes.
    phrase
        What to say. It is not part of the file names.
    takes
        Number of takes.
    show
        Function that is called with the current state after each chunk.

    Returns
    -------
    list of Path
        The recordings.

    Raises
    ------
    HarkenError
        If the source ends too early.
    """
    chunks = _mono_chunks(source, "check the microphone")
    state = RecordingState("", 0, takes, -math.inf, "")
    paths = [folder / f"take-{number + 1}.wav" for number in range(takes)]
    while state.done < takes:
        path = paths[state.done]
        state = _record_take(chunks, source.sample_rate, replace(state, word=phrase), _PHRASE_LENGTHS, path, show)
    return paths


def _record_take(
    chunks: Iterator[NDArray[np.float32]],
    sample_rate: int,
    state: RecordingState,
    lengths: tuple[float, float],
    path: Path,
    show: Callable[[RecordingState], None],
) -> RecordingState:
    """Record one take, save it if it can be used, and return the new state. `lengths` are those of the take and the clip."""
    take_s, clip_s = lengths
    _record(chunks, sample_rate, _PAUSE_S, replace(state, word=""), show)
    checked = check_take(_record(chunks, sample_rate, take_s, state, show), sample_rate, clip_s=clip_s)
    if checked.clip is None:
        return replace(state, fault=f"“{state.word}” was {checked.fault}")
    save_audio(path, checked.clip, sample_rate)
    return replace(state, done=state.done + 1, fault="")


def _check_arguments(words: Sequence[str], takes: int, speaker: str) -> None:
    for word in words:
        if not re.fullmatch(r"[^\W_][\w '-]*", word):
            raise HarkenError(f"--words {word!r}: a word is also a folder name; use letters and digits")
    if not words or len(set(words)) < len(words):
        raise HarkenError("--words: list the words to record, each of them once, for example lights,music")
    if takes < 1:
        raise HarkenError(f"--takes {takes}: it must be 1 or more")
    if not re.fullmatch(r"[A-Za-z0-9]+", speaker):
        raise HarkenError(f"--speaker {speaker}: it is part of the file names; use letters and digits")


def _take_numbers(folder: Path, speaker: str) -> set[int]:
    """Return the numbers of the takes that are there, also of those that were converted to another format since."""
    files = (file for file in folder.glob(f"{speaker}_nohash_[0-9]*") if file.suffix.lower() in AUDIO_SUFFIXES)
    takes = (file.stem.rpartition("_")[2] for file in files)
    return {int(take) for take in takes if take.isdecimal()}


def _mono_chunks(source: Source, fix: str) -> Iterator[NDArray[np.float32]]:
    mixing = Resampler(source.sample_rate, source.sample_rate)
    for chunk in source.chunks:
        yield mixing.push(chunk)
    raise HarkenError(f"{source.name} ended before all takes were recorded: {fix}")


def _record(
    chunks: Iterator[NDArray[np.float32]],
    sample_rate: int,
    seconds: float,
    state: RecordingState,
    show: Callable[[RecordingState], None],
) -> NDArray[np.float32]:
    recorded: list[NDArray[np.float32]] = []
    while sum(chunk.size for chunk in recorded) < seconds * sample_rate:
        recorded.append(next(chunks))
        peak = float(np.abs(recorded[-1]).max(initial=0.0))
        show(replace(state, level_db=20 * math.log10(peak) if peak else -math.inf))
    return np.concatenate(recorded)
