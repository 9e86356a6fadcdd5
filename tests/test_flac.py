import io

import numpy as np
import pytest
import soundfile

from conftest import tone
from harken.audio import flac
from harken.audio.clip import InMemoryFile, load_clip
from harken.audio.flac import read_flac
from harken.errors import HarkenError


def encoded(samples, rate=16_000, subtype="PCM_16"):
    buffer = io.BytesIO()
    soundfile.write(buffer, samples, rate, format="FLAC", subtype=subtype)
    return buffer.getvalue()


def noisy(seconds=1.0, channels=1):
    noise = 0.1 * np.random.default_rng(5).standard_normal((round(16_000 * seconds), channels))
    return np.squeeze(tone(440, seconds, 16_000)[:, None] + noise)


def with_header(content, *, bits=16, samples=None):
    """Return the file with other numbers in its header."""
    fields = int.from_bytes(content[18:26])
    count = fields & (1 << 36) - 1 if samples is None else samples
    fields = fields >> 41 << 41 | (bits - 1) << 36 | count
    return content[:18] + fields.to_bytes(8) + content[26:]


@pytest.fixture
def without_miniaudio(monkeypatch):
    monkeypatch.setattr(flac, "_miniaudio", lambda: None)


@pytest.mark.parametrize("channels", [1, 2, 8])
@pytest.mark.parametrize("seconds", [1 / 16_000, 0.02, 1.0, 3.3])
def test_samples_are_the_same_as_libsndfiles(channels, seconds):
    pytest.importorskip("miniaudio")
    content = encoded(noisy(seconds, channels).reshape(-1, channels), 11_025)
    samples, rate = read_flac(io.BytesIO(content))
    expected, _ = soundfile.read(io.BytesIO(content), dtype="int16")
    assert rate == 11_025
    np.testing.assert_array_equal(samples, expected)


@pytest.mark.parametrize(
    "content",
    [
        encoded(noisy(), subtype="PCM_24"),
        encoded(noisy())[:-1],
        encoded(noisy())[:30],
        b"",
        b"RIFF" + bytes(100),
        b"fLaC" + bytes(100),
        with_header(encoded(noisy()), samples=0),
        with_header(encoded(noisy()), samples=16_001),
        with_header(encoded(noisy()), samples=(1 << 36) - 1),
        encoded(noisy())[:5_000] + bytes(500) + encoded(noisy())[5_500:],
    ],
    ids=["24 bits", "cut", "cut in the header", "empty", "wav", "no header", "no length", "short", "huge", "damaged"],
)
def test_incomplete_and_unusual_files_are_left_to_libsndfile(content):
    pytest.importorskip("miniaudio")
    assert read_flac(io.BytesIO(content)) is None


def test_without_miniaudio_all_files_are_left_to_libsndfile(without_miniaudio):
    assert read_flac(io.BytesIO(encoded(noisy()))) is None


@pytest.mark.parametrize("channels", [1, 2])
@pytest.mark.parametrize("rate", [8_000, 16_000])
def test_a_clip_is_the_same_with_either_decoder(tmp_path, monkeypatch, channels, rate):
    pytest.importorskip("miniaudio")
    path = tmp_path / "clip.flac"
    path.write_bytes(encoded(noisy(channels=channels)))
    with_miniaudio = load_clip(path, rate)
    monkeypatch.setattr(flac, "_miniaudio", lambda: None)
    np.testing.assert_array_equal(with_miniaudio, load_clip(path, rate))


@pytest.mark.parametrize("cut", [20, 5_000, -1])
def test_a_damaged_file_has_the_same_error_with_either_decoder(tmp_path, monkeypatch, cut):
    path = tmp_path / "clip.flac"
    path.write_bytes(encoded(noisy())[:cut])
    messages = set()
    for miniaudio in (flac._miniaudio(), None):
        monkeypatch.setattr(flac, "_miniaudio", lambda found=miniaudio: found)
        with pytest.raises(HarkenError) as caught:
            load_clip(path, 16_000)
        messages.add(str(caught.value))
    assert len(messages) == 1
    assert messages.pop().startswith(f"{path} is")


def test_an_open_file_is_left_to_libsndfile(tmp_path, monkeypatch):
    def refuse(*_):
        raise AssertionError("untrusted bytes")

    path = tmp_path / "clip.flac"
    path.write_bytes(encoded(noisy()))
    monkeypatch.setattr("harken.audio.clip.read_flac", refuse)
    with path.open("rb") as file:
        assert load_clip(file, 16_000).size == 16_000
    assert load_clip(io.BytesIO(path.read_bytes()), 16_000).size == 16_000


@pytest.mark.parametrize("name", ["clip.flac", "clip.wav", "clip.ogg"])
def test_an_in_memory_file_gives_the_same_clip_as_its_path(tmp_path, name):
    path = tmp_path / name
    soundfile.write(path, noisy(), 16_000)
    np.testing.assert_array_equal(load_clip(InMemoryFile(str(path), path.read_bytes()), 8_000), load_clip(path, 8_000))


def test_an_error_in_an_in_memory_file_names_its_path(tmp_path):
    (tmp_path / "empty.wav").touch()
    for name, reason in (("empty.wav", "is empty"), ("missing.wav", "does not exist")):
        with pytest.raises(HarkenError, match=f"^{tmp_path / name} {reason}"):
            load_clip(InMemoryFile(str(tmp_path / name), b""), 8_000)
