import io
import json
import subprocess
import sys

import numpy as np
import pytest
import soundfile

from harken.errors import HarkenError
from harken.runtime.recognizer import Recognizer

RATE = 8_000
YES, NO, UNKNOWN, SILENCE = range(4)  # the quarter of the window that says so


def loud(quarter, amplitude=0.5, samples=RATE):
    """Return a clip with energy in one quarter of its first second."""
    clip = np.zeros(samples, np.float32)
    clip[quarter * 2000 : (quarter + 1) * 2000] = amplitude
    return clip


@pytest.fixture
def recognizer(make_model):
    return Recognizer(make_model())


def probability(amplitude):
    score = np.exp(20 * amplitude**2)
    return score / (score + 3)


@pytest.mark.parametrize(
    ("quarter", "amplitude", "word", "reason"),
    [
        (YES, 0.5, "yes", None),
        (YES, 0.1, None, "unsure"),  # 0.29, and the threshold of yes is 0.5
        (NO, 0.5, "no", None),
        (NO, 0.1, "no", None),  # no has no threshold
        (UNKNOWN, 0.5, None, "unknown"),
        (SILENCE, 0.5, None, "silence"),
    ],
)
def test_predict_answers_with_the_word_or_says_why_not(recognizer, quarter, amplitude, word, reason):
    found = recognizer.predict(loud(quarter, amplitude), source_rate=RATE)
    assert (found.word, found.reason) == (word, reason)
    assert found.label == recognizer.labels[quarter]
    assert found.probability == pytest.approx(probability(amplitude), rel=1e-4)
    assert list(found.probabilities) == ["yes", "no", "_unknown_", "_silence_"]
    assert found.probabilities[found.label] == found.probability
    assert sum(found.probabilities.values()) == pytest.approx(1)
    json.dumps(found.probabilities)  # plain numbers


def test_the_threshold_itself_is_enough(make_model):
    probabilities = np.array([0.5, 0.3, 0.1, 0.1], np.float32)
    recognizer = Recognizer(make_model())
    assert recognizer.decide(probabilities).word == "yes"
    assert recognizer.decide(np.array([0.499, 0.3, 0.1, 0.101], np.float32)).reason == "unsure"


def test_clips_come_as_paths_file_objects_and_arrays_at_any_rate(recognizer, tmp_path):
    path = tmp_path / "clip.flac"
    soundfile.write(path, np.repeat(loud(NO), 6), 48_000)
    expected = recognizer.predict(path)
    assert expected.word == "no"
    assert recognizer.predict(str(path)) == expected
    assert recognizer.predict(io.BytesIO(path.read_bytes())) == expected
    assert recognizer.predict(np.repeat(loud(NO), 2), source_rate=16_000).word == "no"
    assert recognizer.sample_rate == RATE


def test_a_short_clip_is_padded_at_its_end(recognizer):
    short = loud(NO)[:4000]
    padded = np.concatenate([short, np.zeros(4000, np.float32)])
    assert recognizer.predict(short, source_rate=RATE) == recognizer.predict(padded, source_rate=RATE)
    assert recognizer.predict(short, source_rate=RATE).word == "no"
    assert recognizer.predict(np.full(1, 0.5, np.float32), source_rate=RATE).label == "yes"


