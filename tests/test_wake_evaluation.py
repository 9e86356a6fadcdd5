"""The evaluation of commands that count only after a wake phrase. The words are tones."""

import json
from dataclasses import replace

import numpy as np
import pytest
import soundfile

from conftest import MakeModel, Run
from harken.audio.clip import load_clip
from harken.corpus.table import Clip
from harken.errors import HarkenError
from harken.evaluation.stream.audio import BackgroundSection, StreamAudio, Utterance, spoken_part
from harken.evaluation.stream.evaluate import evaluate_run
from harken.evaluation.stream.listener_run import run_listener
from harken.evaluation.stream.report import write_stream_report
from harken.evaluation.stream.wake import evaluate_wake
from harken.runtime.listener import Listener
from harken.runtime.wake_listener import WakeListener
from tones import RATE, WAKE_TONES, ToneRecognizer, quiet, tone


def noise(seconds, level=0.01, seed=0):
    return (level * np.random.default_rng(seed).standard_normal(round(seconds * RATE))).astype(np.float32)


def write(path, *parts):
    path.parent.mkdir(parents=True, exist_ok=True)
    soundfile.write(path, np.concatenate(parts), RATE)
    return path


@pytest.fixture
def clips(tmp_path):
    made = []
    for number, word in enumerate(("low", "high", "low", "high")):
        path = write(tmp_path / "words" / word / f"a_nohash_{number}.wav", quiet(0.1), tone(word), quiet(0.1))
        made.append(Clip(path, word, "a"))
    return made


@pytest.fixture
def phrases(tmp_path):
    """Return two recordings of the wake phrase, of different levels."""
    quieter = tone("bell", 0.4, amplitude=0.2)
    return [
        write(tmp_path / "phrases" / "1.wav", quiet(0.5), tone("bell", 0.4), quiet(0.3)),
        write(tmp_path / "phrases" / "2.wav", quiet(0.2), quieter, quiet(0.6)),
    ]


@pytest.fixture
def talk(tmp_path):
    """Return three recordings: a command alone, the phrase alone, and a command 2 s and 7 s after the phrase."""
    word, phrase = tone("low"), tone("bell", 0.4)
    return [
        write(tmp_path / "talk" / "command.wav", noise(5), word, noise(15, seed=1)),
        write(tmp_path / "talk" / "phrase.wav", noise(5), phrase, noise(15, seed=2)),
        write(
            tmp_path / "talk" / "both.wav", noise(5), phrase, noise(2), tone("high"), noise(5), word, noise(9, seed=3)
        ),
    ]


def evaluated(clips, talk, *, command_s=5.0, wake=None, phrases=(), **settings):
    audio = StreamAudio(clips, {"talk": talk}, RATE, snrs_db=(20.0,), wake_clips=phrases)
    listener_run = run_listener(ToneRecognizer(), audio, wake=wake or ToneRecognizer(tones=WAKE_TONES), **settings)
    return evaluate_wake(evaluate_run(listener_run), command_s), audio


def test_the_pair_has_fewer_false_alarms_than_each_model(clips, talk):
    evaluation, _ = evaluated(clips, talk)
    assert evaluation.commands.outcome.false_alarms == 3
    assert len(evaluation.alarms_of_wake) == 2
    assert evaluation.false_alarms == 1
    figures = json.loads(json.dumps(evaluation.to_json(), allow_nan=False))
    assert figures["words"] == ["bell"]
    assert figures["command_s"] == 5.0
    assert figures["pair"]["false_alarms_per_hour"] == pytest.approx(1 / evaluation.hours)
    assert figures["false_alarms_per_hour"] == pytest.approx(2 / evaluation.hours)
    # Twice 5 s and the window of 0.5 s, of a minute and the second after each recording
    assert figures["share_of_background"] == pytest.approx(11 / (3600 * evaluation.hours + 3), abs=0.01)
    assert "miss_rate" not in figures
    longer, _ = evaluated(clips, talk, command_s=9.0)
    assert longer.false_alarms == 2


