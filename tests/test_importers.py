"""`harken corpus import`: each layout, its speakers and its split."""

import csv
import errno
import json
import os
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile

from conftest import Run
from harken.corpus.importers import convert
from harken.corpus.importers.convert import Imported, import_corpus
from harken.corpus.split import official
from harken.corpus.table import read_corpus
from harken.errors import HarkenError
from harken.tasks.protocol import Material, make_task
from harken.tasks.recipe import find_recipe, with_settings

RATE = 16_000


def write(path: Path, seed: int = 0) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    noise = 0.1 * np.random.default_rng([seed, *path.as_posix().encode()[-40:]]).standard_normal(RATE // 4)
    soundfile.write(path, noise, RATE, format="OGG" if path.suffix == ".opus" else None,
                    subtype="OPUS" if path.suffix == ".opus" else None)  # fmt: skip
    return path


def write_csv(path: Path, *rows: tuple[object, ...]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows(rows)


def imported(source: Path, out: Path) -> tuple[Imported, dict[str, tuple[str, str]]]:
    """Import a corpus, and return the speaker and the side of each clip, as harken reads them."""
    result = import_corpus(source, out)
    corpus = read_corpus([out])
    sides = official(corpus)
    return result, {clip.name: (clip.speaker, side) for clip, side in zip(corpus.clips, sides, strict=True)}


def test_mswc(tmp_path: Path) -> None:
    source = tmp_path / "en"
    speaker = "b3f1" * 32
    rows: list[tuple[object, ...]] = [("SET", "LINK", "WORD", "VALID", "SPEAKER", "GENDER")]
    for number, side in enumerate(("TRAIN", "TRAIN", "DEV", "TEST")):
        link = f"house/common_voice_en_{number}.opus"
        write(source / "clips" / link)
        rows.append((side, link, "house", True, speaker if number < 2 else f"s{number}", "FEMALE"))
    write(source / "clips/house/bad.opus")
    rows.append(("TRAIN", "house/bad.opus", "house", False, "x", "NAN"))
    rows.append(("TRAIN", "house/gone.opus", "house", True, "x", "NAN"))
    rows.append(("TRAIN", "../../secret.opus", "house", True, "x", "NAN"))
    write_csv(source / "en_splits.csv", *rows)
    result, clips = imported(source, tmp_path / "out")
    assert result.layout == "Multilingual Spoken Words Corpus"
    assert sorted(side for _, side in clips.values()) == ["test", "train", "train", "validation"]
    assert clips["house/s2_nohash_0"] == ("s2", "validation")
    assert clips["house/s3_nohash_0"] == ("s3", "test")
    assert len({speaker for speaker, _ in clips.values()}) == 3
    assert result.left_out == {
        "marked as not valid": 1,
        "listed, but not there": 1,
        "a path that leads out of the folder": 1,
    }


@pytest.mark.parametrize("inner", ["", "train"])
def test_audio_folder(tmp_path: Path, inner: str) -> None:
    source = tmp_path / "source"
    for side in ("train", "test"):
        folder = source / side if inner else source
        rows: list[tuple[object, ...]] = [("file_name", "label", "speaker_id")]
        for number in range(3):
            name = f"{number}.wav" if inner else f"{side}/{number}.wav"
            write(folder / name)
            rows.append((name, "lights on", f"anna{side}"))
        if inner:
            write_csv(folder / "metadata.csv", *rows)
        elif side == "test":
            write_csv(folder / "metadata.csv", *rows, *((f"train/{n}.wav", "music", "ben") for n in range(3)))
    result, clips = imported(source, tmp_path / "out")
    assert result.layout == "AudioFolder (metadata.csv)"
    assert len(clips) == 6
    assert {clips[name] for name in clips if "annatest" in name} == {("annatest", "test")}
    assert {side for speaker, side in clips.values() if speaker != "annatest"} <= {"train", "validation"}
    assert result.drawn_validation


def test_an_audio_folder_without_metadata_for_a_split_says_what_it_leaves_out(tmp_path: Path) -> None:
    write(tmp_path / "in/train/1.wav")
    write_csv(tmp_path / "in/train/metadata.csv", ("file_name", "label"), ("1.wav", "dog"))
    write(tmp_path / "in/test/2.wav")
    assert import_corpus(tmp_path / "in", tmp_path / "out").left_out == {"in test, which has no metadata.csv": 1}


def test_words_can_be_named_like_a_split(tmp_path: Path) -> None:
    for word in ("plane", "train", "bus"):
        for speaker in ("anna", "ben"):
            write(tmp_path / "in" / word / speaker / "1.wav")
    result = import_corpus(tmp_path / "in", tmp_path / "out")
    assert (result.words, result.speakers) == ({"plane": 2, "train": 2, "bus": 2}, 2)


def test_folders_of_splits_keep_all_folders_of_a_side_and_the_noise(tmp_path: Path) -> None:
    names = ("train/dog/a.wav", "val/dog/b.wav", "dev/dog/c.wav", "_background_noise_/rain.wav", "drafts/dog/d.wav")
    for name in names:
        write(tmp_path / "in" / name)
    result, clips = imported(tmp_path / "in", tmp_path / "out")
    assert sorted(side for _, side in clips.values()) == ["train", "validation", "validation"]
    assert result.noise == 1
    assert result.left_out == {"in a folder that is no split": 1}


def test_a_corpus_of_harken_keeps_its_lists(tmp_path: Path) -> None:
    for name in ("lights/1.wav", "lights/2.wav", "lights/ben/3.wav", "lights/.trash/4.wav", "music/5.wav"):
        write(tmp_path / "in" / name)
    write_csv(tmp_path / "in/speakers.csv", ("path", "speaker"), ("lights/1.wav", "anna"), ("music/5.wav", "anna"))
    write_csv(tmp_path / "in/splits.csv", ("path", "split"), ("lights/1.wav", "test"), ("lights/2.wav", "validation"),
              ("lights/ben/3.wav", "train"), ("music/5.wav", "test"))  # fmt: skip
    result, clips = imported(tmp_path / "in", tmp_path / "out")
    assert sorted(clips.values()) == [("", "validation"), ("anna", "test"), ("anna", "test"), ("ben", "train")]
    assert not result.left_out


def test_a_source_with_a_test_side_gets_a_validation_side(tmp_path: Path) -> None:
    for speaker in ("tom", "lisa", "joe", "max"):
        for take in range(4):
            write(tmp_path / f"in/train/lights/{speaker}/{take}.wav")
    write(tmp_path / "in/test/lights/eve/0.wav")
    result, clips = imported(tmp_path / "in", tmp_path / "out")
    assert result.drawn_validation
    assert len({speaker for speaker, side in clips.values() if side == "validation"}) == 1


def test_labels_that_differ_by_white_space_are_one_word(tmp_path: Path) -> None:
    write_csv(
        tmp_path / "in/metadata.csv", ("file_name", "label"), ("1.wav", "yes"), ("2.wav", "yes "), ("3.wav", "_x")
    )
    for number in (1, 2, 3):
        write(tmp_path / f"in/{number}.wav")
    result = import_corpus(tmp_path / "in", tmp_path / "out")
    assert result.words == {"yes": 2}
    assert list(result.left_out) == ["_x: names that begin with _ are harken's own; rename it"]


def test_a_label_that_is_not_utf8_is_left_out() -> None:
    assert convert._folder_name(b"caf\xe9".decode(errors="surrogateescape")) == ""
    assert convert._folder_name("café") == "café"


def test_labels_and_speakers_that_differ_in_case_do_not_share_a_path(tmp_path: Path) -> None:
    rows = [(f"{number}.wav", word, speaker) for number, (word, speaker) in enumerate(
        [("Go", "A1"), ("go", "A1"), ("go", "a1"), ("stop", "A1"), ("Go", ""), ("go", "")]
    )]  # fmt: skip
    write_csv(tmp_path / "in/metadata.csv", ("file_name", "label", "speaker"), *rows)
    for name, _, _ in rows:
        write(tmp_path / "in" / name)
    import_corpus(tmp_path / "in", tmp_path / "out")
    paths = {path.relative_to(tmp_path / "out").as_posix().casefold() for path in (tmp_path / "out").rglob("*.wav")}
    assert len(paths) == 6


def test_a_path_with_a_null_character_is_left_out(tmp_path: Path) -> None:
    write(tmp_path / "in/1.wav")
    (tmp_path / "in/metadata.csv").write_text('file_name,label\n1.wav,yes\n"2\0.wav",yes\n')
    assert import_corpus(tmp_path / "in", tmp_path / "out").left_out == {"a path that leads out of the folder": 1}


def test_an_audio_folder_without_labels_takes_them_from_the_folders(tmp_path: Path) -> None:
    write(tmp_path / "in/dog/1.wav")
    write_csv(tmp_path / "in/metadata.csv", ("file_name",), ("dog/1.wav",))
    assert import_corpus(tmp_path / "in", tmp_path / "out").words == {"dog": 1}


def test_parquet(tmp_path: Path) -> None:
    pyarrow = pytest.importorskip("pyarrow")
    from pyarrow import parquet

    features = {"info": {"features": {"label": {"names": ["yes", "no", "_silence_"]}}}}

    def rows(side: str, *labels: int) -> list[dict[str, Any]]:
        return [
            {
                "file": f"{label}/{number}.wav",
                "audio": {
                    "bytes": write(tmp_path / f"{side}-{label}-{number}.wav").read_bytes(),
                    "path": "x.wav",
                },
                "label": label,
                "is_unknown": False,
                "speaker_id": None if label == 2 else f"{number:08x}",
                "utterance_id": 0,
            }
            for number, label in enumerate(labels)
        ]

    for side, labels in (("train", (0, 1, 2)), ("validation", (0,)), ("test", (0, 1, 1))):
        table = pyarrow.Table.from_pylist(rows(side, *labels))
        table = table.replace_schema_metadata({"huggingface": json.dumps(features)})
        (tmp_path / "hub/v0.02" / side).mkdir(parents=True)
        parquet.write_table(table, tmp_path / "hub/v0.02" / side / "0000.parquet")
    result, clips = imported(tmp_path / "hub", tmp_path / "out")
    assert result.words == {"yes": 3, "no": 3}
    assert result.noise == 1
    assert result.sides == {"train": 2, "validation": 1, "test": 3}
    sides = [clips[f"yes/00000000_nohash_{take}"][1] for take in range(3)]
    assert sorted(sides) == ["test", "train", "validation"]
    assert read_corpus([tmp_path / "out"]).noise


def test_parquet_without_pyarrow_says_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "in").mkdir()
    (tmp_path / "in/train.parquet").write_bytes(b"PAR1")
    monkeypatch.setitem(__import__("sys").modules, "pyarrow", None)
    with pytest.raises(HarkenError, match="pip install pyarrow"):
        import_corpus(tmp_path / "in", tmp_path / "out")


def test_a_damaged_parquet_file_is_refused(tmp_path: Path) -> None:
    pytest.importorskip("pyarrow")
    (tmp_path / "in").mkdir()
    (tmp_path / "in/train.parquet").write_bytes(b"nothing")
    with pytest.raises(HarkenError, match="download it again"):
        import_corpus(tmp_path / "in", tmp_path / "out")


def test_edge_impulse(tmp_path: Path) -> None:
    source = tmp_path / "export"
    files = []
    for number in range(30):
        category = "testing" if number % 3 == 0 else "training"
        path = f"{category}/yes.{number}.wav"
        write(source / path)
        files.append({"path": path, "category": category, "label": {"type": "label", "label": "yes"}})
    (source / "training/raw.json").write_text("{}")
    files.append({"path": "training/raw.json", "category": "training", "label": {"type": "label", "label": "yes"}})
    files.append({"path": "training/yes.1.wav", "category": "training", "label": {"type": "unlabeled"}})
    (source / "info.labels").write_text(json.dumps({"version": 1, "files": files}))
    result, clips = imported(source, tmp_path / "out")
    sides = [side for _, side in clips.values()]
    assert sides.count("test") == 10
    assert 0 < sides.count("validation") < 10
    assert result.speakers == 0
    assert {speaker for speaker, _ in clips.values()} == {""}
    assert result.left_out == {"a JSON file without audio of one channel": 1, "no label": 1}


def acquired(**changes: Any) -> str:
    """Return a file of Edge Impulse's data acquisition format."""
    payload = {"interval_ms": 0.0625, "sensors": [{"name": "audio", "units": "wav"}], "values": [-385.625, 40000, 0.4]}
    return json.dumps({"protected": {"ver": "v1", "alg": "HS256"}, "signature": "0", "payload": payload | changes})


def test_edge_impulse_with_audio_in_json(tmp_path: Path) -> None:
    contents = {
        "hello.1.json": acquired(),
        "hello.2.json": acquired(values=[[1], [2]], interval_ms=0.125),
        "hello.3.json": acquired(sensors=[{"name": "accX", "units": "m/s2"}]),
        "hello.4.json": acquired(interval_ms=0),
        "hello.5.json": acquired(values=[[1, 2], [3, 4]]),
        "hello.6.json": acquired(values=["loud"]),
        "hello.7.json": "[" * 100_000,
        "hello.8.json": acquired(values=[]),
    }
    (tmp_path / "in/training").mkdir(parents=True)
    for name, content in contents.items():
        (tmp_path / "in/training" / name).write_text(content)
    label = {"type": "label", "label": "hello"}
    files = [{"path": f"training/{name}", "category": "training", "label": label} for name in contents]
    (tmp_path / "in/info.labels").write_text(json.dumps({"version": 1, "files": files}))
    result = import_corpus(tmp_path / "in", tmp_path / "out")
    assert result.words == {"hello": 2}
    assert result.left_out == {"a JSON file without audio of one channel": 6}
    samples, rate = soundfile.read(tmp_path / "out/hello/clip-000000.wav", dtype="int16")
    assert (samples.tolist(), rate) == ([-386, 32767, 0], 16_000)
    samples, rate = soundfile.read(tmp_path / "out/hello/clip-000001.wav", dtype="int16")
    assert (samples.tolist(), rate) == ([1, 2], 8000)


def test_kaggle(tmp_path: Path) -> None:
    write(tmp_path / "in/train/audio/yes/0a7c2a8d_nohash_0.wav")
    write(tmp_path / "in/train/audio/_background_noise_/hum.wav")
    write(tmp_path / "in/test/audio/clip_1.wav")
    result, clips = imported(tmp_path / "in", tmp_path / "out")
    assert list(clips) == ["yes/0a7c2a8d_nohash_0"]
    assert clips["yes/0a7c2a8d_nohash_0"][0] == "0a7c2a8d"
    assert result.noise == 1
    assert not result.sides  # a single side is no split
    assert not (tmp_path / "out/splits.csv").exists()
    assert result.left_out == {"no label": 1}


def test_a_zip_of_word_folders_as_teachable_machine_writes_it(tmp_path: Path) -> None:
    write(tmp_path / "in/Clap/0.wav")
    write(tmp_path / "in/Clap/1.wav")
    (tmp_path / "in/Clap/2.webm").write_bytes(b"webm")
    write(tmp_path / "in/Background Noise/0.wav")
    archive = shutil.make_archive(str(tmp_path / "samples"), "zip", tmp_path / "in")
    result, clips = imported(Path(archive), tmp_path / "out")
    assert result.words == {"Clap": 2}
    assert result.noise == 1
    assert result.left_out == {".webm is not an audio format that harken reads": 1}
    assert len(clips) == 2


def test_a_folder_of_words_beside_a_readme_is_opened(tmp_path: Path) -> None:
    write(tmp_path / "in/custom_keywords/hello/a_nohash_0.wav")
    write(tmp_path / "in/custom_keywords/bye/a_nohash_0.wav")
    (tmp_path / "in/README.md").write_text("Two words.")
    result = import_corpus(tmp_path / "in", tmp_path / "out")
    assert result.words == {"hello": 1, "bye": 1}
    assert result.speakers == 1


def test_a_split_holds_in_every_recipe(tmp_path: Path) -> None:
    for side, speakers in (("train", "ab"), ("valid", "c"), ("test", "d")):
        for speaker in speakers:
            for word in ("yes", "no"):
                for take in range(3):
                    write(tmp_path / f"in/{side}/{word}/{speaker}_nohash_{take}.wav", take)
    import_corpus(tmp_path / "in", tmp_path / "out")
    for name in ("own", "v35"):
        recipe = with_settings(find_recipe(name), ["silence_share=0", "noise_probability=0"])
        task = make_task(recipe, Material(data=(tmp_path / "out",)), cache=tmp_path / "cache")
        sides = {(clip.speaker, str(side)) for clip, side in zip(task.clips, task.sides, strict=True)}
        assert sides == {("a", "train"), ("b", "train"), ("c", "validation"), ("d", "test")}


def test_a_label_cannot_lead_out_of_the_folder(tmp_path: Path) -> None:
    write(tmp_path / "in/1.wav")
    write(tmp_path / "in/2.wav")
    write_csv(tmp_path / "in/metadata.csv", ("file_name", "label"), ("1.wav", "../../up"), ("2.wav", "ok"))
    result = import_corpus(tmp_path / "in", tmp_path / "out")
    assert result.words == {"ok": 1}
    assert result.left_out == {"a label that cannot be the name of a folder": 1}


@pytest.mark.parametrize(
    ("make", "part"),
    [
        (lambda path: None, "does not exist"),
        (lambda path: path.write_bytes(b"x"), "neither a folder nor a zip"),
        (lambda path: path.mkdir(), "none of the layouts"),
        (lambda path: write_csv(path / "metadata.csv", ("name",), ("x",)), "no column file_name"),
        (
            lambda path: write_csv(path / "metadata.csv", ("file_name", "label"), ("x.wav", "y")),
            "no recording that can",
        ),
        (lambda path: (path.mkdir(), (path / "info.labels").write_text("[]")), "export the project again"),
    ],
)
def test_bad_sources_get_one_line(run: Run, tmp_path: Path, make: Any, part: str) -> None:
    make(tmp_path / "in")
    code, out, error = run("corpus", "import", tmp_path / "in", "--out", tmp_path / "out")
    assert (code, out) == (2, "")
    assert error.count("\n") == 1
    assert part in error
    assert [path.name for path in tmp_path.iterdir()] in ([], ["in"])


@pytest.mark.parametrize(
    ("code", "part"),
    [
        (errno.ENOSPC, "out: No space left on device; free some disk space"),
        (errno.EACCES, "a.wav: Permission denied; check its permissions"),
    ],
)
def test_a_full_disk_and_a_locked_file_get_one_line(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: int, part: str
) -> None:
    write(tmp_path / "in/yes/a.wav")
    write(tmp_path / "in/no/a.wav")

    def fail(source: Path, target: Path) -> None:
        Path(target).write_bytes(b"RIFF")
        raise OSError(code, os.strerror(code), str(source))

    monkeypatch.setattr(shutil, "copyfile", fail)
    exit_code, out, error = run("corpus", "import", tmp_path / "in", "--out", tmp_path / "out")
    assert (exit_code, out, error.count("\n")) == (2, "", 1)
    assert part in error
    assert [path.name for path in tmp_path.iterdir()] == ["in"]


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root may read every folder")
def test_a_locked_folder_is_not_taken_as_empty(tmp_path: Path) -> None:
    write(tmp_path / "in/yes/a.wav")
    write(tmp_path / "in/no/a.wav")
    (tmp_path / "in/no").chmod(0)
    try:
        with pytest.raises(HarkenError, match="check its permissions"):
            import_corpus(tmp_path / "in", tmp_path / "out")
    finally:
        (tmp_path / "in/no").chmod(0o755)


def test_the_command_says_what_it_took(run: Run, tmp_path: Path) -> None:
    write(tmp_path / "in/train/yes/a_nohash_0.wav")
    write(tmp_path / "in/test/yes/b_nohash_0.wav")
    code, out, error = run("corpus", "import", tmp_path / "in", "--out", tmp_path / "out")
    assert code == 0
    assert out == f"{tmp_path / 'out'}\n"
    assert "folders of splits: took 2 clips of 1 words; 2 speakers" in error
    assert run("corpus", "import", tmp_path / "in", "--out", tmp_path / "out")[0] == 2  # it exists now


@pytest.mark.parametrize(
    ("text", "part"), [("a,b\n", "no header"), ("path,split\nyes/a.wav,dev\n", "write train, validation or test")]
)
def test_a_bad_list_of_splits_is_refused(tmp_path: Path, text: str, part: str) -> None:
    write(tmp_path / "yes/a.wav")
    (tmp_path / "splits.csv").write_text(text)
    with pytest.raises(HarkenError, match=part):
        official(read_corpus([tmp_path]))
