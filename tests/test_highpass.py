"""The filter that removes offset and hum before levels are measured."""

import math
import shutil
import subprocess
from importlib.resources import files

import numpy as np
import pytest

from harken.audio.highpass import CUTOFF_HZ, HighPass, coefficients

RATES = (4_000, 8_000, 16_000, 48_000)


def noise(samples, seed=0):
    return np.random.default_rng(seed).uniform(-0.5, 0.5, samples).astype(np.float32)


def gain_db(rate, hertz):
    """Return the level of a sine after the filter, without its first half second."""
    sine = np.sin(2 * np.pi * hertz * np.arange(rate) / rate).astype(np.float32)
    return 20 * math.log10(np.sqrt(2 * np.square(HighPass(rate).push(sine)[rate // 2 :]).mean()))


@pytest.mark.parametrize("rate", RATES)
def test_offset_and_hum_are_removed_and_a_voice_is_kept(rate):
    assert gain_db(rate, CUTOFF_HZ) == pytest.approx(-3, abs=0.1)
    assert gain_db(rate, 50) < -15
    assert gain_db(rate, 60) < -12
    assert gain_db(rate, 300) > -0.2
    assert gain_db(rate, 1000) == pytest.approx(0, abs=0.05)
    assert np.abs(HighPass(rate).push(np.full(rate, 0.7, np.float32))[rate // 2 :]).max() < 1e-9


@pytest.mark.parametrize("rate", RATES)
def test_it_computes_its_equation_in_chunks_of_any_size(rate):
    samples, (gain, a, b) = noise(3000) + 0.1, coefficients(rate)
    padded, expected = np.concatenate([np.zeros(2), samples]), np.zeros(3002)
    for n in range(2, 3002):
        change = padded[n] - 2 * padded[n - 1] + padded[n - 2]
        expected[n] = gain * change + a * expected[n - 1] + b * expected[n - 2]
    filtered = HighPass(rate)
    filtered.push(noise(777, seed=1))
    filtered.reset()
    cuts = [*range(5), 5, *np.sort(np.random.default_rng(2).integers(5, 3000, 40))]
    found = np.concatenate([filtered.push(part) for part in np.split(samples, cuts)])
    np.testing.assert_allclose(found, expected[2:], atol=1e-11)


def test_the_page_computes_the_same(tmp_path):
    if (node := shutil.which("node")) is None:
        pytest.skip("Node is not installed; on Debian and Ubuntu, run: apt install nodejs")
    (tmp_path / "highpass.mjs").write_bytes(files("harken").joinpath("serve", "page", "highpass.js").read_bytes())
    samples = noise(2000) + np.float32(0.1)
    samples.tofile(tmp_path / "samples.f32")
    script = """
        import { readFileSync, writeFileSync } from "node:fs";
        import { HighPass } from "./highpass.mjs";
        const samples = new Float32Array(Uint8Array.from(readFileSync("samples.f32")).buffer), filter = new HighPass(16000);
        const parts = [samples.subarray(0, 777), samples.subarray(777)].map((part) => Array.from(filter.push(part)));
        writeFileSync("filtered.f64", new Uint8Array(Float64Array.from(parts.flat()).buffer));
    """
    subprocess.run([node, "--input-type=module", "--eval", script], cwd=tmp_path, check=True)
    found = np.fromfile(tmp_path / "filtered.f64")
    np.testing.assert_allclose(found, HighPass(16_000).push(samples), atol=1e-11)
