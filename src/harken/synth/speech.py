"""Synthetic speech that does not contain given words, to count false alarms in.

synthesize_speech    sentences by several voices, as FLAC files of one minute or a little more
"""

import math
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import soxr

from harken.audio.save import save_audio
from harken.errors import HarkenError
from harken.extras import install_command
from harken.labels import COMMANDS
from harken.synth.effects import NOISES, SAMPLE_RATE, Waveform, add_noise, noise, reverberate, room_response, tilt, trim
from harken.synth.sentences import sentence
from harken.synth.voices import draw_voices, engine_of, find_voice, voices, voices_of
from harken.synth.workers import claim_folder, run_in_parallel

_MINUTE_SAMPLES = 60 * SAMPLE_RATE
_RATES = (0.8, 1.25)
_PITCHES = (0.82, 1.22)
_PAUSES_S = (0.15, 1.0)
_PEAKS_DB = (-20.0, -1.0)
_TILTS_DB = (-3.0, 3.0)
_STEADY_NOISES = tuple(kind for kind in NOISES if kind != "babble")
_ROOM_FRACTION = 0.5
_SNR_DB = (12.0, 50.0)


@dataclass(frozen=True)
class _SpeechFile:
    """A file of about a minute to create."""

    path: Path
    voice: str
    avoid: tuple[str, ...]
    seed: tuple[int, int]


def synthesize_speech(
    directory: str | Path,
    *,
    hours: float,
    seed: int = 0,
    avoid: Sequence[str] = COMMANDS,
    engines: Sequence[str] = (),
    workers: int | None = None,
) -> list[Path]:
    """Write hours of synthetic speech, as files `<family of voices>-<number>.flac` with 16 kHz, mono.

    Each file has one voice, with random pitch, speed, level, room, microphone and steady noise. No sentence contains one of
    the words to avoid or their sound, neither inside a word nor across two, by espeak-ng's pronunciation in the accent of
    the voice. The same arguments and the same installed voices give the same samples. An interrupted call continues when it
    is repeated.

    Parameters
    ----------
    directory
        Folder for the files: a new one, an empty one, or one of an earlier call with the same arguments.
    hours
        Minimum length of the speech.
    seed
        Random seed.
    avoid
        Words that must not occur.
    engines
        Speech engines to use, such as `espeak` or `piper`. Default: all that are installed.
    workers
        Number of processes. Default: one for each core.

    Returns
    -------
    list of Path
        The files.

    Raises
    ------
    HarkenError
        If a value is out of range, an engine is missing, espeak-ng is not installed (it provides the pronunciation), or the
        folder contains anything else.
    """
    if not 0 < hours < math.inf:
        raise HarkenError(f"hours is {hours}: choose more than 0")
    if seed < 0:
        raise HarkenError(f"seed is {seed}: choose 0 or more")
    if not any(engine_of(voice) == "espeak" for voice in voices()):
        raise HarkenError(f"espeak-ng is needed for the pronunciation of words: {install_command('synth')}")
    candidates = voices_of(engines)
    folder = Path(directory)
    settings = {
        "hours": hours,
        "seed": seed,
        "avoid": list(avoid),
        "voices": zlib.crc32(" ".join(voice.name for voice in candidates).encode()),
    }
    claim_folder(folder, settings)
    speakers = draw_voices(candidates, math.ceil(hours * 60), np.random.default_rng(seed))
    plan = [
        # The part of a name before the first "-" is the speaker for `speech_side`. Voices of one family sound alike.
        _SpeechFile(
            folder / f"{voice.family.replace('-', '_')}-{number:05d}.flac", voice.name, tuple(avoid), (seed, number)
        )
        for number, voice in enumerate(speakers)
    ]
    missing = [file for file in plan if not file.path.is_file()]
    run_in_parallel(_write_file, missing, f"speaking {hours:g} hours", workers=workers)
    return [file.path for file in plan]


def _write_file(file: _SpeechFile) -> None:
    save_audio(file.path, _speak_sentences(file), SAMPLE_RATE)


def _speak_sentences(file: _SpeechFile) -> Waveform:
    from harken.synth.sounds import SoundCheck  # needs espeak-ng, which synthesize_speech has checked

    rng = np.random.default_rng(file.seed)
    voice = find_voice(file.voice)
    check = SoundCheck(file.avoid, (voice.accent,))
    rate, pitch = (float(np.exp(rng.uniform(*np.log(limits)))) for limits in (_RATES, _PITCHES))
    parts: list[Waveform] = []
    length = 0
    while length < _MINUTE_SAMPLES:
        text = sentence(rng)
        if check.find_words([text])[0]:
            continue
        samples, sample_rate = voice.speak(
            text, rate=rate * rng.uniform(0.93, 1.07), pitch=pitch, seed=int(rng.integers(2**31))
        )
        spoken = trim(np.asarray(soxr.resample(samples, sample_rate, SAMPLE_RATE), np.float32))
        pause = np.zeros(int(rng.uniform(*_PAUSES_S) * SAMPLE_RATE), np.float32)
        parts += [spoken, pause]
        length += spoken.size + pause.size
    speech = tilt(np.concatenate(parts), rng.uniform(*_TILTS_DB))
    power = float(np.mean(np.square(speech)))
    if rng.random() < _ROOM_FRACTION:
        speech = reverberate(speech, room_response(rng))
    background = noise(str(rng.choice(_STEADY_NOISES)), speech.size, rng, babble=speech)
    speech = add_noise(speech, background, speech_power=power, snr_db=rng.uniform(*_SNR_DB))
    return np.asarray(speech * (10 ** (rng.uniform(*_PEAKS_DB) / 20) / np.abs(speech).max()), np.float32)
