"""`harken listen`: its sources, its output, and the programs that it starts."""

import io
import json
import struct
import sys
import time
import types
from contextlib import contextmanager
from functools import partial

import numpy as np
import pytest
import soundfile
from rich.console import Console

from harken.audio.sources import Source, input_devices, open_file, open_microphone, open_pcm
from harken.cli import live
from harken.cli.live import Action, listen, read_actions, read_thresholds
from harken.errors import HarkenError
from tones import RATE, ToneRecognizer, quiet, tone

WORDS = ("low", "high")


def stream():
    return np.concatenate([quiet(1), tone("low"), quiet(1.5), tone("high"), quiet(1)])


def pcm(signal):
    return (signal * 32767).astype("<i2").tobytes()


def wav(samples, *, channels=1, rate=RATE, bits=16, code=1, size=None, before=b"", after=b""):
    fmt = struct.pack("<HHIIHH", code, channels, rate, rate * channels * bits // 8, channels * bits // 8, bits)
    data = b"data" + struct.pack("<I", len(samples) if size is None else size) + samples
    return (
        b"RIFF" + struct.pack("<I", 0) + b"WAVE" + before + b"fmt " + struct.pack("<I", len(fmt)) + fmt + data + after
    )


def read_pcm(content, **options):
    with open_pcm(io.BytesIO(content), "standard input", **{"sample_rate": None, **options}) as source:
        chunks = list(source.chunks)
        return source.sample_rate, np.concatenate(chunks) if chunks else np.zeros((0, 1), np.int16)


@pytest.fixture
def pipe_in(monkeypatch):
    def pipe(content):
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(content)))

    return pipe


def lines(capsys):
    return [json.loads(line) for line in capsys.readouterr().out.splitlines()]


def test_words_in_a_file_are_printed_as_json_lines(tmp_path, capsys):
    soundfile.write(tmp_path / "talk.wav", np.stack([stream(), stream()], axis=1), RATE)
    listen(ToneRecognizer(), str(tmp_path / "talk.wav"))
    low, high = lines(capsys)
    assert list(low) == ["word", "start_s", "end_s", "confidence"]
    assert (low["word"], high["word"]) == WORDS
    assert 1.0 < low["end_s"] < 1.6
    assert 2.8 < high["end_s"] < 3.4


def test_raw_pcm_in_a_pipe_gives_the_same_words(tmp_path, capsys, pipe_in):
    soundfile.write(tmp_path / "talk.wav", stream(), RATE)
    listen(ToneRecognizer(), str(tmp_path / "talk.wav"))
    from_file = lines(capsys)
    pipe_in(pcm(stream()) + b"\x00")
    listen(ToneRecognizer(), "-", sample_rate=RATE)
    assert [(line["word"], line["end_s"]) for line in lines(capsys)] == [
        (line["word"], line["end_s"]) for line in from_file
    ]


def test_raw_pcm_requires_a_sample_rate(pipe_in):
    pipe_in(pcm(stream()))
    with pytest.raises(HarkenError, match="--rate"):
        listen(ToneRecognizer(), "-")


@pytest.mark.parametrize(
    ("start", "name"), [(b"fLaC", "FLAC"), (b"OggS", "OGG"), (b"ID3\x04", "MP3"), (b"RF64", "RF64")]
)
def test_other_formats_in_a_pipe_are_refused(start, name):
    with pytest.raises(HarkenError, match=f"^standard input is {name}, not PCM: pass the path of the file, or decode"):
        read_pcm(start + bytes(1_000), sample_rate=RATE)


@pytest.mark.parametrize("rate", [48_000, 44_100, 22_050, 8_000])
def test_mp3_without_a_tag_in_a_pipe_is_refused(rate):
    encoded = io.BytesIO()
    soundfile.write(encoded, 0.1 * np.sin(np.arange(rate) / 5), rate, format="MP3")
    content = encoded.getvalue()
    start = content.index(b"\xff", 12) if content.startswith(b"ID3") else 0
    with pytest.raises(HarkenError, match=r"^standard input is MP3, not PCM: "):
        read_pcm(content[start:], sample_rate=RATE)
    # The same four bytes as the start of sound: nothing of it is lost.
    sound = content[start : start + 4] + bytes(20_000)
    assert read_pcm(sound, sample_rate=RATE)[1].tobytes() == sound
    assert read_pcm(sound[:100], sample_rate=RATE)[1].tobytes() == sound[:100]


