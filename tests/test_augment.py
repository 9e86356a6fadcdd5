import math
from collections.abc import Callable

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from conftest import level
from harken.corpus.recordings import Recordings, join_recordings
from harken.errors import HarkenError
from harken.models.frontend import LOG_FLOOR
from harken.training.augment import (
    Filter,
    Gain,
    MixedBank,
    Mixup,
    Noise,
    NoiseSuppression,
    Pitch,
    Room,
    Shift,
    SpecAugment,
    Speed,
    SteadyNoise,
    WindowBank,
)
from harken.training.augment.pitch import shift_pitch
from harken.training.augment.random_draws import rms
from harken.training.augment.speed import interpolate
from harken.training.augment.splice import splice

RATE = 8_000


def recordings(*parts: list[int] | NDArray[np.int16]) -> Recordings:
    arrays = [np.asarray(part, np.int16) for part in parts]
    lengths = np.array([array.size for array in arrays])
    starts = np.cumsum(lengths) - lengths
    samples = np.concatenate([np.zeros(0, np.int16), *arrays])
    return Recordings(tuple(map(str, range(len(arrays)))), samples, starts, lengths, RATE)


def sines(*frequencies: float, samples: int = RATE) -> Tensor:
    time = torch.arange(samples) / RATE
    return torch.stack([0.5 * torch.sin(2 * math.pi * hz * time) for hz in frequencies])


def loudest_hz(row: Tensor) -> float:
    """Return the frequency of the highest peak, to a hundredth of a bin."""
    middle = row[len(row) // 4 : -len(row) // 4]
    spectrum = torch.fft.rfft(middle * torch.hann_window(len(middle)), 16 * len(middle)).abs()
    return float(spectrum.argmax()) * RATE / (16 * len(middle))


def white(seed: int, rows: int = 4, samples: int = RATE) -> Tensor:
    return 0.1 * torch.randn(rows, samples, generator=torch.Generator().manual_seed(seed))


BANK = WindowBank(recordings((1000 * white(0, 1)[0]).short().numpy()), RATE)

# Every transform of waveforms, with values that change any waveform.
WAVEFORM: dict[str, Callable[[], nn.Module]] = {
    "shift": lambda: Shift(500),
    "gain": lambda: Gain(-12, -3),
    "noise": lambda: Noise(BANK, probability=0.9, min_snr_db=0, max_snr_db=10),
    "room": lambda: Room(RATE, probability=0.9, rooms=2),
    "speed": lambda: Speed(0.8, 1.2),
    "pitch": lambda: Pitch(3, probability=0.9),
}


@pytest.mark.parametrize("name", WAVEFORM)
def test_same_seed_same_result(name: str) -> None:
    transform, waveform = WAVEFORM[name](), white(1)
    torch.manual_seed(3)
    first = transform(waveform)
    torch.manual_seed(3)
    assert torch.equal(transform(waveform), first)
    assert first.shape == waveform.shape
    assert not torch.equal(first, waveform)
    assert not torch.equal(transform(waveform), first)


@pytest.mark.parametrize("name", WAVEFORM)
def test_evaluation_mode_changes_nothing(name: str) -> None:
    waveform = white(1)
    assert WAVEFORM[name]().eval()(waveform) is waveform


@pytest.mark.parametrize("name", WAVEFORM)
def test_the_input_is_not_modified(name: str) -> None:
    waveform = white(1)
    WAVEFORM[name]()(waveform)
    assert torch.equal(waveform, white(1))


@pytest.mark.parametrize(
    "turned_off",
    [
        Shift(0),
        Gain(0, 0),
        Noise(BANK, probability=0, min_snr_db=0, max_snr_db=0),
        Room(RATE, probability=0),
        Speed(1, 1),
        Pitch(0, probability=1),
        Pitch(3, probability=0),
    ],
    ids=lambda module: type(module).__name__,
)
def test_zero_turns_a_transform_off(turned_off: nn.Module) -> None:
    waveform = white(1)
    assert turned_off(waveform) is waveform


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Shift(-1), "max_shift=-1"),
        (lambda: Gain(3, -3), "min_gain_db=3 is greater than max_gain_db=-3"),
        (lambda: Noise(BANK, probability=1.1, min_snr_db=0, max_snr_db=1), "probability=1.1 is not a probability"),
        (lambda: Noise(BANK, probability=1, min_snr_db=2, max_snr_db=1), "min_snr_db=2 is greater than"),
        (lambda: WindowBank(recordings(), 3), "no recording"),
        (lambda: Room(RATE, probability=-0.1), "probability=-0.1"),
        (lambda: Room(RATE, probability=0.5, rooms=0), "rooms=0"),
        (lambda: Speed(1.2, 0.8), "min_speed=1.2 is greater than"),
        (lambda: Speed(0, 1), "min_speed=0 must be greater than 0"),
        (lambda: Pitch(-1, probability=0.5), "max_semitones=-1"),
        (lambda: Pitch(1, probability=2), "probability=2"),
        (lambda: SpecAugment(band_masks=1, max_bands=-1, frame_masks=1, max_frames=1), "must be 0 or more"),
        (lambda: Filter(-1.0, 0.0), "max_filter_db=-1.0 must be 0 or more"),
        (lambda: Filter(1.0, 1.5), "not a probability"),
        (lambda: NoiseSuppression(-0.1), "suppression_probability=-0.1"),
        (lambda: Mixup(-0.1), "mixup=-0.1"),
        (lambda: MixedBank(BANK, SteadyNoise(4, RATE), 2), "share=2 is not a probability"),
    ],
)  # fmt: skip
def test_impossible_ranges_are_refused(make: Callable[[], object], message: str) -> None:
    with pytest.raises(HarkenError, match=message):
        make()


