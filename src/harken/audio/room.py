"""Simulate the impulse responses of rooms."""

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
    """Return the impulse response of a shoebox room by the image-source method (Allen & Berkley, 1979).

    Parameters
    ----------
    size_m
        Length, width and height of the room in meters.
    speaker_m
        Position of the speaker in meters, inside the room.
    microphone_m
        Position of the microphone in meters, inside the room.
    reflection
        Fraction of the amplitude that a wall reflects, from 0 to below 1.
    sample_rate
        Sample rate of the response in Hz.
    seconds
        Length of the response.

    Returns
    -------
    ndarray of float64
        The response [samples]. It starts with the direct sound, which is scaled to 1.

    Raises
    ------
    HarkenError
        If a position is outside the room or the reflection is out of range.
    """
    size, speaker, microphone = (np.asarray(point, dtype=np.float64) for point in (size_m, speaker_m, microphone_m))
    if not (np.all((speaker > 0) & (speaker < size)) and np.all((microphone > 0) & (microphone < size))):
        raise HarkenError(
            f"speaker {speaker_m} and microphone {microphone_m}: both positions must be inside the room {size_m}"
        )
    if not 0 <= reflection < 1:
        raise HarkenError(f"reflection={reflection} must be at least 0 and below 1")
    direct = float(np.linalg.norm(speaker - microphone))
    max_distance = direct + seconds * _SPEED_OF_SOUND
    axes = []
    for axis in range(3):
        orders = np.arange(-int(max_distance // (2 * size[axis])) - 1, int(max_distance // (2 * size[axis])) + 2)
        # Each pair of mirrored rooms contains the speaker once unmirrored and once mirrored.
        images = np.concatenate([2 * orders * size[axis] + speaker[axis], 2 * orders * size[axis] - speaker[axis]])
        bounces = np.concatenate([np.abs(2 * orders), np.abs(2 * orders - 1)])
        axes.append((images - microphone[axis], bounces))
    (x, bx), (y, by), (z, bz) = axes
    distance = np.sqrt(x[:, None, None] ** 2 + y[None, :, None] ** 2 + z[None, None, :] ** 2).ravel()
    bounces = (bx[:, None, None] + by[None, :, None] + bz[None, None, :]).ravel()
    delay = (distance - direct) / _SPEED_OF_SOUND * sample_rate
    amplitude = reflection**bounces * direct / distance
    samples = int(seconds * sample_rate)
    in_time = delay < samples - 1
    delay, amplitude = delay[in_time], amplitude[in_time]
    whole = delay.astype(np.int64)
    part = delay - whole
    response = np.bincount(whole, amplitude * (1 - part), samples) + np.bincount(whole + 1, amplitude * part, samples)
    return np.asarray(response, dtype=np.float64)
