"""Measure enrollment: missed phrases, false alarms against the promised ones, ten commands, and takes of another word.

    python benchmarks/enrollment.py missed --phrases wake_phrases --speech SPEECH --noise NOISE
    python benchmarks/enrollment.py talk --phrases wake_phrases --speech SPEECH --noise NOISE
    python benchmarks/enrollment.py promise --phrases wake_phrases --words speech_commands --speech SPEECH --noise NOISE
    python benchmarks/enrollment.py commands --words speech_commands
    python benchmarks/enrollment.py odd --phrases wake_phrases --words speech_commands

missed      phrases are enrolled from five takes, and from their spelling (needs the extra `synth`). The other recordings are
            played 10 dB above noise. The threshold is set to 1 or 0.1 false alarms per hour, counted as in `promise`, or to
            that of `--false-alarms`.
talk        as `missed`, but the recordings are played over other people's speech, which is 20 or 10 dB softer, and which
            goes on before and after them.
promise     phrases are enrolled from five takes. Their false alarms are counted in speech by speakers from 3170 on, in noise
            10 dB below the speech, at thresholds for 2 and 0.5 false alarms per hour.
commands    the ten commands of Speech Commands are enrolled from ten takes each, by speakers of the training side. Clips of
            the validation side are classified. Clips of other words are the negatives: the threshold accepts 5 or 1 % of them.
odd         one of five takes is replaced by another word. Counts how often that take is refused or noted, and how often a
            set of five right takes is refused.

    --phrases   DIR/PHRASE/*: takes are drawn from every second recording
    --words     DIR/WORD/*.wav: Speech Commands
    --speech    DIR/SPEAKER/*.flac: only speakers from 3170 on are used, since the speech bank was built from those up to 3000
    --noise     DIR/**/FOLD-*.ogg: only fold 3 is used, since the speech bank was built with folds 1 and 2
    --encoder   the speech embedding to use
"""

import argparse
import hashlib
import math
import re
import tempfile
from collections import defaultdict
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from harken import HarkenError, enroll, load_clip
from harken.audio.clip import AUDIO_SUFFIXES
from harken.enrollment.bank import load_bank
from harken.enrollment.calibration import logit_of, peaks_of
from harken.enrollment.graph import RIVALRY
from harken.enrollment.phrase import LearnedPhrase
from harken.enrollment.takes import Take, read_take
from harken.enrollment.typed import speak_phrase
from harken.evaluation.stream.audio import spoken_part
from harken.labels import COMMANDS
from harken.models.encoders import DEFAULT, ENCODERS, load_embedding
from harken.models.speech_embedding import SAMPLE_RATE, STEP

FIRST_SPEAKER = 3170
NOISE_FOLD = "3"
SNR_DB = 10.0
SPEAKER_S = 180.0
HOURS, MISSED_HOURS = 2.0, 3.5
PROMISED = (2.0, 0.5)  # false alarms per hour
RATES = (1.0, 0.1)  # false alarms per hour at which misses are counted
SPEECH_SHARE = 0.2  # of the streams of Picovoice's wake-word-benchmark
TALK_SNRS_DB = (20.0, 10.0)
TALK_CLIPS = 10  # of each speaker
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
    parser.add_argument("part", choices=("missed", "talk", "promise", "commands", "odd"))
    parser.add_argument("--phrases", type=Path)
    parser.add_argument("--words", type=Path)
    parser.add_argument("--speech", type=Path, nargs="+")
    parser.add_argument("--noise", type=Path)
    parser.add_argument("--encoder", choices=ENCODERS, default=DEFAULT)
    arguments = parser.parse_args()
    needed = {
        "missed": ("phrases", "speech", "noise"),
        "talk": ("phrases", "speech", "noise"),
        "promise": ("phrases", "words", "speech", "noise"),
        "commands": ("words",),
        "odd": ("phrases", "words"),
    }[arguments.part]
    for name in needed:
        if getattr(arguments, name) is None:
            parser.error(f"this part needs --{name}")
    parts: dict[str, Callable[..., None]] = {
        "missed": missed,
        "talk": talk,
        "promise": promise,
        "commands": commands,
        "odd": odd,
    }
    parts[arguments.part](*(getattr(arguments, name) for name in needed), arguments.encoder)


