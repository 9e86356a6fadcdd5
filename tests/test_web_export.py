"""Test the files that an export of the page writes."""

import errno
import json
import os
import sys
from http.client import BadStatusLine, IncompleteRead, InvalidURL
from pathlib import Path

import pytest

from browsing import serve_folder
from conftest import MakeModel
from harken.cli.main import main
from harken.corpus.reachable import is_reachable
from harken.errors import HarkenError
from harken.export import web


def test_the_export_is_complete_and_replaces_only_an_earlier_export(
    ort: Path, make_model: MakeModel, tmp_path: Path
) -> None:
    model, out = make_model(), tmp_path / "out"
    for _ in range(2):
        web.write_web(model, out, ort=ort)
    assert (out / "model.onnx").read_bytes() == model.read_bytes()
    assert json.loads((out / "card.json").read_text())["words"] == ["yes", "no"]
    assert json.loads((out / "package.json").read_text()) == {"type": "module"}
    assert "wasm-unsafe-eval" in (out / "index.html").read_text()
    assert "onnx-model.js" in (out / "page" / "engine.js").read_text()  # the engine that runs in the browser
    assert sorted(path.name for path in tmp_path.iterdir()) == ["out", "quarters.onnx"]
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "file").touch()
    for taken, problem in ((tmp_path / "other", "exists and contains file"), (model, "is not a harken web export")):
        with pytest.raises(HarkenError, match=problem):
            web.write_web(model, taken, ort=ort)
    (out / ".git").mkdir()
    with pytest.raises(HarkenError, match=r"exists and contains \.git: give a new folder"):
        web.write_web(model, out, ort=ort)
    assert (out / ".git").is_dir()
    with pytest.raises(HarkenError, match="the dist folder of onnxruntime-web"):
        web.write_web(model, tmp_path / "new", ort=tmp_path)
    assert not (tmp_path / "new").exists()


def test_an_interrupted_export_leaves_the_earlier_one(
    ort: Path, make_model: MakeModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model, out = make_model(), tmp_path / "out"
    web.write_web(model, out, ort=ort)
    rename = Path.rename

    def interrupted(source: Path, target: Path) -> Path:
        if target == out and not source.name.endswith("-before"):
            raise KeyboardInterrupt
        return rename(source, target)

    monkeypatch.setattr(Path, "rename", interrupted)
    with pytest.raises(KeyboardInterrupt):
        web.write_web(model, out, ort=ort)
    assert (out / "index.html").is_file()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["out", "quarters.onnx"]


@pytest.mark.parametrize("failing", ["pathlib.Path.write_bytes", "shutil.copyfile", "pathlib.Path.mkdir"])
def test_a_full_disk_is_reported_with_the_folder(
    ort: Path,
    make_model: MakeModel,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    failing: str,
) -> None:
    model, out = make_model(), tmp_path / "out"

    def full(*paths: object, **_: object) -> None:
        # shutil.copyfile names the file that it reads, and the other functions name none.
        names = [str(paths[0])] if failing == "shutil.copyfile" else []
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), *names)

    monkeypatch.setattr(failing, full)
    monkeypatch.setattr(
        sys, "argv", ["harken", "export", str(model), "--to", "web", "--out", str(out), "--ort", str(ort)]
    )
    with pytest.raises(SystemExit) as done:
        main()
    assert done.value.code == 2
    assert capsys.readouterr().err == f"harken: cannot write {out}: No space left on device; free some disk space\n"
    assert [path.name for path in tmp_path.iterdir()] == ["quarters.onnx"]


def test_a_link_to_an_earlier_export_is_followed_and_the_current_folder_is_kept(
    ort: Path, make_model: MakeModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model, link = make_model(), tmp_path / "link"
    link.symlink_to(tmp_path / "out")
    for _ in range(2):
        assert web.write_web(model, link, ort=ort) == link / "index.html"
    assert link.is_symlink()
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    with pytest.raises(HarkenError, match="the current folder cannot be replaced"):
        web.write_web(model, Path(), ort=ort)


def test_the_command_exports(
    ort: Path,
    make_model: MakeModel,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    words = ["export", str(make_model()), "--to", "web", "--out", str(tmp_path / "out"), "--ort", str(ort)]
    monkeypatch.setattr(sys, "argv", ["harken", *words])
    with pytest.raises(SystemExit) as done:
        main()
    assert done.value.code in (0, None)
    assert capsys.readouterr().out == f"{tmp_path / 'out' / 'index.html'}\n"


@pytest.mark.parametrize("error", [BadStatusLine("x"), InvalidURL("no port"), IncompleteRead(b"", 9)])
def test_a_server_that_is_no_web_server_gets_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise error

    monkeypatch.setattr("urllib.request.urlopen", fail)
    with pytest.raises(HarkenError, match=r"cannot download .*: give a folder that contains it with --ort DIR"):
        web.fetch_ort(tmp_path / "cache")
    assert not is_reachable("http://127.0.0.1/x")


def test_a_wrong_or_missing_archive_is_rejected(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    archive = tmp_path / "onnxruntime-web" / "-" / f"onnxruntime-web-{web.ORT_VERSION}.tgz"
    archive.parent.mkdir(parents=True)
    archive.write_bytes(b"something else")
    with serve_folder(tmp_path) as url:
        monkeypatch.setenv("NPM_CONFIG_REGISTRY", url)
        with pytest.raises(HarkenError, match="not the published archive"):
            web.fetch_ort(tmp_path / "cache")
        archive.unlink()
        with pytest.raises(HarkenError, match="cannot download"):
            web.fetch_ort(tmp_path / "cache")
    assert not (tmp_path / "cache").exists()


def test_a_cache_that_cannot_be_written_is_reported_before_the_download(tmp_path: Path) -> None:
    (tmp_path / "cache").write_text("in the way")
    with pytest.raises(
        HarkenError, match=r"cannot write to the cache .*: set HARKEN_CACHE to .*, or give .* with --ort DIR$"
    ):
        web.fetch_ort(tmp_path / "cache")
