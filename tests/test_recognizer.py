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
YES, NO, UNKNOWN, SILENCE = range(4)  # the quarter of the window whose energy gives this label


def loud(quarter, amplitude=0.5, samples=RATE):
    """Return a clip with energy in one quarter of the first second."""
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
        (YES, 0.1, None, "unsure"),  # the probability is 0.29, and the threshold of "yes" 0.5
        (NO, 0.5, "no", None),
        (NO, 0.1, "no", None),  # "no" does not have a threshold
        (UNKNOWN, 0.5, None, "unknown"),
        (SILENCE, 0.5, None, "silence"),
    ],
)
def test_predict_returns_the_word_or_the_reason_why_there_is_none(recognizer, quarter, amplitude, word, reason):
    prediction = recognizer.predict(loud(quarter, amplitude), source_rate=RATE)
    assert (prediction.word, prediction.reason) == (word, reason)
    assert prediction.label == recognizer.labels[quarter]
    assert prediction.probability == pytest.approx(probability(amplitude), rel=1e-4)
    assert list(prediction.probabilities) == ["yes", "no", "_unknown_", "_silence_"]
    assert prediction.probabilities[prediction.label] == prediction.probability
    assert sum(prediction.probabilities.values()) == pytest.approx(1)
    json.dumps(prediction.probabilities)  # the values are Python floats


def test_a_probability_equal_to_the_threshold_is_enough(make_model):
    probabilities = np.array([0.5, 0.3, 0.1, 0.1], np.float32)
    recognizer = Recognizer(make_model())
    assert recognizer.decide(probabilities).word == "yes"
    assert recognizer.decide(np.array([0.499, 0.3, 0.1, 0.101], np.float32)).reason == "unsure"


def test_probabilities_can_be_a_list(recognizer):
    probabilities = [0.1, 0.7, 0.1, 0.1]
    assert recognizer.decide(probabilities) == recognizer.decide(np.array(probabilities))
    assert recognizer.decide(probabilities).word == "no"


@pytest.mark.parametrize(
    ("probabilities", "message"),
    [
        (np.array([0.1, np.nan, 0.1, 0.1], np.float32), "contain NaN or infinite values: check the model or the calc"),
        ([np.inf, 0.1, 0.1, 0.1], "contain NaN or infinite values"),
        (np.full(3, 0.3, np.float32), r"of shape \(3,\) do not fit the model: pass \[4\], one for each label$"),
        (np.full((1, 4), 0.25, np.float32), r"of shape \(1, 4\) do not fit the model"),
        (0.5, r"of shape \(\) do not fit the model"),
        ([[0.5], [0.2, 0.3], 0.1, 0.1], r"are not numbers: pass \[4\], one for each label$"),
        (["a", "b", "c", "d"], "are not numbers"),
    ],
)
def test_probabilities_that_do_not_fit_the_model_are_refused(recognizer, probabilities, message):
    with pytest.raises(HarkenError, match=message):
        recognizer.decide(probabilities)


def test_clips_can_be_paths_file_objects_and_arrays_at_any_rate(recognizer, tmp_path):
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


