import functools
import http.server
import io
import threading
import time
import zipfile
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import soundfile

pytest.importorskip("torch")
pytest.importorskip("matplotlib")

from conftest import CORPUS_RATE, TEN_WORDS, Run, spoken
from harken.cli import demo, demo_voices
from harken.cli.demo_voices import own_clips, real_is_at_hand, real_voices
from harken.corpus import catalog
from harken.corpus.reachable import is_reachable
from harken.corpus.split import official_side
from harken.corpus.table import read_corpus
from harken.errors import HarkenError

EIGHT = ("down", "go", "left", "no", "right", "stop", "up", "yes")
TRAIN, UNSEEN, BETWEEN = 30, 20, 5


def speakers(side: str, count: int) -> list[str]:
    found = (f"{number:08x}" for number in range(10_000) if official_side(f"{number:08x}_nohash_0") == side)
    return [next(found) for _ in range(count)]


SPEAKERS = {
    "train": speakers("train", TRAIN),
    "test": speakers("test", UNSEEN),
    "validation": speakers("validation", BETWEEN),
}


@pytest.fixture(scope="module")
def archive(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An archive in the layout of mini-speech-commands, with chirps for voices."""
    folder = tmp_path_factory.mktemp("server")
    with zipfile.ZipFile(folder / "mini.zip", "w") as pack:
        pack.writestr("mini_speech_commands/README.md", "chirps\n")
        pack.writestr("__MACOSX/mini_speech_commands/._README.md", "left by macOS\n")
        for word in EIGHT:
            for speaker in (name for names in SPEAKERS.values() for name in names):
                file = io.BytesIO()
                soundfile.write(file, spoken(word, speaker), CORPUS_RATE, format="WAV", subtype="PCM_16")
                pack.writestr(f"mini_speech_commands/{word}/{speaker}_nohash_0.wav", file.getvalue())
    return folder / "mini.zip"


class _Quiet(http.server.SimpleHTTPRequestHandler):
    requests: list[str] = []  # noqa: RUF012 - shared by all handlers on purpose

    def log_message(self, *_: object) -> None:
        pass

    def do_GET(self) -> None:
        self.requests.append(self.path)
        super().do_GET()


@pytest.fixture
def url(archive: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    published = catalog.CORPORA[demo_voices.REAL]
    counts = dict.fromkeys(EIGHT, TRAIN + UNSEEN + BETWEEN)
    stand_in = replace(published, recordings=counts, archive_bytes=archive.stat().st_size, sha256=None)
    monkeypatch.setitem(catalog.CORPORA, demo_voices.REAL, stand_in)
    _Quiet.requests.clear()
    handler = functools.partial(_Quiet, directory=str(archive.parent))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}/mini.zip"
        server.shutdown()


# Voices


def test_real_voices_are_downloaded_once_and_parted_by_speaker(url: str, tmp_path: Path) -> None:
    voices = real_voices(tmp_path, url)
    assert voices.words == tuple(word for word in TEN_WORDS if word in EIGHT)
    train, unseen = (read_corpus([side]) for side in (voices.train, voices.test))
    assert {clip.speaker for clip in train.clips} == set(SPEAKERS["train"])
    assert {clip.speaker for clip in unseen.clips} == set(SPEAKERS["test"])
    assert Counter(clip.word for clip in unseen.clips) == dict.fromkeys(EIGHT, UNSEEN)
    assert real_voices(tmp_path, url) == voices
    assert _Quiet.requests == ["/mini.zip"]


def test_so_many_clips_of_a_word_train_and_no_more(url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(demo_voices, "CLIPS", 7)
    voices = real_voices(tmp_path, url)
    assert Counter(clip.word for clip in read_corpus([voices.train]).clips) == dict.fromkeys(EIGHT, 7)


def test_without_a_test_side_the_validation_side_evaluates(tmp_path: Path) -> None:
    for word in ("yes", "no"):
        (tmp_path / "clips" / word).mkdir(parents=True)
        for speaker in (*SPEAKERS["train"][:3], *speakers("validation", 20)):
            soundfile.write(tmp_path / "clips" / word / f"{speaker}_nohash_0.wav", spoken(word, speaker), CORPUS_RATE)
    voices = own_clips(tmp_path / "out", [tmp_path / "clips"])
    assert {clip.speaker for clip in read_corpus([voices.test]).clips} == set(speakers("validation", 20))
    assert {clip.speaker for clip in read_corpus([voices.train]).clips} == set(SPEAKERS["train"][:3])


def test_clips_of_the_same_name_stay_apart_and_keep_their_speaker(tmp_path: Path) -> None:
    corpus = tmp_path / "clips"
    names = [
        "carl/0001",
        "carl/0002",
        "carl/more/0001",
        "eva/0001",
        f"{SPEAKERS['train'][0]}_nohash_0",
        "x.y/0001",
        "7",
    ]
    unseen = [f"{speaker}_nohash_0" for speaker in SPEAKERS["test"]]
    for word in ("yes", "no"):
        for number, name in enumerate([*names, *unseen]):
            path = corpus / word / f"{name}.wav"
            path.parent.mkdir(parents=True, exist_ok=True)
            soundfile.write(path, spoken(word, f"{number:08x}"), CORPUS_RATE)
    (corpus / "speakers.csv").write_text("path,speaker\nyes/7.wav,Dr. Who?\nno/7.wav,Dr. Who?\n")
    voices = own_clips(tmp_path / "out", [corpus])
    linked = {clip.path.stem: clip.speaker for clip in read_corpus([voices.train]).clips if clip.word == "yes"}
    hashed = {stem: speaker for stem, speaker in linked.items() if len(speaker) == 16}
    assert sorted(stem.partition("_nohash_")[2] for stem in hashed) == ["0001", "7"]  # of x.y and of Dr. Who?
    assert len(set(hashed.values())) == 2
    assert {stem: speaker for stem, speaker in linked.items() if stem not in hashed} == {
        "carl_nohash_0001": "carl",
        "carl_nohash_0001-2": "carl",
        "carl_nohash_0002": "carl",
        "eva_nohash_0001": "eva",
        names[4]: SPEAKERS["train"][0],
    }


def test_a_demo_of_other_clips_is_refused(tmp_path: Path) -> None:
    for folder in ("one", "two"):
        for word in ("yes", "no"):
            (tmp_path / folder / word).mkdir(parents=True)
            for speaker in (*SPEAKERS["train"][:3], *SPEAKERS["test"]):
                path = tmp_path / folder / word / f"{speaker}_nohash_0.wav"
                soundfile.write(path, spoken(word, speaker), CORPUS_RATE)
    out = tmp_path / "demo"
    voices = own_clips(out, [tmp_path / "one"])
    assert own_clips(out, [tmp_path / "one"]) == voices
    with pytest.raises(HarkenError, match=r"demo holds other clips than those of .*two: add --out FOLDER"):
        own_clips(out, [tmp_path / "two"])
    (out / "sources.json").unlink()  # as in a folder that has nothing to do with the demo
    with pytest.raises(HarkenError, match="demo holds other clips"):
        own_clips(out, [tmp_path / "one"])


def test_folders_without_the_words_or_without_unseen_speakers_are_refused(tmp_path: Path) -> None:
    for word in ("yes", "tree"):
        (tmp_path / "clips" / word).mkdir(parents=True)
        soundfile.write(tmp_path / "clips" / word / "a_nohash_0.wav", np.zeros(160), CORPUS_RATE)
    with pytest.raises(HarkenError, match="fewer than two of the words yes, no"):
        own_clips(tmp_path / "out", [tmp_path / "clips"])
    (tmp_path / "clips/tree").rename(tmp_path / "clips/no")
    with pytest.raises(HarkenError, match="fewer than 20 clips of some word"):
        own_clips(tmp_path / "out", [tmp_path / "clips"])


def test_what_lies_there_needs_no_server(tmp_path: Path) -> None:
    assert not real_is_at_hand(tmp_path, "http://127.0.0.1:9/mini.zip")
    (tmp_path / f"{demo_voices.REAL}.part").touch()
    assert real_is_at_hand(tmp_path, "http://127.0.0.1:9/mini.zip")


def test_a_server_is_reachable_or_not_within_seconds(url: str) -> None:
    assert is_reachable(url)
    assert is_reachable(f"{url}.gone")  # an answer all the same
    begun = time.monotonic()
    assert not is_reachable("http://192.0.2.1/mini.zip", timeout_s=1.0)  # an address that is nobody's (RFC 5737)
    assert not is_reachable("http://no.such.host.invalid/mini.zip", timeout_s=1.0)
    assert time.monotonic() - begun < 5


def test_the_synthetic_voices_are_there_and_the_natural_ones_on_both_sides() -> None:
    for package in ("espeakng_loader", "hibari", "piper"):
        pytest.importorskip(package)
    from harken.synth.corpus import hold_out
    from harken.synth.voices import find_voice

    chosen = [find_voice(name) for name in demo_voices.chosen_voices()]
    assert {voice.accent for voice in chosen} == demo_voices._ACCENTS
    assert {f"espeak-{variant}" for variant in demo_voices._VARIANTS} < {voice.family for voice in chosen}
    train, unseen = hold_out(chosen, 0.2, demo_voices._SEED)
    assert "hibari-heart" in {voice.family for voice in train}
    assert "piper-joe" in {voice.family for voice in unseen}


# The whole


def test_the_demo_ends_with_a_picture_of_three_models(
    url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, run: Run
) -> None:
    monkeypatch.setattr(demo_voices, "CLIPS", 12)
    for name in ("_tutorial_recipe", "_harken_recipe"):
        make = getattr(demo, name)
        monkeypatch.setattr(demo, name, lambda words, make=make: replace(make(words), epochs=1))
    code, out, err = run("demo", "--out", tmp_path / "demo", "--voices", url)
    assert (
        code,
        [line for line in err.splitlines() if "SHA-256" not in line and "clips in 8 folders" not in line],
    ) == (0, [])
    assert "\x1b" not in out
    steps = [line for line in out.splitlines() if line[:1].isdigit() and line[1:3] == "/5"]
    assert len(steps) == 5
    assert all(" left)" in line for line in steps)
    assert "make demo VOICES=synthetic" in steps[0]
    assert "harken serve" in out.splitlines()[-1]
    made = tmp_path / "demo/real"
    assert (made / "report.png").read_bytes().startswith(b"\x89PNG")
    for name in ("corpus.html", "report.html", "tutorial.html", "harken.html", "base.html"):
        assert (made / name).is_file()
    assert 'href="harken.html"' in (made / "report.html").read_text()


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--voices", "loud"), "give auto, real, synthetic, or the address"),
        (("--voices", "real", "--data", "here"), "leave one of them out"),
    ],
)
def test_bad_voices_are_refused(words: tuple[str, ...], said: str, run: Run, tmp_path: Path) -> None:
    code, _, err = run("demo", "--out", tmp_path / "demo", *words)
    assert code == 2
    assert said in err
