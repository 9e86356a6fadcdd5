"""The power spectrum by two small products."""

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
    whole = spectrum.bins <= size // 2
    assert sorted(spectrum.bins[whole].tolist()) == list(range(size // 2 + 1))  # each once
    np.testing.assert_allclose(found[..., whole], wanted[..., spectrum.bins[whole]], atol=2e-5 * size, rtol=1e-4)


def test_its_constants_are_small() -> None:
    spectrum = FactoredDFT(480)
    assert sum(buffer.numel() for buffer in spectrum.buffers()) < 480 * 482 / 50
