"""Optional dependencies: whether they are installed, and the command that installs them.

require_extra      raise an error unless an extra is installed
install_command    the command that installs an extra
"""

import json
from functools import cache
from importlib.metadata import PackageNotFoundError, distribution
from importlib.util import find_spec
from urllib.parse import urlsplit
from urllib.request import url2pathname

from harken.errors import HarkenError


def require_extra(extra: str, *modules: str) -> None:
    """Raise an error unless all modules of an extra are installed.

    Parameters
    ----------
    extra
        Name of the extra, such as `train`, for the install command in the message.
    modules
        Modules that must be importable.

    Raises
    ------
    HarkenError
        If a module is missing. The message contains the command that installs the extra.
    """
    missing = [module for module in modules if find_spec(module) is None]
    if missing:
        raise HarkenError(f"this needs {', '.join(missing)}: run {install_command(extra)}")


@cache
def install_command(extra: str = "") -> str:
    """Return the command that installs an extra, or harken alone, from where harken itself was installed."""
    option, source = _source()
    return f"pip install {option}'{source}[{extra}]'" if extra else f"pip install {option}'{source}'"


def _source() -> tuple[str, str]:
    """Return pip's option and the package or folder that harken was installed from. The installer notes it (PEP 610)."""
    try:
        note = json.loads(distribution("harken").read_text("direct_url.json") or "{}")
    except (PackageNotFoundError, ValueError):
        note = {}
    url = urlsplit(note.get("url", ""))
    if url.scheme != "file" or "dir_info" not in note:
        return "", "harken"
    return "-e " if note["dir_info"].get("editable") else "", url2pathname(url.path)
