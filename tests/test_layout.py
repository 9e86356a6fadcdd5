"""Folders that are not words: sides, containers, special names, other spellings, and files that harken cannot read."""

import os
import shutil
import sys
import unicodedata
from pathlib import Path

import numpy as np
import pytest
import soundfile

from conftest import MakeModel, Run
from harken.audio.clip import AUDIO_SUFFIXES
from harken.corpus.split import official
from harken.corpus.table import audio_files, read_corpus, skipped_audio
from harken.errors import HarkenError
from harken.evaluation.clips.examples import gather_examples
from harken.runtime.listener import Listener
from harken.runtime.modelfile import ModelFile
from harken.runtime.recognizer import Recognizer
from harken.tasks.recipe import RECIPES, with_settings

RATE = 8000
COMPOSED, DECOMPOSED = (unicodedata.normalize(form, "über") for form in ("NFC", "NFD"))


def write(*paths: Path) -> None:
    for path in paths:
        path.parent.mkdir(parents=True, exist_ok=True)
        samples = np.random.default_rng(len(str(path))).uniform(-0.5, 0.5, RATE)
        form = {".caf": "CAF", ".au": "AU", ".w64": "W64"}.get(path.suffix, "AIFF" if ".ai" in path.suffix else "WAV")
        soundfile.write(path, samples, RATE, format=form)


@pytest.mark.parametrize(
    ("sides", "below", "advice"),
    [
        (("test", "train", "validation"), "", "--data {0}/train --data {0}/validation, and keep {0}/test for `harken"),
        (("Training", "Testing"), "", "--data {0}/Training, and keep {0}/Testing for"),
        (("train", "test"), "audio/", "--data {0}/train/audio, and keep {0}/test/audio for"),
        (("train",), "audio/", "--data {0}/train/audio"),
    ],
)
@pytest.mark.parametrize("words", [None, ["yes", "no"]])
def test_sides_are_not_learned_as_words(
    tmp_path: Path, sides: tuple[str, ...], below: str, advice: str, words: list[str] | None
) -> None:
    for side in sides:
        write(*(tmp_path / side / f"{below}{word}" / "1.wav" for word in ("yes", "no")))
    with pytest.raises(HarkenError) as caught:
        read_corpus([tmp_path], words=words)
    assert f"({', '.join(sorted(sides))}) and not its words: give {advice.format(tmp_path)}" in str(caught.value)
    given = tmp_path / sides[0] / below if below else tmp_path / sides[0]
    assert read_corpus([given]).words == ("no", "yes")


def test_a_container_is_not_learned_as_a_word(tmp_path: Path) -> None:
    write(*(tmp_path / "audio" / word / "1.wav" for word in ("lights", "music")))
    write(*(tmp_path / "sc" / "speech_commands" / word / "1.wav" for word in ("yes", "no")))
    write(tmp_path / "noisy" / "mine" / "_background_noise_" / "1.wav", tmp_path / "noisy" / "lights" / "1.wav")
    for root, inner in (("", "audio"), ("sc", "speech_commands"), ("noisy", "mine")):
        if not root:
            (tmp_path / "top").mkdir()
            shutil.copytree(tmp_path / "audio", tmp_path / "top" / "audio")
            root = "top"
        with pytest.raises(
            HarkenError, match=f"contains folders of words.*give {tmp_path / root / inner} as the corpus"
        ):
            read_corpus([tmp_path / root])


def test_words_that_are_called_like_sides_are_words(tmp_path: Path) -> None:
    write(tmp_path / "test" / "1.wav", tmp_path / "train" / "anna" / "1.wav", tmp_path / "bus" / "1.wav")
    assert read_corpus([tmp_path]).words == ("bus", "test", "train")
    write(tmp_path / "one" / "computer" / "anna" / "1.wav", tmp_path / "one" / "computer" / "ben" / "1.wav")
    assert {clip.speaker for clip in read_corpus([tmp_path / "one"]).clips} == {"anna", "ben"}


@pytest.mark.parametrize("name", ["_noise", "_unknown", "_problem_noise_", "_invalid"])
def test_a_folder_with_an_underscore_is_not_a_word(tmp_path: Path, name: str) -> None:
    write(tmp_path / "yes" / "1.wav", tmp_path / name / "1.wav")
    with pytest.raises(HarkenError, match=f"{name} is not named after a word: rename it to _background_noise_"):
        read_corpus([tmp_path])
    assert read_corpus([tmp_path], words=["yes"]).words == ("yes",)


def test_a_folder_that_may_not_be_a_word_has_a_note(tmp_path: Path) -> None:
    write(*(tmp_path / word / "1.wav" for word in ("yes", "Background-Noise", "unknown", "_silence_")))
    corpus = read_corpus([tmp_path])
    assert corpus.words == ("Background-Noise", "_silence_", "unknown", "yes")
    assert [note.partition(" is used as a word")[0] for note in corpus.notes] == [
        str(tmp_path / "Background-Noise"),
        str(tmp_path / "unknown"),
    ]


