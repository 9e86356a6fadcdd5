"""Impulse responses of simulated rooms."""

import numpy as np
from numpy.typing import NDArray

from harken.errors import HarkenError

_SPEED_OF_SOUND = 343.0  # m/s, air at 20 °C


def simulate_room(
    size_m: tuple[float, float, float],
    speaker_m: tuple[float, float, float],
    microphone_m: tuple[float, float, float],
    *,
    reflection: float,
    sample_rate: int,
    seconds: float = 0.3,
) -> NDArray[np.float64]:
    """Return a shoebox room's impulse response by the image-source method (Allen & Berkley, 1979), [samples].

    It starts with the direct sound, scaled to 1. reflection : amplitude that a wall gives back, 0 to 1.
    Raises HarkenError when a point lies outside the room or the reflection is out of range.
    """
    size, speaker, microphone = (np.asarray(point, dtype=np.float64) for point in (size_m, speaker_m, microphone_m))
    if not (np.all((speaker > 0) & (speaker < size)) and np.all((microphone > 0) & (microphone < size))):
        raise HarkenError(f"speaker {speaker_m} and microphone {microphone_m} must stand inside the room {size_m}")
    if not 0 <= reflection < 1:
        raise HarkenError(f"reflection={reflection} must be at least 0 and below 1")
    direct = float(np.linalg.norm(speaker - microphone))
    reach = direct + seconds * _SPEED_OF_SOUND
    axes = []
    for axis in range(3):
        orders = np.arange(-int(reach // (2 * size[axis])) - 1, int(reach // (2 * size[axis])) + 2)
        # Each mirrored copy of the room holds the speaker once as it is and once mirrored.
        images = np.concatenate([2 * orders * size[axis] + speaker[axis], 2 * orders * size[axis] - speaker[axis]])
        bounces = np.concatenate([np.abs(2 * orders), np.abs(2 * orders - 1)])
        axes.append((images - microphone[axis], bounces))
    (x, bx), (y, by), (z, bz) = axes
    distance = np.sqrt(x[:, None, None] ** 2 + y[None, :, None] ** 2 + z[None, None, :] ** 2).ravel()
    bounces = (bx[:, None, None] + by[None, :, None] + bz[None, None, :]).ravel()
    delay = (distance - direct) / _SPEED_OF_SOUND * sample_rate
    amplitude = reflection**bounces * direct / distance
    samples = int(seconds * sample_rate)
    near = delay < samples - 1
    delay, amplitude = delay[near], amplitude[near]
    whole = delay.astype(np.int64)
    part = delay - whole
    response = np.bincount(whole, amplitude * (1 - part), samples) + np.bincount(whole + 1, amplitude * part, samples)
    return np.asarray(response, dtype=np.float64)
