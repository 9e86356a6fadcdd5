"""The command `harken export`: what it prints, and that errors leave no file behind."""

import json
import shutil
from functools import partial
from pathlib import Path

import numpy as np
import pytest

from conftest import Run
from harken import enroll
from harken.export import clips as export_clips
from harken.export.onnx_int8 import write_onnx_int8
from harken.runtime.modelfile import find_model
from test_enrollment import TUNE, tune
from trained_spotter import RATE, clips, words

with_compiler = pytest.mark.skipif(
    not any(map(shutil.which, ("gcc", "cc", "clang"))), reason="there is no C compiler here: install gcc"
)


@pytest.fixture
def run(run: Run, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Run:
    """Return a function that runs `harken export` in a temporary folder."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(export_clips, "_SYNTHETIC_CLIPS", 36)
    return partial(run, "export")


@pytest.fixture(scope="module")
def int8_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("int8") / "small.onnx"
    silence = np.repeat(clips(RATE)[:1], 2, axis=0)  # Both agree on digital silence.
    write_onnx_int8("tiny", path, silence, calibration=words(RATE, 30, 31))
    return path


@pytest.fixture(scope="module")
def enrolled_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("enrolled") / "tune.onnx"
    enroll("hey tune", [tune(TUNE, seed) for seed in range(2)], source_rate=RATE, out=path)
    return path


@pytest.mark.parametrize(
    ("export_format", "name"), [("onnx-int8", "a.onnx"), pytest.param("c", "a.c", marks=with_compiler)]
)
def test_without_a_corpus_clips_are_synthesized(run: Run, export_format: str, name: str) -> None:
    pytest.importorskip("espeakng_loader", reason="harken[synth] is not installed")
    code, out, err = run("tiny", "--to", export_format, "--out", name)
    assert code == 0, err
    assert "% of 43 synthetic clips; largest difference" in out
    assert (
        err
        == "harken: only 43 clips were compared, too few for a reliable check; give a larger corpus with --data DIR\n"
    )
    check = json.loads(Path(f"{name}.json").read_text())
    assert check.get("export", check)["synthesized"] is True


@with_compiler
def test_a_plain_corpus_is_enough(run: Run, tiny_corpus: Path, tmp_path: Path) -> None:
    (tmp_path / "plain").mkdir()
    for word in ("yes", "no", "bed"):
        (tmp_path / "plain" / word).symlink_to(tiny_corpus / word)
    code, out, err = run("tiny", "--to", "c", "--out", "a.c", "--data", "plain")
    assert code == 0, err
    assert out.startswith("same answer on 100.00 % of 17 clips; ")
    assert "\nsettings for streams: tuned for the streaming model tiny.stream.onnx, which processes" in out
    assert json.loads(Path("a.c.json").read_text())["export"]["synthesized"] is False
    assert [line.split()[1] for line in err.splitlines()] == ["all", "no", "only"]


@pytest.mark.parametrize("export_format", ["onnx-int8", "onnx-stream", "litert", "litert-int8", "c", "c-int8"])
def test_an_8_bit_export_cannot_be_exported(
    run: Run, int8_model: Path, monkeypatch: pytest.MonkeyPatch, export_format: str
) -> None:
    monkeypatch.setattr("harken.extras.find_spec", lambda name: name)
    name = {"onnx": "a.onnx", "lite": "a.tflite"}.get(export_format[:4], "a.c")
    code, out, err = run(int8_model, "--to", export_format, "--out", name)
    assert (code, out) == (2, "")
    assert err == f"harken: {int8_model} is already an 8-bit export: give the model it was made from\n"
    assert not list(Path().iterdir())


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--to", "c", "--out", "math.c"), "math.h would hide a header of the C library: choose another name"),
        (("--to", "c", "--out", "taken.c"), "taken.c.json is a folder"),
        (("--to", "onnx-int8", "--out", "taken.onnx"), "taken.onnx.json is a folder"),
        (("--to", "onnx-stream", "--out", "taken.onnx"), "taken.onnx.json is a folder"),
        (("--to", "onnx-int8", "--out", "a.onnx", "--listener", "tiny.stream"), "--listener is for c and c-int8"),
        (("--to", "c", "--out", "a.c", "--listener", "nosuch"), "nosuch is neither a model file nor a bundled model"),
        (("--to", "c", "--out", "a.c", "--other", "nosuch"), "--other goes with --data"),
        (("--to", "c", "--out", "a.c", "--noise", "nosuch"), "nosuch does not exist"),
    ],
)
def test_bad_input_gives_one_line_and_leaves_no_file(run: Run, arguments: tuple[str, ...], message: str) -> None:
    pytest.importorskip("espeakng_loader", reason="harken[synth] is not installed")
    for name in ("taken.c.json", "taken.onnx.json"):
        Path(name).mkdir()
    code, out, err = run("tiny", *arguments)
    assert (code, out) == (2, "")
    assert err.startswith("harken: ")
    assert err.count("\n") == 1
    assert message in err
    assert {path.name for path in Path().iterdir()} == {"taken.c.json", "taken.onnx.json"}


@pytest.mark.parametrize("export_format", ["onnx-int8", "onnx-stream"])
@pytest.mark.parametrize("enrolled", [False, True])
def test_the_model_itself_is_not_overwritten(
    run: Run, enrolled_model: Path, enrolled: bool, export_format: str
) -> None:
    shutil.copy(enrolled_model if enrolled else find_model("tiny"), "model.onnx")
    before = Path("model.onnx").read_bytes()
    code, _, err = run("model.onnx", "--to", export_format, "--out", "model.onnx")
    assert (code, err) == (2, "harken: --out model.onnx is the model itself: choose another name\n")
    assert Path("model.onnx").read_bytes() == before


def test_the_streaming_file_of_an_enrolled_phrase_is_checked_without_the_extra_train(
    run: Run, enrolled_model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("harken.extras.find_spec", lambda name: None)
    code, out, err = run(enrolled_model, "--to", "onnx-stream", "--out", "tune.stream.onnx")
    assert (code, err) == (0, "")
    assert out.startswith("25 steps of a generated stream; largest difference in probability ")
    assert out.endswith("\ntune.stream.onnx\n")
    assert json.loads(Path("tune.stream.onnx.json").read_text())["largest_difference"] < 1e-5


def test_the_check_of_onnx_stream_reports_what_was_compared(run: Run) -> None:
    pytest.importorskip("espeakng_loader", reason="harken[synth] is not installed")
    code, out, _ = run("tiny", "--to", "onnx-stream", "--out", "a.onnx")
    assert code == 0
    check = json.loads(Path("a.onnx.json").read_text())
    assert check["synthesized"]
    assert check["clips"] == 43
    assert 0.8 < check["agreement"] <= 1
    assert 0 < check["largest_difference"] < 1e-4
    assert 0 < check["source_difference"] < 1e-4
    assert 0 < check["step_ms"] < check["source_clip_ms"]
    assert "of 43 synthetic clips, each at the start of a stream" in out
    assert "ms per step" in out
