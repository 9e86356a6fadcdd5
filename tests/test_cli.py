"""The command line: what it prints, where it writes, and its errors."""

import errno
import io
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import soundfile

from conftest import TEN_WORDS, MakeModel, Run
from harken import __version__
from harken.cli import main as main_module
from harken.cli.tables import print_evaluation
from harken.extras import install_command
from harken.runtime.modelfile import ModelFile

LABELS = ["yes", "no", "_unknown_", "_silence_"]


def loud_in_quarter(path: Path, quarter: int) -> Path:
    samples = np.zeros(8000, np.float32)
    samples[quarter * 2000 : (quarter + 1) * 2000] = 0.9
    soundfile.write(path, samples, 8000)
    return path


def test_version(run: Run) -> None:
    assert run("--version") == (0, f"{__version__}\n", "")


@pytest.mark.parametrize(
    ("words", "line"),
    [
        (["predict"], "missing argument 'CLIP'; see `harken predict --help`"),
        (["predict", "x", "--bogus"], "no such option: --bogus; see `harken predict --help`"),
        (["corpus", "get"], "missing argument"),
        (["nosuch"], "no such command 'nosuch'; see `harken --help`"),
    ],
)
def test_a_wrong_command_line_gives_one_line(run: Run, words: list[str], line: str) -> None:
    code, out, err = run(*words)
    assert (code, out, err.count("\n")) == (2, "", 1)
    assert err.startswith(f"harken: {line}")


def test_without_arguments_it_shows_its_help(run: Run) -> None:
    code, out, err = run()
    assert (code, err) == (2, "")
    assert "evaluate-stream" in out


def test_predict_prints_one_line_per_clip_in_a_pipe(run: Run, make_model: MakeModel, tmp_path: Path) -> None:
    model = make_model(labels=LABELS, sample_rate=8000, window=8000)
    clips = [loud_in_quarter(tmp_path / f"{quarter}.wav", quarter) for quarter in range(4)]
    code, out, _ = run("predict", *clips, "--model", model)
    rows = [line.split("\t") for line in out.splitlines()]
    assert code == 0
    assert [row[:3] for row in rows] == [
        [str(clips[0]), "yes", ""],
        [str(clips[1]), "no", ""],
        [str(clips[2]), "-", "unknown"],
        [str(clips[3]), "-", "silence"],
    ]