def test_a_closed_standard_input_is_refused(monkeypatch):
    monkeypatch.setattr(sys, "stdin", None)
    with pytest.raises(HarkenError, match="no audio on standard input"):
        listen(ToneRecognizer(), "-", sample_rate=RATE)


def test_a_terminal_as_standard_input_is_refused(monkeypatch):
    terminal = types.SimpleNamespace(isatty=lambda: True)
    monkeypatch.setattr(sys, "stdin", terminal)
    with pytest.raises(HarkenError, match="no audio on standard input"):
        listen(ToneRecognizer(), "-", sample_rate=RATE)


@pytest.mark.parametrize("options", [{"sample_rate": 8_000}, {"channels": 2}, {"device": "3"}])
def test_options_that_do_not_apply_to_the_source_are_refused(tmp_path, options):
    with pytest.raises(HarkenError, match="leave"):
        listen(ToneRecognizer(), str(tmp_path / "talk.wav"), **options)


def test_raw_pcm_can_have_two_channels_and_end_within_a_sample():
    samples = np.arange(-5, 5, dtype="<i2")
    rate, samples_read = read_pcm(samples.tobytes() + b"\x01\x02\x03", sample_rate=22_050, channels=2)
    assert rate == 22_050
    np.testing.assert_array_equal(samples_read, samples.reshape(-1, 2))


@pytest.mark.parametrize("channels", [0, -2, 65, 100])
def test_invalid_numbers_of_channels_are_refused(channels):
    with pytest.raises(HarkenError, match=f"^standard input cannot have {channels} channels: use 1 to 64$"):
        read_pcm(bytes(100), sample_rate=22_050, channels=channels)


def test_pcm_can_be_shorter_than_a_wav_header():
    np.testing.assert_array_equal(read_pcm(b"\x01\x00\xff\xff", sample_rate=8_000)[1], [[1], [-1]])
    assert read_pcm(b"", sample_rate=8_000)[1].size == 0


@pytest.mark.parametrize("size", [None, 0, 0x7FFF_FFFF, 0xFFFF_FFFF])
def test_wav_in_a_pipe_states_its_format(size):
    samples = np.arange(1_000, dtype="<i2")
    rate, samples_read = read_pcm(wav(samples.tobytes(), channels=2, rate=44_100, size=size))
    assert rate == 44_100
    np.testing.assert_array_equal(samples_read, samples.reshape(-1, 2))


def test_only_the_samples_of_a_wav_are_read():
    extra = b"LIST" + struct.pack("<I", 5) + b"title\x00"
    samples = np.arange(1_000, dtype="<i2")
    np.testing.assert_array_equal(read_pcm(wav(samples.tobytes(), before=extra, after=extra))[1][:, 0], samples)


@pytest.mark.parametrize(
    ("content", "options", "message"),
    [
        (wav(b"\x00" * 8, rate=48_000), {"sample_rate": 16_000}, "--rate 48000, not 16000"),
        (wav(b"\x00" * 8, channels=2), {"channels": 1}, "--channels 2, not 1"),
        (wav(b"\x80" * 8, bits=8), {}, "8 bits"),
        (wav(b"\x00" * 8, bits=64, code=3), {}, "64 bits and format 3"),
        (wav(b"\x00" * 8), {"pcm_format": "f32"}, "--format s16, not f32"),
        (b"\x00" * 8, {"pcm_format": "s24"}, "--format s24: give s16, s32, f32"),
        (wav(b"\x00" * 8)[:30], {}, "an incomplete header"),
    ],
)
def test_wav_that_does_not_match_the_options_or_is_not_pcm_is_refused(content, options, message):
    with pytest.raises(HarkenError, match=message):
        read_pcm(content, **options)


FORMATS = {"s16": "<i2", "s32": "<i4", "f32": "<f4"}


def voice(seconds=1.0, rate=16_000):
    """Return a sound like a voice, with the noise of a microphone."""
    time = np.arange(round(seconds * rate)) / rate
    harmonics = sum(np.sin(2 * np.pi * 140 * n * time) / n for n in range(1, 12))
    return 0.1 * harmonics * np.sin(2 * np.pi * 3 * time) ** 2 + np.random.default_rng(0).normal(0, 1e-4, time.size)


