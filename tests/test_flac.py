import io

import numpy as np
import pytest
import soundfile

from conftest import tone
from harken.audio import flac
from harken.audio.clip import ReadFile, load_clip
from harken.audio.flac import read_flac
from harken.errors import HarkenError


def encoded(samples, rate=16_000, subtype="PCM_16"):
    buffer = io.BytesIO()
    soundfile.write(buffer, samples, rate, format="FLAC", subtype=subtype)
    return buffer.getvalue()


def noisy(seconds=1.0, channels=1):
    noise = 0.1 * np.random.default_rng(5).standard_normal((round(16_000 * seconds), channels))
    return np.squeeze(tone(440, seconds, 16_000)[:, None] + noise)


def stated(content, *, bits=16, samples=None):
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
def test_the_samples_are_libsndfiles(channels, seconds):
    pytest.importorskip("miniaudio")
    content = encoded(noisy(seconds, channels).reshape(-1, channels), 11_025)
    samples, rate = read_flac(io.BytesIO(content))
    wanted, _ = soundfile.read(io.BytesIO(content), dtype="int16")
    assert rate == 11_025
    np.testing.assert_array_equal(samples, wanted)


@pytest.mark.parametrize(
    "content",
    [
        encoded(noisy(), subtype="PCM_24"),
        encoded(noisy())[:-1],
        encoded(noisy())[:30],
        b"",
        b"RIFF" + bytes(100),
        b"fLaC" + bytes(100),
        stated(encoded(noisy()), samples=0),
        stated(encoded(noisy()), samples=16_001),
        stated(encoded(noisy()), samples=(1 << 36) - 1),
        encoded(noisy())[:5_000] + bytes(500) + encoded(noisy())[5_500:],
    ],
    ids=["24 bits", "cut", "cut in the header", "empty", "wav", "no header", "no length", "short", "huge", "damaged"],
)
def test_what_is_not_whole_and_plain_is_left_to_libsndfile(content):
    pytest.importorskip("miniaudio")
    assert read_flac(io.BytesIO(content)) is None


def test_without_miniaudio_everything_is_left_to_libsndfile(without_miniaudio):
    assert read_flac(io.BytesIO(encoded(noisy()))) is None


@pytest.mark.parametrize("channels", [1, 2])
@pytest.mark.parametrize("rate", [8_000, 16_000])
def test_a_clip_is_the_same_by_either_decoder(tmp_path, monkeypatch, channels, rate):
    pytest.importorskip("miniaudio")
    path = tmp_path / "clip.flac"
    path.write_bytes(encoded(noisy(channels=channels)))
    quick = load_clip(path, rate)
    monkeypatch.setattr(flac, "_miniaudio", lambda: None)
    np.testing.assert_array_equal(quick, load_clip(path, rate))


@pytest.mark.parametrize("cut", [20, 5_000, -1])
def test_a_damaged_file_has_one_message_by_either_decoder(tmp_path, monkeypatch, cut):
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
        raise AssertionError("a stranger's bytes")

    path = tmp_path / "clip.flac"
    path.write_bytes(encoded(noisy()))
    monkeypatch.setattr("harken.audio.clip.read_flac", refuse)
    with path.open("rb") as file:
        assert load_clip(file, 16_000).size == 16_000
    assert load_clip(io.BytesIO(path.read_bytes()), 16_000).size == 16_000


@pytest.mark.parametrize("name", ["clip.flac", "clip.wav", "clip.ogg"])
def test_a_file_that_was_read_before_is_the_clip_of_its_path(tmp_path, name):
    path = tmp_path / name
    soundfile.write(path, noisy(), 16_000)
    np.testing.assert_array_equal(load_clip(ReadFile(str(path), path.read_bytes()), 8_000), load_clip(path, 8_000))


def test_a_file_that_holds_nothing_is_named_as_its_path_is(tmp_path):
    (tmp_path / "empty.wav").touch()
    for name, reason in (("empty.wav", "is empty"), ("missing.wav", "does not exist")):
        with pytest.raises(HarkenError, match=f"^{tmp_path / name} {reason}"):
            load_clip(ReadFile(str(tmp_path / name), b""), 8_000)