def test_predict_reads_paths_from_standard_input_and_walks_folders(
    run: Run, make_model: MakeModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = make_model(labels=LABELS, sample_rate=8000, window=8000)
    (tmp_path / "clips" / "deep").mkdir(parents=True)
    inner = loud_in_quarter(tmp_path / "clips" / "deep" / "a.wav", 0)
    single = loud_in_quarter(tmp_path / "b.wav", 1)
    monkeypatch.setattr(sys, "stdin", io.StringIO(f"\ufeff{single}\r\n\n{tmp_path / 'clips'}\r\n"))
    code, out, _ = run("predict", tmp_path / "clips", "-", "--json", "--model", model)
    answers = [json.loads(line) for line in out.splitlines()]
    assert code == 0
    words = [(answer["clip"], answer["word"]) for answer in answers]
    assert words == [
        (str(inner), "yes"),
        (str(single), "no"),
        (str(inner), "yes"),
    ]
    assert set(answers[0]["probabilities"]) == set(LABELS)


@pytest.mark.parametrize("options", [(), ("--json",)])
def test_predict_reports_clips_that_cannot_be_read_and_goes_on(
    options: tuple[str, ...], run: Run, make_model: MakeModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = make_model(labels=LABELS, sample_rate=8000, window=8000)
    folder = tmp_path / "clips"
    folder.mkdir()
    good = [loud_in_quarter(folder / name, 0) for name in ("a.wav", "c.wav", "d.wav")]
    (folder / "b.wav").write_bytes(b"no sound")
    monkeypatch.setattr(sys, "stdin", io.StringIO(f"{tmp_path / 'missing.wav'}\n{good[0]}\n"))
    code, out, err = run("predict", folder, "-", "--model", model, *options)
    assert code == 1
    assert [line.count(str(clip)) for line, clip in zip(out.splitlines(), [*good, good[0]], strict=True)] == [1] * 4
    assert [line.split(" ")[:2] for line in err.splitlines()] == [
        ["harken:", str(folder / "b.wav")],
        ["harken:", str(tmp_path / "missing.wav")],
    ]
    assert run("predict", folder / "b.wav", tmp_path / "missing.wav", "--model", model)[:2] == (2, "")
    code, out, err = run("predict", good[0], tmp_path / ("x" * 300), good[1], "--model", model, *options)
    assert (code, out.count("\n"), err.count("\n")) == (1, 2, 1)


@pytest.mark.parametrize("encoding", ["cp1252", "ascii", "utf-8", "shift_jis"])
def test_names_that_the_code_page_lacks_are_printed(encoding: str, make_model: MakeModel, tmp_path: Path) -> None:
    model = make_model(labels=LABELS, sample_rate=8000, window=8000)
    names = ["Łukasz.wav", "\udcff.wav"] if sys.platform == "linux" else ["Łukasz.wav"]
    # libsndfile writes no names that are not UTF-8. It reads one of the two, the plain reader the other.
    clips = [loud_in_quarter(tmp_path / "clip.wav", 0).rename(tmp_path / name) for name in names]
    if len(clips) > 1:
        soundfile.write(tmp_path / "float.wav", soundfile.read(clips[0])[0], 8000, subtype="FLOAT")
        clips.append((tmp_path / "float.wav").rename(tmp_path / "\udcfe.wav"))
    command = [sys.executable, "-m", "harken", "predict", *clips, tmp_path / "Ł missing.wav", "--model", model]
    done = subprocess.run(command, capture_output=True, env={**os.environ, "PYTHONIOENCODING": encoding})
    assert done.returncode == 1, done.stderr
    lines = [line.split(b"\t") for line in done.stdout.splitlines()]
    assert [line[1] for line in lines] == [b"yes"] * len(clips)
    wanted = "Łukasz.wav".encode(encoding, "backslashreplace")
    assert lines[0][0].endswith(wanted)
    assert lines[-1][0].endswith(b"\xfe.wav" if len(clips) > 1 else wanted)
    assert done.stderr.count(b"\n") == 1


@pytest.mark.parametrize(
    "content", [b"RIFF\x24\0\0\0WAVEfmt ", b"fLaC\0\0\0\x22\x10", b"\xff\xfb\x90\0\0", b"\0\x01" * 100]
)
def test_audio_instead_of_paths_is_refused(content: bytes, run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(content), encoding="utf-8"))
    code, out, err = run("predict", "-", "--model", "tiny")
    assert (code, out) == (2, "")
    assert "standard input is not a list of paths" in err
    assert err.count("\n") == 1


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("predict", "nowhere.wav", "--model", "MODEL"), "nowhere.wav does not exist"),
        (("predict", "EMPTY", "--model", "MODEL"), "contains no WAV, FLAC, OGG or MP3"),
        (("predict", "a.wav", "--model", "nosuchmodel"), "nosuchmodel is neither a model file nor a bundled model"),
        (("train", "--recipe", "tutoriel", "--data", "EMPTY", "--out", "out"), "did you mean tutorial?"),
        (("train", "--data", "EMPTY", "--out", "out", "--set", "epoch=3"), "did you mean epochs?"),
        (("train", "--data", "EMPTY", "--out", "out"), "contains no clips"),
        (("train", "--data", "EMPTY"), "add --out RUN"),
        (("train", "--resume", "EMPTY"), "contains no readable run"),
        (("train", "--resume", "EMPTY", "--set", "epochs=3"), "give no other option"),
        (("train", "--resume", "EMPTY", "--noise", "EMPTY"), "give no other option"),
        (("demo", "--out", "a.wav", "--data", "EMPTY"), "a.wav is a file"),
        (("export", "tiny", "--to", "onnx-stream", "--out", "out.onnx", "--data", "EMPTY"), "takes no clips"),
        (("export", "tiny", "--to", "onnx-stream", "--out", "out"), "written as NAME.onnx"),
        (("evaluate", "MODEL", "EMPTY"), "contains no clips"),
        (("evaluate", "MODEL", "EMPTY", "--split", "half"), "give validation, test or all"),
        (("listen", "a.wav", "--model", "MODEL", "--rate", "8000"), "--channels and --format are for raw PCM"),
        (("listen", "a.wav", "--model", "MODEL", "--run", "maybe=true"), "maybe"),
        (("models", "bc_resnet_9"), "did you mean bc_resnet_"),
        (("corpus", "show", "EMPTY"), "contains no clips"),
        (("corpus", "get", "speech-command-v0.01"), "speech-commands-v0.01"),
    ],
)
def test_bad_input_is_one_line_and_exit_code_2(
    arguments: tuple[str, ...],
    message: str,
    run: Run,
    make_model: MakeModel,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    model = make_model(labels=LABELS, sample_rate=8000, window=8000)
    loud_in_quarter(tmp_path / "a.wav", 0)
    (tmp_path / "empty").mkdir()
    places = {"MODEL": str(model), "EMPTY": "empty"}
    code, out, err = run(*(places.get(word, word) for word in arguments))
    assert code == 2
    assert out == ""
    assert err.startswith("harken: ")
    assert err.count("\n") == 1
    assert message in err
    assert not (tmp_path / "out").exists()


def test_a_full_disk_is_one_line_and_exit_code_2(run: Run, tiny_corpus: Path, tmp_path: Path) -> None:
    def full(*_: object, **__: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(tmp_path / "corpus.html"))

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("harken.corpus.page.write_page", full)
        code, _, err = run("corpus", "show", tiny_corpus)
    assert code == 2
    assert err == f"harken: cannot write {tmp_path / 'corpus.html'}: No space left on device; free some disk space\n"


def test_a_path_that_cannot_be_used_is_one_line_and_exit_code_2(run: Run, tiny_corpus: Path) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), "secret/a.wav")

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("harken.corpus.page.write_page", refuse)
        code, _, err = run("corpus", "show", tiny_corpus)
    assert code == 2
    assert err == "harken: secret/a.wav: Permission denied; check the path and its permissions\n"