def test_shift_moves_an_impulse_by_up_to_its_maximum() -> None:
    torch.manual_seed(0)
    impulse = torch.zeros(200, 11)
    impulse[:, 5] = 1.0
    moved = Shift(3)(impulse)
    assert torch.equal(moved.sum(1), torch.ones(200))
    assert set(moved.argmax(1).tolist()) == {2, 3, 4, 5, 6, 7, 8}


def test_shift_leaves_zeros_and_does_not_wrap() -> None:
    torch.manual_seed(0)
    for row in Shift(2)(torch.tensor([[1.0, 2.0, 3.0]]).repeat(50, 1)).tolist():
        assert row in ([1, 2, 3], [2, 3, 0], [3, 0, 0], [0, 1, 2], [0, 0, 1])


@pytest.mark.parametrize("decibels", [-20.0, 6.0])
def test_gain_is_in_decibels(decibels: float) -> None:
    waveform = torch.tensor([[0.1, -0.2, 0.0]])
    torch.testing.assert_close(Gain(decibels, decibels)(waveform), waveform * 10 ** (decibels / 20))


def test_gain_is_drawn_uniformly_in_decibels_for_each_row() -> None:
    torch.manual_seed(0)
    decibels = 20 * torch.log10(Gain(-20, 10)(torch.full((4000, 1), 0.1)) / 0.1)
    assert decibels.min() >= -20.001
    assert decibels.max() <= 10.001
    assert decibels.mean() == pytest.approx(-5, abs=0.5)
    assert decibels.std() == pytest.approx(30 / math.sqrt(12), rel=0.03)


def test_gain_clips_at_full_scale() -> None:
    assert Gain(40, 40)(torch.tensor([[0.5, -0.5, 0.001]])).tolist() == [[1.0, -1.0, pytest.approx(0.1)]]


@pytest.mark.parametrize("snr_db", [-5.0, 0.0, 20.0])
def test_noise_has_the_given_ratio(snr_db: float) -> None:
    clean = sines(440, 1000) * 0.1
    added = Noise(BANK, probability=1, min_snr_db=snr_db, max_snr_db=snr_db)(clean) - clean
    torch.testing.assert_close(20 * torch.log10(rms(clean) / rms(added)), torch.full((2, 1), snr_db), atol=0.01, rtol=0)


