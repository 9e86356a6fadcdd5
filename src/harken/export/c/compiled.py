"""Compile exported C code, measure it and call it from Python.

compile_c       compile NAME.c and NAME.h
CompiledModel   the functions of the compiled library
Sizes           bytes of code, constants and RAM
"""

import ctypes
import os
import platform
import shlex
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from harken.errors import HarkenError

_FLAGS = ["-std=c99", "-Wall", "-Wextra", "-Wconversion", "-Werror", "-O2"]
_FLOATS = ctypes.POINTER(ctypes.c_float)


@dataclass(frozen=True)
class Sizes:
    """Sizes of an object file on this machine, in bytes.

    Attributes
    ----------
    code
        Machine instructions.
    constants
        Weights and tables, and the pointers to them.
    ram
        Static state; the same on every machine with 32-bit int and float.
    machine
        The instruction set.
    """

    code: int
    constants: int
    ram: int
    machine: str


class CompiledModel:
    """The functions of a compiled model. Its state is static, so only one CompiledModel may use a library at a time."""

    def __init__(self, library: Path, name: str, *, classes: int, window: int) -> None:
        functions = ctypes.CDLL(str(library))
        self._classes = classes
        self._window = window
        self._reset = functions[f"{name}_reset"]
        self._push = functions[f"{name}_push"]
        self._probabilities = functions[f"{name}_probabilities"]
        self._run = functions[f"{name}_run"]
        self._reset.restype = self._push.restype = self._run.restype = None
        self._push.argtypes = [ctypes.POINTER(ctypes.c_int16), ctypes.c_size_t]
        self._probabilities.argtypes = [_FLOATS]
        self._run.argtypes = [_FLOATS, _FLOATS]

    def reset(self) -> None:
        """Start a new stream."""
        self._reset()

    def push(self, samples: NDArray[np.int16]) -> None:
        """Add samples to the stream."""
        samples = np.ascontiguousarray(samples, np.int16)
        self._push(samples.ctypes.data_as(ctypes.POINTER(ctypes.c_int16)), len(samples))

    def probabilities(self) -> tuple[NDArray[np.float32], bool]:
        """Return the probabilities [classes] over the last window, and whether the stream has filled a whole window."""
        out = np.empty(self._classes, np.float32)
        whole = self._probabilities(out.ctypes.data_as(_FLOATS))
        return out, bool(whole)

    def run(self, clips: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return the probabilities [N, classes] of single clips [N, window]."""
        if clips.ndim != 2 or clips.shape[1] != self._window:
            raise HarkenError(f"clips of shape {clips.shape} do not fit the model: pass [N, {self._window}]")
        clips = np.ascontiguousarray(clips, np.float32)
        out = np.empty((len(clips), self._classes), np.float32)
        for clip, row in zip(clips, out, strict=True):
            self._run(clip.ctypes.data_as(_FLOATS), row.ctypes.data_as(_FLOATS))
        return out


def compile_c(source: Path, folder: Path, *, classes: int, window: int) -> tuple[CompiledModel, Sizes]:
    """Compile NAME.c, with warnings as errors.

    The compiler is that of the environment variable CC, or else gcc, cc or clang.

    Parameters
    ----------
    source
        NAME.c, with NAME.h beside it.
    folder
        Folder for the library and the object file.
    classes
        Number of labels.
    window
        Samples in a window.

    Returns
    -------
    CompiledModel, Sizes
        Its functions, and its sizes.

    Raises
    ------
    HarkenError
        There is no compiler, it reports an error, or it compiles for another machine.
    """
    compiler = _compiler()
    library, unit = folder / f"{source.stem}.so", folder / f"{source.stem}.o"
    _call([*compiler, *_FLAGS, "-shared", "-fPIC", "-o", str(library), str(source), "-lm"])
    _call([*compiler, *_FLAGS, "-c", "-o", str(unit), str(source)])
    try:
        model = CompiledModel(library, source.stem, classes=classes, window=window)
    except OSError as error:  # a cross compiler, or one that compiles to something else
        raise HarkenError(
            f"the code compiled by {compiler[0]} cannot run on this machine: set CC to a compiler for it, such as gcc"
        ) from error
    return model, _sizes(unit)


def _compiler() -> list[str]:
    named = os.environ.get("CC", "")
    try:
        if words := shlex.split(named):
            return words
    except ValueError as error:
        raise HarkenError(f"$CC is {named!r}, with a quotation mark that is not closed: close it") from error
    for name in ("gcc", "cc", "clang"):
        if shutil.which(name):
            return [name]
    raise HarkenError("no C compiler found to check the export with: install gcc, or set CC to a compiler")


def _sizes(unit: Path) -> Sizes:
    """Add up the sections of an object file by kind."""
    totals = {"code": 0, "constants": 0, "ram": 0}
    for line in _call(["size", "-A", str(unit)]).splitlines():
        match line.split():
            case [section, size, _] if section.startswith(".text"):
                totals["code"] += int(size)
            case [section, size, _] if section.startswith((".rodata", ".data.rel.ro")):
                totals["constants"] += int(size)
            case [section, size, _] if section.startswith((".data", ".bss")):
                totals["ram"] += int(size)
    return Sizes(**totals, machine=platform.machine())


def _call(command: list[str]) -> str:
    try:
        return subprocess.run(command, check=True, capture_output=True, text=True).stdout
    except OSError as error:
        raise HarkenError(f"{command[0]} cannot be started: install gcc and binutils, or correct $CC") from error
    except subprocess.CalledProcessError as error:
        first = next(iter(error.stderr.strip().splitlines()), "no reason given")
        raise HarkenError(f"{command[0]} cannot compile the exported C code: {first}") from error
