"""Measure enrollment: false alarms against the promised ones, ten commands from ten takes, and takes of another word.

    python benchmarks/enrollment.py promise --phrases wake_phrases --words speech_commands --speech SPEECH --noise NOISE
    python benchmarks/enrollment.py commands --words speech_commands
    python benchmarks/enrollment.py odd --phrases wake_phrases --words speech_commands

promise     phrases are enrolled from five takes. Their false alarms are counted in speech by speakers from 3170 on, in noise
            10 dB below the speech, at thresholds for 2 and 0.5 false alarms per hour.
commands    the ten commands of Speech Commands are enrolled from ten takes each, by speakers of the training side. Clips of
            the validation side are classified. Clips of other words are the negatives: the threshold accepts 5 or 1 % of them.
odd         one of five takes is replaced by another word. Counts how often that take is refused or noted, and how often a
            set of five right takes is refused.

    --phrases   DIR/PHRASE/*.ogg: takes are drawn from every second recording
    --words     DIR/WORD/*.wav: Speech Commands
    --speech    DIR/SPEAKER/*.flac: only speakers from 3170 on are used, since the speech bank was built from those up to 3000
    --noise     DIR/**/FOLD-*.ogg: only fold 3 is used, since the speech bank was built with folds 1 and 2
"""

import argparse
import hashlib
import re
import tempfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from harken import HarkenError, enroll, load_clip
from harken.enrollment.bank import fit_tail, load_bank, peaks_of
from harken.enrollment.graph import REFERENCE_PER_HOUR, RIVALRY, Calibration, Templates, TemplateScorer
from harken.enrollment.takes import read_take, sequences_of
from harken.labels import COMMANDS
from harken.models.speech_embedding import SAMPLE_RATE, STEP, load_embedding

FIRST_SPEAKER = 3170
NOISE_FOLD = "3"
SNR_DB = 10.0
SPEAKER_S = 180.0
HOURS = 2.0
PROMISED = (2.0, 0.5)  # false alarms per hour
SETS = 4  # sets of five takes of each phrase
DRAWS = 2  # draws of the ten takes of each command
CLIPS_PER_WORD = 60
ACCEPTED = (0.05, 0.01)  # fractions of the negatives
ODD_WORDS = ("stop", "yes", "right", "go")  # enrolled in addition to the phrases, as short words are harder
ODD_SETS = 6

Samples = NDArray[np.float32]


