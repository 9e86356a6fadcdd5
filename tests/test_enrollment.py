"""Enrolling phrases of one's own, on phrases of a simple talking machine: vowels by their formants, and hisses."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
import soundfile
from numpy.typing import NDArray

from harken import HarkenError, Listener, Recognizer, StreamFile, enroll
from harken.enrollment.bank import fit_tail, load_bank, peaks_of
from harken.enrollment.embedding import load_embedding, samples_of
from harken.enrollment.graph import (
    REFERENCE_PER_HOUR,
    Calibration,
    Templates,
    TemplateScorer,
    enrolled_model,
    enrolled_stream,
    threshold_for,
)
from harken.enrollment.takes import find_phrase, read_take

RATE = 16_000
# Formants in Hz; a hiss has none.
VOWELS = {"a": (730, 1090, 2440), "i": (270, 2290, 3010), "u": (300, 870, 2240), "e": (530, 1840, 2480), "s": ()}
TUNE = "isa"
OTHER_TUNE = "uesu"
SOUND_S = 0.25


def _have_embedding() -> bool:
    try:
        load_embedding()
    except HarkenError:
        return False
    return True


needs_embedding = pytest.mark.skipif(not _have_embedding(), reason="the extra `own` is not installed")


def tune(sounds: str, seed: int, *, pause_s: float = 0.6, noise: float = 0.002) -> NDArray[np.float32]:
    """Return sounds between two pauses, each seed a little other in pitch, pace, formants and noise."""
    rng = np.random.default_rng(seed)
    pitch, tract = 120 * rng.uniform(0.9, 1.1), rng.uniform(0.97, 1.03)
    parts = [np.zeros(round(pause_s * RATE))]
    for sound in sounds:
        time = np.arange(round(SOUND_S * rng.uniform(0.9, 1.1) * RATE)) / RATE
        made = 0.05 * rng.standard_normal(time.size)
        if formants := VOWELS[sound]:
            harmonics = pitch * np.arange(1, 30)
            strength = sum(np.exp(-(((harmonics - tract * place) / 120) ** 2)) for place in formants) + 0.01
            made = 0.15 * (np.sin(2 * np.pi * harmonics[:, None] * time) * strength[:, None]).sum(axis=0)
        parts.append(made * np.minimum(1, 30 * np.minimum(time, time[::-1])))
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
    if not _have_embedding():
        pytest.skip("the extra `own` is not installed")
    path = tmp_path_factory.mktemp("enrolled") / "tune.onnx"
    enroll("hey tune", clips[:3], out=path, stream=path.with_name("tune.stream.onnx"))
    return path


def test_the_law_of_the_tail_is_found_again_in_scores_that_follow_it() -> None:
    rng = np.random.default_rng(0)
    peaks = np.sort(rng.exponential(0.05, 2000))[::-1].astype(np.float32)
    law = fit_tail(peaks, hours=10.0)
    assert law.scale == pytest.approx(0.05, rel=0.4)
    # By that law there are 40 alarms in ten hours at its start, and a tenth of them 2.3 scales higher.
    assert law.per_hour == pytest.approx(4.0)
    logit = law.slope * law.start + law.offset
    assert 1 / (1 + np.exp(-logit)) == pytest.approx(threshold_for(4.0), rel=1e-6)


def test_a_threshold_is_the_rate_of_alarms_against_the_reference() -> None:
    assert threshold_for(REFERENCE_PER_HOUR) == 0.5
    assert threshold_for(0.5) == pytest.approx(120 / 121)


def test_peaks_within_two_seconds_are_one() -> None:
    scores = np.zeros(200, np.float32)
    scores[[24, 26, 110]] = 1.0, 2.0, 3.0
    assert peaks_of(scores)[:3].tolist() == [3.0, 2.0, 0.0]


def test_a_phrase_is_found_between_its_pauses_in_quiet_and_in_noise() -> None:
    for noise in (0.0005, 0.01):
        start, end = find_phrase(tune(TUNE, 1, noise=noise), "take")
        assert start / RATE == pytest.approx(0.6, abs=0.06)
        assert (end - start) / RATE == pytest.approx(0.75, abs=0.12)


@pytest.mark.parametrize(
    ("samples", "fault"),
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
def test_a_take_without_a_phrase_gets_one_clear_line(samples: NDArray[np.float32], fault: str) -> None:
    with pytest.raises(HarkenError, match=fault) as caught:
        read_take(samples, source_rate=RATE, name="take.wav")
    assert "take.wav" in str(caught.value)
    assert "\n" not in str(caught.value)


@needs_embedding
def test_one_long_run_of_the_embedding_equals_runs_over_its_windows() -> None:
    sound = tune(TUNE, 5)
    whole = load_embedding().embed(sound)
    third = load_embedding().embed(sound[2 * 1280 : 2 * 1280 + samples_of(1)])
    assert np.abs(whole[2] - third[0]).max() < 1e-3


def test_alignment_keeps_the_order_and_forgives_the_pace() -> None:
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
    # The end of the phrase is all that the shorter template wants: it is filled up at its start without a cost.
    assert best(phrase[2:])[1] == pytest.approx(right[1], abs=1e-4)


@needs_embedding
def test_an_enrolled_phrase_is_recognized_and_another_is_not(model: Path, clips: list[Path]) -> None:
    recognizer = Recognizer(model)
    assert recognizer.labels == ("hey tune", "_unknown_", "_silence_")
    assert recognizer.predict(clips[3]).word == "hey tune"
    assert recognizer.predict(tune(OTHER_TUNE, 1), source_rate=RATE).word is None
    assert recognizer.predict(np.zeros(RATE, np.float32), source_rate=RATE).reason == "silence"


@needs_embedding
def test_a_listener_detects_it_once_and_the_streaming_form_agrees(model: Path) -> None:
    stream = np.concatenate([tune(OTHER_TUNE, 3), tune(TUNE, 11, pause_s=1.0), tune(OTHER_TUNE, 4)])
    spoken = tune(OTHER_TUNE, 3).size / RATE + 1.0
    for recognizer in (Recognizer(model), StreamFile(model.with_name("tune.stream.onnx"))):
        listener = Listener(recognizer, source_rate=RATE)
        events = listener.push(stream) + listener.finish()
        assert [event.word for event in events] == ["hey tune"]
        assert spoken < events[0].end_s < spoken + 2.0


@needs_embedding
def test_window_and_stream_give_the_same_probabilities_once_the_window_is_full(model: Path) -> None:
    form, recognizer = StreamFile(model.with_name("tune.stream.onnx")), Recognizer(model)
    sound = np.concatenate([tune(TUNE, 21, pause_s=1.5), tune(TUNE, 22, pause_s=1.5)])
    state, window = form.start(), recognizer.card.window
    seen = 0
    for start in range(0, sound.size - form.step + 1, form.step):
        probabilities, state = form.advance(sound[None, start : start + form.step], state)
        end = start + form.step
        if end >= window:
            whole = recognizer.model.probabilities(sound[None, end - window : end])
            assert probabilities[0, 0] == pytest.approx(whole[0, 0], abs=1e-3)
            seen += 1
    assert seen > 5


@needs_embedding
def test_a_second_phrase_goes_into_the_model_and_the_first_stays(model: Path, tmp_path: Path) -> None:
    both = tmp_path / "both.onnx"
    takes = [tune(OTHER_TUNE, seed) for seed in range(3)]
    enrolled = enroll("second tune", takes, source_rate=RATE, into=model, out=both)
    assert enrolled.phrases == ("hey tune", "second tune")
    recognizer = Recognizer(both)
    assert recognizer.predict(tune(TUNE, 31), source_rate=RATE).word == "hey tune"
    assert recognizer.predict(tune(OTHER_TUNE, 31), source_rate=RATE).word == "second tune"
    with pytest.raises(HarkenError, match="holds 'hey tune' already"):
        enroll("hey tune", takes, source_rate=RATE, into=both, out=both)


@needs_embedding
def test_takes_of_two_phrases_are_refused_by_name_and_no_file_is_left(clips: list[Path], tmp_path: Path) -> None:
    strange = tmp_path / "strange.wav"
    soundfile.write(strange, tune("sss", 1), RATE)
    with pytest.raises(HarkenError, match=r"strange\.wav sounds unlike the other takes"):
        enroll("hey tune", [*clips, strange], out=tmp_path / "out.onnx")
    assert list(tmp_path.iterdir()) == [strange]


@needs_embedding
def test_fewer_false_alarms_are_a_higher_threshold_and_background_can_only_raise_it(
    clips: list[Path], tmp_path: Path
) -> None:
    rare = enroll("tune", clips[:2], out=tmp_path / "rare.onnx", false_alarms_per_hour=0.1)
    often = enroll("tune", clips[:2], out=tmp_path / "often.onnx", false_alarms_per_hour=2.0)
    assert rare.threshold > often.threshold
    # A background full of the phrase itself: the phrase's law must follow its scores there.
    folder = tmp_path / "background"
    folder.mkdir()
    sound = np.concatenate([tune(TUNE, seed) for seed in range(32)])
    soundfile.write(folder / "radio.wav", np.concatenate([sound, sound]), RATE)
    enroll("tune", clips[:2], out=tmp_path / "own.onnx", background=folder)
    laws = [
        Calibration(**Recognizer(tmp_path / name).card.fields["enrolled"][0]["calibration"])
        for name in ("own.onnx", "often.onnx")
    ]
    assert laws[0].start > laws[1].start


@needs_embedding
def test_the_graph_is_valid_onnx_and_holds_its_metadata(model: Path) -> None:
    onnx = pytest.importorskip("onnx")
    for path in (model, model.with_name("tune.stream.onnx")):
        loaded = onnx.load(str(path))
        onnx.checker.check_model(loaded, full_check=True)
        entries = {entry.key: json.loads(entry.value) for entry in loaded.metadata_props}
        assert entries["labels"] == ["hey tune", "_unknown_", "_silence_"]
        assert entries["enrolled"][0]["takes"] == 3


@needs_embedding
def test_a_template_of_one_step_still_makes_a_graph() -> None:
    templates = Templates.of([np.eye(1, 96, dtype=np.float32)], [0])
    embedding, speech = load_embedding(), load_bank().speech
    for content in (
        enrolled_model(embedding, speech, templates, [Calibration(0.1, 0.1, 5.0)], {}),
        enrolled_stream(embedding, speech, templates, [Calibration(0.1, 0.1, 5.0)], {}, 3),
    ):
        onnxruntime.InferenceSession(content, providers=["CPUExecutionProvider"])


@pytest.mark.parametrize("phrase", ["", " hey", "?!", "_unknown_", "a\nb", "word " * 20 + "word"])
def test_a_phrase_that_cannot_be_a_label_is_refused(phrase: str, tmp_path: Path) -> None:
    with pytest.raises(HarkenError, match="phrase"):
        enroll(phrase, [tune(TUNE, 0)], source_rate=RATE, out=tmp_path / "out.onnx")


def test_nothing_to_learn_from_and_impossible_rates_are_refused(tmp_path: Path) -> None:
    with pytest.raises(HarkenError, match="nothing to learn"):
        enroll("tune", out=tmp_path / "out.onnx")
    for rate in (0.0, -1.0, 60.0, float("nan")):
        with pytest.raises(HarkenError, match="false alarms an hour"):
            enroll("tune", [tune(TUNE, 0)], source_rate=RATE, out=tmp_path / "out.onnx", false_alarms_per_hour=rate)


@needs_embedding
def test_the_command_writes_a_model_and_says_what_to_expect(clips: list[Path], tmp_path: Path) -> None:
    out = tmp_path / "tune.onnx"
    run = subprocess.run(
        [sys.executable, "-m", "harken", "enroll", "hey tune", *map(str, clips), "--out", str(out)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert run.returncode == 0, run.stderr
    assert "false alarms in 1.2 hours of other people's talk" in run.stdout
    assert "100 % of the takes would be recognized" in run.stdout
    assert run.stdout.strip().endswith(str(out))
    refused = subprocess.run(
        [sys.executable, "-m", "harken", "enroll", "hey tune", "missing.wav", "--out", str(out)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert refused.returncode == 2
    assert refused.stderr.startswith("harken: missing.wav does not exist")
