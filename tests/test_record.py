"""Recording a corpus in the terminal."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile

from harken.audio import sources
from harken.audio.record import TAKE_S, RecordingState, record_corpus
from harken.audio.sources import Source
from harken.audio.take import check_take
from harken.cli.main import main
from harken.corpus.table import read_corpus
from harken.errors import HarkenError

RATE = 16_000


def utterance(peak: float = 0.4, seconds: float = 0.4, start: float = 0.5, seed: int = 0) -> Any:
    time = np.arange(round(TAKE_S * RATE)) / RATE
    envelope = np.where((time >= start) & (time < start + seconds), np.sin(np.pi * (time - start) / seconds), 0)
    noise = np.random.default_rng(seed).normal(0, 1e-4, time.size)
    return (peak * envelope * np.sin(2 * np.pi * 300 * time) + noise).astype(np.float32)


class Speaker:
    """A simulated speaker who answers each prompt: first with the `bad_takes`, then with good utterances."""

    def __init__(self, *bad_takes: Any) -> None:
        self.bad_takes = list(bad_takes)
        self.prompts: list[str] = []
        self.previous_word = ""

    def show(self, state: RecordingState) -> None:
        if state.word and not self.previous_word:
            self.prompts.append(state.word)
        self.previous_word = state.word

    def source(self, answers: int = 100) -> Source:
        def chunks() -> Iterator[Any]:
            for answer in range(answers):
                yield np.zeros((round(0.4 * RATE), 1), np.float32)
                take = self.bad_takes.pop(0) if self.bad_takes else utterance(seed=answer)
                yield from np.split(take[:, None], 20)

        return Source("microphone", RATE, chunks())


def record(
    folder: Path, speaker: Speaker, words: tuple[str, ...] = ("lights", "music"), takes: int = 2, **options: Any
) -> int:
    return record_corpus(speaker.source(**options), folder, words, takes=takes, speaker="ann", show=speaker.show)


def test_words_are_recorded_in_turn_and_make_a_corpus(tmp_path: Path) -> None:
    speaker = Speaker()
    assert record(tmp_path, speaker) == 4
    assert speaker.prompts == ["lights", "music", "lights", "music"]
    corpus = read_corpus([tmp_path])
    assert [(clip.word, clip.speaker) for clip in corpus.clips] == [
        (w, "ann") for w in ("lights", "lights", "music", "music")
    ]
    samples, rate = soundfile.read(corpus.clips[0].path)
    assert (rate, samples.size) == (RATE, RATE)
    loud = np.flatnonzero(np.abs(samples) > 0.1)
    assert abs((loud[0] + loud[-1]) / 2 - RATE / 2) < 0.02 * RATE


def test_a_phrase_has_longer_takes(tmp_path: Path) -> None:
    long = utterance(seconds=1.2, start=0.4)
    speaker = Speaker(np.pad(long, (0, RATE)), np.pad(long, (0, RATE)))
    assert record(tmp_path, speaker, words=("good night",), takes=1) == 1
    assert speaker.prompts == ["good night"]
    samples, rate = soundfile.read(next(tmp_path.rglob("*.wav")))
    assert (rate, samples.size) == (RATE, 2 * RATE)
    assert "say the phrase without a pause" in check_take(np.concatenate([long, long]), RATE, clip_s=2.0).fault


def test_bad_takes_are_recorded_again(tmp_path: Path) -> None:
    speaker = Speaker(utterance(peak=0.004), np.clip(4 * utterance(), -1, 1), utterance(start=1.7))
    assert record(tmp_path, speaker, words=("lights",), takes=1) == 1
    assert speaker.prompts == ["lights"] * 4


def test_an_interrupted_recording_can_be_continued(tmp_path: Path) -> None:
    with pytest.raises(HarkenError, match="ended before all takes were recorded"):
        record(tmp_path, Speaker(), takes=3, answers=3)
    assert len(list(tmp_path.rglob("*.wav"))) == 3
    (tmp_path / "lights" / "ann_nohash_9 (copy).wav").write_bytes(b"")  # not a take
    assert record(tmp_path, Speaker(), takes=3) == 3
    (tmp_path / "lights" / "ann_nohash_9 (copy).wav").unlink()
    assert len(list(tmp_path.rglob("*.wav"))) == 6
    assert record(tmp_path, Speaker(), takes=3) == 0


def test_a_take_that_was_deleted_is_recorded_again(tmp_path: Path) -> None:
    record(tmp_path, Speaker(), takes=3)
    (tmp_path / "lights/ann_nohash_1.wav").unlink()
    speaker = Speaker()
    assert record(tmp_path, speaker, takes=3) == 1
    assert speaker.prompts == ["lights"]
    assert sorted(file.name[11:-4] for file in (tmp_path / "lights").iterdir()) == ["0", "1", "2"]


def test_a_take_that_was_converted_keeps_its_number(tmp_path: Path) -> None:
    record(tmp_path, Speaker(), words=("lights",), takes=1)
    samples, rate = soundfile.read(tmp_path / "lights/ann_nohash_0.wav")
    soundfile.write(tmp_path / "lights/ann_nohash_0.flac", samples, rate)
    (tmp_path / "lights/ann_nohash_0.wav").unlink()
    assert record(tmp_path, Speaker(), words=("lights",), takes=2) == 1
    assert sorted(path.name for path in (tmp_path / "lights").iterdir()) == ["ann_nohash_0.flac", "ann_nohash_1.wav"]


def test_takes_are_checked() -> None:
    assert check_take(utterance(), RATE).fault == ""
    for take, fault in (
        (utterance(peak=0.002), "too quiet"),
        (np.zeros(2 * RATE, np.float32), "too quiet"),
        (np.clip(5 * utterance(), -1, 1), "clips"),
        (utterance(seconds=0.8, start=1.5), "cut off at the end"),
        (utterance(seconds=0.6, start=-0.3), "cut off at the start: speak a little later"),
        (utterance()[RATE // 2 + 1000 :][:100], "cut off at the end"),  # shorter than a frame
        (utterance(seconds=1.6, start=0.1), "longer than a second"),
    ):
        checked = check_take(take, RATE)
        assert checked.clip is None
        assert fault in checked.fault
    offset = check_take(utterance() + np.float32(0.05), RATE)  # the microphone's offset is not a sound
    assert offset.fault == ""
    assert "too quiet" in check_take(utterance(peak=0.002) + np.float32(0.05), RATE).fault
    early = check_take(utterance(start=0.02), RATE).clip
    assert early is not None
    assert np.abs(early[: RATE // 2]).max() > 0.3


@pytest.mark.parametrize(
    ("words", "takes", "name", "part"),
    [
        (["../up"], 1, "ann", "a word is also a folder name"),
        ([], 1, "ann", "list the words to record"),
        (["a", "a"], 1, "ann", "each of them once"),
        (["a"], 0, "ann", "must be 1 or more"),
        (["a"], 1, "a/b", "use letters and digits"),
    ],
)
def test_invalid_arguments_are_refused(words: list[str], takes: int, name: str, part: str, tmp_path: Path) -> None:
    with pytest.raises(HarkenError, match=part):
        record_corpus(Speaker().source(), tmp_path / "new", words, takes=takes, speaker=name, show=lambda _: None)
    assert not (tmp_path / "new").exists()


def test_the_command_prints_one_line_per_prompt_in_a_pipe(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    @contextmanager
    def open_microphone(_: str | None = None, *, channel: int | None = None) -> Iterator[Source]:
        yield Speaker(utterance(peak=0.003)).source()

    monkeypatch.setattr(sources, "open_microphone", open_microphone)
    monkeypatch.setattr(sys, "argv", ["harken", "record", str(tmp_path), "--words", "lights, music", "--takes", "1"])
    with pytest.raises(SystemExit) as done:
        main()
    assert done.value.code in (0, None)
    out, err = capsys.readouterr()
    assert out.splitlines() == [
        f"2 recordings added to {tmp_path}. To inspect them, and to train on them:",
        f"harken corpus show {tmp_path}",
        f"harken train --recipe own --data {tmp_path} --out run",
    ]
    assert [text.split(" (")[0] for text in err.splitlines()] == [
        "say lights, 1 of 2",
        "say lights, 1 of 2",
        "say music, 2 of 2",
    ]