def raw(samples, kind):
    scale = {"s16": 2**15, "s32": 2**31, "f32": 1}[kind]
    return (samples * scale).astype(FORMATS[kind]).tobytes()


@pytest.mark.parametrize("kind", FORMATS)
@pytest.mark.parametrize("as_wav", [False, True])
def test_raw_pcm_and_wav_of_each_format_are_read(kind, as_wav):
    samples = voice().reshape(-1, 2)
    content = raw(samples, kind)
    if as_wav:
        bits, code = 8 * np.dtype(FORMATS[kind]).itemsize, 3 if kind == "f32" else 1
        rate, found = read_pcm(wav(content, channels=2, rate=16_000, bits=bits, code=code))
    else:
        rate, found = read_pcm(content, sample_rate=16_000, channels=2, pcm_format=kind)
    assert rate == 16_000
    np.testing.assert_array_equal(found, np.frombuffer(content, FORMATS[kind]).reshape(-1, 2))


@pytest.mark.parametrize("actual", [*FORMATS, "s32 of 16 bits", "s32 of 24 bits"])
@pytest.mark.parametrize("stated", FORMATS)
@pytest.mark.parametrize("channels", [1, 2])
def test_samples_that_look_like_another_format_are_noted(capsys, actual, stated, channels):
    kind, samples = actual.split()[0], np.concatenate([np.zeros(4_000), voice(2.0)])
    if "of" in actual:
        bits = int(actual.split()[2]) - 1
        samples = np.round(samples * 2**bits) / 2**bits
    content = raw(np.repeat(samples, channels), kind)
    with open_pcm(io.BytesIO(content), "the pipe", sample_rate=16_000, channels=channels, pcm_format=stated) as source:
        assert sum(len(chunk) for chunk in source.chunks) > 1000
    note = capsys.readouterr().err
    if kind == stated or (actual, channels) == ("s32 of 16 bits", 2):  # as s16, it could be one silent channel
        assert kind != stated or note == ""
    else:
        assert note == f"harken: the pipe looks like --format {kind}, not {stated}\n"


def test_a_file_is_read_in_blocks(tmp_path):
    samples = np.random.default_rng(0).integers(-30_000, 30_000, 20_500).astype(np.int16)
    soundfile.write(tmp_path / "noise.flac", samples, RATE)
    with open_file(tmp_path / "noise.flac") as source:
        blocks = list(source.chunks)
    assert [len(block) for block in blocks] == [8_000, 8_000, 4_500]
    np.testing.assert_array_equal(np.concatenate(blocks)[:, 0] * 32768, samples)
    with pytest.raises(HarkenError, match=r"gone\.wav does not exist"), open_file(tmp_path / "gone.wav"):
        pass


def test_a_file_with_nan_is_refused(tmp_path):
    soundfile.write(tmp_path / "nan.wav", np.append(stream(), np.float32(np.nan)), RATE, subtype="FLOAT")
    with pytest.raises(HarkenError, match=r"nan\.wav contains NaN"):
        listen(ToneRecognizer(), str(tmp_path / "nan.wav"))


def test_a_file_without_samples_is_refused(tmp_path):
    soundfile.write(tmp_path / "none.wav", np.zeros(0), RATE)
    with pytest.raises(HarkenError, match=r"none\.wav contains no samples"):
        listen(ToneRecognizer(), str(tmp_path / "none.wav"))


@pytest.mark.parametrize("ending", ["wav", "flac", "ogg", "mp3"])
def test_words_in_a_file_that_is_cut_short_are_printed_before_the_error(tmp_path, capsys, ending):
    path = tmp_path / f"cut.{ending}"
    soundfile.write(path, stream() + np.random.default_rng(2).normal(0, 1e-3, stream().size), RATE)
    content = path.read_bytes()
    path.write_bytes(content[: round(0.8 * len(content))])
    with pytest.raises(HarkenError, match=rf"cut\.{ending} is .*cut short"):
        listen(ToneRecognizer(), str(path))
    assert lines(capsys)[0]["word"] == "low"


