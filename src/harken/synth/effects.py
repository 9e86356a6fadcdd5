"""Effects of a room and a microphone on a clean voice, in numpy.

trim             remove the silence around a word
room_response    the impulse response of a small simulated room
reverberate      apply the response of a room
tilt             apply a slope in frequency, like that of a microphone
noise            one of NOISES: white, pink, brown, mains hum, babble
add_noise        add noise at a signal-to-noise ratio

All arrays are float32 [samples] at SAMPLE_RATE Hz.
"""

import numpy as np
from numpy.typing import NDArray

from harken.audio.room import simulate_room

SAMPLE_RATE = 16_000
NOISES = ("white", "pink", "brown", "hum", "babble")

Waveform = NDArray[np.float32]

_FRAME = 160
_SPECTRAL_SLOPE = {"white": 0.0, "pink": 0.5, "brown": 1.0}  # exponent with which the amplitude falls with frequency


def trim(voice: Waveform, *, floor_db: float = -45.0, margin: int = 240) -> Waveform:
    """Remove the silence at both ends.

    Parameters
    ----------
    voice
        The voice.
    floor_db
        Frames of 10 ms below this level relative to the loudest one are silence.
    margin
        Number of samples to keep around the voice. They are faded.
    """
    frames = -(-voice.size // _FRAME)
    padded = np.pad(voice, (0, frames * _FRAME - voice.size))
    energy = np.square(padded.reshape(frames, _FRAME)).mean(axis=1)
    loud = np.flatnonzero(energy > energy.max() * 10 ** (floor_db / 10))
    if loud.size == 0:
        return voice[:0]
    kept = voice[max(0, loud[0] * _FRAME - margin) : (loud[-1] + 1) * _FRAME + margin]
    ramp = min(margin, kept.size // 4)
    envelope = np.ones(kept.size, np.float32)
    envelope[:ramp] = np.linspace(0, 1, ramp)
    envelope[kept.size - ramp :] = np.linspace(1, 0, ramp)
    return kept * envelope


def room_response(rng: np.random.Generator, *, milliseconds: int = 120) -> Waveform:
    """Return the impulse response of a random room, simulated by the image method (Allen and Berkley, 1979).

    The room is a box with sides of 2 to 5 m. Walls absorb 25 to 70 % of the energy at each reflection. Voice and microphone
    are 0.3 to 1.5 m apart, if the room is large enough. The direct sound is the first sample, with an amplitude of 1.
    """
    size = rng.uniform((2.0, 2.0, 2.2), (5.0, 5.0, 3.2))
    reflection = np.sqrt(1.0 - rng.uniform(0.25, 0.7))
    voice = rng.uniform(0.4, size - 0.4)
    direction = rng.standard_normal(3)
    direction *= rng.uniform(0.3, 1.5) / np.linalg.norm(direction)
    microphone = np.clip(voice + direction, 0.2, size - 0.2)
    points = [(float(p[0]), float(p[1]), float(p[2])) for p in (size, voice, microphone)]
    response = simulate_room(
        *points, reflection=float(reflection), sample_rate=SAMPLE_RATE, seconds=milliseconds / 1000
    )
    # The simulation stops at a maximum length. A fade avoids an abrupt end.
    fade = np.minimum(1.0, np.linspace(2.0, 0.0, response.size))
    return np.asarray(response * fade, np.float32)


def reverberate(voice: Waveform, response: Waveform) -> Waveform:
    """Return the voice convolved with a room's response. It gets response.size - 1 samples longer at its end."""
    size = voice.size + response.size - 1
    points = 1 << (size - 1).bit_length()
    spectrum = np.fft.rfft(voice, points) * np.fft.rfft(response, points)
    return np.fft.irfft(spectrum, points)[:size].astype(np.float32)


def tilt(voice: Waveform, db_per_octave: float) -> Waveform:
    """Return the voice with a slope of `db_per_octave` around 1 kHz, and without the frequencies below 70 Hz."""
    points = 1 << (2 * voice.size - 1).bit_length()
    frequencies = np.maximum(np.fft.rfftfreq(points, 1 / SAMPLE_RATE), 1.0)
    octaves = np.log2(np.maximum(frequencies, 100.0) / 1000.0)
    # Some synthetic voices contain slow oscillations, below audible frequencies.
    low_cut = 1.0 / np.sqrt(1.0 + (70.0 / frequencies) ** 4)
    spectrum = np.fft.rfft(voice, points) * 10 ** (db_per_octave * octaves / 20) * low_cut
    return np.fft.irfft(spectrum, points)[: voice.size].astype(np.float32)


def noise(kind: str, samples: int, rng: np.random.Generator, *, babble: Waveform) -> Waveform:
    """Return noise with a power of 1.

    Parameters
    ----------
    kind
        One of NOISES.
    samples
        Length of the noise.
    rng
        Random generator.
    babble
        Running speech, longer than `samples`. For the kind `babble`, six parts of it are added.
    """
    if kind in _SPECTRAL_SLOPE:
        frequencies = np.fft.rfftfreq(samples, 1 / SAMPLE_RATE)
        shape = np.maximum(frequencies, 30.0) ** -_SPECTRAL_SLOPE[kind]
        made = np.fft.irfft(np.fft.rfft(rng.standard_normal(samples)) * shape, samples)
    elif kind == "hum":
        mains = float(rng.choice((50.0, 60.0)))
        time = np.arange(samples) / SAMPLE_RATE
        made = 0.02 * rng.standard_normal(samples)
        for harmonic in range(1, 13):
            strength = rng.uniform(0.1, 1.0) / harmonic
            made += strength * np.sin(2 * np.pi * mains * harmonic * time + rng.uniform(0, 2 * np.pi))
    else:
        starts = rng.integers(0, babble.size - samples, 6)
        made = np.sum([babble[start : start + samples] for start in starts], axis=0)
    power = float(np.mean(np.square(made)))
    return np.asarray(made / np.sqrt(power + 1e-20), np.float32)


def add_noise(clip: Waveform, unit_noise: Waveform, *, speech_power: float, snr_db: float) -> Waveform:
    """Return clip + noise, with the noise `snr_db` below `speech_power`."""
    return np.asarray(clip + unit_noise * np.sqrt(speech_power * 10 ** (-snr_db / 10)), np.float32)
