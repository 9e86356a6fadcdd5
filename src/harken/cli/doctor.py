"""The command `harken doctor`: what is installed, what is missing, and how to install it."""

import os
import platform
from importlib.metadata import PackageNotFoundError, requires, version
from importlib.util import find_spec

from rich.console import Console
from rich.markup import escape

from harken import __version__
from harken.cache import default_cache
from harken.extras import install_command
from harken.runtime.modelfile import bundled_models


def print_doctor() -> None:
    """Print versions and devices, and for each extra the missing packages and the command that installs them."""
    console = Console(highlight=False, soft_wrap=True)  # A command to copy must not be wrapped.
    console.print(f"harken {__version__}, Python {platform.python_version()}, {platform.platform()}")
    console.print(f"{os.cpu_count()} CPU cores; {_gpus()}")
    console.print(f"bundled models: {', '.join(bundled_models()) or 'none'}")
    console.print(f"cache folder: {escape(str(default_cache()))}\n")
    for extra, packages in _extras().items():
        found = {package: _version(package) for package in packages}
        missing = [package for package, number in found.items() if number is None]
        installed = ", ".join(f"{package} {number}" for package, number in found.items() if number)
        console.print(f"[bold]{extra}[/bold]: {installed or 'not installed'}")
        if missing:
            command = install_command("" if extra == "runtime" else extra)
            console.print(f"  missing {', '.join(missing)}: run {escape(command)}")


def _extras() -> dict[str, list[str]]:
    extras: dict[str, list[str]] = {"runtime": []}
    for line in requires("harken") or []:
        name = line.split(";")[0]
        for mark in "<>=!~ [(":
            name = name.partition(mark)[0]
        extra = line.partition("extra ==")[2].strip(" '\"") or "runtime"
        extras.setdefault(extra, []).append(name)
    return extras


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def _gpus() -> str:
    if find_spec("torch") is None:
        return "GPUs unknown, since torch is not installed"
    import torch

    if torch.cuda.is_available():
        return ", ".join(torch.cuda.get_device_name(index) for index in range(torch.cuda.device_count()))
    return "no GPU that torch can use"
