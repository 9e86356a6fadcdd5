import io
import os
import struct
from pathlib import Path

import numpy as np
import pytest
import soundfile

from conftest import level, tone
from harken.audio import completeness
from harken.audio.clip import (
    MAX_AMPLITUDE,
    clip_name,
    clip_rate,
    load_clip,
    open_blocks,
    to_int16,
)
from harken.audio.decoder import _suppress_libmpg123_notes
from harken.errors import HarkenError

# (container, encoding, largest difference between a sample and what was written; None: the codec is lossy)
ENCODINGS = [
    ("WAV", "PCM_U8", 1 / 128),
    ("WAV", "PCM_16", 2**-15),
    ("WAV", "PCM_24", 2**-23),
    ("WAV", "PCM_32", 2**-23),  # float32 itself holds 24 bits
    ("WAV", "FLOAT", 0.0),
    ("WAV", "DOUBLE", 0.0),
    ("WAVEX", "PCM_24", 2**-23),
    ("RF64", "PCM_16", 2**-15),
    ("FLAC", "PCM_16", 2**-15),
    ("FLAC", "PCM_24", 2**-23),
    ("OGG", "VORBIS", None),
    ("OGG", "OPUS", None),
    ("MP3", "MPEG_LAYER_III", None),
    ("AIFF", "PCM_16", 2**-15),
    ("AU", "PCM_16", 2**-15),
    ("CAF", "PCM_16", 2**-15),
    ("W64", "PCM_16", 2**-15),
]
NAMES = [f"{container}-{encoding}" for container, encoding, _ in ENCODINGS]
RATES = [4_000, 8_000, 11_025, 16_000, 22_050, 24_000, 44_100, 48_000, 96_000, 192_000]


def encoded(samples, rate, container="WAV", encoding="PCM_16", **settings):
    buffer = io.BytesIO()
    soundfile.write(buffer, samples, rate, format=container, subtype=encoding, **settings)
    return buffer.getvalue()


def error_of(source, sample_rate=16_000, **settings):
    """Return the message of the error that loading must raise."""
    with pytest.raises(HarkenError) as caught:
        load_clip(source, sample_rate, **settings)
    message = str(caught.value)
    assert "\n" not in message
    assert ": " in message  # what is wrong, then how to fix it
    return message


def write(path, content):
    path.write_bytes(content)
    return path


@pytest.mark.parametrize(("container", "encoding", "largest_error"), ENCODINGS, ids=NAMES)
@pytest.mark.parametrize("as_file_object", [False, True], ids=["path", "file object"])
def test_every_encoding_is_read_from_a_path_and_from_a_file_object(
    tmp_path, container, encoding, largest_error, as_file_object
):
    written = tone(440, 1.0, 16_000)
    content = encoded(written, 16_000, container, encoding)
    path = write(tmp_path / "clip", content)

    clip = load_clip(io.BytesIO(content) if as_file_object else path, 16_000)

    assert clip.dtype == np.float32
    assert clip.shape == written.shape
    if largest_error is None:
        assert level(clip, 440, 16_000) == pytest.approx(0.5, rel=0.03)
    else:
        assert np.abs(clip - written).max() <= largest_error


@pytest.mark.parametrize("rate", RATES)
@pytest.mark.parametrize("wanted", [8_000, 16_000, 44_100])
def test_a_resampled_sine_keeps_frequency_and_level(rate, wanted):
    clip = load_clip(io.BytesIO(encoded(tone(1_000, 1.0, rate), rate)), wanted)

    spectrum = np.abs(np.fft.rfft(clip * np.hanning(len(clip))))
    assert np.argmax(spectrum) * wanted / len(clip) == pytest.approx(1_000, abs=1)
    assert level(clip, 1_000, wanted) == pytest.approx(0.5, rel=0.002)


def test_frequencies_above_half_the_new_rate_are_filtered_out():
    clip = load_clip(tone(6_000, 1.0, 16_000), 8_000, source_rate=16_000)
    assert np.abs(clip[1_000:-1_000]).max() < 1e-3
    assert level(clip, 2_000, 8_000) < 1e-4  # the alias of 6 kHz


