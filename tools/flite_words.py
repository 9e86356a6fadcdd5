"""Words in the voices of flite, as a corpus that only trains: what `harken corpus speak` is, with more natural voices.

python tools/flite_words.py OUT

`apt install flite` brings the program and five voices made from recordings of four people (A. Black and K. Lenzo, 2001;
free, with a licence like BSD's). Each clip is drawn longer or shorter than spoken, formants and pitch together up or down by
a quarter at most, as of a larger or smaller head; then come a microphone, a room and a breath of noise.

OUT/train/WORD holds 300 clips of each of the twelve words that are scarce in our recordings, 450 of each of the ten
commands, so that no network learns that a synthetic voice says none of them, and 60 of each word that sounds like `dog`.
"""

import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import soundfile
import soxr
from numpy.typing import NDArray

from harken.labels import COMMANDS
from harken.synth.effects import SAMPLE_RATE, reverberate, room_response, tilt, trim

_SCARCE = ["dog", "house", "marvin", "nine", "seven", "sheila", "six", "tree", "wow", "follow", "learn", "visual"]
_NEAR = ["dock", "dot", "doll", "dodge", "dug", "dawn", "dough", "god", "fog", "log", "doubt", "dad"]
_TAKES = ((_SCARCE, 300), (COMMANDS, 450), (_NEAR, 60))
_VOICES = ("kal16", "awb", "rms", "slt")
_TELEPHONE = "kal"  # of 8 kHz: a clip in sixteen
_SEED = 31
_SHORTEST = SAMPLE_RATE // 10
_TOGETHER = 23  # takes of a voice under one speaker's name


def spoken(text: str, voice: str, rng: np.random.Generator, path: Path) -> NDArray[np.float32]:
    """Return one take, [samples] at SAMPLE_RATE Hz; `path` is written on the way."""
    warp, pace = (float(np.exp(rng.uniform(np.log(low), np.log(high)))) for low, high in ((0.84, 1.24), (0.75, 1.3)))
    text += str(rng.choice(["", ".", "?", "!"]))
    options = {"duration_stretch": f"{pace * warp:.3f}"}
    if voice.startswith("kal"):  # the others have the melody of their recordings
        options["int_f0_target_mean"] = f"{rng.uniform(85, 140):.0f}"
        options["int_f0_target_stddev"] = f"{rng.uniform(8, 25):.0f}"
    settings = [word for name, value in options.items() for word in ("--setf", f"{name}={value}")]
    subprocess.run(["flite", "-voice", voice, *settings, "-t", text, "-o", str(path)], check=True)
    samples, rate = soundfile.read(path, dtype="float32")
    return trim(soxr.resample(samples, rate * warp, SAMPLE_RATE).astype(np.float32))


def recorded(voice: NDArray[np.float32], rng: np.random.Generator) -> NDArray[np.float32]:
    """Return a second with the take in it, as a microphone in a room would have it."""
    voice = tilt(voice, float(rng.uniform(-3, 3)))
    if rng.random() < 0.35:
        voice = reverberate(voice, room_response(rng))
    voice = voice[:SAMPLE_RATE]
    start = rng.integers(0, SAMPLE_RATE - voice.size + 1)
    clip = np.zeros(SAMPLE_RATE, np.float32)
    clip[start : start + voice.size] = voice
    clip *= float(10 ** rng.uniform(-1.1, -0.1)) / max(float(np.abs(clip).max()), 1e-6)
    clip += rng.standard_normal(SAMPLE_RATE).astype(np.float32) * float(10 ** rng.uniform(-4.3, -2.6))
    return np.clip(clip, -1, 1)


def main() -> None:
    """Write the corpus."""
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    rng = np.random.default_rng(_SEED)
    with tempfile.TemporaryDirectory() as scratch:
        for words, takes in _TAKES:
            for word in words:
                folder = Path(sys.argv[1]) / "train" / word
                folder.mkdir(parents=True, exist_ok=True)
                for take in range(takes):
                    voice = _VOICES[take % len(_VOICES)] if take % 16 else _TELEPHONE
                    samples = spoken(word, voice, rng, Path(scratch) / "word.wav")
                    if samples.size < _SHORTEST:
                        continue
                    name = f"flite{voice}{take % _TOGETHER:02d}_nohash_{take}.wav"
                    soundfile.write(folder / name, recorded(samples, rng), SAMPLE_RATE, subtype="PCM_16")


if __name__ == "__main__":
    main()
