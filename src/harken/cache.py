"""Where harken keeps what it can make again."""

import os
from pathlib import Path


def default_cache() -> Path:
    """Return the cache folder: $HARKEN_CACHE, else harken in the user's cache folder."""
    if configured := os.environ.get("HARKEN_CACHE"):
        return Path(configured)
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "harken"