def test_noise_is_added_with_the_given_probability() -> None:
    torch.manual_seed(0)
    clean = sines(440).repeat(400, 1)[:, :800]
    bank = WindowBank(recordings((1000 * white(0, 1)[0]).short().numpy()), 800)
    noisy = (Noise(bank, probability=0.25, min_snr_db=0, max_snr_db=0)(clean) != clean).any(1)
    assert noisy.float().mean() == pytest.approx(0.25, abs=0.07)


def test_noise_skips_silent_clips_and_silent_noise() -> None:
    assert Noise(BANK, probability=1, min_snr_db=0, max_snr_db=0)(torch.zeros(2, RATE)).abs().max() == 0
    nothing = WindowBank(recordings([0] * RATE), RATE)
    clean = sines(440)
    assert torch.equal(Noise(nothing, probability=1, min_snr_db=0, max_snr_db=0)(clean), clean)


def test_windows_stay_within_a_recording_and_use_every_start() -> None:
    torch.manual_seed(0)
    # The hundreds of a sample give its recording, the units its position. The last recording is shorter than a window.
    bank = WindowBank(recordings([100, 101, 102, 103, 104], [200, 201, 202], [300, 301]), 3)
    windows = (bank.draw(2000) * 32768).round().int()
    found = {tuple(row) for row in windows.tolist()}
    assert found == {
        (100, 101, 102), (101, 102, 103), (102, 103, 104), (200, 201, 202),
        (300, 301, 300), (301, 300, 301),
    }  # fmt: skip
    counts = torch.unique(windows, dim=0, return_counts=True)[1]
    assert counts.min() > 2000 / 6 * 0.8  # every start is equally likely


def test_a_spliced_word_changes_to_speech_of_the_same_level() -> None:
    torch.manual_seed(0)
    word, speech = torch.full((200, RATE), 0.4), torch.full((200, RATE), -0.1)
    spliced = splice(word, speech, RATE)
    first = spliced[:, 0] > 0
    assert 70 < first.sum() < 130
    assert spliced.amax() == pytest.approx(0.4)
    assert spliced.amin() == pytest.approx(-0.4)
    kept = (spliced > 0).float().mean(1)  # with constant energy, this is a share of time
    for rows, low, high in ((first, 0.3, 0.5), (~first, 0.3, 0.5)):
        assert kept[rows].min() >= low - 0.01
        assert kept[rows].max() <= high + 0.01
    assert (spliced.diff(dim=1).abs() < 0.8 / (0.01 * RATE) + 1e-4).all()  # faded, not cut


def test_a_filter_changes_bands_smoothly_and_within_its_maximum() -> None:
    torch.manual_seed(0)
    features = torch.randn(50, 40, 20)  # far above the floor of the logarithm
    moved = (Filter(6.0, 0.0)(features) - features) * 10 / math.log(10)  # in dB
    torch.testing.assert_close(moved, moved[:, :, :1].expand_as(moved), atol=0.01, rtol=0)
    assert moved.abs().max() <= 6.01
    assert moved[:, 0].std() > 2  # a new response for each clip
    assert (moved[:, 0] - moved[:, -1]).std() > 2  # different at both ends
    assert moved[:, :, 0].diff(dim=1).abs().max() <= 12 / 39 * 4 + 0.01  # from node to node in at least 39 / 4 bands


def test_a_cut_lowers_only_high_bands_down_to_the_floor() -> None:
    torch.manual_seed(0)
    moved = Filter(0.0, 1.0)(torch.zeros(200, 40, 3))[:, :, 0]
    assert (moved[:, :14] == 0).all()
    assert (moved.diff(dim=1) <= 1e-6).all()
    assert moved[:, -1].min() < -10
    assert moved.min() >= math.log(1e-6) - 1e-4
    silence = torch.full((4, 40, 3), math.log(1e-6))
    torch.testing.assert_close(Filter(12.0, 1.0)(silence), silence)
    kept = Filter(0.0, 0.25)(torch.zeros(1000, 40, 1))[:, -1, 0] == 0
    assert kept.float().mean() == pytest.approx(0.75, abs=0.05)


