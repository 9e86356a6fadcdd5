"""The wheel and the sdist: complete, without tests, and fit to be installed and published."""

import importlib.util
import os
import subprocess
import sys
import tarfile
import tomllib
import venv
import zipfile
from email.parser import Parser
from pathlib import Path

import pytest

from harken import __version__

ROOT = Path(__file__).parents[1]
SOURCE = ROOT / "src/harken"

needs_build = pytest.mark.skipif(importlib.util.find_spec("build") is None, reason="build is not installed")


def run(*command: object, **kwargs: object) -> str:
    done = subprocess.run(
        [str(word) for word in command], capture_output=True, text=True, timeout=600, check=False, **kwargs
    )  # type: ignore[call-overload]
    assert done.returncode == 0, f"{done.stdout}\n{done.stderr}"
    return done.stdout


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """Build both from this tree, without a network if hatchling is installed, and return (wheel, sdist)."""
    out = tmp_path_factory.mktemp("dist")
    isolated = [] if importlib.util.find_spec("hatchling") is None else ["--no-isolation"]
    try:
        run(sys.executable, "-m", "build", *isolated, "--outdir", out, ROOT)
    except AssertionError as error:
        if not isolated and ("ConnectionError" in str(error) or "Could not find a version" in str(error)):
            pytest.skip("hatchling is not installed and cannot be downloaded")
        raise
    return next(out.glob("*.whl")), next(out.glob("*.tar.gz"))


def test_the_version_stands_in_one_place() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    assert "version" not in project["project"]
    assert project["project"]["dynamic"] == ["version"]
    assert f"version: {__version__}" in (ROOT / "CITATION.cff").read_text(encoding="utf-8")


@needs_build
def test_the_wheel_holds_the_whole_package_and_nothing_else(built: tuple[Path, Path]) -> None:
    names = set(zipfile.ZipFile(built[0]).namelist())
    package = {name for name in names if name.startswith("harken/")}
    meant = {
        f"harken/{path.relative_to(SOURCE).as_posix()}"
        for path in SOURCE.rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }
    assert package == meant
    for kind in (".onnx", ".md", ".js", ".html", ".css", ".svg", ".tsv", ".c", ".h", "py.typed"):
        assert any(name.endswith(kind) for name in package), kind
    others = names - package
    assert {name.split("/")[0] for name in others} == {f"harken-{__version__}.dist-info"}
    assert not any("test" in Path(name).name for name in package)


@needs_build
def test_the_wheel_says_what_it_is(built: tuple[Path, Path]) -> None:
    wheel = zipfile.ZipFile(built[0])
    said = Parser().parsestr(wheel.read(f"harken-{__version__}.dist-info/METADATA").decode())
    assert (said["Version"], said["License-Expression"], said["Requires-Python"]) == (
        __version__,
        "Apache-2.0",
        ">=3.11",
    )
    classifiers = said.get_all("Classifier", [])
    for minor in (11, 12, 13, 14):
        assert f"Programming Language :: Python :: 3.{minor}" in classifiers
    for system in ("MacOS", "Microsoft :: Windows", "POSIX :: Linux"):
        assert f"Operating System :: {system}" in classifiers
    assert any(name.endswith("licenses/LICENSE") for name in wheel.namelist())


@needs_build
def test_the_sdist_holds_what_it_takes_to_build_and_to_test(built: tuple[Path, Path]) -> None:
    with tarfile.open(built[1]) as tar:
        names = {name.partition("/")[2] for name in tar.getnames()}
    assert {"pyproject.toml", "README.md", "LICENSE", "tests/conftest.py", "src/harken/weights/base.onnx"} <= names
    assert not any(name.startswith((".venv", "demo/", "build/")) for name in names)
    assert not any(name.endswith((".wav", ".flac", ".ckpt")) for name in names)


@needs_build
def test_twine_accepts_both(built: tuple[Path, Path]) -> None:
    pytest.importorskip("twine")
    assert run(sys.executable, "-m", "twine", "check", "--strict", *built).count("PASSED") == 2


@needs_build
def test_the_wheel_runs_in_an_environment_of_its_own(built: tuple[Path, Path], tmp_path: Path) -> None:
    """Without a network: the dependencies come from this environment, harken from the wheel alone."""
    venv.create(tmp_path / "venv", with_pip=False)
    binaries = tmp_path / "venv" / ("Scripts" if os.name == "nt" else "bin")
    python = binaries / ("python.exe" if os.name == "nt" else "python")
    place = Path(run(python, "-c", "import sysconfig; print(sysconfig.get_paths()['purelib'])").strip())
    run(sys.executable, "-m", "pip", "install", "--no-deps", "--no-index", "--target", place, built[0])
    import numpy

    environment = {**os.environ, "PYTHONPATH": str(Path(numpy.__file__).parents[1])}
    # An editable install of this tree must not answer in the wheel's place.
    code = (
        "import harken, numpy as np; from harken import Recognizer; print(harken.__file__); "
        "print(Recognizer().predict(np.zeros(16000, np.float32), source_rate=16000).reason)"
    )
    where, reason = run(python, "-c", code, env=environment, cwd=tmp_path).splitlines()
    assert Path(where).is_relative_to(place)
    assert reason == "silence"
