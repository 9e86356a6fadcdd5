"""Checks that the optional dependencies of a command are installed."""

from importlib.util import find_spec

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
        raise HarkenError(f"this needs {', '.join(missing)}: run pip install 'harken[{extra}]'")
