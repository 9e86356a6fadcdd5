import math

import numpy as np
import pytest
import torch

from harken.audio.room import simulate_room
from harken.errors import HarkenError
from harken.training.augment import Room
from harken.training.augment.random_draws import rms

RATE = 8_000

# A room of 5 x 4 x 3 m. The direct path is 2 m along x. Lengths of the first reflections, calculated by hand:
SIZE, SPEAKER, MICROPHONE = (5.0, 4.0, 3.0), (1.0, 2.0, 1.0), (3.0, 2.0, 1.0)
FIRST_REFLECTIONS = {
    "x = 0": 4.0,  # 1 m back and 3 m forth
    "x = 5": 6.0,
    "y = 0": math.hypot(2, 4),
    "y = 4": math.hypot(2, 4),
    "z = 0": math.hypot(2, 2),
    "z = 3": math.hypot(2, 4),
}


def test_response_starts_with_the_direct_sound() -> None:
    response = simulate_room(SIZE, SPEAKER, MICROPHONE, reflection=0, sample_rate=16_000)
    assert response[0] == 1
    assert np.count_nonzero(response) == 1


def test_response_contains_the_first_reflections() -> None:
    rate, reflection = 48_000, 1e-4  # so small that second reflections are negligible
    response = simulate_room(SIZE, SPEAKER, MICROPHONE, reflection=reflection, sample_rate=rate, seconds=0.02)
    expected = np.zeros(response.size)
    for distance in FIRST_REFLECTIONS.values():
        delay = (distance - 2.0) / 343.0 * rate
        fraction = delay - math.floor(delay)
        expected[math.floor(delay)] += reflection * 2.0 / distance * (1 - fraction)
        expected[math.floor(delay) + 1] += reflection * 2.0 / distance * fraction
    np.testing.assert_allclose(response[1:], expected[1:], atol=3e-8)


def test_response_is_longer_with_more_reflective_walls() -> None:
    energy = [
        np.square(simulate_room(SIZE, SPEAKER, MICROPHONE, reflection=reflection, sample_rate=RATE)[400:]).sum()
        for reflection in (0.3, 0.6, 0.9)
    ]
    assert 100 * energy[0] < 10 * energy[1] < energy[2]


@pytest.mark.parametrize("outside", [{"speaker_m": (6.0, 1.0, 1.0)}, {"microphone_m": (1.0, 1.0, 0.0)}])
def test_positions_outside_the_room_are_refused(outside: dict[str, tuple[float, float, float]]) -> None:
    positions = {"speaker_m": SPEAKER, "microphone_m": MICROPHONE, **outside}
    with pytest.raises(HarkenError, match="inside the room"):
        simulate_room(SIZE, **positions, reflection=0.5, sample_rate=RATE)


def test_walls_that_amplify_are_refused() -> None:
    with pytest.raises(HarkenError, match="reflection=1"):
        simulate_room(SIZE, SPEAKER, MICROPHONE, reflection=1, sample_rate=RATE)


def test_augmentation_keeps_the_time_and_the_loudness_of_the_direct_sound() -> None:
    torch.manual_seed(0)
    room = Room(RATE, probability=1, rooms=3)
    impulse = torch.zeros(8, RATE)
    impulse[:, 1000] = 0.5
    wet = room(impulse)
    assert wet[:, :999].abs().max() < 1e-6
    assert torch.equal(wet.abs().argmax(1), torch.full((8,), 1000))
    torch.testing.assert_close(rms(wet), rms(impulse))
    assert (wet[:, 1001:].abs().amax(1) > 0.01).all()  # there is reverberation
    assert room(torch.zeros(2, RATE)).abs().max() == 0


def test_augmentation_is_the_convolution_with_a_room_response() -> None:
    room = Room(RATE, probability=1, rooms=1)
    dry = 0.1 * torch.randn(1, RATE, generator=torch.Generator().manual_seed(4))
    wet = np.convolve(dry[0].double().numpy(), room.responses[0].double().numpy())[:RATE]
    wet *= float(rms(dry)) / np.sqrt(np.square(wet).mean())
    np.testing.assert_allclose(room(dry)[0].numpy(), wet, atol=1e-6)
