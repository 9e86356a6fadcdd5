"""Generated steady noise, and banks that combine it with recordings."""

from collections.abc import Callable

import numpy as np
import pytest
import torch

from harken.corpus.recordings import Recordings
from harken.training.augment import MixedBank, SteadyNoise, WindowBank

RATE = 8_000


@pytest.fixture
def steady(monkeypatch: pytest.MonkeyPatch) -> Callable[..., torch.Tensor]:
    """Generate steady noise of one kind. Keywords set constants of its module; all others are turned off."""

    def draw(count: int = 64, **kind: object) -> torch.Tensor:
        off = {"_TILT": (0, 0), "_BAND_PROBABILITY": 0.0, "_HUM_PROBABILITY": 0.0, "_PULSE_PROBABILITY": 0.0}
        for name, value in {**off, **kind}.items():
            monkeypatch.setattr(f"harken.training.augment.steady_noise.{name}", value)
        torch.manual_seed(5)
        return SteadyNoise(RATE, RATE).draw(count)

    return draw


def power_by_octave(windows: torch.Tensor) -> torch.Tensor:
    """Return the mean power per hertz in the octaves from 125 Hz to 4 kHz, in decibels."""
    power = torch.fft.rfft(windows).abs().square().mean(0)
    return 10 * torch.stack([power[125 * 2**n : 250 * 2**n].mean() for n in range(5)]).log10()


@pytest.mark.parametrize(("exponent", "slope"), [(0, 0.0), (1, -3.01), (2, -6.02), (-1, 3.01)])
def test_steady_noise_has_the_given_spectral_slope(
    steady: Callable[..., torch.Tensor], exponent: int, slope: float
) -> None:
    steps = power_by_octave(steady(_TILT=(exponent, exponent))).diff()
    torch.testing.assert_close(steps, torch.full((4,), slope), atol=0.4, rtol=0)


def test_steady_noise_in_a_band_is_weak_outside_it(steady: Callable[..., torch.Tensor]) -> None:
    levels = power_by_octave(steady(_BAND_PROBABILITY=1.0, _LOW_EDGE_HZ=(500.0, 500.0), _WIDTH=(2.0, 2.0)))
    assert levels.argmax() == 2
    assert (levels[2] - levels[[0, 4]] > 20).all()


def test_a_hum_consists_of_multiples_of_its_fundamental(steady: Callable[..., torch.Tensor]) -> None:
    kind = {"_HUM_PROBABILITY": 1.0, "_HUM_HZ": (150.0, 150.0), "_HUM_OVER_NOISE_DB": (30.0, 30.0)}
    power = torch.fft.rfft(steady(**kind)).abs().square().sum(0)
    lines = power[150 : 150 * 24 + 1 : 150].sum()
    # The ratio differs between windows, because only few harmonics are strong and their strengths are random.
    assert 10 * (lines / (power.sum() - lines)).log10() == pytest.approx(30, abs=4)


def test_a_pulse_has_the_given_rate(steady: Callable[..., torch.Tensor]) -> None:
    windows = steady(_PULSE_PROBABILITY=1.0, _PULSE_HZ=(4.0, 4.0))
    envelopes = windows.square().reshape(64, 50, -1).mean(2)  # every 20 ms
    spectrum = torch.fft.rfft(envelopes - envelopes.mean(1, keepdim=True)).abs().mean(0)
    assert spectrum.argmax() == 4  # cycles per second


def test_steady_noise_varies_in_kind_and_level_within_full_scale() -> None:
    torch.manual_seed(0)
    windows = SteadyNoise(RATE, RATE).draw(256)
    levels = 20 * windows.square().mean(1).sqrt().log10()
    assert windows.abs().max() <= 1
    assert levels.min() > -30.1
    assert levels.max() < -5.9
    assert levels.std() > 5
    peaks = torch.fft.rfft(windows).abs().argmax(1)
    assert (peaks < 50).any()
    assert (peaks > 2_000).any()


def test_a_mixed_bank_generates_the_given_share() -> None:
    recorded, made = (
        WindowBank(Recordings(("hiss",), np.full(9, 100, np.int16), np.array([0]), np.array([9]), RATE), 4),
        SteadyNoise(4, RATE),
    )

    def shares(share: float) -> float:
        torch.manual_seed(0)
        windows = (MixedBank(recorded, made, share).draw(2_000) * 32768).round()
        return float((windows != 100).any(1).float().mean())

    assert shares(0) == 0
    assert shares(0.3) == pytest.approx(0.3, abs=0.05)
    assert shares(1) == 1
    torch.manual_seed(0)
    alone = recorded.draw(8), torch.rand(1)
    torch.manual_seed(0)
    assert torch.equal(MixedBank(recorded, made, 0).draw(8), alone[0])
    assert torch.equal(torch.rand(1), alone[1])  # a share of 0 uses no random numbers
