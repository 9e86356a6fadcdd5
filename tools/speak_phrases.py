"""Speak phrases of running speech with synthetic voices, for tools/refine_embedding.py (needs the extra `synth`).

    python tools/speak_phrases.py --aligned WORDS.tsv --out SPOKEN

A phrase that is enrolled by its spelling has only synthetic takes. So the speech embedding has to learn that a person and a
synthetic voice say the same. Every phrase that several people speak in the recordings is spoken, and as many others. Continues
after a break. tools/phrase_pairs.py writes WORDS.tsv.

SPOKEN/NUMBER-TAKE-VOICE.flac   a phrase, with a pause before and after it
SPOKEN/phrases.tsv              for each: the file, the text, the first sample of the phrase, and the one after its last
"""

import argparse
import sys
from pathlib import Path

import numpy as np
import soundfile
import soxr
from numpy.typing import NDArray
from phrase_pairs import SPOKEN_TABLE, phrases_by_text, read_aligned

from harken.enrollment.takes import find_phrase
from harken.errors import HarkenError
from harken.files import replacing
from harken.models.speech_embedding import SAMPLE_RATE
from harken.synth.voices import Voice, engine_of, voices

# How many voices of each engine speak a phrase. On one core, a phrase takes 3 ms (espeak-ng), 16 ms (Hibari) or 230 ms (Piper).
TAKES = {"espeak": 2, "hibari": 1, "piper": 0.3}
RATES, PITCHES = (0.75, 1.25), (0.85, 1.2)  # ranges of the factors that vary a voice
PAUSE_S = 0.4


def main() -> None:
    """Speak the phrases of the recordings that are named on the command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--aligned", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    arguments = parser.parse_args()
    arguments.out.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(0)
    by_engine: dict[str, list[Voice]] = {}
    for voice in voices():
        by_engine.setdefault(engine_of(voice), []).append(voice)
    texts = texts_of(arguments.aligned, rng)
    lines = []
    for number, text in enumerate(texts):
        for engine, members in by_engine.items():
            takes = TAKES.get(engine, 0)
            for take in range(int(takes) + (rng.random() < takes % 1)):
                voice = members[rng.integers(len(members))]
                rate, pitch, seed = rng.uniform(*RATES), rng.uniform(*PITCHES), int(rng.integers(2**31))
                path = arguments.out / f"{number:05}-{take}-{voice.name}.flac"
                if not path.exists():
                    with replacing(path) as temporary:
                        soundfile.write(temporary, spoken(voice, text, rate, pitch, seed), SAMPLE_RATE, format="FLAC")
                try:
                    start, end = find_phrase(soundfile.read(path, dtype="float32")[0], path.name)
                except HarkenError:  # too long or too short
                    continue
                lines.append(f"{path.name}\t{text}\t{start}\t{end}\n")
        if number % 500 == 0:
            print(f"{number} of {len(texts)} phrases", file=sys.stderr)
    with replacing(arguments.out / SPOKEN_TABLE) as temporary:
        temporary.write_text("".join(lines), "utf-8")
    print(f"{arguments.out}: {len(lines)} recordings of {len(texts)} phrases")


def texts_of(aligned: Path, rng: np.random.Generator) -> list[str]:
    """Return all phrases of several speakers, and as many others."""
    by_text = phrases_by_text(read_aligned(aligned))
    shared = [text for text, found in by_text.items() if len({phrase.speaker for phrase in found}) > 1]
    others = sorted(by_text.keys() - set(shared))
    chosen = rng.permutation(len(others))[: len(shared)]
    return [*shared, *(others[index] for index in sorted(chosen))]


def spoken(voice: Voice, text: str, rate: float, pitch: float, seed: int) -> NDArray[np.float32]:
    """Return a text spoken by a voice [samples] at 16 kHz."""
    samples, sample_rate = voice.speak(text, rate=rate, pitch=pitch, seed=seed)
    resampled = np.asarray(soxr.resample(samples, sample_rate, SAMPLE_RATE), np.float32)
    return np.pad(resampled * (0.7 / max(0.7, np.abs(resampled).max())), round(PAUSE_S * SAMPLE_RATE))


if __name__ == "__main__":
    main()
