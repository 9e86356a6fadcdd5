"""What a command needs beyond the runtime."""

from importlib.util import find_spec

from harken.errors import HarkenError


def require_extra(extra: str, *modules: str) -> None:
    """Refuse a command whose extra is not installed, with the line that installs it."""
    missing = [module for module in modules if find_spec(module) is None]
    if missing:
        raise HarkenError(f"this needs {', '.join(missing)}: run pip install 'harken[{extra}]'")
