from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import soundfile

from conftest import tone
from harken.corpus.recordings import Recordings, noise_side, read_recordings, speech_side
from harken.corpus.table import audio_files
from harken.errors import HarkenError

RATE = 8_000


def write(path, samples, rate=RATE):
    soundfile.write(path, samples, rate, subtype="PCM_16")
    return path


def recordings_of(**lengths):
    """Return recordings with these names and lengths in samples. Each sample of recording n is n + 1."""
    parts = [np.full(length, number + 1, np.int16) for number, length in enumerate(lengths.values())]
    sizes = np.array(list(lengths.values()))
    return Recordings(tuple(lengths), np.concatenate(parts), np.cumsum(sizes) - sizes, sizes, RATE)


def test_recordings_are_stored_one_after_the_other(tmp_path):
    paths = [
        write(tmp_path / "hum.wav", np.full(100, 0.5)),
        write(tmp_path / "rain.flac", np.linspace(-1, 1, 300)),
        write(tmp_path / "wind.wav", np.full((50, 2), [0.5, 0.25])),
    ]
    recordings = read_recordings(paths, RATE)
    assert recordings.names == ("hum", "rain", "wind")
    assert recordings.starts.tolist() == [0, 100, 400]
    assert recordings.lengths.tolist() == [100, 300, 50]
    assert recordings.samples.dtype == np.int16
    assert recordings.recording(0).tolist() == [16384] * 100
    assert recordings.recording(1)[0] == -32768
    assert recordings.recording(1)[-1] == 32767
    assert recordings.recording(2).tolist() == [12288] * 50
    assert len(recordings) == 3
    assert recordings.seconds() == 450 / RATE


def test_recordings_are_resampled_to_the_given_rate(tmp_path):
    recordings = read_recordings([write(tmp_path / "hum.wav", tone(500, 2.0, 44_100), 44_100)], RATE)
    assert (recordings.sample_rate, recordings.lengths.tolist()) == (RATE, [16_000])
    np.testing.assert_allclose(recordings.samples[500:1_500] / 32768, tone(500, 2.0, RATE)[500:1_500], atol=2e-3)


def test_missing_and_unreadable_recordings_are_refused(tmp_path):
    with pytest.raises(HarkenError, match="no recording to read"):
        read_recordings([], RATE)
    bad = tmp_path / "bad.wav"
    bad.write_bytes(b"not audio")
    with pytest.raises(HarkenError, match=f"^{bad} is not a readable audio file"):
        read_recordings([write(tmp_path / "hum.wav", np.zeros(10)), bad], RATE)


def test_the_last_fifth_of_a_long_recording_is_held_out():
    ramp = np.arange(30 * RATE, dtype=np.int64).astype(np.int16)
    recordings = Recordings(("long",), ramp, np.array([0]), np.array([ramp.size]), RATE)
    train, held_out = noise_side(recordings, "train"), noise_side(recordings, "held_out")
    assert train.lengths.tolist() == [24 * RATE]
    assert held_out.lengths.tolist() == [6 * RATE]
    np.testing.assert_array_equal(np.concatenate([train.samples, held_out.samples]), ramp)


def test_short_recordings_are_split_by_source():
    names = [f"{fold}-{source}-{take}" for fold in (1, 2) for source in range(200) for take in "AB"]
    recordings = recordings_of(**dict.fromkeys(names, 7))
    train, held_out = noise_side(recordings, "train"), noise_side(recordings, "held_out")
    assert sorted(train.names + held_out.names) == sorted(names)
    assert {name[:-2] for name in train.names}.isdisjoint({name[:-2] for name in held_out.names})
    assert len(held_out) / len(names) == pytest.approx(0.2, abs=0.05)
    kept = dict(zip(train.names, train.starts, strict=True))
    for name, start in kept.items():
        assert train.samples[start] == names.index(name) + 1
    assert train.samples.size == 7 * len(train)


def test_esc_50_names_are_split_like_names_without_the_class():
    names = [f"1-{source}-{take}" for source in range(100) for take in "ABC"]
    plain = noise_side(recordings_of(**dict.fromkeys(names, 1)), "held_out").names
    classed = noise_side(recordings_of(**{f"{name}-{41 if 'B' in name else 7}": 1 for name in names}), "held_out").names
    assert plain
    assert tuple(name.rpartition("-")[0] for name in classed) == plain


def test_a_side_can_be_empty():
    recordings = recordings_of(**{"1-17367-A": 10})
    empty = [noise_side(recordings, side) for side in ("train", "held_out")]
    assert sorted(map(len, empty)) == [0, 1]
    nothing = min(empty, key=len)
    assert nothing.samples.shape == (0,)
    assert nothing.samples.dtype == np.int16
    assert nothing.seconds() == 0.0


@pytest.mark.parametrize(
    ("speaker", "side"),
    [("84", "train"), ("2086", "train"), ("2412", "thresholds"), ("3000", "thresholds"), ("3170", "measure"),
     ("8842", "measure"), ("1089", "train"), ("4077", "thresholds"), ("8555", "measure"), ("19", "train")],
)  # fmt: skip
def test_librispeech_speakers_are_split_by_a_table(speaker, side):
    paths = [Path(f"{speaker}-1-0000.flac"), Path(f"{speaker}-2-0001.ogg")]
    for other in ("train", "thresholds", "measure"):
        assert speech_side(paths, other) == (paths if other == side else [])


def test_a_reserved_speaker_is_on_no_side():
    assert not any(speech_side([Path("1272-1-0000.flac")], side) for side in ("train", "thresholds", "measure"))


def test_a_speaker_whose_name_is_not_utf8_is_on_one_side():
    path = Path(b"caf\xe9-1.wav".decode(errors="surrogateescape"))
    assert sum(speech_side([path], side) == [path] for side in ("train", "thresholds", "measure")) == 1


def test_other_speakers_are_split_by_name():
    paths = [Path(f"speaker {number}-{chapter}.wav") for number in range(1_000) for chapter in (1, 2)]
    sides = {side: speech_side(paths, side) for side in ("train", "thresholds", "measure")}
    assert sorted(path for side in sides.values() for path in side) == sorted(paths)
    speakers = {side: {path.stem.partition("-")[0] for path in found} for side, found in sides.items()}
    assert sum(map(len, speakers.values())) == 1_000  # no speaker is on two sides
    shares = [len(speakers[side]) / 1_000 for side in ("train", "thresholds", "measure")]
    assert shares == pytest.approx([0.6, 0.2, 0.2], abs=0.04)


def test_the_real_speech_is_split_by_speaker(speech_without_commands):
    paths = audio_files(speech_without_commands)
    minutes = {
        side: sum(soundfile.info(path).duration for path in speech_side(paths, side)) / 60
        for side in ("train", "thresholds", "measure")
    }
    assert minutes == pytest.approx({"train": 18.4, "thresholds": 10.7, "measure": 24.7}, abs=0.05)


def test_the_real_noise_is_split_by_source(background_noise):
    paths = audio_files(background_noise)
    recordings = read_recordings(paths, 4_000)
    assert len(recordings) == 240
    assert recordings.seconds() == pytest.approx(20 * 60, rel=0.01)
    train, held_out = noise_side(recordings, "train"), noise_side(recordings, "held_out")
    assert len(train) + len(held_out) == 240
    assert {name.rpartition("-")[0] for name in train.names}.isdisjoint(n.rpartition("-")[0] for n in held_out.names)
    kinds = Counter(path.parent.name for path in paths if path.stem in held_out.names)
    assert len(kinds) >= 8  # nearly every kind of noise is held out