def main() -> None:
    """Run the part that is named on the command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("part", choices=("promise", "commands", "odd"))
    parser.add_argument("--phrases", type=Path)
    parser.add_argument("--words", type=Path, required=True)
    parser.add_argument("--speech", type=Path, nargs="+")
    parser.add_argument("--noise", type=Path)
    arguments = parser.parse_args()
    if arguments.part == "commands":
        commands(arguments.words)
    elif arguments.phrases is None:
        parser.error("this part needs --phrases")
    elif arguments.part == "odd":
        odd(arguments.phrases, arguments.words)
    elif arguments.speech is None or arguments.noise is None:
        parser.error("this part needs --speech and --noise")
    else:
        promise(arguments.phrases, arguments.words, arguments.speech, arguments.noise)


def promise(phrases: Path, words: Path, speech: Sequence[Path], noise: Path) -> None:
    """Count the false alarms of enrolled phrases and commands in the speech of other speakers."""
    bank, heard = load_bank(), noisy_speech(speech, noise)
    hours = len(heard) * STEP / SAMPLE_RATE / 3600
    rng = np.random.default_rng(0)
    sets = [
        (folder.name, [files[index] for index in rng.choice(len(files), 5, replace=False)])
        for folder in folders_in(phrases)
        for files in [sorted(folder.glob("*.ogg"))[1::2]]
        for _ in range(SETS)
    ]
    sets += [(word, usable_takes(words / word, 5, rng)) for word in COMMANDS]
    counts = []
    for name, takes in sets:
        scorer, calibration = learned(takes)
        peaks = peaks_of(scorer.scores(heard).mean(axis=0))
        counts.append([int((peaks >= score_at(calibration, rate)).sum()) for rate in PROMISED])
        print(f"{name}: " + ", ".join(f"{count / hours:.2f}" for count in counts[-1]), flush=True)
    for kind, part in (("phrases", counts[: -len(COMMANDS)]), ("commands", counts[-len(COMMANDS) :])):
        for rate, column in zip(PROMISED, np.array(part).T / hours, strict=True):
            print(f"{kind}: {rate:g} promised, {column.mean():.2f} on average, at most {column.max():.2f} per hour")
    print(f"{hours:.2f} hours of speech; the bank has {bank.hours:.2f}")


def commands(words: Path) -> None:
    """Classify clips of the ten commands and of other words with ten takes of each command."""
    embedding = load_embedding()
    clips, labels = [], []
    for folder in folders_in(words):
        for path in clips_of(folder, "validation", CLIPS_PER_WORD, np.random.default_rng(0)):
            clip = load_clip(path, SAMPLE_RATE)[:SAMPLE_RATE]
            clips.append(embedding.embed(np.pad(clip, (9600, SAMPLE_RATE - clip.size + 9600))))
            labels.append(COMMANDS.index(folder.name) if folder.name in COMMANDS else -1)
    truth = np.array(labels)
    results = []
    for draw in range(DRAWS):
        rng = np.random.default_rng(draw)
        logits = []
        for word in COMMANDS:
            scorer, calibration = learned(usable_takes(words / word, 10, rng))
            scores = np.array([scorer.scores(clip).mean(axis=0).max() for clip in clips])
            logits.append(calibration.slope * scores + calibration.offset)
        probabilities = probabilities_of(np.array(logits))
        best, named = probabilities.max(axis=0), probabilities.argmax(axis=0)
        thresholds = [np.quantile(best[truth < 0], 1 - share) for share in ACCEPTED]
        results.append([100 * np.mean(((named == truth) & (best > least))[truth >= 0]) for least in thresholds])
        print(f"draw {draw}: " + ", ".join(f"{value:.1f} %" for value in results[-1]), flush=True)
    for share, value in zip(ACCEPTED, np.mean(results, axis=0), strict=True):
        print(f"{value:.1f} % accepted and named at {100 * share:g} % false acceptance")
    print(f"{int((truth >= 0).sum())} clips of commands, {int((truth < 0).sum())} of other words")


def odd(phrases: Path, words: Path) -> None:
    """Replace one of five takes by another word, and count what `enroll` says."""
    rng = np.random.default_rng(1)
    others = [folder for folder in folders_in(words) if folder.name not in COMMANDS]
    folders = [*folders_in(phrases), *(words / word for word in ODD_WORDS)]
    for folder in folders:
        refused = [0, 0]
        named = noted = unjust = 0
        for _ in range(ODD_SETS):
            if folder.name in ODD_WORDS:
                takes = usable_takes(folder, 5, rng)
            else:
                files = sorted(folder.glob("*.ogg"))[1::2]
                takes = [files[index] for index in rng.choice(len(files), 5, replace=False)]
            wrong = usable_takes(others[int(rng.integers(len(others)))], 1, rng)[0]
            for kind, clips in enumerate((takes, [*takes[:4], wrong])):
                error, notes = outcome(clips)
                refused[kind] += bool(error)
                if kind == 1:
                    named += error.startswith(wrong.name)
                    noted += any(wrong.name in note and "sounds little" in note for note in notes)
                else:
                    unjust += sum("sounds little" in note for note in notes)
        print(
            f"{folder.name}: of {ODD_SETS} sets with a wrong word {refused[1]} refused ({named} naming it), {noted} noted; "
            f"of {ODD_SETS} right sets {refused[0]} refused, {unjust} takes noted",
            flush=True,
        )


def outcome(clips: Sequence[Path]) -> tuple[str, tuple[str, ...]]:
    """Return the error that refuses the takes, or an empty text, and the notes."""
    with tempfile.TemporaryDirectory() as folder:
        try:
            return "", enroll("phrase", list(clips), out=Path(folder) / "phrase.onnx").notes
        except HarkenError as error:
            return str(error), ()


def learned(takes: Sequence[Path]) -> tuple[TemplateScorer, Calibration]:
    """Return the scorer and the calibration of a phrase, as `enroll` computes them."""
    bank, embedding = load_bank(), load_embedding()
    sequences = [
        bank.speech.normalized(sequence)
        for number, path in enumerate(takes)
        for sequence in sequences_of(read_take(path), embedding, seed=number)
    ]
    scorer = TemplateScorer(Templates.of(sequences, [0] * len(sequences)), bank.speech)
    return scorer, fit_tail(peaks_of(scorer.scores(bank.talk).mean(axis=0)), bank.hours)


def probabilities_of(logits: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the probabilities [words, clips] that a model with all words gives, from the logits [words, clips]."""
    best = logits.max(axis=0)
    rivals = np.exp(np.clip(best, -16, 16) + RIVALRY * (logits - best))
    return rivals / (1 + rivals.sum(axis=0))