def missed(phrases: Path, speech: Sequence[Path], noise: Path, encoder: str) -> None:
    """Count the missed recordings of phrases at given rates of false alarms."""
    embedding, heard = load_embedding(encoder), noisy_speech(speech, noise, encoder, MISSED_HOURS, 2 * SPEAKER_S)
    hours = len(heard) * STEP / SAMPLE_RATE / 3600
    background = noise_clips(noise)
    rng = np.random.default_rng(0)
    for folder in folders_in(phrases):
        files = recordings_in(folder)
        tested = [embedding.embed(above_noise(load_clip(path, SAMPLE_RATE), background, rng)) for path in files[::2]]
        sets = [draw_takes(files[1::2], rng) for _ in range(SETS)]
        for kind, of_kind in (("five takes", sets), ("typed", [speak_phrase(folder.name)[0]])):
            rows = []
            for takes in of_kind:
                phrase = learned_from(takes, encoder)
                peaks = peaks_of(phrase.logits(heard))
                best = np.array([phrase.logits(embedded).max() for embedded in tested])
                scores = [peaks[int(rate * hours / share)] for share in (SPEECH_SHARE, 1.0) for rate in RATES]
                scores += [np.nextafter(logit_of(rate), -math.inf) for rate in PROMISED]
                rows.append([100 * float(np.mean(best <= score)) for score in scores])
            conditions = [
                f"{rate:g} per hour, {share}" for share in ("a fifth speech", "only speech") for rate in RATES
            ]
            conditions += [f"--false-alarms {rate:g}" for rate in PROMISED]
            for condition, values in zip(conditions, np.array(rows).T, strict=True):
                missed = f"{values.mean():.1f} % missed, at most {values.max():.1f} %"
                print(f"{folder.name}, {kind}: {missed}, at {condition}", flush=True)
    print(f"{hours:.2f} hours of speech, {len(tested)} recordings, {SETS} sets of five takes")


def talk(phrases: Path, speech: Sequence[Path], noise: Path, encoder: str) -> None:
    """Count the missed recordings of phrases while other people talk."""
    embedding, heard = load_embedding(encoder), noisy_speech(speech, noise, encoder, MISSED_HOURS, 2 * SPEAKER_S)
    hours = len(heard) * STEP / SAMPLE_RATE / 3600
    people = [
        load_clip(path, SAMPLE_RATE)
        for folder in speakers_in(speech)
        for path in sorted(folder.glob("*.flac"))[:TALK_CLIPS]
    ]
    rng = np.random.default_rng(0)
    for folder in folders_in(phrases):
        files = recordings_in(folder)
        recordings = [load_clip(path, SAMPLE_RATE) for path in files[::2]]
        tested = {
            snr_db: [embedding.embed(over_talk(recording, people, snr_db, rng)) for recording in recordings]
            for snr_db in TALK_SNRS_DB
        }
        rows: dict[tuple[float, str], list[float]] = defaultdict(list)
        for takes in [draw_takes(files[1::2], rng) for _ in range(SETS)]:
            phrase = learned_from(takes, encoder)
            peaks = peaks_of(phrase.logits(heard))
            least = {
                "1 per hour, a fifth speech": float(peaks[int(RATES[0] * hours / SPEECH_SHARE)]),
                "--false-alarms 0.5": float(np.nextafter(logit_of(PROMISED[1]), -math.inf)),
            }
            for snr_db, windows in tested.items():
                best = np.array([phrase.logits(embedded).max() for embedded in windows])
                for condition, score in least.items():
                    rows[snr_db, condition].append(100 * float(np.mean(best <= score)))
        for (snr_db, condition), values in rows.items():
            missed = f"{np.mean(values):.1f} % missed, at most {max(values):.1f} %"
            print(f"{folder.name}, speech {snr_db:g} dB softer: {missed}, at {condition}", flush=True)


def recordings_in(folder: Path) -> list[Path]:
    """Return the recordings of a phrase."""
    return sorted(path for path in folder.iterdir() if path.suffix.lower() in AUDIO_SUFFIXES)


def draw_takes(files: Sequence[Path], rng: np.random.Generator) -> list[Take]:
    """Return five random takes. One that enrolling refuses, such as a silent one, is drawn again."""
    takes: list[Take] = []
    waiting = list(rng.choice(len(files), 5, replace=False))
    while waiting:
        try:
            takes.append(read_take(files[waiting.pop(0)]))
        except HarkenError:
            waiting.append(rng.integers(len(files)))
    return takes