@pytest.mark.parametrize("refractory_ms", [0.0, 2_000.0])
@pytest.mark.parametrize("wake_rate", [RATE, 2 * RATE])
def test_the_replayed_events_are_those_of_a_wake_listener(clips, talk, phrases, refractory_ms, wake_rate):
    wake = ToneRecognizer(tones={"bell": WAKE_TONES["bell"], "high": 1_500.0}, rate=wake_rate)
    settings = {"refractory_ms": refractory_ms, "thresholds": {"low": 0.4, "high": 0.4}, "isolation": 6.0}
    for command_s in (0.7, 2.0):
        evaluation, audio = evaluated(clips, talk, command_s=command_s, wake=wake, phrases=phrases, **settings)
        listener = WakeListener(
            Listener(wake, source_rate=RATE),
            Listener(ToneRecognizer(), source_rate=RATE, **settings),
            command_s=command_s,
        )
        events = [event for _, pieces in audio.sections() for piece in pieces for event in listener.push(piece)]
        expected = [round(event.end_s, 6) for event in events if event.kind == "command"]
        hops = evaluation.replay(evaluation.wake.events).hops
        assert [round((hop + 1) * evaluation.commands.listener_run.hop_s, 6) for hop in hops] == expected
        assert expected


def test_phrases_are_placed_before_the_words_and_as_loud(clips, talk, phrases):
    audio = StreamAudio(clips, {"talk": talk}, RATE, snrs_db=(40.0,), wake_clips=phrases)
    pauses = []
    for section, pieces in audio.sections():
        samples = np.concatenate(list(pieces))
        if isinstance(section, BackgroundSection):
            continue
        start, end = (round(time * RATE) for time in (section.phrase_start_s, section.phrase_end_s))
        first, last = spoken_part(load_clip(phrases[0], RATE), RATE)
        assert end - start == last - first
        level = np.sqrt(np.mean(samples[start:end] ** 2))
        word = samples[round(section.start_s * RATE) : round(section.end_s * RATE)]
        assert level == pytest.approx(np.sqrt(np.mean(word**2)), rel=0.03)
        pauses.append(section.start_s - section.phrase_end_s)
        assert section.phrase_start_s >= 1.2
    assert len(pauses) == 4
    assert all(0.5 <= pause <= 1.5 for pause in pauses)
    assert len(set(pauses)) == 4


def test_words_after_a_phrase_are_counted(clips, talk, phrases):
    evaluation, _ = evaluated(clips, talk, phrases=phrases)
    assert evaluation.phrase_found.tolist() == evaluation.word_found.tolist() == [True] * 4
    figures = evaluation.to_json()
    assert (figures["miss_rate"], figures["pair"]["miss_rate"], figures["pair"]["placed"]) == (0, 0, 4)
    assert figures["pair"]["after_detected_phrase"]["missed"] == 0
    deaf = ToneRecognizer({"bell": 1.0}, tones=WAKE_TONES)
    evaluation, _ = evaluated(clips, talk, phrases=phrases, wake=deaf)
    assert evaluation.phrase_found.tolist() == evaluation.word_found.tolist() == [False] * 4
    assert "after_detected_phrase" not in evaluation.to_json()["pair"]
    assert evaluation.commands.outcome.missed == 1  # where the phrase counts as sound before the word


def test_a_placed_phrase_does_not_make_commands_count_in_background(clips, talk, phrases):
    # With so long a time, commands count nearly everywhere after the first placed phrase.
    evaluation, _ = evaluated(clips, [talk[0]], command_s=3600, phrases=phrases)
    assert evaluation.commands.outcome.false_alarms == 1
    assert (len(evaluation.alarms_of_wake), evaluation.false_alarms, evaluation.share_of_background) == (0, 0, 0)
    assert evaluation.replay(evaluation.wake.events).counting.mean() > 0.5


def test_a_stream_without_phrases_is_as_it_was(clips, talk):
    plain, again = (StreamAudio(clips, {"talk": talk}, RATE, seed=3, wake_clips=()) for _ in range(2))
    for (section, pieces), (other, other_pieces) in zip(plain.sections(), again.sections(), strict=True):
        assert section == other
        np.testing.assert_array_equal(np.concatenate(list(pieces)), np.concatenate(list(other_pieces)))
        if isinstance(section, Utterance):
            assert section.phrase_start_s is None