@pytest.mark.parametrize(
    ("container", "encoding", "rate"),
    [
        ("WAV", "PCM_16", 4_000),
        ("WAV", "PCM_16", 192_000),
        ("FLAC", "PCM_24", 192_000),
        ("OGG", "VORBIS", 44_100),
        ("OGG", "OPUS", 48_000),
        ("OGG", "OPUS", 8_000),
        ("MP3", "MPEG_LAYER_III", 44_100),
        ("MP3", "MPEG_LAYER_III", 8_000),
    ],
)
def test_lowest_and_highest_rates_of_each_container_are_read(container, encoding, rate):
    clip = load_clip(io.BytesIO(encoded(tone(440, 1.0, rate), rate, container, encoding)), 16_000)
    assert len(clip) == 16_000
    assert level(clip, 440, 16_000) == pytest.approx(0.5, rel=0.03)


@pytest.mark.parametrize("samples", [1, 2, 3, 100, 7_999, 8_000, 16_000, 16_001])
@pytest.mark.parametrize("rate", RATES)
@pytest.mark.parametrize("wanted", [8_000, 16_000])
def test_resampled_length_is_rounded_up_and_matches_librosa(samples, rate, wanted):
    librosa = pytest.importorskip("librosa")
    array = tone(500, samples / rate, rate)
    clip = load_clip(array, wanted, source_rate=rate)
    reference = librosa.resample(array, orig_sr=rate, target_sr=wanted, res_type="soxr_hq")

    assert len(array) == samples
    assert len(clip) == -(-samples * wanted // rate)
    assert clip.shape == reference.shape
    np.testing.assert_allclose(clip, reference, atol=1e-6)


def test_resampled_length_is_exact_where_floating_point_would_round_up():
    # 44,100 * (48,000 / 44,100) is 48,000.00000000001 in floating point, so librosa returns 48,001 samples.
    assert len(load_clip(np.zeros(44_100, np.float32), 48_000, source_rate=44_100)) == 48_000


def test_rates_may_be_numpy_integers():
    five_minutes = np.zeros(300 * 16_000, np.float32)  # 300 * 16,000 * 8,000 does not fit into 32 bits
    assert len(load_clip(five_minutes, np.int32(8_000), source_rate=np.int32(16_000))) == 300 * 8_000


@pytest.mark.parametrize("container", ["WAV", "FLAC"])
@pytest.mark.parametrize("channels", [2, 3, 8])
def test_channels_are_averaged(container, channels):
    levels = np.linspace(0.1, 0.8, channels)
    frames = np.full((4_000, channels), levels)
    clip = load_clip(io.BytesIO(encoded(frames, 8_000, container, "PCM_24")), 8_000)
    np.testing.assert_allclose(clip, np.full(4_000, levels.mean()), atol=1e-6)


@pytest.mark.parametrize(
    ("array", "expected"),
    [
        (np.array([0, 64, 128, 192, 255], np.uint8), [-1.0, -0.5, 0.0, 0.5, 127 / 128]),
        (np.array([-128, -64, 0, 64, 127], np.int8), [-1.0, -0.5, 0.0, 0.5, 127 / 128]),
        (np.array([-(2**15), 2**14, 2**15 - 1], np.int16), [-1.0, 0.5, 1 - 2**-15]),
        (np.array([-(2**31), 2**30], np.int32), [-1.0, 0.5]),
        (np.array([-1.0, 0.25, 1.5], np.float16), [-1.0, 0.25, 1.5]),
        (np.array([-1.0, 0.25, 1.5], np.float32), [-1.0, 0.25, 1.5]),
        (np.array([-1.0, 0.25, 1.5], np.float64), [-1.0, 0.25, 1.5]),
        (np.array([-1.0, 0.25, 1.5], ">f4"), [-1.0, 0.25, 1.5]),
        (np.array([[0.5, 0.25], [1.0, 0.0]], np.float32), [0.375, 0.5]),
        (np.array([[2**14, 0], [-(2**15), 0]], np.int16), [0.5, -1.0]),  # a silent channel takes no part
    ],
    ids=lambda value: str(value.dtype) if isinstance(value, np.ndarray) else "",
)
def test_arrays_of_every_type_are_scaled_to_full_scale(array, expected):
    clip = load_clip(array, 8_000, source_rate=8_000)
    assert clip.dtype == np.float32
    assert clip.flags.c_contiguous
    assert clip.tolist() == pytest.approx(expected, abs=1e-7)


def test_python_integers_are_refused():
    """NumPy makes int64 of them: as PCM of 64 bits, 16-bit samples would be silence."""
    with pytest.raises(HarkenError, match="has the type int64: pass floats, int16 or int32 PCM, or 8-bit PCM as uint8"):
        load_clip(np.array([1000, -1000] * 4000), 8_000, source_rate=8_000)


def test_a_strided_array_can_be_passed():
    sine = tone(500, 1.0, 32_000)
    np.testing.assert_array_equal(
        load_clip(sine[::2], 8_000, source_rate=16_000), load_clip(sine[::2].copy(), 8_000, source_rate=16_000)
    )


def test_a_path_can_be_a_string_and_a_file_object_stays_open(tmp_path):
    path = write(tmp_path / "clip.wav", encoded(tone(440, 0.5, 8_000), 8_000))
    with path.open("rb") as file:
        np.testing.assert_array_equal(load_clip(file, 8_000), load_clip(str(path), 8_000))
        assert not file.closed


def test_a_pipe_can_be_read_like_a_file_object(capfd):
    content = encoded(tone(440, 0.5, 8_000), 8_000)
    reader, writer = os.pipe()
    os.write(writer, content)
    os.close(writer)
    with os.fdopen(reader, "rb") as pipe:
        assert len(load_clip(pipe, 8_000)) == 4_000
    assert capfd.readouterr().err == ""


@pytest.mark.parametrize("container", ["MP3", "WAV"])
def test_a_complete_file_with_additional_data_is_read(container):
    if container == "MP3":  # an ID3 tag with a picture of 200 KB before the first frame
        size = 200_000
        sizes = bytes(size >> shift & 0x7F for shift in (21, 14, 7, 0))
        content = b"ID3\x04\x00\x00" + sizes + bytes(size) + encoded(tone(440, 1.0, 16_000), 16_000, "MP3", None)
        cut = content[:-2_000]
    else:  # a list of comments after the samples, which the size in the header does not include
        content = bytearray(encoded(tone(440, 1.0, 16_000), 16_000)) + b"LIST" + struct.pack("<I", 4) + b"INFO"
        cut = content[:20_000]
    assert len(load_clip(io.BytesIO(content), 16_000)) == 16_000
    assert "cut short" in error_of(io.BytesIO(cut))


@pytest.mark.parametrize("size", [0x7FFF_F000, 0x7FFF_FFFF, 0x8000_0000, 0xFFFF_FFFF])
def test_a_wav_that_was_written_to_a_pipe_is_read(size):
    content = bytearray(encoded(tone(440, 1.0, 16_000), 16_000))
    content[4:8] = content[40:44] = struct.pack("<I", size)
    assert len(load_clip(io.BytesIO(content), 16_000)) == 16_000


@pytest.mark.parametrize(
    ("container", "encoding"),
    [("WAV", "PCM_16"), ("WAV", "PCM_U8"), ("WAV", "FLOAT"), ("WAVEX", "PCM_24"), ("WAV", "ULAW"), ("RF64", "PCM_16")],
)
def test_a_wav_whose_recorder_was_cut_off_is_read_to_its_end(tmp_path, container, encoding):
    written = encoded(tone(440, 1.0, 16_000), 16_000, container, encoding)
    content, data = bytearray(written), written.index(b"data", 12)
    if container == "RF64":
        sizes = written.index(b"ds64") + 8
        content[sizes : sizes + 24] = bytes(24)
    else:
        content[4:8] = content[data + 4 : data + 8] = bytes(4)
    path = write(tmp_path / "cut.wav", content)
    expected = load_clip(io.BytesIO(written), 16_000)
    for source in (path, io.BytesIO(content)):
        np.testing.assert_array_equal(load_clip(source, 16_000), expected)
    with open_blocks(path, 0.3) as (rate, blocks):
        assert rate == clip_rate(path) == 16_000
        np.testing.assert_array_equal(np.concatenate(list(blocks))[:, 0], expected)
    assert path.read_bytes() == content


@pytest.mark.parametrize("after", [b"", b"LIST\4\0\0\0INFO", b"id3 \3\0\0\0abc\0bext\0\0\0\0"])
def test_a_wav_without_samples_but_with_chunks_after_them_is_refused(after):
    content = encoded(np.zeros(0), 16_000) + after
    assert "contains no samples" in error_of(io.BytesIO(content))


@pytest.mark.parametrize(
    ("container", "encoding"), [("WAV", "PCM_16"), ("WAVEX", "FLOAT"), ("WAV", "ULAW"), ("WAV", "MS_ADPCM")]
)
def test_a_wav_may_lack_ten_milliseconds(container, encoding):
    content = bytearray(encoded(tone(440, 1.0, 16_000), 16_000, container, encoding))
    size_at = content.index(b"data", 12) + 4
    size = int.from_bytes(content[size_at : size_at + 4], "little")
    for missing_s, message in ((0.0005, None), (0.0095, None), (0.0105, "cut short")):
        content[size_at : size_at + 4] = struct.pack("<I", size + round(size * missing_s))
        if message is None:
            assert len(load_clip(io.BytesIO(content), 16_000)) >= 16_000
        else:
            assert message in error_of(io.BytesIO(content))


def test_the_first_wav_that_lacks_some_milliseconds_is_named(tmp_path, monkeypatch, caplog):
    monkeypatch.setattr(completeness, "_missing_noted", False)
    content = bytearray(encoded(tone(440, 1.0, 16_000), 16_000, "WAV", "PCM_16"))
    content[40:44] = struct.pack("<I", 32_016)  # 16 bytes too many
    for name in ("first.wav", "second.wav"):
        (tmp_path / name).write_bytes(content)
        load_clip(tmp_path / name, 16_000)
    (record,) = [record for record in caplog.records if record.levelname == "WARNING"]
    assert record.getMessage() == f"{tmp_path / 'first.wav'} is 0.5 ms shorter than its header states: read to its end"


@pytest.mark.parametrize(
    "comment",
    [
        b"hello\ndata : foo (should be bar)",
        b"x\ndata (should be 1)",
        b"x\n data : 9 (should be",
        b"x\ndata : 99999 (should be 1000)",
    ],
)
def test_a_comment_that_looks_like_a_size_is_a_comment(comment):
    text = comment + bytes(2 - len(comment) % 2)
    chunk = b"LIST" + struct.pack("<I", 12 + len(text)) + b"INFOICMT" + struct.pack("<I", len(text)) + text
    written = encoded(tone(440, 1.0, 16_000), 16_000, encoding="FLOAT")
    at = written.index(b"data", 12)
    content = bytearray(written[:at] + chunk + written[at:])
    content[4:8] = struct.pack("<I", len(content) - 8)
    assert len(load_clip(io.BytesIO(content), 16_000)) == 16_000
    assert "cut short" in error_of(io.BytesIO(content[:20_000]))


def test_a_wav_with_an_odd_number_of_bytes_is_read():
    content = encoded(tone(440, 1.0, 15_999), 15_999, "WAV", "PCM_U8")
    assert len(content) == 44 + 15_999 + 1
    assert len(load_clip(io.BytesIO(content[:-1]), 15_999)) == 15_999  # many programs omit the padding byte


def test_an_mp3_of_constant_bit_rate_that_does_not_state_its_length_is_read():
    content = encoded(tone(440, 30.0, 44_100), 44_100, "MP3", None, bitrate_mode="CONSTANT", compression_level=0.95)
    assert b"Xing" not in content[:2_000]
    assert b"Info" not in content[:2_000]
    clip = load_clip(io.BytesIO(content), 44_100)
    assert 30 * 44_100 <= len(clip) <= 30 * 44_100 + 3 * 1152  # with the encoder's padding
    assert level(clip, 440, 44_100) == pytest.approx(0.5, rel=0.06)


@pytest.mark.parametrize(("container", "encoding", "_"), ENCODINGS, ids=NAMES)
@pytest.mark.parametrize("as_file_object", [False, True], ids=["path", "file object"])
@pytest.mark.parametrize("kept", [0.02, 0.3, 0.6, 0.85])
def test_a_truncated_file_is_refused(tmp_path, container, encoding, _, as_file_object, kept):
    noisy = tone(440, 1.0, 16_000) + 0.1 * np.random.default_rng(3).standard_normal(16_000)
    whole = encoded(noisy, 16_000, container, encoding)
    path = write(tmp_path / "cut.bin", whole[: int(kept * len(whole))])
    if as_file_object:
        with path.open("rb") as file:
            message = error_of(file)
    else:
        message = error_of(path)
    assert message.startswith(str(path))
    assert "cut short" in message


@pytest.mark.parametrize("encoding", ["VORBIS", "OPUS"])
def test_an_ogg_without_its_last_byte_is_refused(encoding):
    assert "cut short" in error_of(io.BytesIO(encoded(tone(440, 1.0, 16_000), 16_000, "OGG", encoding)[:-1]))


@pytest.mark.parametrize("content", [b"RIFF", b"not audio at all, but some text", bytes(5_000), os.urandom(100) * 100])
def test_a_file_that_is_not_audio_is_refused(tmp_path, content):
    path = write(tmp_path / "letter.wav", content)
    message = error_of(path)
    assert message.startswith(f"{path} is not a readable audio file")
    assert "convert it to WAV" in message
    assert "is not a readable audio file" in error_of(io.BytesIO(content))


def test_a_file_name_of_a_headerless_format_is_refused(tmp_path):
    assert "is not a readable audio file" in error_of(write(tmp_path / "clip.raw", bytes(2_000)))


def test_a_file_without_samples_is_refused(tmp_path):
    path = write(tmp_path / "none.wav", encoded(np.zeros(0), 16_000))
    assert error_of(path) == f"{path} contains no samples: record it again"


def test_an_empty_file_a_folder_and_a_missing_file_are_refused(tmp_path):
    path = write(tmp_path / "empty.wav", b"")
    assert error_of(path) == f"{path} is empty: copy or record it again"
    assert error_of(tmp_path) == f"{tmp_path} is a folder: name an audio file"
    missing = tmp_path / "missing.wav"
    assert error_of(missing) == f"{missing} does not exist: check the path"
    assert "cannot be opened: Not a directory" in error_of(path / "clip.wav")


def test_empty_file_objects_and_text_files_are_refused(tmp_path):
    path = write(tmp_path / "clip.wav", encoded(tone(440, 0.1, 8_000), 8_000))
    with path.open("rb") as file:
        file.read()
        assert error_of(file).startswith(f"{path} is empty or was read to its end: seek to its start")
    assert error_of(io.BytesIO()).startswith("audio stream is empty")
    with path.open(encoding="latin-1") as file:
        assert error_of(file).startswith(f"{path} is not a binary file: open it in binary mode")


@pytest.mark.parametrize("source", [[0.1] * 100, (0.1, 0.2), 0.5, np.float32(0.5), None, b"RIFF"])
def test_a_source_that_is_not_a_path_file_or_array_is_refused(source):
    for settings in ({}, {"source_rate": 8_000}):
        assert error_of(source, **settings).startswith(f"{type(source).__name__} is not a clip: pass a path")


def test_a_path_with_a_nul_is_refused():
    assert error_of("a\0b.wav") == r"'a\x00b.wav' is not a path: remove the NUL character"
    with pytest.raises(HarkenError, match="is not a path"):
        clip_rate("a\0b.wav")


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_nan_and_infinity_are_refused(tmp_path, bad):
    samples = tone(440, 0.1, 16_000)
    samples[100] = bad
    path = write(tmp_path / "bad.wav", encoded(samples, 16_000, "WAV", "FLOAT"))
    assert error_of(path) == f"{path} contains NaN or infinite samples: export it again from its source"
    assert error_of(samples, source_rate=16_000).startswith("array contains NaN or infinite samples")


@pytest.mark.parametrize(
    ("array", "message"),
    [
        (np.zeros(0, np.float32), "array contains no samples"),
        (np.zeros((0, 2), np.float32), "array contains no samples"),
        (np.zeros(()), "array has 0 dimensions"),
        (np.zeros((2, 3, 4), np.float32), "array has 3 dimensions"),
        (np.zeros((2, 8_000), np.float32), "array has more channels than samples, (2, 8000)"),
        (np.zeros(10, np.uint16), "array has the type uint16"),
        (np.zeros(10, np.complex64), "array has the type complex64"),
        (np.zeros(10, bool), "array has the type bool"),
    ],
)
def test_arrays_that_are_not_clips_are_refused(array, message):
    assert error_of(array, source_rate=16_000).startswith(message)


def test_a_sample_rate_is_required_for_an_array_and_refused_for_a_file(tmp_path):
    assert "pass source_rate=, in Hz" in error_of(np.zeros(10, np.float32))
    path = write(tmp_path / "clip.wav", encoded(tone(440, 0.1, 8_000), 8_000))
    assert error_of(path, source_rate=8_000).startswith(f"{path}: a file contains its own sample rate")


@pytest.mark.parametrize("rate", [0, -8_000, 3_999, 192_001, 8_000.5, float("nan"), "8000", [8_000], 8_000j])
def test_rates_out_of_range_are_refused(rate):
    assert error_of(np.zeros(10, np.float32), rate, source_rate=8_000).startswith("the requested sample rate is")
    assert error_of(np.zeros(10, np.float32), 8_000, source_rate=rate).startswith("array: the sample rate is")


@pytest.mark.parametrize("scale", [101.0, 32_768.0, 1e20, 1e38])
def test_samples_far_over_full_scale_are_refused(tmp_path, scale):
    loud = np.array([0.5, -1.0, 0.25], np.float32) * np.float32(scale)
    path = write(tmp_path / "loud.wav", encoded(loud, 16_000, "WAV", "FLOAT"))
    for message in (error_of(path), error_of(path, 8_000), error_of(loud, source_rate=8_000)):
        assert f"contains a sample of {scale:.3g}: floats must be within ±1; divide int16 by 32768" in message
    assert "contains a sample of 1e+300" in error_of(np.array([1e300, 0.0]), source_rate=16_000)


def test_samples_somewhat_over_full_scale_are_kept(tmp_path):
    samples = np.array([1.5, -MAX_AMPLITUDE, MAX_AMPLITUDE], np.float32)
    path = write(tmp_path / "hot.wav", encoded(samples, 16_000, "WAV", "FLOAT"))
    np.testing.assert_array_equal(load_clip(path, 16_000), samples)


def test_a_file_with_a_rate_out_of_range_is_refused(tmp_path):
    path = write(tmp_path / "slow.wav", encoded(tone(100, 1.0, 2_000), 2_000))
    assert error_of(path).startswith(f"{path}: the sample rate is 2000 Hz")


def test_clip_rate_is_the_rate_of_the_recording(tmp_path):
    path = write(tmp_path / "clip.ogg", encoded(tone(440, 0.5, 24_000), 24_000, "OGG", "OPUS"))
    assert clip_rate(path) == 24_000
    for bad in (write(tmp_path / "letter.wav", b"dear"), tmp_path, tmp_path / "none.wav"):
        with pytest.raises(HarkenError, match=str(bad)):
            clip_rate(bad)


def test_clip_names(tmp_path):
    assert clip_name(np.zeros(3)) == "array"
    assert clip_name("a/b.wav") == str(Path("a/b.wav"))
    assert clip_name(tmp_path / "b.wav") == str(tmp_path / "b.wav")
    assert clip_name(io.BytesIO()) == "audio stream"


def test_to_int16_rounds_and_clips():
    samples = np.array([-2.0, -1.0, -0.5, 0.4 / 32768, 0.6 / 32768, 1.0, 3.0], np.float32)
    assert to_int16(samples).tolist() == [-32768, -32768, -16384, 0, 1, 32767, 32767]
    assert to_int16(samples).dtype == np.int16


def with_stated_length(samples, content):
    """Return a FLAC with another number of samples in its header. 0: the length is not known."""
    fields = int.from_bytes(content[18:26]) >> 36 << 36 | samples
    return content[:18] + fields.to_bytes(8) + content[26:]


def test_a_flac_that_was_written_to_a_pipe_is_read_to_its_end(tmp_path):
    samples = np.random.default_rng(4).integers(-30_000, 30_000, 20_500).astype(np.int16)
    content = with_stated_length(0, encoded(samples, 16_000, "FLAC"))
    path = write(tmp_path / "piped.flac", content)
    for source in (path, io.BytesIO(content)):
        np.testing.assert_array_equal(load_clip(source, 16_000) * 32_768, samples)
    with open_blocks(path, 1.0) as (rate, blocks):
        assert rate == 16_000
        np.testing.assert_array_equal(np.concatenate(list(blocks))[:, 0] * 32_768, samples)


@pytest.mark.parametrize("stated", [16_001, 60_000_000_000])
def test_a_flac_that_states_more_samples_than_it_contains_is_refused(tmp_path, stated):
    content = with_stated_length(stated, encoded(tone(440, 1.0, 16_000), 16_000, "FLAC"))
    path = write(tmp_path / "forged.flac", content)
    damaged = f"is damaged: its header states {stated:,} samples, but it contains 16,000"
    assert error_of(path).startswith(f"{path} {damaged}")
    assert damaged in error_of(io.BytesIO(content))


def test_an_mp3_that_states_more_samples_than_it_contains_is_refused(tmp_path):
    content = bytearray(encoded(tone(440, 1.0, 16_000), 16_000, "MP3", None))
    frames = content.index(b"Xing") + 8
    content[frames : frames + 4] = b"\x7f\xff\xff\xff"  # 10^12 samples, 8 TB
    path = write(tmp_path / "forged.mp3", content)
    assert error_of(path) == f"{path} is cut short: copy or record it again"


def test_an_rf64_with_a_wrong_data_size_is_read():
    content = bytearray(encoded(tone(440, 1.0, 16_000), 16_000, "RF64"))
    data = content.index(b"data") + 4
    content[data : data + 4] = b"\x00\xff\xff\xff"  # the correct value, 0xFFFFFFFF, means that the size is elsewhere
    assert len(load_clip(io.BytesIO(content), 16_000)) == 16_000


@pytest.mark.parametrize("encoding", ["GSM610", "G721_32", "NMS_ADPCM_16", "NMS_ADPCM_32"])
def test_encodings_in_which_libsndfile_cannot_seek_are_read(tmp_path, encoding):
    path = tmp_path / "phone.wav"
    soundfile.write(path, tone(440, 1.0, 8_000), 8_000, subtype=encoding)
    clip = load_clip(path, 8_000)
    assert 8_000 <= len(clip) <= 8_400  # whole blocks
    assert level(clip, 440, 8_000) == pytest.approx(0.5, rel=0.1)


@pytest.mark.parametrize("kept", [0.4, 0.7])
def test_a_bad_mp3_raises_an_error_and_writes_nothing_to_stderr(tmp_path, capfd, kept):
    noise = np.random.default_rng(5).standard_normal(16_000) * 0.1
    whole = encoded(noise, 16_000, "MP3", None)
    path = write(tmp_path / "cut.mp3", whole[: int(kept * len(whole))] + bytes(300))
    with pytest.raises(HarkenError):
        load_clip(path, 16_000)
    clip_rate(path)
    with pytest.raises(HarkenError, match="cut short"), open_blocks(path, 1.0) as (_, blocks):
        list(blocks)
    with pytest.raises(HarkenError, match="is not a readable audio file"):
        load_clip(write(tmp_path / "random.mp3", np.random.default_rng(1).bytes(300)), 16_000)
    assert capfd.readouterr().err == ""


def test_other_output_on_stderr_is_kept_while_an_mp3_is_decoded(capfd):
    with _suppress_libmpg123_notes():
        os.write(2, b"Note: Trying to resync...\n[src/libmpg123/layer3.c:1] error: bits\nserver: a line\n")
        os.write(2, b"the end")
    assert capfd.readouterr().err == "server: a line\nthe end"


def test_an_mp3_needs_no_folder_for_temporary_files(monkeypatch):
    def fail(**_):
        raise FileNotFoundError("No usable temporary directory found")

    monkeypatch.setattr("tempfile.TemporaryFile", fail)
    assert len(load_clip(io.BytesIO(encoded(tone(440, 1.0, 16_000), 16_000, "MP3", None)), 16_000)) == 16_000


@pytest.mark.parametrize(("container", "encoding"), [("MP3", None), ("OGG", "VORBIS"), ("OGG", "OPUS"), ("FLAC", None)])
def test_blocks_contain_the_same_samples_as_the_whole_file(tmp_path, container, encoding):
    time = np.arange(6 * 16_000) / 16_000
    sweep = 0.4 * np.sin(2 * np.pi * (200 * time + 300 * time**2)) * (np.sin(2 * np.pi * 3 * time) > 0)
    path = write(tmp_path / "sweep", encoded(sweep, 16_000, container, encoding))
    with open_blocks(path, 0.7) as (_, blocks):
        parts = list(blocks)
    assert [len(part) for part in parts[:-1]] == [11_200] * 8
    np.testing.assert_allclose(np.concatenate(parts)[:, 0], load_clip(path, 16_000), atol=1e-6)