def promise(phrases: Path, words: Path, speech: Sequence[Path], noise: Path, encoder: str) -> None:
    """Count the false alarms of enrolled phrases and commands in the speech of other speakers."""
    bank, heard = load_bank(encoder), noisy_speech(speech, noise, encoder, HOURS, SPEAKER_S)
    hours = len(heard) * STEP / SAMPLE_RATE / 3600
    rng = np.random.default_rng(0)
    sets = [
        (folder.name, [files[index] for index in rng.choice(len(files), 5, replace=False)])
        for folder in folders_in(phrases)
        for files in [recordings_in(folder)[1::2]]
        for _ in range(SETS)
    ]
    sets += [(word, usable_takes(words / word, 5, rng)) for word in COMMANDS]
    counts = []
    for name, takes in sets:
        peaks = peaks_of(learned(takes, encoder).logits(heard))
        counts.append([int((peaks >= logit_of(rate)).sum()) for rate in PROMISED])
        print(f"{name}: " + ", ".join(f"{count / hours:.2f}" for count in counts[-1]), flush=True)
    for kind, part in (("phrases", counts[: -len(COMMANDS)]), ("commands", counts[-len(COMMANDS) :])):
        for rate, column in zip(PROMISED, np.array(part).T / hours, strict=True):
            print(f"{kind}: {rate:g} promised, {column.mean():.2f} on average, at most {column.max():.2f} per hour")
    print(f"{hours:.2f} hours of speech; the bank has {bank.hours:.2f}")


def commands(words: Path, encoder: str) -> None:
    """Classify clips of the ten commands and of other words with ten takes of each command."""
    embedding = load_embedding(encoder)
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
            phrase = learned(usable_takes(words / word, 10, rng), encoder)
            logits.append([float(phrase.logits(clip).max()) for clip in clips])
        probabilities = probabilities_of(np.array(logits))
        best, named = probabilities.max(axis=0), probabilities.argmax(axis=0)
        thresholds = [np.quantile(best[truth < 0], 1 - share) for share in ACCEPTED]
        results.append([100 * np.mean(((named == truth) & (best > least))[truth >= 0]) for least in thresholds])
        print(f"draw {draw}: " + ", ".join(f"{value:.1f} %" for value in results[-1]), flush=True)
    for share, value in zip(ACCEPTED, np.mean(results, axis=0), strict=True):
        print(f"{value:.1f} % accepted and named at {100 * share:g} % false acceptance")
    print(f"{int((truth >= 0).sum())} clips of commands, {int((truth < 0).sum())} of other words")


def odd(phrases: Path, words: Path, encoder: str) -> None:
    """Replace one of five takes by another word, and count what `enroll` says."""
    rng = np.random.default_rng(1)
    # Some words have no usable clip on the training side.
    others = [path for path in folders_in(words) if path.name not in COMMANDS and usable_takes(path, 1, rng)]
    folders = [*folders_in(phrases), *(words / word for word in ODD_WORDS)]
    for folder in folders:
        refused = [0, 0]
        named = noted = unjust = 0
        for _ in range(ODD_SETS):
            if folder.name in ODD_WORDS:
                takes = usable_takes(folder, 5, rng)
            else:
                files = recordings_in(folder)[1::2]
                takes = [files[index] for index in rng.choice(len(files), 5, replace=False)]
            wrong = usable_takes(others[int(rng.integers(len(others)))], 1, rng)[0]
            for kind, clips in enumerate((takes, [*takes[:4], wrong])):
                error, notes = outcome(clips, encoder)
                refused[kind] += bool(error)
                if kind == 1:
                    named += wrong.name in error
                    noted += any(wrong.name in note and "sounds little" in note for note in notes)
                else:
                    unjust += sum("sounds little" in note for note in notes)
        print(
            f"{folder.name}: of {ODD_SETS} sets with a wrong word {refused[1]} refused ({named} naming it), {noted} noted; "
            f"of {ODD_SETS} right sets {refused[0]} refused, {unjust} takes noted",
            flush=True,
        )


def outcome(clips: Sequence[Path], encoder: str) -> tuple[str, tuple[str, ...]]:
    """Return the error that refuses the takes, or an empty text, and the notes."""
    with tempfile.TemporaryDirectory() as folder:
        try:
            return "", enroll("phrase", list(clips), out=Path(folder) / "phrase.onnx", encoder=encoder).notes
        except HarkenError as error:
            return str(error), ()


def learned(takes: Sequence[Path], encoder: str) -> LearnedPhrase:
    """Return a phrase as `enroll` learns it."""
    return learned_from([read_take(path) for path in takes], encoder)


