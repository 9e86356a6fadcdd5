"""Build the speech bank src/harken/enrollment/bank.npz: statistics and embeddings of speech, for enrollment.

    python tools/build_bank.py --speech DIR... --words DIR --noise DIR

The bank contains numbers and no recordings: embeddings of 775 ms each, in 8 bits. It was built from

  --speech  LibriSpeech (CC BY 4.0), speakers numbered up to 3000: DIR/SPEAKER/*.flac. Benchmarks use speakers from 3170 on.
  --words   Speech Commands v0.02 (CC BY 4.0), training side, without the ten commands: DIR/WORD/*.wav
  --noise   ESC-10 (CC BY 3.0), folds 1 and 2: DIR/**/FOLD-*.ogg. Benchmarks use fold 3.

Half of each speaker's speech is clean. The other half is mixed with noise 5 to 20 dB below the speech.
"""

import argparse
import hashlib
import re
import sys
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from harken.audio.clip import load_clip
from harken.files import replacing
from harken.labels import COMMANDS
from harken.models.speech_embedding import SAMPLE_RATE, STEP, SpeechEmbedding, load_embedding

LAST_SPEAKER = 3000
BANK_FOLDS = "12"
TALK_STEPS = 56_000  # 1.24 hours, 5.4 MB at 8 bits
SPEAKER_S = 180.0  # duration of the speech of each speaker that typical embeddings are learned from
TYPICAL = 1024  # number of typical embeddings
CLIPS_PER_WORD = 30
ITERATIONS = 5  # of k-means
OUT = Path("src/harken/enrollment/bank.npz")


def main() -> None:
    """Build the bank from the folders given on the command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--speech", type=Path, nargs="+", required=True)
    parser.add_argument("--words", type=Path, required=True)
    parser.add_argument("--noise", type=Path, required=True)
    parser.add_argument("--out", type=Path, default=OUT)
    arguments = parser.parse_args()
    rng = np.random.default_rng(0)
    embedding = load_embedding()
    noise = [
        load_clip(path, SAMPLE_RATE) for path in sorted(arguments.noise.rglob("*.ogg")) if path.name[0] in BANK_FOLDS
    ]
    speech = []
    for number, speaker in enumerate(speakers(arguments.speech)):
        print(f"speaker {number}: {speaker.name}", file=sys.stderr)
        speech.append(embedded_speaker(speaker, noise, embedding, rng))
    isolated = [embedded_word(path, embedding) for path in word_clips(arguments.words, rng)]
    noises = embedding.embed(np.concatenate(noise))
    learned = np.concatenate([*speech, noises])
    mean = np.concatenate(speech).mean(axis=0)
    share = TALK_STEPS / sum(map(len, speech))
    # The middle of each speaker's speech is half clean and half noisy.
    talk = np.concatenate([middle_of(part, share) for part in speech])
    words = np.concatenate(isolated)
    typical = typical_embeddings(np.concatenate([learned[::2], words, words]) - mean, rng)
    scale = np.abs(talk - mean).max(axis=0) / 127
    quantized = np.clip(np.rint((talk - mean) / scale), -127, 127).astype(np.int8)
    with replacing(arguments.out) as temporary, temporary.open("wb") as file:
        np.savez_compressed(
            file,
            mean=mean.astype(np.float32),
            scale=scale.astype(np.float32),
            talk=quantized,
            typical=typical.astype(np.float16),
        )
    hours = len(talk) * STEP / SAMPLE_RATE / 3600
    size = arguments.out.stat().st_size / 1e6
    print(f"{arguments.out}: {len(speech)} speakers, {hours:.2f} hours of talk, {len(typical)} typical, {size:.1f} MB")


def speakers(folders: list[Path]) -> list[Path]:
    """Return the folders of the speakers up to `LAST_SPEAKER`, by number."""
    found = [path for folder in folders for path in folder.iterdir() if path.name.isdigit()]
    return sorted((path for path in found if int(path.name) <= LAST_SPEAKER), key=lambda path: int(path.name))


def embedded_speaker(
    folder: Path, noise: list[NDArray[np.float32]], embedding: SpeechEmbedding, rng: np.random.Generator
) -> NDArray[np.float32]:
    """Return the embeddings of up to three minutes of a speaker. The second half is mixed with noise."""
    parts: list[NDArray[np.float32]] = []
    for path in sorted(folder.glob("*.flac")):
        parts.append(load_clip(path, SAMPLE_RATE))
        if sum(part.size for part in parts) > SPEAKER_S * SAMPLE_RATE:
            break
    speech = np.concatenate(parts)[: round(SPEAKER_S * SAMPLE_RATE)]
    half = speech.size // 2
    added: list[NDArray[np.float32]] = []
    while sum(part.size for part in added) < speech.size - half:
        part = noise[int(rng.integers(len(noise)))]
        if (level := rms(part)) > 1e-4:
            added.append(part / level)
    level = rms(speech) * 10 ** (-rng.uniform(5, 20) / 20)
    speech[half:] += np.float32(level) * np.concatenate(added)[: speech.size - half]
    return embedding.embed(speech)


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


def middle_of(embeddings: NDArray[np.float32], share: float) -> NDArray[np.float32]:
    """Return the middle part of embeddings: `share` of their number."""
    kept = int(len(embeddings) * share)
    start = (len(embeddings) - kept) // 2
    return embeddings[start : start + kept]


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
