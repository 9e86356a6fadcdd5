"""Build a speech bank src/harken/enrollment/bank_ENCODER.npz: statistics and embeddings of speech, for enrollment.

    python tools/build_bank.py --encoder harken --speech DIR... --words DIR --noise DIR

The bank contains numbers and no recordings: embeddings of 775 ms each, in 8 bits. It was built from

  --speech  LibriSpeech (CC BY 4.0), speakers numbered up to 3000: DIR/SPEAKER/*.flac. Benchmarks use speakers from 3170 on.
  --words   Speech Commands v0.02 (CC BY 4.0), training side, without the ten commands: DIR/WORD/*.wav
  --noise   ESC-10 (CC BY 3.0), folds 1 and 2: DIR/**/FOLD-*.ogg. Benchmarks use fold 3.

The statistics of speech are computed from up to three minutes by each speaker, half of it clean, the other half mixed with
noise 5 to 20 dB below the speech. False alarms are counted in the second half of up to six minutes by each speaker, which is
mixed with noise: a phrase has more false alarms in noise, and a promise has to hold there, too.
"""

import argparse
import hashlib
import re
import sys
import zlib
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from harken.audio.clip import load_clip
from harken.files import replacing
from harken.labels import COMMANDS
from harken.models.encoders import DEFAULT, ENCODERS, load_embedding
from harken.models.speech_embedding import SAMPLE_RATE, STEP, SpeechEmbedding

LAST_SPEAKER = 3000
BANK_FOLDS = "12"
SPEAKER_S = 180.0  # duration of the speech of each speaker that the statistics are computed from
TALK_S = 360.0  # duration of the speech of each speaker, in the second half of which false alarms are counted
LEVELS = 4.0  # steps of the quantization per standard deviation: finer steps need more bytes and change no false alarm
TYPICAL = 1024  # number of typical embeddings
CLIPS_PER_WORD = 30
ITERATIONS = 5  # of k-means
OUT = Path("src/harken/enrollment")


def main() -> None:
    """Build the bank from the folders given on the command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--speech", type=Path, nargs="+", required=True)
    parser.add_argument("--words", type=Path, required=True)
    parser.add_argument("--noise", type=Path, required=True)
    parser.add_argument("--encoder", choices=ENCODERS, default=DEFAULT)
    parser.add_argument("--out", type=Path, default=OUT)
    arguments = parser.parse_args()
    rng = np.random.default_rng(0)
    embedding = load_embedding(arguments.encoder)
    out = arguments.out / f"bank_{embedding.name}.npz"
    noise = [
        load_clip(path, SAMPLE_RATE) for path in sorted(arguments.noise.rglob("*.ogg")) if path.name[0] in BANK_FOLDS
    ]
    speech, noisy = [], []
    for number, (speaker, clips) in enumerate(speakers(arguments.speech).items()):
        print(f"speaker {number}: {speaker}", file=sys.stderr)
        samples = speech_of(clips, SPEAKER_S)
        speech.append(embedding.embed(in_noise(samples, noise, rng)))
        # Random numbers of its own, so that the statistics do not depend on this part.
        samples = speech_of(clips, TALK_S)
        embedded = embedding.embed(in_noise(samples, noise, np.random.default_rng(zlib.crc32(str(speaker).encode()))))
        noisy.append(embedded[len(embedded) - len(embedded) // 2 :])
    isolated = [embedded_word(path, embedding) for path in word_clips(arguments.words, rng)]
    noises = embedding.embed(np.concatenate(noise))
    learned = np.concatenate([*speech, noises])
    mean = np.concatenate(speech).mean(axis=0)
    talk = np.concatenate(noisy)
    words = np.concatenate(isolated)
    typical = typical_embeddings(np.concatenate([learned[::2], words, words]) - mean, rng)
    scale = talk.std(axis=0) / LEVELS
    quantized = np.clip(np.rint((talk - mean) / scale), -127, 127).astype(np.int8)
    with replacing(out) as temporary, temporary.open("wb") as file:
        np.savez_compressed(
            file,
            mean=mean.astype(np.float32),
            scale=scale.astype(np.float32),
            talk=quantized,
            typical=typical.astype(np.float16),
        )
    hours = len(talk) * STEP / SAMPLE_RATE / 3600
    size = out.stat().st_size / 1e6
    print(f"{out}: {len(speech)} speakers, {hours:.2f} hours of talk, {len(typical)} typical, {size:.1f} MB")


def speakers(folders: list[Path]) -> dict[int, list[Path]]:
    """Return the clips of each speaker up to `LAST_SPEAKER`, by number."""
    found: dict[int, list[Path]] = {}
    for folder in folders:
        for path in folder.iterdir():
            if path.name.isdigit() and int(path.name) <= LAST_SPEAKER:
                found.setdefault(int(path.name), []).extend(sorted(path.glob("*.flac")))
    return dict(sorted(found.items()))


def speech_of(clips: list[Path], seconds: float) -> NDArray[np.float32]:
    """Return the first part of a speaker's speech."""
    parts: list[NDArray[np.float32]] = []
    for path in clips:
        parts.append(load_clip(path, SAMPLE_RATE))
        if sum(part.size for part in parts) > seconds * SAMPLE_RATE:
            break
    return np.concatenate(parts)[: round(seconds * SAMPLE_RATE)]