def learned_from(takes: Sequence[Take], encoder: str) -> LearnedPhrase:
    """Return what `learned` returns, from takes that were read."""
    return LearnedPhrase(takes, load_embedding(encoder), load_bank(encoder))


def probabilities_of(logits: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the probabilities [words, clips] that a model with all words gives, from the logits [words, clips]."""
    best = logits.max(axis=0)
    rivals = np.exp(np.clip(best, -16, 16) + RIVALRY * (logits - best))
    return np.asarray(rivals / (1 + rivals.sum(axis=0)))


def noise_clips(folder: Path) -> list[Samples]:
    """Return the noise of the fold that the speech bank does not contain."""
    return [load_clip(path, SAMPLE_RATE) for path in sorted(folder.rglob("*.ogg")) if path.name[0] == NOISE_FOLD]


def above_noise(recording: Samples, noise: Sequence[Samples], rng: np.random.Generator) -> Samples:
    """Return a recording with a second of noise before it and half a second after it.

    As in Picovoice's benchmark, the loudest 32 ms of the recording are 10 dB above the loudest 32 ms of the noise.
    """
    before, after = SAMPLE_RATE, SAMPLE_RATE // 2
    mixed = np.zeros(before + recording.size + after, np.float32)
    filled = 0
    while filled < mixed.size:
        clip = noise[int(rng.integers(len(noise)))]
        if (level := rms(clip)) > 1e-4:
            part = clip[: mixed.size - filled] / level
            mixed[filled : filled + part.size] = part
            filled += part.size
    place = slice(before, before + recording.size)
    gain = np.sqrt(10 ** (SNR_DB / 10) * loudest_energy(mixed[place]) / loudest_energy(recording))
    mixed[place] += np.float32(gain) * recording
    return np.asarray(mixed / (1.2 * np.abs(mixed).max()), np.float32)


def over_talk(recording: Samples, people: Sequence[Samples], snr_db: float, rng: np.random.Generator) -> Samples:
    """Return a recording with other people's speech behind it, and a second before and after it."""
    first, last = spoken_part(recording, SAMPLE_RATE)
    mixed = np.pad(recording, SAMPLE_RATE)
    talk: list[Samples] = []
    while sum(part.size for part in talk) < 2 * mixed.size:
        talk.append(people[int(rng.integers(len(people)))])
    start = int(rng.integers(mixed.size))
    behind = np.concatenate(talk)[start : start + mixed.size]
    gain = rms(recording[first:last]) / rms(behind) * 10 ** (-snr_db / 20)
    return np.asarray(np.clip(mixed + np.float32(gain) * behind, -1, 1), np.float32)


def loudest_energy(samples: Samples) -> float:
    """Return the energy of the loudest 32 ms."""
    frames = samples[: samples.size // 512 * 512].reshape(-1, 512)
    return float(np.square(frames, dtype=np.float64).sum(axis=1).max())


def noisy_speech(
    folders: Sequence[Path], noise: Path, encoder: str, hours: float, speaker_s: float
) -> NDArray[np.float32]:
    """Return the embeddings of hours of speech in noise. Speakers with the highest numbers come first."""
    rng, embedding = np.random.default_rng(0), load_embedding(encoder)
    clips = noise_clips(noise)
    levels = [(clip, level) for clip in clips if (level := rms(clip)) > 1e-4]
    parts: list[NDArray[np.float32]] = []
    for speaker in speakers_in(folders):
        if sum(map(len, parts)) * STEP > hours * 3600 * SAMPLE_RATE:
            break
        speech = np.concatenate(
            [load_clip(path, SAMPLE_RATE) for path in sorted(speaker.glob("*.flac"))[: round(speaker_s / 6)]]
        )
        speech = speech[: round(speaker_s * SAMPLE_RATE)]
        order = rng.permutation(len(levels))
        added = np.concatenate([levels[index][0] / levels[index][1] for index in order])[: speech.size]
        parts.append(embedding.embed(speech + np.float32(rms(speech) * 10 ** (-SNR_DB / 20)) * added))
    return np.concatenate(parts)


def speakers_in(folders: Sequence[Path]) -> list[Path]:
    """Return the folders of the speakers from 3170 on, the highest number first."""
    speakers = [path for folder in folders for path in folder.iterdir() if path.name.isdigit()]
    return sorted((path for path in speakers if int(path.name) >= FIRST_SPEAKER), key=lambda path: -int(path.name))


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