def test_times_of_a_section_are_moved_together():
    placed = Utterance("low", "a", "talk", None, 2.0, 2.5, 0.5, 1.0)
    assert placed.moved(10) == replace(placed, start_s=12.0, end_s=12.5, phrase_start_s=10.5, phrase_end_s=11.0)
    assert Utterance("low", "a", "talk", None, 2.0, 2.5).moved(1).phrase_start_s is None


def test_a_run_without_a_wake_model_is_refused(clips, talk):
    listener_run = run_listener(ToneRecognizer(), StreamAudio(clips, {"talk": talk}, RATE))
    with pytest.raises(HarkenError, match="without a wake model"):
        evaluate_wake(evaluate_run(listener_run), 5.0)


def test_a_silent_recording_of_the_phrase_is_refused(clips, talk, tmp_path):
    silent = write(tmp_path / "silent.wav", quiet(1))
    audio = StreamAudio(clips, {"talk": talk}, RATE, wake_clips=[silent])
    with pytest.raises(HarkenError, match=r"silent\.wav is digital silence: remove it from --wake-clips"):
        run_listener(ToneRecognizer(), audio)


def test_the_report_shows_all_three(clips, talk, phrases, tmp_path):
    evaluation, _ = evaluated(clips, talk, phrases=phrases)
    page = tmp_path / "stream.html"
    write_stream_report(evaluation.commands, page, title="tones", sample_rate=RATE, wake=evaluation)
    text = page.read_text(encoding="utf-8")
    for part in ("With a wake phrase", "commands alone", "bell alone", "commands within 5 s after it", "Missed"):
        assert part in text


@pytest.fixture
def stream(tmp_path, make_model: MakeModel):
    """Return the arguments of `evaluate-stream` for two model files that detect bursts."""
    samples = np.zeros(8 * RATE, np.float32)
    samples[3 * RATE : 3 * RATE + 2000] = 0.9
    write(tmp_path / "talk" / "a.wav", samples + noise(8, 0.002))
    for number in range(2):
        write(
            tmp_path / "words" / "yes" / f"{number}.wav",
            quiet(0.1 + 0.01 * number),
            0.9 * np.ones(2000, np.float32),
            quiet(0.2),
        )
    listener = {"smoothing_ms": 100.0, "isolation": 0.0, "refractory_ms": 2000.0}
    model = make_model(tmp_path / "commands.onnx", listener=listener)
    wake = make_model(tmp_path / "wake.onnx", labels=["hey robot", "hi", "_unknown_", "_silence_"], listener=listener)
    return [
        model,
        "--keywords",
        tmp_path / "words",
        "--split",
        "all",
        "--background",
        tmp_path / "talk",
        "--wake",
        wake,
    ]


def test_the_command_reports_the_pair(run: Run, stream, tmp_path):
    figures = tmp_path / "figures.json"
    options = ["--for", "4", "--wake-clips", tmp_path / "words", "--json", figures, "--report", tmp_path / "page.html"]
    code, out, err = run("evaluate-stream", *stream, *options)
    assert (code, err) == (0, "")
    found = json.loads(figures.read_text())["wake"]
    assert found["command_s"] == 4
    assert found["words"] == ["hey robot", "hi"]
    assert found["pair"]["false_alarms"] <= found["false_alarms"]
    assert "hey robot or hi alone: false alarms per hour" in out
    assert "commands within 4 s after it: false alarms per hour" in out
    assert "of 2 wake phrases, " in out
    assert "With a wake phrase" in (tmp_path / "page.html").read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--for", "0"], "--for 0: give a number of seconds above 0"),
        (["--wake-clips", "nowhere"], "nowhere does not exist"),
        (["--wake", "commands.onnx"], "commands.onnx"),
    ],
)
def test_impossible_options_give_one_line(run: Run, stream, options, message):
    code, out, err = run("evaluate-stream", *stream, *options)
    assert (code, out) == (2, "")
    assert message in err
    assert err.count("\n") == 1


@pytest.mark.parametrize("options", [["--for", "3"], ["--wake-clips", "words"]])
def test_options_of_the_wake_phrase_need_one(run: Run, stream, options):
    code, out, err = run("evaluate-stream", *stream[:-2], *options)
    assert (code, out) == (2, "")
    assert "has an effect only with --wake" in err
