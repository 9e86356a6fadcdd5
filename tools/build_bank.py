"""Build src/harken/enrollment/bank.npz: what enrolling knows of speech in general.

    python tools/build_bank.py --speech DIR... --words DIR --noise DIR

The bank holds numbers, no recordings: embeddings of 775 ms each in 8 bits. It was built from
  --speech  LibriSpeech (CC BY 4.0), speakers numbered up to 3000: DIR/SPEAKER/*.flac. Speakers from 3170 on measure.
  --words   Speech Commands v0.02 (CC BY 4.0), training side, without the ten commands: DIR/WORD/*.wav
  --noise   ESC-10 (CC BY 3.0), folds 1 and 2: DIR/**/FOLD-*.ogg. Fold 3 measures.

Half of each speaker's stretch is left as it is; noise is mixed into the other half, 5 to 20 dB below the speech.
"""

import argparse
import hashlib
import re
import sys
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from harken.audio.clip import load_clip
from harken.enrollment.embedding import SAMPLE_RATE, STEP, SpeechEmbedding, load_embedding
from harken.files import replacing
from harken.labels import COMMANDS

LAST_SPEAKER = 3000
BANK_FOLDS = "12"
TALK_STEPS = 56_000  # 1.24 hours; with 8 bits each, 5.4 MB
LEARN_S = 180.0  # of each speaker, that typical embeddings are learned from
TYPICAL = 1024
CLIPS_A_WORD = 30
ROUNDS = 5  # of k-means
OUT = Path("src/harken/enrollment/bank.npz")


def main() -> None:
    """Build the bank from the folders of the command line."""
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
    stretches = []
    for number, speaker in enumerate(speakers(arguments.speech)):
        print(f"speaker {number}: {speaker.name}", file=sys.stderr)
        stretches.append(embedded_speaker(speaker, noise, embedding, rng))
    isolated = [embedded_word(path, embedding) for path in word_clips(arguments.words, rng)]
    noises = embedding.embed(np.concatenate(noise))
    learned = np.concatenate([*stretches, noises])
    mean = np.concatenate(stretches).mean(axis=0)
    share = TALK_STEPS / sum(map(len, stretches))
    # Of each speaker's stretch, the middle: it goes from clean to noisy there.
    talk = np.concatenate([middle_of(stretch, share) for stretch in stretches])
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
    print(
        f"{arguments.out}: {len(stretches)} speakers, {hours:.2f} hours of talk, {len(typical)} typical, {size:.1f} MB"
    )


def speakers(folders: list[Path]) -> list[Path]:
    """Return the folders of the speakers that the bank may hold."""
    found = [path for folder in folders for path in folder.iterdir() if path.name.isdigit()]
    return sorted((path for path in found if int(path.name) <= LAST_SPEAKER), key=lambda path: int(path.name))


def embedded_speaker(
    folder: Path, noise: list[NDArray[np.float32]], embedding: SpeechEmbedding, rng: np.random.Generator
) -> NDArray[np.float32]:
    """Return the embeddings of some minutes of a speaker, the second half of them in noise."""
    parts: list[NDArray[np.float32]] = []
    for path in sorted(folder.glob("*.flac")):
        parts.append(load_clip(path, SAMPLE_RATE))
        if sum(part.size for part in parts) > LEARN_S * SAMPLE_RATE:
            break
    speech = np.concatenate(parts)[: round(LEARN_S * SAMPLE_RATE)]
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
    """Return clips of words other than the ten commands, by speakers of the training side."""
    chosen: list[Path] = []
    for word in sorted(
        path for path in folder.iterdir() if path.is_dir() and path.name not in (*COMMANDS, "_background_noise_")
    ):
        clips = [path for path in sorted(word.glob("*.wav")) if on_training_side(path)]
        chosen += [clips[index] for index in rng.permutation(len(clips))[:CLIPS_A_WORD]]
    return chosen


def on_training_side(path: Path) -> bool:
    """Return whether Speech Commands' own rule puts a clip on its training side."""
    speaker = re.sub(r"_nohash_.*$", "", path.name)
    most = 2**27 - 1
    return int(hashlib.sha1(speaker.encode()).hexdigest(), 16) % (most + 1) * (100.0 / most) >= 20


def embedded_word(path: Path, embedding: SpeechEmbedding) -> NDArray[np.float32]:
    """Return the embeddings of a word between two silences."""
    clip = load_clip(path, SAMPLE_RATE)[:SAMPLE_RATE]
    return embedding.embed(np.pad(clip, (9600, SAMPLE_RATE - clip.size + 8000)))


def middle_of(stretch: NDArray[np.float32], share: float) -> NDArray[np.float32]:
    """Return a share of a stretch, about its middle."""
    kept = int(len(stretch) * share)
    start = (len(stretch) - kept) // 2
    return stretch[start : start + kept]


def typical_embeddings(centered: NDArray[np.float32], rng: np.random.Generator) -> NDArray[np.float32]:
    """Return the centers [TYPICAL, 96] of a spherical k-means."""
    vectors = centered / np.maximum(np.linalg.norm(centered, axis=1, keepdims=True), 1e-6)
    centers = vectors[rng.choice(len(vectors), TYPICAL, replace=False)]
    for _ in range(ROUNDS):
        nearest = np.concatenate(
            [(part @ centers.T).argmax(axis=1) for part in np.array_split(vectors, len(vectors) // 4096 + 1)]
        )
        sums = np.zeros_like(centers)
        np.add.at(sums, nearest, vectors)
        filled = np.linalg.norm(sums, axis=1) > 1e-6
        centers[filled] = sums[filled] / np.linalg.norm(sums[filled], axis=1, keepdims=True)
    return centers


def rms(samples: NDArray[np.float32]) -> float:
    """Return the root of the mean square."""
    return float(np.sqrt(np.mean(np.square(samples, dtype=np.float64))))


if __name__ == "__main__":
    main()
