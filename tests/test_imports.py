"""The direction of imports: contracts in pyproject.toml, and what `import harken` itself loads."""

import subprocess
import sys
from pathlib import Path

import pytest

import harken

ROOT = Path(__file__).parents[1]


def test_imports_run_downward_and_the_runtime_needs_no_training_framework():
    pytest.importorskip("importlinter", reason="import-linter is not installed")
    command = [sys.executable, "-c", "from importlinter.cli import lint_imports_command; lint_imports_command()"]
    found = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert found.returncode == 0, found.stdout + found.stderr
    assert "2 kept, 0 broken" in found.stdout


def test_a_bare_import_loads_none_of_the_dependencies():
    heavy = ("numpy", "onnxruntime", "soundfile", "soxr", "typer", "rich", "torch")
    code = f"import sys, harken; print(*[name for name in {heavy} if name in sys.modules])"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.split() == []


def test_every_public_name_can_be_used():
    for name in harken.__all__:
        assert getattr(harken, name).__doc__
    assert set(harken.__all__) <= set(dir(harken))
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        _ = harken.nothing