def in_noise(
    speech: NDArray[np.float32], noise: list[NDArray[np.float32]], rng: np.random.Generator
) -> NDArray[np.float32]:
    """Return speech whose second half is mixed with noise."""
    half = speech.size // 2
    added: list[NDArray[np.float32]] = []
    while sum(part.size for part in added) < speech.size - half:
        part = noise[int(rng.integers(len(noise)))]
        if (level := rms(part)) > 1e-4:
            added.append(part / level)
    level = rms(speech) * 10 ** (-rng.uniform(5, 20) / 20)
    mixed = speech.copy()
    mixed[half:] += np.float32(level) * np.concatenate(added)[: speech.size - half]
    return mixed


def word_clips(folder: Path, rng: np.random.Generator) -> list[Path]:
    """Return clips of words other than the ten commands, by training speakers."""
    chosen: list[Path] = []
    for word in sorted(
        path for path in folder.iterdir() if path.is_dir() and path.name not in (*COMMANDS, "_background_noise_")
    ):
        clips = [path for path in sorted(word.glob("*.wav")) if on_training_side(path)]
        chosen += [clips[index] for index in rng.permutation(len(clips))[:CLIPS_PER_WORD]]
    return chosen


def on_training_side(path: Path) -> bool:
    """Return whether a clip is in the official training set of Speech Commands."""
    speaker = re.sub(r"_nohash_.*$", "", path.name)
    most = 2**27 - 1
    return int(hashlib.sha1(speaker.encode()).hexdigest(), 16) % (most + 1) * (100.0 / most) >= 20


def embedded_word(path: Path, embedding: SpeechEmbedding) -> NDArray[np.float32]:
    """Return the embeddings of a clip of a word, with silence before and after it."""
    clip = load_clip(path, SAMPLE_RATE)[:SAMPLE_RATE]
    return embedding.embed(np.pad(clip, (9600, SAMPLE_RATE - clip.size + 8000)))


def typical_embeddings(centered: NDArray[np.float32], rng: np.random.Generator) -> NDArray[np.float32]:
    """Return the centers [TYPICAL, 96] that spherical k-means finds."""
    vectors = centered / np.maximum(np.linalg.norm(centered, axis=1, keepdims=True), 1e-6)
    centers = vectors[rng.choice(len(vectors), TYPICAL, replace=False)]
    for _ in range(ITERATIONS):
        nearest = np.concatenate(
            [(part @ centers.T).argmax(axis=1) for part in np.array_split(vectors, len(vectors) // 4096 + 1)]
        )
        sums = np.zeros_like(centers)
        np.add.at(sums, nearest, vectors)
        filled = np.linalg.norm(sums, axis=1) > 1e-6
        centers[filled] = sums[filled] / np.linalg.norm(sums[filled], axis=1, keepdims=True)
    return centers


def rms(samples: NDArray[np.float32]) -> float:
    """Return the root mean square."""
    return float(np.sqrt(np.mean(np.square(samples, dtype=np.float64))))


if __name__ == "__main__":
    main()