def test_suppression_removes_steady_noise_and_keeps_speech() -> None:
    torch.manual_seed(0)
    steady = 1e-2 * torch.empty(50, 40, 100).uniform_(0.9, 1.0)
    word = torch.zeros(100).index_fill_(0, torch.arange(40, 60), 1.0)  # 20 dB above the noise
    features = torch.log(steady + word + LOG_FLOOR)
    taken = (features - NoiseSuppression(1.0)(features)) * 10 / math.log(10)  # in dB
    assert taken[:, :, 40:60].max() < 10 * math.log10(1 / (1 - 0.06 / 1.009)) + 0.01
    assert taken[:, :, :40].min() > 9.9  # falls to the floor, which is 10 to 30 dB below
    assert taken[:, :, :40].max() < 30.1
    assert taken[:, 0, 0].std() > 3  # a new value for each clip
    silence = torch.full((4, 40, 10), math.log(LOG_FLOOR))
    torch.testing.assert_close(NoiseSuppression(1.0)(silence), silence)
    kept = (NoiseSuppression(0.25)(features.repeat(20, 1, 1)) == features.repeat(20, 1, 1)).all(2).all(1)
    assert kept.float().mean() == pytest.approx(0.75, abs=0.05)


def test_groups_are_used_equally_often_whatever_their_length() -> None:
    torch.manual_seed(0)
    short, long = recordings([1, 2, 3]), recordings([7] * 500, [8] * 497)
    bank = WindowBank(join_recordings([long, short]), 3)
    windows = (bank.draw(3000) * 32768).round().int()
    of_short = (windows == torch.tensor([1, 2, 3])).all(1).float().mean()
    assert of_short == pytest.approx(0.5, abs=0.03)
    assert (windows[:, 0] == 7).float().mean() == pytest.approx(0.25, abs=0.03)


def test_speed_changes_a_frequency_by_the_factor() -> None:
    for factor in (0.8, 1.0001, 1.25):
        played = Speed(factor, factor)(sines(500))[0]
        assert loudest_hz(played) == pytest.approx(500 * factor, abs=0.6)
        assert level(played[2000:6000].numpy(), 500 * factor, RATE) == pytest.approx(0.5, rel=0.01)


def test_speed_keeps_the_middle_and_fills_with_zeros() -> None:
    impulse = torch.zeros(1, 101)
    impulse[0, 50] = 1
    impulse[0, 90] = 1
    fast = Speed(2, 2)(impulse)[0]
    assert fast.nonzero().flatten().tolist() == [50, 70]
    assert torch.equal(Speed(2, 2)(torch.ones(1, 101))[0, [0, 20, 80, 100]], torch.zeros(4))


def test_interpolation_is_exact_at_samples_and_between_them_on_a_ramp() -> None:
    ramp = torch.arange(20.0)[None]
    found = interpolate(ramp, torch.tensor([[3.0, 7.0, 12.0, 3.5, -5.0, 30.0]]))[0]
    assert found.tolist() == pytest.approx([3, 7, 12, 3.5, 0, 0], abs=1e-4)


@pytest.mark.parametrize("semitones", [-4.0, 0.0, 5.0])
def test_pitch_moves_a_frequency(semitones: float) -> None:
    shifted = shift_pitch(sines(400, 700), semitones)
    assert shifted.shape == (2, RATE)
    for row, hz in zip(shifted, (400, 700), strict=True):
        assert loudest_hz(row) == pytest.approx(hz * 2 ** (semitones / 12), rel=0.005)
        assert level(row.numpy(), loudest_hz(row), RATE) == pytest.approx(0.5, rel=0.1)