def test_settings_replace_those_of_the_model(tmp_path, capsys):
    soundfile.write(tmp_path / "talk.wav", stream(), RATE)
    listen(ToneRecognizer(), str(tmp_path / "talk.wav"), settings={"thresholds": {"low": 1.0}, "smoothing_ms": None})
    assert [line["word"] for line in lines(capsys)] == ["high"]
    with pytest.raises(HarkenError, match="hop_ms"):
        listen(ToneRecognizer(), str(tmp_path / "talk.wav"), settings={"hop_ms": -1.0})


def test_thresholds_are_parsed_as_words_and_numbers():
    assert read_thresholds(["low=0.5", "a=b=1"]) == {"low": 0.5, "a=b": 1.0}


@pytest.mark.parametrize("given", [["low"], ["0.9"], ["=0.9"], ["low="], ["low=loud"], ["low=0.5", "low=0.6"]])
def test_invalid_thresholds_are_refused(given):
    with pytest.raises(HarkenError, match=f"--threshold {given[-1]}: "):
        read_thresholds(given)


def test_a_terminal_shows_a_live_display(tmp_path, monkeypatch):
    screen = io.StringIO()
    monkeypatch.setattr(live, "Console", partial(Console, file=screen, force_terminal=True, width=100))
    soundfile.write(tmp_path / "talk.wav", stream(), RATE)
    listen(ToneRecognizer(), str(tmp_path / "talk.wav"))
    display = screen.getvalue()
    for text in ("talk.wav", "8000 Hz", "level", "low", "high", "4.1 s of audio"):
        assert text in display
    assert "{" not in display


def test_words_on_a_terminal_are_text_and_never_markup(tmp_path, monkeypatch):
    screen = io.StringIO()
    monkeypatch.setattr(live, "Console", partial(Console, file=screen, force_terminal=True, width=100))
    soundfile.write(tmp_path / "talk.wav", stream(), RATE)
    listen(ToneRecognizer(tones={"hey [/bot]": 500.0, ":smile:": 2000.0}), str(tmp_path / "talk.wav"))
    assert "hey [/bot]" in screen.getvalue()
    assert ":smile:" in screen.getvalue()


@pytest.mark.parametrize("error", [KeyboardInterrupt, HarkenError])
def test_ctrl_c_and_errors_keep_the_last_clip(tmp_path, monkeypatch, error):
    @contextmanager
    def microphone(_, *, channel=None):
        def chunks():
            yield np.concatenate([quiet(2), tone("low")])[:, None]
            raise error

        yield Source("microphone", RATE, chunks())

    monkeypatch.setattr(live, "open_microphone", microphone)
    with pytest.raises(error):
        listen(ToneRecognizer(), None, save=tmp_path / "kept")
    assert len([*(tmp_path / "kept/detections/low").iterdir()]) == 1


def test_programs_are_started_without_a_shell(tmp_path, capsys):
    soundfile.write(tmp_path / "talk.wav", stream(), RATE)
    marker = tmp_path / "started by low"
    code = "import pathlib, sys; pathlib.Path(sys.argv[1]).write_text(sys.argv[2])"
    command = f"'{sys.executable}' -c '{code}' '{marker}' '$HOME; echo'"
    listen(ToneRecognizer(), str(tmp_path / "talk.wav"), actions=read_actions([f"low={command}"], WORDS))
    deadline = time.monotonic() + 30
    while not (marker.exists() and marker.read_text()) and time.monotonic() < deadline:
        time.sleep(0.02)
    assert marker.read_text() == "$HOME; echo"
    assert [line["word"] for line in lines(capsys)] == ["low", "high"]


def test_a_shell_is_used_only_with_the_option(capfd):
    runs = [f"low=\"{sys.executable}\" -c \"print('a' + 'b')\" && echo c"]
    assert read_actions(runs, WORDS, shell=True)["low"].start().wait() == 0
    assert capfd.readouterr().err.split() == ["ab", "c"]  # standard output is for words
    assert read_actions(runs, WORDS)["low"].command[-3:] == ("&&", "echo", "c")