def test_the_window_in_which_a_word_is_most_probable_speaks_for_a_long_clip(recognizer):
    # Seen from the start the burst stands in the last quarter, which says silence; windows further on hear "no" in it.
    clip = loud(SILENCE, samples=3 * RATE)
    found = recognizer.predict(clip, source_rate=RATE)
    assert found.word in ("yes", "no")
    assert found.probability == pytest.approx(probability(0.5), rel=1e-4)

    windows = np.stack([clip[start : start + RATE] for start in range(0, 2 * RATE + 1, RATE // 10)])
    judged = recognizer.model.probabilities(windows)
    best = judged[judged[:, :2].max(axis=1).argmax()]
    np.testing.assert_array_equal(recognizer.probabilities([clip])[0], best)


@pytest.mark.parametrize("samples", [8_001, 8_799, 8_800, 8_801, 12_345])
def test_the_end_of_a_long_clip_is_heard(recognizer, samples):
    clip = np.zeros(samples, np.float32)
    clip[-8000 + NO * 2000 : -8000 + (NO + 1) * 2000] = 0.5  # "no" only in the window that ends with the clip
    expected = recognizer.predict(clip[-8000:], source_rate=RATE)
    assert recognizer.predict(clip, source_rate=RATE).probability >= expected.probability


def test_batches_of_clips_of_any_length_give_what_each_gives_alone(recognizer):
    draws = np.random.default_rng(3)
    lengths = [8_000, 100, 20_000, 8_001, 7_999, 50_000, *draws.integers(1, 12_000, 150).tolist()]
    clips = [draws.uniform(-0.5, 0.5, length).astype(np.float32) for length in lengths]
    together = recognizer.probabilities(clips)
    assert together.shape == (len(clips), 4)
    for row, clip in zip(together, clips, strict=True):
        np.testing.assert_allclose(row, recognizer.probabilities([clip])[0], rtol=1e-5)
    many = list(recognizer.predict_many(clips, source_rate=RATE))
    assert [found.label for found in many] == [recognizer.labels[row.argmax()] for row in together]
    assert recognizer.probabilities([]).shape == (0, 4)
    assert list(recognizer.predict_many([])) == []


def test_predict_many_reads_as_it_goes(recognizer, tmp_path):
    path = tmp_path / "clip.wav"
    soundfile.write(path, loud(NO), RATE)
    asked = []

    def paths():
        for number in range(1_000):
            asked.append(number)
            yield path

    predictions = recognizer.predict_many(paths())
    assert next(predictions).word == "no"
    assert len(asked) < 200


def test_memory_of_a_long_recording_is_that_of_its_samples(recognizer):
    import tracemalloc

    recording = np.zeros(10 * 60 * RATE, np.float32)  # ten minutes: 19 MB, and 192 MB of windows
    tracemalloc.start()
    recognizer.probabilities([recording])
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < recording.nbytes


@pytest.mark.parametrize("kind", [np.float64, np.float16, np.int16])
def test_waveforms_of_any_type_are_taken_as_clips_are(recognizer, kind):
    clip = loud(NO) * (1 if np.dtype(kind).kind == "f" else 32_768)
    expected = recognizer.probabilities([loud(NO)])
    np.testing.assert_allclose(recognizer.probabilities([clip.astype(kind)]), expected, rtol=1e-5)
    np.testing.assert_allclose(recognizer.probabilities([np.stack([clip, clip], 1).astype(kind)]), expected, rtol=1e-5)


@pytest.mark.parametrize(
    ("waveform", "message"),
    [
        (loud(NO) * 32_768, "divide int16 by 32768"),
        (np.full(RATE, np.nan, np.float32), "NaN or infinite"),
        ([0.1, 0.2], "list is no clip"),
        (np.zeros(RATE, bool), "of type bool"),
    ],
)
def test_waveforms_that_are_no_clip_are_refused(recognizer, waveform, message):
    with pytest.raises(HarkenError, match=message):
        recognizer.probabilities([loud(NO), waveform])


def test_a_clip_that_cannot_be_read_is_named(recognizer, tmp_path):
    with pytest.raises(HarkenError, match=f"^{tmp_path / 'none.wav'} does not exist"):
        recognizer.predict(tmp_path / "none.wav")
    with pytest.raises(HarkenError, match="pass source_rate="):
        recognizer.predict(loud(NO))


def run_python(code, *arguments):
    return subprocess.run([sys.executable, *arguments, "-c", code], capture_output=True, text=True, check=True)


def test_importing_harken_takes_under_a_third_of_a_second():
    lines = run_python("import harken", "-X", "importtime").stderr.splitlines()
    microseconds = next(int(line.split("|")[1]) for line in lines if line.split("|")[2].strip() == "harken")
    assert microseconds < 300_000


def test_recognising_never_imports_the_workshop(make_model, tmp_path):
    soundfile.write(tmp_path / "clip.wav", loud(NO), RATE)
    code = f"""
import sys, harken
word = harken.Recognizer({str(make_model())!r}).predict({str(tmp_path / "clip.wav")!r}).word
print(word, *sorted({{name.partition(".")[0] for name in sys.modules}}))
"""
    word, *modules = run_python(code).stdout.split()
    assert word == "no"
    assert "onnxruntime" in modules
    workshop = {"torch", "lightning", "matplotlib", "sklearn", "scipy", "librosa", "onnx", "filelock", "pandas"}
    assert workshop.isdisjoint(modules)


def test_harken_names_its_door():
    import harken

    assert harken.Recognizer is Recognizer
    assert set(harken.__all__) == {"HarkenError", "Recognizer", "load_clip"}
    with pytest.raises(AttributeError, match="no attribute 'recogniser'"):
        _ = harken.recogniser
