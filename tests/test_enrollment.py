"""Enrollment, tested with synthetic phrases: vowels, which are created from their formants, and hisses."""

import json
from importlib import import_module
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
import soundfile
from numpy.typing import NDArray

from harken import HarkenError, Listener, Recognizer, StreamFile, enroll
from harken.enrollment.bank import load_bank
from harken.enrollment.calibration import REFERENCE_PER_HOUR, Calibration, fit_tail, peaks_of, threshold_for
from harken.enrollment.graph import enrolled_model, enrolled_stream
from harken.enrollment.phrase import LearnedPhrase
from harken.enrollment.takes import find_phrase, read_take, sequences_of, talk_sequences_of
from harken.enrollment.templates import KINDS, Templates, TemplateScorer
from harken.export import enrolled_stream as export_stream
from harken.export.enrolled_stream import write_enrolled_stream
from harken.export.onnx_int8 import write_onnx_int8
from harken.models.encoders import ENCODERS, load_embedding
from harken.models.onnx_writer import change_metadata
from harken.models.speech_embedding import samples_of
from harken.runtime.listener_settings import ListenerSettings
from test_speech_embedding import needs_package

RATE = 16_000
# Formants in Hz. The hiss "s" has none.
VOWELS = {"a": (730, 1090, 2440), "i": (270, 2290, 3010), "u": (300, 870, 2240), "e": (530, 1840, 2480), "s": ()}
TUNE = "isa"
OTHER_TUNE = "uaue"
SOUND_S = 0.25


def tune(sounds: str, seed: int, *, pause_s: float = 0.6, noise: float = 0.002) -> NDArray[np.float32]:
    """Return sounds between two pauses. Each seed varies the pitch, speed, formants and noise a little."""
    rng = np.random.default_rng(seed)
    pitch, tract = 120 * rng.uniform(0.9, 1.1), rng.uniform(0.97, 1.03)
    parts = [np.zeros(round(pause_s * RATE))]
    for sound in sounds:
        time = np.arange(round(SOUND_S * rng.uniform(0.9, 1.1) * RATE)) / RATE
        samples = 0.05 * rng.standard_normal(time.size)
        if formants := VOWELS[sound]:
            harmonics = pitch * np.arange(1, 30)
            strength = sum(np.exp(-(((harmonics - tract * formant) / 120) ** 2)) for formant in formants) + 0.01
            samples = 0.15 * (np.sin(2 * np.pi * harmonics[:, None] * time) * strength[:, None]).sum(axis=0)
        parts.append(samples * np.minimum(1, 30 * np.minimum(time, time[::-1])))
    parts.append(np.zeros(round(pause_s * RATE)))
    samples = np.concatenate(parts)
    return (samples + noise * rng.standard_normal(samples.size)).astype(np.float32)