@pytest.mark.parametrize(
    ("runs", "message"),
    [
        (["low"], "WORD=COMMAND"),
        (["low= "], "WORD=COMMAND"),
        (["middle=true"], "'middle'"),
        (["low=ls", "low=ls"], "already"),
        (["low=no-such-program-here now"], "program no-such-program-here not found"),
        (["low=ls 'open"], "quotation"),
    ],
)
def test_commands_that_cannot_run_are_refused(runs, message):
    with pytest.raises(HarkenError, match=message):
        read_actions(runs, WORDS)


def test_a_word_and_its_command_may_contain_an_equals_sign():
    actions = read_actions(["a=b=ls --color=auto", "a=ls x=y"], ["a", "a=b"])
    assert {word: action.command for word, action in actions.items()} == {
        "a=b": ("ls", "--color=auto"),
        "a": ("ls", "x=y"),
    }


def test_a_program_that_is_not_executable_is_refused(tmp_path):
    (tmp_path / "light.sh").write_text("#!/bin/sh\n")
    with pytest.raises(HarkenError, match=r"light\.sh is not executable; run chmod \+x .*light\.sh$"):
        read_actions([f"low={tmp_path}/light.sh on"], WORDS)


def test_listening_continues_if_a_program_does_not_start(tmp_path, capsys):
    soundfile.write(tmp_path / "talk.wav", stream(), RATE)
    listen(ToneRecognizer(), str(tmp_path / "talk.wav"), actions={"low": Action((str(tmp_path / "gone"),))})
    out, err = capsys.readouterr()
    assert "the program for low did not start" in err
    assert len(out.splitlines()) == 2


def test_a_missing_sounddevice_names_the_extra_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "sounddevice", None)
    with pytest.raises(HarkenError, match=r"pip install .*\[listen\]'"):
        listen(ToneRecognizer(), None)
    with pytest.raises(HarkenError, match="sounddevice"):
        input_devices()


def test_a_missing_portaudio_names_the_package_to_install(monkeypatch, tmp_path):
    (tmp_path / "sounddevice.py").write_text("raise OSError('PortAudio library not found')")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "sounddevice", raising=False)
    with pytest.raises(HarkenError, match="libportaudio2"):
        listen(ToneRecognizer(), None)


class FakeSoundDevice(types.ModuleType):
    """A microphone at 44,100 Hz that records one word and then sends no more data."""

    class PortAudioError(Exception):
        pass

    default = types.SimpleNamespace(device=(1, 0))
    devices = (
        {"name": "Speaker", "max_input_channels": 0, "default_samplerate": 48_000.0},
        {"name": "Desk microphone", "max_input_channels": 2, "default_samplerate": 44_100.0},
    )

    def query_devices(self, device=None, kind=None):
        if kind is None:
            return self.devices
        if device not in (None, 1, "Desk"):
            raise ValueError(f"No input device matching {device!r}")
        return self.devices[1]

    def InputStream(self, *, samplerate, device, channels, dtype, blocksize, callback):  # noqa: N802 - sounddevice's name
        assert (samplerate, channels, dtype) == (44_100, 1, "float32")

        class Stream:
            def __enter__(self):
                rate = samplerate
                signal = np.concatenate([quiet(1, rate), tone("low", rate=rate), quiet(2, rate)])
                buffer = np.zeros((blocksize, 1), np.float32)  # reused for each block, as PortAudio does
                for start in range(0, signal.size - blocksize, blocksize):
                    buffer[:, 0] = signal[start : start + blocksize]
                    callback(buffer, blocksize, None, None)

            def __exit__(self, *_):
                pass

            def close(self):
                pass

        return Stream()


def test_a_microphone_is_recorded_at_its_own_rate(monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "sounddevice", FakeSoundDevice("sounddevice"))
    monkeypatch.setattr("harken.audio.sources._SILENT_DEVICE_S", 0.01)
    with pytest.raises(HarkenError, match="Desk microphone no longer sends audio"):
        listen(ToneRecognizer(), None, device="Desk")
    (line,) = lines(capsys)
    assert line["word"] == "low"
    assert 1.0 < line["end_s"] < 1.6


