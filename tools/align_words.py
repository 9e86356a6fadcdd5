"""Find where each word of running speech is, by forced alignment with pocketsphinx, which has to be installed.

    python tools/align_words.py SPEECH WORDS.tsv

SPEECH contains FILE.flac with its transcript in FILE.txt. Each line of WORDS.tsv is for a recording: its name, a tab, and
WORD,FIRST_FRAME,LAST_FRAME for each word. Recordings with a word that pocketsphinx's dictionary lacks are left out.

align            recordings -> WORDS.tsv
Utterance        a recording, and where its words are
read_aligned     WORDS.tsv -> utterances
"""

import argparse
import re
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from harken.audio.clip import load_clip
from harken.files import replacing
from harken.progress import progress

SAMPLE_RATE = 16_000
FRAME = SAMPLE_RATE // 100  # samples of a frame of pocketsphinx


@dataclass(frozen=True)
class Utterance:
    """A recording of running speech, and where its words are.

    Attributes
    ----------
    name
        Name of the recording.
    words
        Each word, its first frame, and the frame after its last.
    """

    name: str
    words: list[tuple[str, int, int]]


def align(speech: Path, out: Path) -> None:
    """Write where the words of all recordings of a folder are."""
    from pocketsphinx import Decoder  # reading WORDS.tsv does not need it

    decoder = Decoder(lm=None, loglevel="FATAL", beam=1e-80, wbeam=1e-60, pbeam=1e-80)
    paths = [path for path in sorted(speech.glob("*.flac")) if path.with_suffix(".txt").is_file()]
    lines = []
    for path in progress(paths, "aligning"):
        words = re.sub(r"[^a-z' ]", " ", path.with_suffix(".txt").read_text("utf-8").lower()).split()
        if not words or any(decoder.lookup_word(word) is None for word in words):
            continue
        samples = load_clip(path, SAMPLE_RATE)
        decoder.set_align_text(" ".join(words))
        decoder.start_utt()
        decoder.process_raw((samples * 32767).astype(np.int16).tobytes(), full_utt=True)
        decoder.end_utt()
        segments = [segment for segment in decoder.seg() or () if segment.word[0] not in "<[+("]
        found = [re.sub(r"\(\d+\)$", "", segment.word) for segment in segments]
        if found == words:
            places = zip(words, segments, strict=True)
            line = " ".join(f"{word},{place.start_frame},{place.end_frame + 1}" for word, place in places)
            lines.append(f"{path.name}\t{line}\n")
    with replacing(out) as temporary:
        temporary.write_text("".join(lines), "utf-8")
    print(f"{out}: {len(lines)} of {len(paths)} recordings")


def read_aligned(path: Path) -> list[Utterance]:
    """Read what `align` wrote."""
    utterances = []
    for line in path.read_text("utf-8").splitlines():
        name, _, text = line.partition("\t")
        words = [(word, int(start), int(end)) for word, start, end in (part.split(",") for part in text.split())]
        utterances.append(Utterance(name, words))
    return utterances


def main() -> None:
    """Align the recordings of the folder that is named on the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("speech", type=Path, metavar="SPEECH")
    parser.add_argument("out", type=Path, metavar="WORDS.tsv")
    options = parser.parse_args()
    align(options.speech, options.out)


if __name__ == "__main__":
    main()
