"""Recipe files: training in several stages, described in TOML.

is_recipe_file     whether `--recipe` is a file
read_recipe_file   a file -> its stages
Stage              one of its training runs

A file contains the name of a recipe, the values that all stages share, and the stages in order:

    recipe = "v12"

    [settings]
    network = "harken_base"

    [[stages]]
    name = "words"
    epochs = 40

    [[stages]]
    name = "negatives"
    start_from = "words"
    hard_share = 0.5

Except for `name`, all entries of a stage are recipe values. `start_from` and `teacher` may name an earlier stage.
"""

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from harken.errors import HarkenError
from harken.tasks.recipe import Recipe, find_recipe, with_settings

_SUFFIX = ".toml"


@dataclass(frozen=True)
class Stage:
    """One training run of a recipe file.

    Attributes
    ----------
    name
        Its name, of letters, digits and underscores. It is also the name of its folder.
    recipe
        Its recipe. `start_from` and `teacher` may be names of earlier stages.

    Raises
    ------
    ValueError
        If the name has other characters.
    """

    name: str
    recipe: Recipe

    def __post_init__(self) -> None:
        if not self.name.isidentifier():  # a path would lead out of the run's folder
            raise ValueError(f"{self.name!r} is not a name of letters, digits and underscores")


def is_recipe_file(recipe: str) -> bool:
    """Return whether the value of `--recipe` is a file, and not the name of a recipe."""
    return recipe.endswith(_SUFFIX)


def read_recipe_file(path: Path) -> tuple[Stage, ...]:
    """Read the stages of a recipe file.

    Parameters
    ----------
    path
        The TOML file.

    Raises
    ------
    HarkenError
        If the file cannot be read, has no stages, or contains a value that no recipe has.
    """
    try:
        content = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise HarkenError(f"{path} cannot be read as a recipe file ({error}): write it as TOML") from error
    if unknown := set(content) - {"recipe", "settings", "stages"}:
        raise HarkenError(
            f"{path} contains {', '.join(sorted(unknown))}: only recipe, settings and stages belong there"
        )
    stages, shared = content.get("stages"), content.get("settings", {})
    if not isinstance(stages, list) or not stages or not all(isinstance(stage, dict) for stage in stages):
        raise HarkenError(f"{path} has no stages: add one as [[stages]] with a name")
    if not isinstance(shared, dict):
        raise HarkenError(f"{path}: write settings as a table, [settings]")
    base = find_recipe(str(content.get("recipe", "v12")))
    read: list[Stage] = []
    for number, values in enumerate(stages, 1):
        name = values.get("name")
        if not isinstance(name, str) or not name.isidentifier() or name in {stage.name for stage in read}:
            raise HarkenError(f"{path}: stage {number} needs a name of its own, of letters, digits and underscores")
        own = {key: value for key, value in values.items() if key != "name"}
        try:
            recipe = with_settings(base, _settings({**shared, **own}))
        except HarkenError as error:
            raise HarkenError(f"{path}, stage {name}: {error}") from error
        read.append(Stage(name, recipe))
    return tuple(read)


def _settings(values: Mapping[str, Any]) -> list[str]:
    return [f"{name}={_text(value)}" for name, value in values.items()]


def _text(value: Any) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    return ",".join(map(str, value)) if isinstance(value, list) else str(value)