class MicrophoneArray(FakeSoundDevice):
    """Six channels that can only be opened together: two of silence, the microphone, and a loopback of noise."""

    devices = ({"name": "Array", "max_input_channels": 6, "default_samplerate": 8_000.0},) * 2

    def InputStream(self, *, samplerate, device, channels, dtype, blocksize, callback):  # noqa: N802 - sounddevice's name
        if channels != 6:
            raise self.PortAudioError("Invalid number of channels [PaErrorCode -9998]")

        class Stream:
            def __enter__(self):
                signal = stream()
                recorded = np.zeros((signal.size, 6), np.float32)
                recorded[:, 2] = signal + np.random.default_rng(1).normal(0, 3e-4, signal.size)
                recorded[:, 5] = np.random.default_rng(0).uniform(-0.5, 0.5, signal.size)
                for start in range(0, signal.size - blocksize, blocksize):
                    callback(recorded[start : start + blocksize], blocksize, None, None)

            def __exit__(self, *_):
                pass

        return Stream()


@pytest.mark.parametrize(("channel", "found"), [(None, ["low", "high"]), (3, ["low", "high"]), (1, []), (6, [])])
def test_a_microphone_array_is_opened_with_all_its_channels(monkeypatch, capsys, channel, found):
    monkeypatch.setitem(sys.modules, "sounddevice", MicrophoneArray("sounddevice"))
    monkeypatch.setattr("harken.audio.sources._SILENT_DEVICE_S", 0.01)
    with pytest.raises(HarkenError, match="no longer sends audio"):
        listen(ToneRecognizer(), None, channel=channel)
    assert [line["word"] for line in lines(capsys)] == found
    with pytest.raises(HarkenError, match="Array has 6 channels, so there is no channel 7"):
        listen(ToneRecognizer(), None, channel=7)


def test_one_channel_of_a_file_or_a_pipe_can_be_chosen(tmp_path, capsys, pipe_in):
    channels = np.stack([quiet(stream().size / RATE), stream()], axis=1)
    soundfile.write(tmp_path / "talk.wav", channels, RATE)
    for channel, found in ((1, []), (2, ["low", "high"])):
        listen(ToneRecognizer(), str(tmp_path / "talk.wav"), channel=channel)
        assert [line["word"] for line in lines(capsys)] == found
        pipe_in(pcm(channels))
        listen(ToneRecognizer(), "-", sample_rate=RATE, channels=2, channel=channel)
        assert [line["word"] for line in lines(capsys)] == found
    with pytest.raises(HarkenError, match="there is no channel 3"):
        listen(ToneRecognizer(), str(tmp_path / "talk.wav"), channel=3)


def test_a_microphone_that_does_not_start_is_reported(monkeypatch):
    sounddevice = FakeSoundDevice("sounddevice")
    monkeypatch.setitem(sys.modules, "sounddevice", sounddevice)
    closed = []

    class BusyStream:
        def __enter__(self):
            raise sounddevice.PortAudioError("Device unavailable [PaErrorCode -9985]")

        def __exit__(self, *_):
            pass

        def close(self):
            closed.append(True)

    monkeypatch.setattr(FakeSoundDevice, "InputStream", lambda *_, **__: BusyStream())
    with (
        pytest.raises(HarkenError, match=r"Desk microphone does not start \(Device unavailable.*\): close"),
        open_microphone("1"),
    ):
        pass
    assert closed


def test_processing_that_falls_behind_is_an_error(monkeypatch):
    monkeypatch.setitem(sys.modules, "sounddevice", FakeSoundDevice("sounddevice"))
    monkeypatch.setattr("harken.audio.sources._MAX_BACKLOG_S", 0.5)
    with pytest.raises(HarkenError, match="smaller model"), open_microphone("1") as source:
        list(source.chunks)


def test_devices_are_listed_and_an_unknown_device_is_refused(monkeypatch):
    monkeypatch.setitem(sys.modules, "sounddevice", FakeSoundDevice("sounddevice"))
    assert input_devices() == ["  1  Desk microphone, 44100 Hz (default)"]
    with pytest.raises(HarkenError, match=r"Kitchen.*--devices"), open_microphone("Kitchen"):
        pass


def test_listing_devices_without_a_microphone_is_an_error(monkeypatch):
    monkeypatch.setitem(sys.modules, "sounddevice", FakeSoundDevice("sounddevice"))
    monkeypatch.setattr(FakeSoundDevice, "devices", FakeSoundDevice.devices[:1])
    with pytest.raises(HarkenError, match=r"^no microphone found: "):
        input_devices()
