"""The cache folder, for downloads and other files that harken can create again."""

import os
from pathlib import Path


def default_cache() -> Path:
    """Return the path of the cache folder.

    The environment variable `HARKEN_CACHE` sets it. Without it, the folder is `harken` in the user's cache folder:
    `$XDG_CACHE_HOME`, or `~/.cache`.
    """
    if configured := os.environ.get("HARKEN_CACHE"):
        return Path(configured)
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "harken"
