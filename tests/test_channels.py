"""Mixing channels: an average of those that agree, and only the first of those that do not."""

import json
import shutil
import subprocess
from importlib.resources import files

import numpy as np
import pytest

from harken.audio.channels import Mixer, mix_channels
from harken.audio.clip import load_clip
from harken.audio.resampler import Resampler
from harken.errors import HarkenError
from harken.runtime.listener import Listener
from tones import RATE, ToneRecognizer, quiet, tone


def noise(samples, amplitude=0.1, seed=0):
    return (amplitude * np.random.default_rng(seed).standard_normal(samples)).astype(np.float32)


WORD = np.concatenate([quiet(1), tone("low"), quiet(1)])
HISS = noise(WORD.size, 0.003, seed=1)
FLOOR = 0.1 * HISS  # the noise of a microphone, 70 dB below full scale
OTHER = noise(WORD.size, 0.2, seed=2)  # what a loopback channel plays
SILENT = np.zeros_like(WORD)


def recording(*channels):
    return np.stack(channels, axis=1)


CASES = {
    "the same word": (recording(WORD, 0.5 * WORD), recording(0.75 * WORD)),
    "two microphones": (recording(WORD + HISS, WORD + HISS[::-1]), recording(WORD + (HISS + HISS[::-1]) / 2)),
    "antiphase": (recording(WORD, -WORD), recording(WORD)),
    "loopback": (recording(WORD + FLOOR, OTHER), recording(WORD + FLOOR)),
    "array of six": (recording(*[WORD + FLOOR] * 3, -WORD, WORD, OTHER), recording(WORD + 0.75 * FLOOR)),
    "first unplugged": (recording(1e-4 * HISS, WORD), recording(WORD)),
    "second silent": (recording(WORD, SILENT), recording(WORD)),
    "all silent": (recording(SILENT, SILENT), recording(SILENT)),
}


@pytest.mark.parametrize("case", CASES)
def test_only_channels_that_agree_are_averaged(case):
    channels, expected = CASES[case]
    np.testing.assert_allclose(mix_channels(channels), expected[:, 0], atol=1e-6)
    np.testing.assert_allclose(load_clip(channels, RATE, source_rate=RATE), expected[:, 0], atol=1e-6)
    mixed = Mixer(RATE, channels.shape[1]).push(channels)
    spoken = slice(RATE + RATE // 5, None)  # without the first 0.1 s of sound, after which a stream decides
    if case != "two microphones":  # their noise comes first, and does not agree
        np.testing.assert_allclose(mixed[spoken], expected[spoken, 0], atol=1e-6)


@pytest.mark.parametrize("case", CASES)
def test_a_listener_detects_the_word_in_each_of_them(case):
    channels, _ = CASES[case]
    expected = 0 if case == "all silent" else 1
    for cuts in ([], np.sort(np.random.default_rng(3).integers(0, len(channels), 60))):
        listener = Listener(ToneRecognizer(), source_rate=RATE, thresholds={"low": 0.6})
        events = [event for part in np.split(channels, cuts) for event in listener.push(part)]
        assert [event.word for event in events] == ["low"] * expected


def test_a_stream_is_mixed_alike_in_chunks_of_any_size_and_after_a_reset():
    channels = recording(WORD + HISS, OTHER, -WORD, HISS[::-1])
    resampler = Resampler(RATE, RATE)
    whole = resampler.push(channels)
    resampler.reset()
    cuts = [*range(9), *np.sort(np.random.default_rng(4).integers(9, len(channels), 50))]
    np.testing.assert_array_equal(np.concatenate([resampler.push(part) for part in np.split(channels, cuts)]), whole)


def test_one_channel_can_be_chosen():
    channels = recording(WORD, OTHER)
    for number, channel in ((1, WORD), (2, OTHER)):
        np.testing.assert_array_equal(load_clip(channels, RATE, source_rate=RATE, channel=number), channel)
    np.testing.assert_array_equal(load_clip(WORD, RATE, source_rate=RATE, channel=1), WORD)
    with pytest.raises(HarkenError, match="array has 2 channels, so there is no channel 3: choose 1 to 2"):
        load_clip(channels, RATE, source_rate=RATE, channel=3)
    with pytest.raises(HarkenError, match="array has one channel, so there is no channel 2"):
        load_clip(WORD, RATE, source_rate=RATE, channel=2)


def test_the_page_mixes_alike(tmp_path):
    if (node := shutil.which("node")) is None:
        pytest.skip("Node is not installed; on Debian and Ubuntu, run: apt install nodejs")
    (tmp_path / "channels.mjs").write_bytes(files("harken").joinpath("serve", "page", "channels.js").read_bytes())
    (tmp_path / "cases.json").write_text(json.dumps([channels.T.tolist() for channels, _ in CASES.values()]))
    script = """
        import { readFileSync, writeFileSync } from "node:fs";
        import { mixChannels } from "./channels.mjs";
        const cases = JSON.parse(readFileSync("cases.json")).map((channels) => channels.map((x) => Float32Array.from(x)));
        writeFileSync("mixed.json", JSON.stringify(cases.map((channels) => Array.from(mixChannels(channels)))));
    """
    subprocess.run([node, "--input-type=module", "--eval", script], cwd=tmp_path, check=True)
    for found, (channels, _) in zip(json.loads((tmp_path / "mixed.json").read_text()), CASES.values(), strict=True):
        np.testing.assert_allclose(found, mix_channels(channels), atol=1e-6)