def test_a_page_about_a_corpus_never_replaces_a_recording(run: Run, tiny_corpus: Path) -> None:
    recording = next(tiny_corpus.glob("yes/*.wav"))
    before = recording.read_bytes()
    code, _, err = run("corpus", "show", tiny_corpus, "--out", recording)
    assert (code, recording.read_bytes()) == (2, before)
    assert err.count("\n") == 1
    assert "is the name of a recording" in err


def test_ctrl_c_during_the_import_of_a_compiled_module_ends_quietly(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(**_: Any) -> None:
        raise ImportError("initialization failed") from cause

    monkeypatch.setattr(main_module, "app", interrupted)
    cause: BaseException = KeyboardInterrupt()
    assert run("models") == (130, "", "")
    cause = OSError("libgomp.so.1")
    with pytest.raises(ImportError, match="initialization failed"):
        run("models")


def test_a_missing_extra_is_named(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("harken.extras.find_spec", lambda name: None)
    code, _, err = run("train", "--data", "x", "--out", "y")
    assert code == 2
    assert f"run {install_command('train')}" in err


def test_models_lists_networks_and_prints_layers(run: Run) -> None:
    code, out, _ = run("models")
    assert code == 0
    assert all(name in out for name in ("tutorial_cnn", "bc_resnet_8", "matchboxnet_3x2x64"))
    _, out, _ = run("models", "tutorial_cnn")
    assert out.splitlines()[-1].split() == ["total", "1,611,498", "14,292,000"]


def test_doctor_prints_what_is_missing_and_how_to_install_it(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    from harken.cli import doctor

    known = doctor._version
    monkeypatch.setattr(doctor, "_version", lambda package: None if package == "librosa" else known(package))
    code, out, _ = run("doctor")
    assert code == 0
    assert __version__ in out
    assert install_command("dev") in out
    assert "pip install harken\n" not in out


def test_evaluate_uses_the_whole_of_a_test_archive(run: Run, make_model: MakeModel, tmp_path: Path) -> None:
    model = make_model(labels=LABELS, sample_rate=8000, window=8000)
    for quarter, label in enumerate(LABELS):
        (tmp_path / "archive" / label).mkdir(parents=True)
        loud_in_quarter(tmp_path / "archive" / label / "a.wav", quarter)
        loud_in_quarter(tmp_path / "archive" / label / "b.wav", 0)
    report, figures = tmp_path / "report.html", tmp_path / "figures.json"
    code, out, err = run("evaluate", model, tmp_path / "archive", "--json", figures, "--report", report)
    assert code == 0
    assert "duplicate clips, each of them counted: 1\n" in err
    # The two clips of the first class are the same bytes, and both count; "b" of the other classes is recognized as yes.
    assert "accuracy 62.50 %" in out
    found = json.loads(figures.read_text())
    assert found["accuracy"] == pytest.approx(5 / 8)
    assert found["clips"] == 8
    assert found["accuracy_interval"] == pytest.approx([0.3057, 0.8632], abs=1e-4)
    assert "<html" in report.read_text(encoding="utf-8")


def test_evaluate_tunes_the_threshold_for_clips(run: Run, make_model: MakeModel, tmp_path: Path) -> None:
    model = make_model(labels=LABELS, sample_rate=8000, window=8000)
    for quarter, label in enumerate(LABELS):
        (tmp_path / "archive" / label).mkdir(parents=True)
        loud_in_quarter(tmp_path / "archive" / label / "a.wav", quarter)
    options = ["--report", tmp_path / "report.html", "--tune", 2, "--out", tmp_path / "tuned.onnx"]
    code, out, _ = run("evaluate", model, tmp_path / "archive", *options)
    assert code == 0
    assert "100.0 % of 2 words answered" in out
    assert "0.0 % of 2 other clips accepted" in out
    card = ModelFile(tmp_path / "tuned.onnx").card
    assert set(card.thresholds) == set(card.words)
    assert card.fields["clips_operating_point"]["words"] == 2
    assert len(card.fields["sensitivity"]["clips"]) == 11


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--tune", 2), "go together"),
        (("--out", "tuned.onnx"), "go together"),
        (("--tune", 0, "--out", "t.onnx"), "above 0"),
    ],
)
def test_evaluate_rejects_bad_tuning_options(run: Run, make_model: MakeModel, tmp_path: Path, options, message) -> None:
    code, _, err = run("evaluate", make_model(), tmp_path, *options)
    assert code == 2
    assert message in err


def test_evaluate_uses_the_same_window_of_longer_clips_as_predict(
    run: Run, make_model: MakeModel, tmp_path: Path
) -> None:
    model = make_model(labels=LABELS, sample_rate=8000, window=8000)
    for word, quarter in (("yes", 0), ("no", 1)):
        (tmp_path / "long" / word).mkdir(parents=True)
        path = loud_in_quarter(tmp_path / "long" / word / "a.wav", quarter)
        soundfile.write(path, np.pad(soundfile.read(path)[0], (8000, 0)), 8000)
    report = tmp_path / "report.html"
    code, out, _ = run("evaluate", model, tmp_path / "long", "--split", "all", "--report", report)
    assert code == 0
    assert "accuracy 100.00 %" in out


def test_evaluate_rejects_a_bad_output_path_before_it_starts(run: Run, make_model: MakeModel, tmp_path: Path) -> None:
    model = make_model(labels=LABELS, sample_rate=8000, window=8000)
    code, out, err = run("evaluate", model, tmp_path, "--json", tmp_path, "--report", tmp_path / "report.html")
    assert (code, out) == (2, "")
    assert f"{tmp_path} is a folder" in err


def test_evaluate_checks_its_default_report_before_it_starts(
    run: Run, make_model: MakeModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = make_model(labels=LABELS, sample_rate=8000, window=8000)
    (tmp_path / "archive" / "yes").mkdir(parents=True)
    loud_in_quarter(tmp_path / "archive" / "yes" / "a.wav", 0)
    (tmp_path / "report.html").mkdir()  # cannot be written, as if the model's folder were read-only
    monkeypatch.setattr("harken.evaluation.clips.evaluate.evaluate_clips", None)
    code, out, err = run("evaluate", model, tmp_path / "archive", "--split", "all")
    assert (code, out) == (2, "")
    assert err == f"harken: {tmp_path / 'report.html'} is a folder: name a file to write, with --report FILE\n"


def test_evaluate_prints_its_figures_even_if_the_report_cannot_be_written(
    run: Run, make_model: MakeModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object, **__: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), "report.html")

    model = make_model(labels=LABELS, sample_rate=8000, window=8000)
    (tmp_path / "archive" / "yes").mkdir(parents=True)
    loud_in_quarter(tmp_path / "archive" / "yes" / "a.wav", 0)
    monkeypatch.setattr("harken.evaluation.clips.report.write_report", full)
    code, out, err = run("evaluate", model, tmp_path / "archive", "--split", "all")
    assert code == 2
    assert "accuracy 100.00 %" in out
    assert err == "harken: cannot write report.html: No space left on device; free some disk space\n"


def test_evaluate_refuses_words_in_another_case(run: Run, make_model: MakeModel, tmp_path: Path) -> None:
    model = make_model(labels=LABELS, sample_rate=8000, window=8000)
    for word in ("Yes", "NO", "Stop"):
        (tmp_path / "mine" / word).mkdir(parents=True)
        loud_in_quarter(tmp_path / "mine" / word / "a.wav", 0)
    code, out, err = run("evaluate", model, tmp_path / "mine", "--split", "all")
    assert (code, out, err.count("\n")) == (2, "", 1)
    assert "is not one of the model's words: did you mean no?" in err


def test_full_evaluation_measures_noise_false_alarms_and_cost(run: Run, make_model: MakeModel, tmp_path: Path) -> None:
    model = make_model(labels=LABELS, sample_rate=8000, window=8000)
    for quarter, label in enumerate(LABELS):
        (tmp_path / "archive" / label).mkdir(parents=True)
        loud_in_quarter(tmp_path / "archive" / label / "a.wav", quarter)
    (tmp_path / "talk").mkdir()
    for name in ("3170-1-0001", "84-1-0001"):  # Only the first of these speakers is kept for measurement.
        loud_in_quarter(tmp_path / "talk" / f"{name}.wav", 0)
    (tmp_path / "noise").mkdir()
    hum = 0.1 * np.random.default_rng(0).standard_normal(31 * 8000)
    soundfile.write(tmp_path / "noise" / "hum.wav", hum, 8000)
    figures = tmp_path / "figures.json"
    options = ["--full", "--noise", tmp_path / "noise", "--speech", tmp_path / "talk", "--json", figures]
    code, out, _ = run("evaluate", model, tmp_path / "archive", *options, "--report", tmp_path / "report.html")
    assert code == 0
    found = json.loads(figures.read_text())
    assert found["robustness"]["clips"] == 3  # without silence
    assert [point["snr_db"] for point in found["robustness"]["snr"]] == [20, 10, 5, 0]
    assert found["speech_without_commands"]["false_alarms"] == 1
    assert found["speech_without_commands"]["minutes"] == pytest.approx(1 / 60)
    assert found["cost"]["file_bytes"] == Path(model).stat().st_size
    assert "60.00 false alarms per minute" in out
    assert "accuracy in new noise: 100.0 % clean" in out
    (tmp_path / "talk" / "3170-1-0001.wav").unlink()
    code, _, err = run("evaluate", model, tmp_path / "archive", *options, "--report", tmp_path / "report.html")
    assert code == 0
    assert "has no speakers that are kept for measurement" in err
    assert "speech_without_commands" not in json.loads(figures.read_text())


def test_export_prints_the_check_and_writes_the_file(run: Run, make_model: MakeModel, tmp_path: Path) -> None:
    model = make_model(labels=LABELS, sample_rate=8000, window=8000)
    for quarter, label in enumerate(LABELS):
        (tmp_path / "archive" / label).mkdir(parents=True)
        loud_in_quarter(tmp_path / "archive" / label / "a.wav", quarter)
    options = ["--to", "onnx-int8", "--out", tmp_path / "small.onnx", "--data", tmp_path / "archive"]
    code, out, _ = run("export", model, *options)
    assert code == 0
    assert out.startswith("same answer on 100.00 % of 2 clips; largest difference in probability 0\n")
    assert out.splitlines()[-1] == str(tmp_path / "small.onnx")
    assert json.loads((tmp_path / "small.onnx.json").read_text())["agreement"] == 1
    for export_format, name, message in (
        ("onnx-int8", "small.c", "written as NAME.onnx"),
        ("c", "small.onnx", "written as NAME.c"),
        ("tflite", "x.c", "give one of"),
        ("litert", "x.onnx", "written as NAME.tflite"),
    ):
        code, _, err = run(
            "export", model, "--to", export_format, "--out", tmp_path / name, "--data", tmp_path / "archive"
        )
        assert code == 2
        assert message in err


def test_litert_without_its_extra(
    run: Run, make_model: MakeModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("harken.extras.find_spec", lambda name: None if name == "litert_torch" else name)
    options = ["--to", "litert", "--out", tmp_path / "x.tflite", "--data", tmp_path]
    code, _, err = run("export", make_model(), *options)
    assert code == 2
    assert f"this needs litert_torch: run {install_command('litert')}" in err
    code, _, err = run("export", make_model(), "--to", "c", "--out", tmp_path / "x.c", "--data", tmp_path, "--features")
    assert code == 2
    assert "--features is for litert and litert-int8: leave it out for c" in err


def test_train_evaluate_and_predict_as_the_readme_says(run: Run, tiny_corpus: Path, tmp_path: Path) -> None:
    out = tmp_path / "run"
    code, printed, err = run("train", "--recipe", "tutorial", "--data", tiny_corpus, "--out", out, "--set", "epochs=1")
    assert (code, printed) == (0, f"{out / 'model.onnx'}\n")
    assert "clips: train 64, validation 16, test 20; 1 epochs" in err
    code, printed, err = run("evaluate", out, tiny_corpus)
    assert "training clips may be among them" not in err
    assert code == 0
    assert "on 16 clips" in printed
    assert printed.splitlines()[-1] == str(out / "report.html")
    part = Path(shutil.copytree(tiny_corpus, tmp_path / "part"))
    for path in [path for word in TEN_WORDS for path in sorted((part / word).glob("*.wav"))[::2]]:
        path.unlink()
    code, _, err = run("evaluate", out, part)
    assert code == 0
    assert "training clips may be among them" in err
    clip = next((tiny_corpus / TEN_WORDS[0]).glob("*.wav"))
    code, printed, _ = run("predict", clip, "--model", out)
    assert code == 0
    assert printed.split("\t")[1] in TEN_WORDS


def test_listen_prints_one_json_line_per_word(run: Run, make_model: MakeModel, tmp_path: Path) -> None:
    model = make_model(labels=LABELS, sample_rate=8000, window=8000)
    # The burst also passes through the quarter of `no`. But only `yes` has a stored threshold, lower than the default.
    samples = np.zeros(24_000, np.float32)
    samples[8_000:10_000] = 0.9
    soundfile.write(tmp_path / "stream.wav", samples, 8000)
    code, out, _ = run("listen", tmp_path / "stream.wav", "--model", model)
    assert code == 0
    assert [json.loads(line)["word"] for line in out.splitlines()] == ["yes"]


def test_words_without_a_class_are_printed(
    make_model: MakeModel, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from harken.evaluation.clips.evaluate import evaluate_clips
    from harken.runtime.modelfile import ModelFile

    for word, quarter in (("a", 0), ("b", 1), ("zebra", 2)):
        (tmp_path / "corpus" / word).mkdir(parents=True)
        loud_in_quarter(tmp_path / "corpus" / word / "x.wav", quarter)
    model = ModelFile(make_model(labels=["a", "b", "c", "d"], sample_rate=8000, window=8000))
    print_evaluation(evaluate_clips(model, [tmp_path / "corpus"], split="all"))
    out = capsys.readouterr().out
    assert "zebra (1)" in out
    assert "on 2 clips" in out


@pytest.mark.parametrize(
    ("note", "command"),
    [
        (None, "pip install 'harken[own]'"),
        ("{", "pip install 'harken[own]'"),
        ('{"url": "https://x.org/harken.zip", "archive_info": {}}', "pip install 'harken[own]'"),
        ('{"url": "file:///home/me/my%20harken", "dir_info": {}}', "pip install '/home/me/my harken[own]'"),
        ('{"url": "file:///home/me/h", "dir_info": {"editable": true}}', "pip install -e '/home/me/h[own]'"),
    ],
)
def test_an_extra_is_installed_from_where_harken_is(
    note: str | None, command: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("harken.extras.distribution", lambda _: SimpleNamespace(read_text=lambda _: note))
    assert install_command.__wrapped__("own") == command
