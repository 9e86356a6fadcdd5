"""The power spectrum by two small matrix products."""

import numpy as np
import pytest
import torch

from harken.models.spectrum import FactoredDFT


@pytest.mark.parametrize("size", [1, 2, 7, 36, 240, 480, 512, 1103])  # 7 and 1103 are prime
def test_every_bin_has_the_power_of_the_fft(size: int) -> None:
    frames = np.random.default_rng(size).standard_normal((2, 3, size)).astype(np.float32)
    spectrum = FactoredDFT(size)
    found = spectrum(torch.from_numpy(frames)).numpy()
    wanted = np.abs(np.fft.rfft(frames.astype(np.float64))) ** 2
    valid = spectrum.bins <= size // 2
    assert sorted(spectrum.bins[valid].tolist()) == list(range(size // 2 + 1))  # each bin once
    np.testing.assert_allclose(found[..., valid], wanted[..., spectrum.bins[valid]], atol=2e-5 * size, rtol=1e-4)


def test_it_needs_few_constants() -> None:
    spectrum = FactoredDFT(480)
    assert sum(buffer.numel() for buffer in spectrum.buffers()) < 480 * 482 / 50
