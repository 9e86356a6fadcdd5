import io
import struct

import numpy as np
import pytest
import soundfile

from harken.audio.clip import load_clip
from harken.audio.wav import complete_header, read_wav
from harken.errors import HarkenError

RATE = 16_000


def wav(samples, subtype="PCM_16", rate=RATE):
    file = io.BytesIO()
    soundfile.write(file, samples, rate, subtype=subtype, format="WAV")
    return file.getvalue()


@pytest.fixture
def samples():
    return np.random.default_rng(3).integers(-32768, 32768, 1_000).astype(np.int16)


@pytest.mark.parametrize("channels", [1, 2, 5])
def test_samples_are_the_same_as_libsndfiles(samples, channels):
    samples = samples if channels == 1 else samples.reshape(-1, channels)
    read, rate = read_wav(io.BytesIO(wav(samples)))
    np.testing.assert_array_equal(read, samples)
    assert rate == RATE


def test_only_as_much_memory_as_the_file_needs(samples):
    class File(io.BytesIO):
        def read(self, size=-1):
            assert size < 2**20  # a size that only the header states would be allocated at once
            return super().read(size)

    plain = wav(samples)
    assert read_wav(File(plain[:40] + b"\0\xf0\xff\x7f" + plain[44:])) is None


def test_incomplete_and_unusual_files_are_left_to_libsndfile(samples):
    plain = wav(samples)
    with_list = plain + b"LIST" + struct.pack("<I4s", 4, b"INFO")
    for content in (
        b"",
        plain[:43],
        plain[:-1],
        plain + b"\0",
        with_list,
        b"RIFX" + plain[4:],
        plain[:22] + b"\0\0" + plain[24:],  # no channels
        plain[:32] + b"\4\0" + plain[34:],  # frames of four bytes in mono
        plain[:40] + b"\xff\xff\xff\xff" + plain[44:],  # as a program writes it to a pipe
        wav(samples, "PCM_24"),
        wav(samples / 32768, "FLOAT"),
        wav(samples[:0]),
    ):
        assert read_wav(io.BytesIO(content)) is None


@pytest.mark.parametrize("channels", [1, 2])
@pytest.mark.parametrize("rate", [8_000, 16_000, 44_100])
def test_a_clip_is_the_same_with_either_reader(tmp_path, monkeypatch, samples, channels, rate):
    path = tmp_path / "clip.wav"
    path.write_bytes(wav(samples if channels == 1 else samples.reshape(-1, 2), rate=rate))
    without_libsndfile = load_clip(path, 16_000)
    monkeypatch.setattr("harken.audio.clip.read_wav", lambda _: None)
    np.testing.assert_array_equal(without_libsndfile, load_clip(path, 16_000))


def test_a_file_that_is_cut_short_is_refused(tmp_path, samples):
    path = tmp_path / "clip.wav"
    path.write_bytes(wav(samples)[:-500])
    with pytest.raises(HarkenError, match=f"^{path} is cut short: copy or record it again$"):
        load_clip(path, RATE)


@pytest.mark.parametrize("before", [b"JUNK\0\0\0\0", b"data\0\0\0\0"])
def test_only_some_chunks_of_a_crafted_file_are_looked_at(before):
    class Counting(io.BytesIO):
        seeks = 0

        def seek(self, *arguments):
            self.seeks += 1
            return super().seek(*arguments)

    file = Counting(wav(np.zeros(0, np.int16))[:36] + before + 100_000 * b"JUNK\0\0\0\0")
    assert complete_header(file) is None
    assert file.seeks < 2500