@pytest.mark.parametrize("semitones", [-4.0, 5.0])
def test_pitch_keeps_the_tempo(semitones: float) -> None:
    # Two bursts, 0.2 to 0.3 s and 0.6 to 0.7 s.
    gate = torch.zeros(RATE)
    gate[1600:2400] = gate[4800:5600] = 1
    energy = shift_pitch(sines(600) * gate, semitones)[0].square()
    time = torch.arange(RATE) / RATE
    for first, last, middle in ((0, 3600, 0.25), (3600, RATE, 0.65)):
        part = slice(first, last)
        assert float((energy[part] * time[part]).sum() / energy[part].sum()) == pytest.approx(middle, abs=0.02)


def test_pitch_changes_rows_with_the_given_probability() -> None:
    torch.manual_seed(0)
    waveform = sines(*[500] * 200, samples=2000)
    changed = (Pitch(4, probability=0.3)(waveform) != waveform).any(1)
    assert changed.float().mean() == pytest.approx(0.3, abs=0.1)


def widths(masked: Tensor) -> set[int]:
    """Return the numbers of masked bands or frames that occur."""
    return set(masked.sum(1).tolist())


def test_spec_augment_masks_as_wide_as_allowed() -> None:
    torch.manual_seed(0)
    features = torch.randn(2000, 10, 20)
    masked = SpecAugment(band_masks=1, max_bands=3, frame_masks=0, max_frames=9)(features)
    changed = masked != features
    assert torch.equal(changed.any(2), changed.all(2))  # whole bands
    assert widths(changed.all(2)) == {0, 1, 2, 3}
    assert changed.all(2).any(0).all()  # every band is masked in some row
    masked = SpecAugment(band_masks=0, max_bands=3, frame_masks=2, max_frames=4)(features)
    changed = masked != features
    assert torch.equal(changed.any(1), changed.all(1))
    assert widths(changed.all(1)) == set(range(9))


def test_spec_augment_fills_masks_with_the_rows_mean() -> None:
    torch.manual_seed(1)
    features = torch.randn(50, 6, 5)
    masked = SpecAugment(band_masks=1, max_bands=2, frame_masks=1, max_frames=2)(features)
    changed = masked != features
    assert changed.any()
    means = features.mean((1, 2), keepdim=True).expand_as(features)
    assert torch.equal(masked[changed], means[changed])


def test_spec_augment_masks_can_be_wider_than_the_features() -> None:
    torch.manual_seed(0)
    features = torch.randn(300, 2, 3)
    changed = SpecAugment(band_masks=1, max_bands=50, frame_masks=0, max_frames=0)(features) != features
    assert widths(changed.all(2)) == {0, 1, 2}


def test_spec_augment_in_evaluation_mode_and_turned_off() -> None:
    features = torch.randn(2, 4, 5)
    assert SpecAugment(band_masks=2, max_bands=2, frame_masks=2, max_frames=2).eval()(features) is features
    off = SpecAugment(band_masks=0, max_bands=2, frame_masks=0, max_frames=2)
    assert torch.equal(off(features), features)


def test_mixup_is_convex_in_waveforms_and_labels_alike() -> None:
    torch.manual_seed(0)
    labels = torch.eye(6)
    waveform = torch.arange(1.0, 7.0)[:, None].repeat(1, 3)
    mixed, soft = Mixup(0.4)(waveform, labels)
    torch.testing.assert_close(soft.sum(1), torch.ones(6))
    assert soft.min() >= 0
    torch.testing.assert_close(mixed, (soft @ torch.arange(1.0, 7.0))[:, None].repeat(1, 3))
    assert (soft.diagonal() >= 0.5).all()  # at least half of each row is the row itself
    assert ((soft > 0) & (soft < 1)).any()


def test_mixup_follows_the_seed_and_can_be_off() -> None:
    waveform, labels = white(0), torch.eye(4)
    torch.manual_seed(5)
    first = Mixup(0.4)(waveform, labels)
    torch.manual_seed(5)
    again = Mixup(0.4)(waveform, labels)
    assert torch.equal(first[0], again[0])
    assert torch.equal(first[1], again[1])
    for module in (Mixup(0), Mixup(0.4).eval()):
        assert module(waveform, labels) == (waveform, labels)