@pytest.fixture(scope="module")
def clips(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    folder = tmp_path_factory.mktemp("takes")
    paths = []
    for seed in range(4):
        paths.append(folder / f"take{seed}.wav")
        soundfile.write(paths[-1], tune(TUNE, seed), RATE)
    return paths


@pytest.fixture(scope="module")
def model(clips: list[Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("enrolled") / "tune.onnx"
    enroll("hey tune", clips[:3], out=path, stream=path.with_name("tune.stream.onnx"))
    return path


def test_fit_tail_recovers_an_exponential_distribution() -> None:
    rng = np.random.default_rng(0)
    peaks = np.sort(rng.exponential(0.05, 2000))[::-1].astype(np.float32)
    fit = fit_tail(peaks, hours=10.0)
    assert fit.scale == pytest.approx(0.05, rel=0.4)
    # The 80 highest peaks of ten hours are fitted, so there are 8 alarms per hour at the start of the tail.
    assert fit.per_hour == pytest.approx(8.0)
    logit = fit.slope * fit.start + fit.offset
    assert 1 / (1 + np.exp(-logit)) == pytest.approx(threshold_for(8.0), rel=1e-6)


def test_fit_tail_of_few_peaks_stays_near_the_usual_scale() -> None:
    for peaks in ([0.5], [0.5, 0.5], [0.9, 0.1, 0.1, 0.1, 0.1]):
        assert 0.02 < fit_tail(np.array(peaks, np.float32), hours=0.02).scale < 0.06


def test_the_promised_false_alarms_hold_in_the_speech_of_other_speakers() -> None:
    bank = load_bank()
    # Phrases of 0.8 s by the first speaker, calibrated on half of the other speakers and counted in the other half.
    first = len(bank.talk) // 40
    halves = np.array_split(bank.talk[first:], 2)
    counted = promised = 0.0
    for start in range(100, first - 100, 100):
        phrase = bank.speech.normalized(bank.talk[start : start + 10])
        scorer = TemplateScorer(Templates.of([phrase], [0]), bank.speech)
        scores = [scorer.scores(half)[0] for half in halves]
        hours = bank.hours * len(halves[0]) / len(bank.talk)
        for known, new in (scores, scores[::-1]):
            fit = fit_tail(peaks_of(known), hours)
            min_score = (np.log(REFERENCE_PER_HOUR / 2) - fit.offset) / fit.slope
            counted += int((peaks_of(new) >= min_score).sum())
            promised += 2 * hours
    assert promised > 50
    assert 0.3 * promised < counted < 1.5 * promised


def test_threshold_for_a_rate_of_false_alarms() -> None:
    assert threshold_for(REFERENCE_PER_HOUR) == 0.5
    assert threshold_for(0.5) == pytest.approx(120 / 121)


def test_peaks_within_two_seconds_count_once() -> None:
    scores = np.zeros(200, np.float32)
    scores[[24, 26, 110]] = 1.0, 2.0, 3.0
    assert peaks_of(scores)[:3].tolist() == [3.0, 2.0, 0.0]


def test_a_phrase_is_found_between_pauses_in_quiet_and_in_noise() -> None:
    for noise in (0.0005, 0.01):
        start, end = find_phrase(tune(TUNE, 1, noise=noise), "take")
        assert start / RATE == pytest.approx(0.6, abs=0.06)
        assert (end - start) / RATE == pytest.approx(0.75, abs=0.12)


@pytest.mark.parametrize(
    ("samples", "problem"),
    [
        (np.zeros(RATE, np.float32), "is silent"),
        (np.full(RATE * 20, 0.1, np.float32), "20 s long"),
        (np.full(200, 0.1, np.float32), "shorter than"),
        (
            0.1 * np.random.default_rng(0).standard_normal(RATE * 5).astype(np.float32),
            "without a phrase that stands out",
        ),
        (np.pad(np.full(800, 0.3, np.float32), RATE), "too little for a phrase"),
    ],
)
def test_a_take_without_a_phrase_raises_a_one_line_error(samples: NDArray[np.float32], problem: str) -> None:
    with pytest.raises(HarkenError, match=problem) as caught:
        read_take(samples, source_rate=RATE, name="take.wav")
    assert "take.wav" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_alignment_depends_on_the_order_and_not_on_the_speed() -> None:
    bank = load_bank()
    rng = np.random.default_rng(0)
    phrase = rng.standard_normal((6, 96)).astype(np.float32)
    phrase /= np.linalg.norm(phrase, axis=1, keepdims=True)
    scorer = TemplateScorer(Templates.of([phrase, phrase[2:]], [0, 0]), bank.speech)
    other = rng.standard_normal((8, 96)).astype(np.float32)

    def best(sequence: NDArray[np.float32]) -> NDArray[np.float32]:
        return scorer.scores(np.concatenate([other, 3 * sequence, other]) + bank.speech.mean).max(axis=1)

    right = best(phrase)
    assert best(np.repeat(phrase, 2, axis=0)) == pytest.approx(right, abs=1e-4)  # half as fast
    assert (best(phrase[::-1]) < right - 0.2).all()
    # The shorter template contains only the end of the phrase. The padding at its start does not lower its score.
    assert best(phrase[2:])[1] == pytest.approx(right[1], abs=1e-4)


def test_an_enrolled_phrase_is_recognized_and_another_is_not(model: Path, clips: list[Path]) -> None:
    recognizer = Recognizer(model)
    assert recognizer.labels == ("hey tune", "_unknown_", "_silence_")
    assert recognizer.predict(clips[3]).word == "hey tune"
    assert recognizer.predict(tune(OTHER_TUNE, 1), source_rate=RATE).word is None
    assert recognizer.predict(np.zeros(RATE, np.float32), source_rate=RATE).reason == "silence"


def test_a_listener_detects_the_phrase_once_with_the_model_and_with_the_streaming_file(model: Path) -> None:
    stream = np.concatenate([tune(OTHER_TUNE, 3), tune(TUNE, 11, pause_s=1.0), tune(OTHER_TUNE, 4)])
    phrase_s = tune(OTHER_TUNE, 3).size / RATE + 1.0
    for recognizer in (Recognizer(model), StreamFile(model.with_name("tune.stream.onnx"))):
        listener = Listener(recognizer, source_rate=RATE)
        events = listener.push(stream) + listener.finish()
        assert [event.word for event in events] == ["hey tune"]
        assert phrase_s < events[0].end_s < phrase_s + 2.0


@pytest.mark.parametrize("noise", [0.002, 0.0])  # without noise, the pauses are digital silence
def test_model_and_streaming_file_agree_once_the_window_is_full(model: Path, noise: float) -> None:
    stream_file, recognizer = StreamFile(model.with_name("tune.stream.onnx")), Recognizer(model)
    sound = np.concatenate([tune(TUNE, seed, pause_s=1.5, noise=noise) for seed in (21, 22)])
    state, window = stream_file.start(), recognizer.card.window
    compared = 0
    for start in range(0, sound.size - stream_file.step + 1, stream_file.step):
        probabilities, state = stream_file.advance(sound[None, start : start + stream_file.step], state)
        end = start + stream_file.step
        if end >= window:
            whole = recognizer.model.probabilities(sound[None, end - window : end])
            assert probabilities[0, 0] == pytest.approx(whole[0, 0], abs=1e-3)
            compared += 1
    assert compared > 5


def test_a_phrase_is_added_to_a_model(model: Path, tmp_path: Path) -> None:
    both = tmp_path / "both.onnx"
    takes = [tune(OTHER_TUNE, seed) for seed in range(3)]
    enrolled = enroll("second tune", takes, source_rate=RATE, into=model, out=both)
    assert enrolled.phrases == ("hey tune", "second tune")
    recognizer = Recognizer(both)
    assert recognizer.predict(tune(TUNE, 31), source_rate=RATE).word == "hey tune"
    assert recognizer.predict(tune(OTHER_TUNE, 31), source_rate=RATE).word == "second tune"
    with pytest.raises(HarkenError, match="already contains 'hey tune'"):
        enroll("hey tune", takes, source_rate=RATE, into=both, out=both)


@needs_package
@pytest.mark.parametrize("encoder", ENCODERS)
def test_each_encoder_learns_a_phrase_and_keeps_to_itself(encoder: str, clips: list[Path], tmp_path: Path) -> None:
    path = tmp_path / "tune.onnx"
    enroll("hey tune", clips[:3], out=path, encoder=encoder)
    recognizer = Recognizer(path)
    assert recognizer.card.fields["encoder"] == encoder
    assert recognizer.predict(clips[3]).word == "hey tune"
    assert recognizer.predict(tune("sss", 32), source_rate=RATE).word is None
    others = [tune(OTHER_TUNE, seed) for seed in range(3)]
    enroll("other tune", others, source_rate=RATE, out=tmp_path / "both.onnx", into=path)
    assert Recognizer(tmp_path / "both.onnx").card.fields["encoder"] == encoder
    wrong = next(name for name in ENCODERS if name != encoder)
    with pytest.raises(HarkenError, match=f"uses the encoder {encoder}: leave out --encoder, or enroll into a new"):
        enroll("third", others, source_rate=RATE, out=tmp_path / "third.onnx", into=path, encoder=wrong)
    assert not (tmp_path / "third.onnx").exists()


def test_a_phrase_is_learned_with_talk_behind_it() -> None:
    """Behind other sounds, the templates with talk match better than those of the quiet take, and the logit follows them."""
    embedding, bank = load_embedding(), load_bank()
    takes = [read_take(tune(TUNE, seed), source_rate=RATE) for seed in range(3)]
    assert [
        len(sequences) for sequences in (sequences_of(takes[0], embedding), talk_sequences_of(takes[0], embedding))
    ] == [5, 3]
    phrase = LearnedPhrase(takes, embedding, bank)
    assert phrase.templates.group_of.tolist() == 3 * (5 * [0] + 3 * [1])
    quiet = tune(TUNE, 9)
    talk = np.tile(tune("asi", 5, pause_s=0.0), 3)[: quiet.size]
    level = np.sqrt(np.mean(quiet[round(0.6 * RATE) : -round(0.6 * RATE)] ** 2) / np.mean(talk**2))
    behind_talk = quiet + np.float32(level * 10 ** (-10 / 20)) * talk
    scores = phrase._means(embedding.embed(behind_talk)).mean(axis=0).max(axis=1)
    assert scores[1] > scores[0]
    logits = phrase.logits(embedding.embed(behind_talk))
    slopes, offsets = ([getattr(fit, name) for fit in phrase.calibrations] for name in ("slope", "offset"))
    assert logits.max() == pytest.approx(max(np.array(slopes) * scores + np.array(offsets)), rel=1e-4)


def test_a_take_of_another_phrase_is_named_and_no_file_is_written(clips: list[Path], tmp_path: Path) -> None:
    outlier = tmp_path / "outlier.wav"
    soundfile.write(outlier, tune("sss", 1), RATE)
    with pytest.raises(HarkenError, match=r"outlier\.wav sounds unlike the other takes"):
        enroll("hey tune", [*clips, outlier], out=tmp_path / "out.onnx")
    assert list(tmp_path.iterdir()) == [outlier]


def test_of_several_odd_takes_the_one_that_is_least_like_the_others_is_named(tmp_path: Path) -> None:
    takes = [tune(TUNE, seed) for seed in range(3)] + [tune("sss", 1)]
    paths = [tmp_path / f"take{number}.wav" for number in range(len(takes))]
    for path, take in zip(paths, takes, strict=True):
        soundfile.write(path, take, RATE)
    for order in (paths, paths[::-1]):
        with pytest.raises(HarkenError, match=r"take3\.wav sounds unlike the other takes"):
            enroll("hey tune", order, out=tmp_path / "out.onnx")


def test_fewer_false_alarms_and_background_raise_the_threshold(clips: list[Path], tmp_path: Path) -> None:
    rare = enroll("tune", clips[:2], out=tmp_path / "rare.onnx", false_alarms_per_hour=0.1)
    often = enroll("tune", clips[:2], out=tmp_path / "often.onnx", false_alarms_per_hour=2.0)
    assert rare.threshold > often.threshold
    # The background contains the phrase itself, so the calibration must follow the scores there.
    folder = tmp_path / "background"
    folder.mkdir()
    sound = np.concatenate([tune(TUNE, seed) for seed in range(32)])
    soundfile.write(folder / "radio.wav", np.concatenate([sound, sound]), RATE)
    disturbed = enroll("tune", clips[:2], out=tmp_path / "own.onnx", background=folder)
    assert (rare.recognized, disturbed.recognized) == (1.0, 0.0)
    assert any(
        "2 more of the takes would be missed: if its recordings contain the phrase" in note for note in disturbed.notes
    )
    assert Recognizer(tmp_path / "own.onnx").predict(clips[2]).word is None
    own, often = (
        Recognizer(tmp_path / name).card.fields["enrolled"][0]["calibration"] for name in ("own.onnx", "often.onnx")
    )
    assert all(strict["start"] > usual["start"] for strict, usual in zip(own, often, strict=True))


def test_a_background_has_recordings_and_hidden_files_are_none_of_them(clips: list[Path], tmp_path: Path) -> None:
    folder = tmp_path / "room"
    folder.mkdir()
    with pytest.raises(HarkenError, match="room contains no recordings"):
        enroll("tune", clips[:2], out=tmp_path / "out.onnx", background=folder)
    soundfile.write(folder / "room.wav", 0.01 * np.random.default_rng(0).standard_normal(61 * RATE), RATE)
    (folder / "._room.wav").write_bytes(b"a file of macOS")
    (folder / "parts.wav").mkdir()
    assert enroll("tune", clips[:2], out=tmp_path / "out.onnx", background=folder).recognized == 1.0


def test_a_synthetic_voice_that_says_something_else_is_left_out(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    takes = [read_take(tune(TUNE, seed), source_rate=RATE, name="one voice") for seed in range(4)]
    odd = [read_take(tune("sss", seed), source_rate=RATE, name="one voice") for seed in range(2)]
    monkeypatch.setattr("harken.enrollment.learn.speak_phrase", lambda _: ([*takes, odd[0]], "espeak (5 takes)"))
    monkeypatch.setattr(import_module("harken.synth.voices"), "voices", list)
    enrolled = enroll("hey tune", typed=True, out=tmp_path / "out.onnx")
    assert enrolled.recognized == 1.0
    assert "1 synthetic take that sounds unlike the others was left out" in enrolled.notes
    monkeypatch.setattr("harken.enrollment.learn.speak_phrase", lambda _: ([*takes[:2], *odd], "espeak (4 takes)"))
    with pytest.raises(HarkenError, match="the synthetic voices speak the phrase too differently"):
        enroll("hey tune", typed=True, out=tmp_path / "other.onnx")


def test_synthetic_voices_are_left_out_until_none_is_odd(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    takes = [read_take(tune(TUNE, seed), source_rate=RATE, name="one voice") for seed in range(5)]
    found = iter([[4], [3], []])
    monkeypatch.setattr("harken.enrollment.learn.odd_takes", lambda _: next(found))
    monkeypatch.setattr("harken.enrollment.learn.speak_phrase", lambda _: (takes, "espeak (5 takes)"))
    monkeypatch.setattr(import_module("harken.synth.voices"), "voices", list)
    enrolled = enroll("hey tune", typed=True, out=tmp_path / "out.onnx")
    assert "2 synthetic takes that sound unlike the others were left out" in enrolled.notes


def test_the_streaming_file_has_its_own_hop_and_never_replaces_the_model_that_is_added_to(
    model: Path, clips: list[Path], tmp_path: Path
) -> None:
    tuned = tmp_path / "tuned.onnx"
    fields = Recognizer(model).card.fields
    change_metadata(model, tuned, {"listener": {**fields["listener"], "hop_ms": 160.0}})
    write_enrolled_stream(tuned, tmp_path / "tuned.stream.onnx")
    Listener(StreamFile(tmp_path / "tuned.stream.onnx"), source_rate=RATE)
    with pytest.raises(HarkenError, match="cannot be both the model to add to and the streaming file"):
        enroll("second", clips[:2], into=tuned, out=tmp_path / "both.onnx", stream=tuned)
    assert not (tmp_path / "both.onnx").exists()


def test_a_streaming_file_that_differs_from_its_model_is_not_written(
    model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "tune.stream.onnx"
    report = write_enrolled_stream(model, out)
    assert out.read_bytes() == model.with_name("tune.stream.onnx").read_bytes()
    assert 0 < report.largest_difference < 1e-5
    beside = json.loads(out.with_name("tune.stream.onnx.json").read_text())
    assert (beside["path"], beside["largest_difference"]) == (out.name, report.largest_difference)
    other = tmp_path / "other.onnx"
    enroll("hey tune", [tune(OTHER_TUNE, seed) for seed in range(3)], source_rate=RATE, out=other)
    content = export_stream.streaming_content(export_stream.read_enrolled(other))
    monkeypatch.setattr(export_stream, "streaming_content", lambda _: content)
    with pytest.raises(
        HarkenError, match=r"new\.onnx was not written: its probabilities differ from those of .*tune\.o"
    ):
        write_enrolled_stream(model, tmp_path / "new.onnx")
    assert not list(tmp_path.glob("new*"))


def test_an_8_bit_export_is_named_as_such(model: Path, clips: list[Path], tmp_path: Path) -> None:
    window = Recognizer(model).card.window
    sounds = np.stack([np.pad(tune(TUNE, seed), (0, window))[:window] for seed in range(4)])
    write_onnx_int8(model, tmp_path / "small.onnx", sounds, calibration=sounds)
    with pytest.raises(HarkenError, match=r"small\.onnx is an 8-bit export: give the model it was made from"):
        write_enrolled_stream(tmp_path / "small.onnx", tmp_path / "out.onnx")
    with pytest.raises(HarkenError, match=r"small\.onnx is an 8-bit export: give the model it was made from"):
        enroll("other tune", clips[:2], into=tmp_path / "small.onnx", out=tmp_path / "out.onnx")


def test_the_graph_is_valid_onnx_with_metadata(model: Path) -> None:
    onnx = pytest.importorskip("onnx")
    for path in (model, model.with_name("tune.stream.onnx")):
        loaded = onnx.load(str(path))
        onnx.checker.check_model(loaded, full_check=True)
        entries = {entry.key: json.loads(entry.value) for entry in loaded.metadata_props}
        assert entries["labels"] == ["hey tune", "_unknown_", "_silence_"]
        assert entries["enrolled"][0]["takes"] == 3


def test_a_template_of_one_step_works() -> None:
    templates = Templates.of([np.eye(1, 96, dtype=np.float32)] * KINDS, range(KINDS))
    embedding, speech = load_embedding(), load_bank().speech
    for content in (
        enrolled_model(embedding, speech, templates, [[Calibration(0.1, 0.1, 5.0)] * KINDS], {}),
        enrolled_stream(embedding, speech, templates, [[Calibration(0.1, 0.1, 5.0)] * KINDS], {}, 3),
    ):
        onnxruntime.InferenceSession(content, providers=["CPUExecutionProvider"])


@pytest.mark.parametrize("start", [-1.5, -20.0])
def test_a_similar_phrase_does_not_lower_the_probability_of_the_best_one(start: float) -> None:
    embedding, speech = load_embedding(), load_bank().speech
    step = np.eye(1, 96, dtype=np.float32)
    # With the second calibration, the logit of the same template is one lower.
    calibrations = [[Calibration(least, 1.0, 60.0)] * KINDS for least in (start, start + 1.0)]
    sound = tune(TUNE, 1)
    found = []
    for count in (1, 2):
        templates = Templates.of([step] * KINDS * count, range(KINDS * count))
        content = enrolled_model(embedding, speech, templates, calibrations[:count], {})
        session = onnxruntime.InferenceSession(content, providers=["CPUExecutionProvider"])
        (probabilities,) = session.run(None, {"waveform": sound[None, : samples_of(templates.steps)]})
        found.append(probabilities[0])
    alone, together = found
    assert together[0] > 0.98 * alone[0]
    assert together[1] / together[0] == pytest.approx(np.exp(-4), rel=0.01)


def test_a_model_with_another_version_of_the_embedding_is_refused(tmp_path: Path) -> None:
    takes, model, out = [tune(TUNE, seed) for seed in range(3)], tmp_path / "model.onnx", tmp_path / "out.onnx"
    enroll("tune", takes, source_rate=RATE, out=model)
    content = onnx.load(model)
    bias = next(constant for constant in content.graph.initializer if constant.name == "bias_3")
    bias.CopyFrom(onnx.numpy_helper.from_array(onnx.numpy_helper.to_array(bias) + np.float32(0.01), "bias_3"))
    onnx.save(content, model)
    with pytest.raises(HarkenError, match="speech embedding of another version"):
        enroll("other tune", takes, source_rate=RATE, into=model, out=out)
    with pytest.raises(HarkenError, match="speech embedding of another version"):
        write_enrolled_stream(model, out)
    assert not out.exists()


@pytest.mark.parametrize(
    "phrase", ["", " hey", "?!", "_unknown_", "a\nb", "a\u202eb", "a\u2028b", "word " * 20 + "word", None]
)
def test_a_phrase_that_cannot_be_a_label_is_refused(phrase: str, tmp_path: Path) -> None:
    with pytest.raises(HarkenError, match="phrase"):
        enroll(phrase, [tune(TUNE, 0)], source_rate=RATE, out=tmp_path / "out.onnx")


def test_one_spelling_of_a_phrase_is_one_label(clips: list[Path], tmp_path: Path) -> None:
    out = tmp_path / "tune.onnx"
    assert enroll("cafe\u0301  crème", clips[:2], out=out).phrases == ("café crème",)
    with pytest.raises(HarkenError, match="already contains 'café crème'"):
        enroll("Café Crème", clips[:2], out=out, into=out)


@pytest.mark.parametrize(
    "clips", ["take.wav", Path("take.wav"), np.zeros(RATE, np.float32)], ids=["text", "path", "array"]
)
def test_a_single_recording_in_place_of_a_list_is_refused(clips: str | Path, tmp_path: Path) -> None:
    with pytest.raises(HarkenError, match="clips is a single recording: pass a list of recordings"):
        enroll("tune", clips, out=tmp_path / "out.onnx")  # type: ignore[arg-type]


def test_a_recording_is_never_overwritten_and_counts_once(clips: list[Path], tmp_path: Path) -> None:
    copy = tmp_path / "copy.wav"
    copy.write_bytes(clips[0].read_bytes())
    model = tmp_path / "model"
    model.write_bytes(clips[1].read_bytes())
    for out in (copy, tmp_path / "forgotten.wav", model):
        with pytest.raises(HarkenError, match="is the name of a recording: name a model file"):
            enroll("tune", [copy, model], out=out)
    assert copy.read_bytes() == clips[0].read_bytes()
    with pytest.raises(HarkenError, match="cannot be both the model file and the streaming file"):
        enroll("tune", clips[:2], out=tmp_path / "tune.onnx", stream=tmp_path / "tune.onnx")
    with pytest.raises(HarkenError, match=r"take0\.wav and .*copy\.wav are the same recording"):
        enroll("tune", [clips[0], copy], out=tmp_path / "tune.onnx")
    with pytest.raises(HarkenError, match="clip 1 and clip 3 are the same recording"):
        enroll("tune", [tune(TUNE, seed) for seed in (0, 1, 0)], source_rate=RATE, out=tmp_path / "tune.onnx")


def test_only_models_of_enrolled_phrases_take_another_phrase(model: Path, clips: list[Path], tmp_path: Path) -> None:
    cut = tmp_path / "cut.onnx"
    cut.write_bytes(model.read_bytes()[:1000])
    for into, problem in (
        (model.with_name("tune.stream.onnx"), "is a streaming file"),
        (clips[0], "is not a complete ONNX model: give a model that `harken enroll` wrote"),
        (cut, r"cut\.onnx is not a complete ONNX model"),
        (tmp_path / "missing.onnx", r"missing\.onnx cannot be read"),
        (Path("base"), "base is a bundled model of words: give a model that `harken enroll` wrote"),
    ):
        with pytest.raises(HarkenError, match=problem):
            enroll("other", clips[:2], out=tmp_path / "out.onnx", into=into)


@pytest.mark.parametrize(
    ("entry", "value"),
    [
        ("enrolled", "x"),
        ("enrolled", 5),
        ("enrolled", []),
        ("enrolled", [{"phrase": 1}]),
        ("enrolled", [{"phrase": "hey tune", "calibration": []}]),
        ("enrolled", [{"phrase": "hey tune", "calibration": 2 * [{"start": 0.1, "scale": 0, "per_hour": 1}]}]),
        ("listener", 5),
        ("listener", {"thresholds": ["x"]}),
        ("thresholds", "x"),
        ("thresholds", {"hey tune": "x"}),
    ],
)
def test_a_phrase_is_not_added_to_a_model_with_odd_metadata(
    entry: str, value: object, model: Path, clips: list[Path], tmp_path: Path
) -> None:
    odd = tmp_path / "odd.onnx"
    change_metadata(model, odd, {entry: value})
    with pytest.raises(HarkenError, match=r"odd\.onnx was not written by this version's `harken enroll`"):
        enroll("other", clips[:2], out=tmp_path / "out.onnx", into=odd)


def test_a_phrase_that_is_added_leaves_tuned_settings_as_they_are(
    model: Path, clips: list[Path], tmp_path: Path
) -> None:
    tuned = tmp_path / "tuned.onnx"
    listener = {**Recognizer(model).card.fields["listener"], "thresholds": {"hey tune": 0.7}, "smoothing_ms": 100.0}
    change_metadata(
        model, tuned, {"listener": listener, "sensitivity": {"stream": [0.0] * 11}, "tuned_on": ["an evening"]}
    )
    added = enroll("other", [tune(OTHER_TUNE, seed) for seed in range(2)], source_rate=RATE, out=tuned, into=tuned)
    assert any("was tuned for its phrases" in note for note in added.notes)
    settings = ListenerSettings.from_card(Recognizer(tuned).card)
    assert settings.thresholds == {"hey tune": 0.7, "other": added.threshold}
    assert settings.smoothing_ms == 100.0
    assert Recognizer(tuned).card.fields["tuned_on"] == ["an evening"]


def test_no_takes_and_impossible_rates_are_refused(tmp_path: Path) -> None:
    with pytest.raises(HarkenError, match="nothing to learn"):
        enroll("tune", out=tmp_path / "out.onnx")
    for rate in (0.0, -1.0, 1e-7, 60.0, float("nan"), "0.5"):
        with pytest.raises(HarkenError, match="false alarms per hour"):
            enroll("tune", [tune(TUNE, 0)], source_rate=RATE, out=tmp_path / "out.onnx", false_alarms_per_hour=rate)