@pytest.mark.skipif(sys.platform != "linux", reason="other systems refuse such names")
def test_a_name_that_is_not_utf8_is_refused_when_the_corpus_is_read(tmp_path: Path, run: Run) -> None:
    write(tmp_path / "yes" / "1.wav", tmp_path / "cafe" / "1.wav")
    (tmp_path / "cafe").rename(tmp_path / os.fsdecode(b"caf\xe9"))
    with pytest.raises(HarkenError, match=r"caf\\xe9: the name of this folder is not UTF-8"):
        read_corpus([tmp_path])
    code, out, err = run("corpus", "show", tmp_path, "--out", tmp_path / "page.html")
    assert (code, out, err.count("\n")) == (2, "", 1)


def test_both_forms_of_a_name_are_one_word(tmp_path: Path) -> None:
    write(tmp_path / "a" / COMPOSED / "1.wav", tmp_path / "b" / DECOMPOSED / "22.wav", tmp_path / "b" / "auf" / "1.wav")
    (tmp_path / "b" / "speakers.csv").write_text(f"path,speaker\n{COMPOSED}/22.wav,anna\n", encoding="utf-8")
    (tmp_path / "a" / "testing_list.txt").write_text(f"{DECOMPOSED}/1.wav\n", encoding="utf-8")
    corpus = read_corpus([tmp_path / "a", tmp_path / "b"])
    assert corpus.words == ("auf", COMPOSED)
    assert [(clip.word, clip.speaker) for clip in corpus.clips][1:] == [(COMPOSED, ""), (COMPOSED, "anna")]
    assert official(corpus)[1] == "test"
    for form in (COMPOSED, DECOMPOSED):
        assert len(read_corpus([tmp_path / "b"], words=[form]).clips) == 1
        assert len(corpus.of_words([form]).clips) == 2
        assert with_settings(RECIPES["own"], [f"words={form},auf"]).words == (COMPOSED, "auf")


def test_thresholds_and_model_files_use_one_form_of_a_name(make_model: MakeModel) -> None:
    labels = [DECOMPOSED, "no", "_unknown_", "_silence_"]
    model = ModelFile(make_model(labels=labels, thresholds={DECOMPOSED: 0.7}))
    assert model.card.words == (COMPOSED, "no")
    assert model.card.thresholds == {COMPOSED: 0.7}
    for form in (COMPOSED, DECOMPOSED):
        listener = Listener(Recognizer(model.path), source_rate=RATE, thresholds={form: 0.9})
        assert listener.settings.thresholds[COMPOSED] == 0.9
        listener.set_thresholds({form: 0.6})
        assert listener.settings.thresholds == {COMPOSED: 0.6, "no": 0.8}


def test_a_word_with_only_unreadable_audio_is_refused(tmp_path: Path, run: Run, make_model: MakeModel) -> None:
    write(tmp_path / "yes" / "1.wav")
    (tmp_path / "stop").mkdir()
    for number in range(3):
        (tmp_path / "stop" / f"{number}.M4A").write_bytes(b"x")
    message = rf"{tmp_path / 'stop'} contains only audio that harken cannot read \(3 .m4a\): convert it to WAV"
    with pytest.raises(HarkenError, match=message):
        read_corpus([tmp_path])
    with pytest.raises(HarkenError, match=message):
        audio_files(tmp_path / "stop")
    write(tmp_path / "stop" / "4.wav")
    (tmp_path / "docs").mkdir()
    (tmp_path / "docs" / "readme.txt").write_text("text")
    corpus = read_corpus([tmp_path])
    assert corpus.words == ("stop", "yes")
    skipped = f"{tmp_path / 'stop'}: skipped 3 .m4a, which harken cannot read; convert them to WAV or FLAC"
    assert corpus.notes == (f"{tmp_path / 'docs'} contains no audio files and was skipped (1 .txt)", skipped)
    assert skipped_audio(tmp_path / "stop") == skipped
    code, out, err = run("predict", tmp_path / "stop", "--model", make_model())
    assert (code, out.count("\n"), err) == (0, 1, f"harken: {skipped}\n")


@pytest.mark.parametrize("suffix", [".aiff", ".aif", ".caf", ".au", ".w64"])
def test_a_corpus_can_have_every_format_that_predict_reads(tmp_path: Path, suffix: str) -> None:
    assert suffix in AUDIO_SUFFIXES
    write(tmp_path / "yes" / f"1{suffix}", tmp_path / "no" / f"1{suffix.upper()}")
    assert read_corpus([tmp_path]).words == ("no", "yes")
    assert len(audio_files(tmp_path)) == 2


def test_words_that_differ_in_case_are_not_evaluated_as_unknown(tmp_path: Path, make_model: MakeModel) -> None:
    card = ModelFile(make_model()).card
    write(*(tmp_path / word / "1.wav" for word in ("Yes", "NO", "stop")))
    with pytest.raises(HarkenError, match=r"the folder NO in .* is not one of the model's words: did you mean no\?"):
        gather_examples(card, [tmp_path], "all")
    for word in ("Yes", "NO"):
        shutil.rmtree(tmp_path / word)
    (note,) = gather_examples(card, [tmp_path], "all").notes
    assert note.startswith(f"no folder of {tmp_path} is one of the model's words (yes, no)")
    write(tmp_path / "yes" / "1.wav")
    assert not gather_examples(card, [tmp_path], "all").notes
