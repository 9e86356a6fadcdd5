"""Hours of synthetic speech in which given words do not occur, to count false alarms in.

synthesize_speech    sentences by several voices, as FLAC files of a minute or a little more
"""

import math
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import soundfile
import soxr

from harken.errors import HarkenError
from harken.files import replacing
from harken.labels import COMMANDS
from harken.synth.effects import NOISES, SAMPLE_RATE, Waveform, add_noise, noise, reverberate, room_response, tilt, trim
from harken.synth.sentences import sentence
from harken.synth.voices import INSTALL, draw_voices, engine_of, voice_named, voices, voices_of
from harken.synth.workers import claim_folder, run_in_parallel

_MINUTE = 60 * SAMPLE_RATE
_RATES = (0.8, 1.25)
_PITCHES = (0.82, 1.22)
_PAUSES_S = (0.15, 1.0)
_PEAKS_DB = (-20.0, -1.0)
_TILTS_DB = (-3.0, 3.0)
_STEADY_NOISES = tuple(kind for kind in NOISES if kind != "babble")
_ROOM_FRACTION = 0.5
_SNR_DB = (12.0, 50.0)


@dataclass(frozen=True)
class _Minute:
    """One file to make."""

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
    """Write at least `hours` of speech into `directory` and return its files, `<family of voices>-<number>.flac`.

    16 kHz mono; one voice a file; pitch, pace, loudness, room, microphone and steady noise are drawn a file. No
    sentence holds one of the words of `avoid` or their sound, within a word or across two, by espeak-ng's
    pronunciation in the voice's accent. The same arguments and the same installed voices give the same samples. A
    run that was stopped is taken up where it stopped. `engines` says whose voices speak, as `harken.synth.voices` names
    them; all that are installed by default.

    Raises
    ------
    HarkenError : `hours` is not above 0, `seed` is below 0, an engine is not there, espeak-ng (which knows how words
        sound) is not installed, or `directory` holds anything that was not made by the same call.
    """
    if not 0 < hours < math.inf:
        raise HarkenError(f"hours is {hours}: ask for more than 0")
    if seed < 0:
        raise HarkenError(f"seed is {seed}: give 0 or more")
    if not any(engine_of(voice) == "espeak" for voice in voices()):
        raise HarkenError(f"espeak-ng is needed to know how words sound: {INSTALL}")
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
        # Up to its first "-" a name says who speaks, for those who keep speakers apart: voices of one family sound alike.
        _Minute(
            folder / f"{voice.family.replace('-', '_')}-{number:05d}.flac", voice.name, tuple(avoid), (seed, number)
        )
        for number, voice in enumerate(speakers)
    ]
    missing = [minute for minute in plan if not minute.path.is_file()]
    run_in_parallel(_write_minute, missing, f"speaking {hours:g} hours", workers=workers)
    return [minute.path for minute in plan]


def _write_minute(minute: _Minute) -> None:
    speech = _speak_minute(minute)
    with replacing(minute.path) as temporary:
        soundfile.write(temporary, speech, SAMPLE_RATE, subtype="PCM_16")


def _speak_minute(minute: _Minute) -> Waveform:
    from harken.synth.sounds import SoundCheck  # needs espeak-ng, which synthesize_speech has looked for

    rng = np.random.default_rng(minute.seed)
    voice = voice_named(minute.voice)
    check = SoundCheck(minute.avoid, (voice.accent,))
    rate, pitch = (float(np.exp(rng.uniform(*np.log(limits)))) for limits in (_RATES, _PITCHES))
    parts: list[Waveform] = []
    length = 0
    while length < _MINUTE:
        text = sentence(rng)
        if check.heard_in([text])[0]:
            continue
        said, sample_rate = voice.speak(
            text, rate=rate * rng.uniform(0.93, 1.07), pitch=pitch, seed=int(rng.integers(2**31))
        )
        spoken = trim(np.asarray(soxr.resample(said, sample_rate, SAMPLE_RATE), np.float32))
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