def score_at(calibration: Calibration, false_alarms_per_hour: float) -> float:
    """Return the score at the threshold for a rate of false alarms."""
    logit = -np.log(false_alarms_per_hour / REFERENCE_PER_HOUR)
    return float((logit - calibration.offset) / calibration.slope)


def noisy_speech(folders: Sequence[Path], noise: Path) -> NDArray[np.float32]:
    """Return the embeddings of two hours of speech in noise. Speakers with the highest numbers come first."""
    rng, embedding = np.random.default_rng(0), load_embedding()
    clips = [load_clip(path, SAMPLE_RATE) for path in sorted(noise.rglob("*.ogg")) if path.name[0] == NOISE_FOLD]
    levels = [(clip, level) for clip in clips if (level := rms(clip)) > 1e-4]
    speakers = [path for folder in folders for path in folder.iterdir() if path.name.isdigit()]
    parts: list[NDArray[np.float32]] = []
    for speaker in sorted(speakers, key=lambda path: -int(path.name)):
        if int(speaker.name) < FIRST_SPEAKER or sum(map(len, parts)) * STEP > HOURS * 3600 * SAMPLE_RATE:
            break
        speech = np.concatenate([load_clip(path, SAMPLE_RATE) for path in sorted(speaker.glob("*.flac"))[:30]])
        speech = speech[: round(SPEAKER_S * SAMPLE_RATE)]
        order = rng.permutation(len(levels))
        added = np.concatenate([levels[index][0] / levels[index][1] for index in order])[: speech.size]
        parts.append(embedding.embed(speech + np.float32(rms(speech) * 10 ** (-SNR_DB / 20)) * added))
    return np.concatenate(parts)


def folders_in(folder: Path) -> list[Path]:
    """Return the folders in a folder whose names do not begin with an underscore."""
    return sorted(path for path in folder.iterdir() if path.is_dir() and path.name[0] != "_")


def clips_of(folder: Path, side: str, count: int, rng: np.random.Generator) -> list[Path]:
    """Return clips of a side of Speech Commands, each by another speaker, in random order."""
    clips = [path for path in sorted(folder.glob("*.wav")) if side_of(path) == side]
    by_speaker = {speaker_of(clips[index]): clips[index] for index in rng.permutation(len(clips))}
    return list(by_speaker.values())[:count]


def usable_takes(folder: Path, count: int, rng: np.random.Generator) -> list[Path]:
    """Return takes of the training side in which `enroll` finds a word."""
    takes: list[Path] = []
    for path in clips_of(folder, "training", 10 * count, rng):
        try:
            read_take(path)
        except HarkenError:
            continue
        takes.append(path)
        if len(takes) == count:
            break
    return takes


def speaker_of(path: Path) -> str:
    """Return the speaker of a clip of Speech Commands."""
    return re.sub(r"_nohash_.*$", "", path.name)


def side_of(path: Path) -> str:
    """Return the official side of a clip of Speech Commands."""
    most = 2**27 - 1
    share = int(hashlib.sha1(speaker_of(path).encode()).hexdigest(), 16) % (most + 1) * (100.0 / most)
    return "validation" if share < 10 else "test" if share < 20 else "training"


def rms(samples: Samples) -> float:
    """Return the root mean square."""
    return float(np.sqrt(np.mean(np.square(samples, dtype=np.float64))))


if __name__ == "__main__":
    main()