def test_a_long_clip_gets_the_result_of_the_window_with_the_most_probable_word(recognizer):
    # In the first window the energy is in the last quarter, which means silence. Later windows contain a word.
    clip = loud(SILENCE, samples=3 * RATE)
    prediction = recognizer.predict(clip, source_rate=RATE)
    assert prediction.word in ("yes", "no")
    assert prediction.probability == pytest.approx(probability(0.5), rel=1e-4)

    windows = np.stack([clip[start : start + RATE] for start in range(0, 2 * RATE + 1, RATE // 10)])
    probabilities = recognizer.model.probabilities(windows)
    best = probabilities[probabilities[:, :2].max(axis=1).argmax()]
    np.testing.assert_array_equal(recognizer.probabilities([clip])[0], best)
    window = recognizer.best_window(clip)
    np.testing.assert_array_equal(window, windows[probabilities[:, :2].max(axis=1).argmax()])
    short = loud(NO)[:4000]
    np.testing.assert_array_equal(recognizer.best_window(short), np.pad(short, (0, 4000)))


@pytest.mark.parametrize("samples", [8_001, 8_799, 8_800, 8_801, 12_345])
def test_the_end_of_a_long_clip_is_classified(recognizer, samples):
    clip = np.zeros(samples, np.float32)
    clip[-8000 + NO * 2000 : -8000 + (NO + 1) * 2000] = 0.5  # "no" only in the window that ends with the clip
    expected = recognizer.predict(clip[-8000:], source_rate=RATE)
    assert recognizer.predict(clip, source_rate=RATE).probability >= expected.probability


def test_clips_in_a_batch_give_the_same_results_as_alone(recognizer):
    draws = np.random.default_rng(3)
    lengths = [8_000, 100, 20_000, 8_001, 7_999, 50_000, *draws.integers(1, 12_000, 150).tolist()]
    clips = [draws.uniform(-0.5, 0.5, length).astype(np.float32) for length in lengths]
    together = recognizer.probabilities(clips)
    assert together.shape == (len(clips), 4)
    for row, clip in zip(together, clips, strict=True):
        np.testing.assert_allclose(row, recognizer.probabilities([clip])[0], rtol=1e-5)
    many = list(recognizer.predict_many(clips, source_rate=RATE))
    assert [prediction.label for prediction in many] == [recognizer.labels[row.argmax()] for row in together]
    assert recognizer.probabilities([]).shape == (0, 4)
    assert list(recognizer.predict_many([])) == []


def test_predict_many_reads_clips_only_when_needed(recognizer, tmp_path):
    path = tmp_path / "clip.wav"
    soundfile.write(path, loud(NO), RATE)
    requested = []

    def paths():
        for number in range(1_000):
            requested.append(number)
            yield path

    predictions = recognizer.predict_many(paths())
    assert next(predictions).word == "no"
    assert len(requested) < 200


def test_predict_many_yields_the_results_before_an_error(recognizer, tmp_path):
    clips = [loud(NO)] * 70 + [np.full(RATE, np.nan, np.float32)] + [loud(NO)] * 29
    predictions = recognizer.predict_many(clips, source_rate=RATE)
    assert [next(predictions).word for _ in range(70)] == ["no"] * 70
    with pytest.raises(HarkenError, match="NaN"):
        next(predictions)

    def failing():
        yield loud(NO)
        raise OSError("the list of clips ended early")

    predictions = recognizer.predict_many(failing(), source_rate=RATE)
    assert next(predictions).word == "no"
    with pytest.raises(OSError, match="the list of clips"):
        next(predictions)


def test_predict_many_can_go_on_after_clips_that_cannot_be_read(recognizer, tmp_path):
    good, bad = tmp_path / "good.wav", tmp_path / "bad.wav"
    soundfile.write(good, loud(NO), RATE)
    bad.write_bytes(b"no sound")
    clips = [bad, *[good] * 64, bad, good, tmp_path / "missing.wav"]
    errors = []
    predictions = list(recognizer.predict_many(clips, on_error=lambda *error: errors.append(error)))
    assert [prediction and prediction.word for prediction in predictions] == [None, *["no"] * 64, None, "no", None]
    assert [clip for clip, _ in errors] == [bad, bad, tmp_path / "missing.wav"]
    assert all(str(clip) in str(error) for clip, error in errors)


def test_predict_many_refuses_a_single_clip(recognizer, tmp_path):
    path = tmp_path / "clip.wav"
    soundfile.write(path, loud(NO), RATE)
    for clip in (path, str(path), io.BytesIO(path.read_bytes()), loud(NO), np.stack([loud(NO), loud(NO)], 1)):
        with pytest.raises(HarkenError, match=r"^clips is a single recording: pass a list of recordings$"):
            next(recognizer.predict_many(clip, on_error=print))


def test_a_long_recording_needs_no_more_memory_than_its_samples(recognizer):
    import tracemalloc

    recording = np.zeros(10 * 60 * RATE, np.float32)  # ten minutes: 19 MB of samples, 192 MB of windows
    tracemalloc.start()
    recognizer.probabilities([recording])
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < recording.nbytes


@pytest.mark.parametrize("kind", [np.float64, np.float16, np.int16])
def test_waveforms_can_have_any_type_of_a_clip(recognizer, kind):
    clip = loud(NO) * (1 if np.dtype(kind).kind == "f" else 32_768)
    expected = recognizer.probabilities([loud(NO)])
    np.testing.assert_allclose(recognizer.probabilities([clip.astype(kind)]), expected, rtol=1e-5)
    np.testing.assert_allclose(recognizer.probabilities([np.stack([clip, clip], 1).astype(kind)]), expected, rtol=1e-5)


@pytest.mark.parametrize(
    ("waveform", "message"),
    [
        (loud(NO) * 32_768, "divide int16 by 32768"),
        (np.full(RATE, np.nan, np.float32), "NaN or infinite"),
        ([0.1, 0.2], "list is not a clip"),
        (np.zeros(RATE, bool), "has the type bool"),
    ],
)
def test_waveforms_that_are_not_clips_are_refused(recognizer, waveform, message):
    with pytest.raises(HarkenError, match=message):
        recognizer.probabilities([loud(NO), waveform])


def test_a_clip_that_cannot_be_read_is_named_in_the_error(recognizer, tmp_path):
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


def test_recognizing_a_clip_imports_no_training_package(make_model, tmp_path):
    soundfile.write(tmp_path / "clip.wav", loud(NO), RATE)
    code = f"""
import sys, harken
word = harken.Recognizer({str(make_model())!r}).predict({str(tmp_path / "clip.wav")!r}).word
print(word, *sorted({{name.partition(".")[0] for name in sys.modules}}))
"""
    word, *modules = run_python(code).stdout.split()
    assert word == "no"
    assert "onnxruntime" in modules
    heavy = {"torch", "lightning", "matplotlib", "sklearn", "scipy", "librosa", "onnx", "filelock", "pandas"}
    assert heavy.isdisjoint(modules)


def test_the_package_exports_its_public_names():
    import harken

    assert harken.Recognizer is Recognizer
    for name in harken.__all__:
        assert getattr(harken, name).__name__ == name
    with pytest.raises(AttributeError, match="no attribute 'recognizer'"):
        _ = harken.recognizer
