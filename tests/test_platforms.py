"""What only Unix has is imported only where it is: simulated here by taking the modules away."""

import subprocess
import sys
from importlib.util import find_spec

import pytest

UNIX_ONLY = ("fcntl", "resource", "termios", "tty", "pwd", "grp", "posix_ipc")

IMPORT_ALL = f"""
import importlib, pkgutil, sys
for name in {UNIX_ONLY!r}:
    sys.modules[name] = None
import os
for name in [name for name in dir(os) if name.startswith("sched_")]:
    delattr(os, name)
import harken
for module in pkgutil.walk_packages(harken.__path__, "harken."):
    if module.name == "harken.__main__":
        continue
    try:
        importlib.import_module(module.name)
    except ImportError as error:
        # An extra that is not installed says its name; what is taken away here must not be missed.
        if (error.name or "").partition(".")[0] in {UNIX_ONLY!r} or error.name is None:
            raise
"""


def test_every_module_imports_without_what_only_unix_has() -> None:
    for extra in ("torch", "lightning", "fastapi"):
        if find_spec(extra) is None:
            pytest.skip(f"{extra} is not installed, so that some modules could not be tried")
    done = subprocess.run([sys.executable, "-c", IMPORT_ALL], capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr[-2000:]


def test_memory_is_unknown_where_neither_proc_nor_resource_tells(monkeypatch: pytest.MonkeyPatch) -> None:
    cost = pytest.importorskip("harken.evaluation.clips.cost")
    monkeypatch.setitem(sys.modules, "resource", None)
    monkeypatch.setattr(cost.sys, "platform", "win32")
    monkeypatch.setattr(cost.Path, "is_file", lambda _: False)
    assert cost._resident_bytes() is None


def test_as_many_workers_as_cores_where_no_affinity_is_known(monkeypatch: pytest.MonkeyPatch) -> None:
    workers = pytest.importorskip("harken.synth.workers")
    monkeypatch.delattr("os.sched_getaffinity", raising=False)
    done: list[int] = []
    workers.run_in_parallel(done.append, [1, 2], "counting", workers=1)
    assert done == [1, 2]
