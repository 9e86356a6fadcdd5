"""The list of a run's stages, RUN/stages.json, of a recipe file.

has_stages           whether a folder contains the run of a recipe file
write_stages         write the stages and the folders of recordings
read_stages          read both
last_stage_folder    the folder of the last stage
"""

import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from harken.errors import HarkenError
from harken.files import replacing
from harken.tasks.protocol import Material
from harken.tasks.recipe import Recipe
from harken.tasks.recipe_file import Stage

_FILE = "stages.json"


def has_stages(out: Path) -> bool:
    """Return whether a folder contains the run of a recipe file."""
    return (out / _FILE).is_file()


def write_stages(out: Path, stages: Sequence[Stage], material: Material) -> None:
    """Write the stages of a run, and its folders of recordings. The folder of the run is created."""
    content = {
        "stages": [{"name": stage.name, "recipe": asdict(stage.recipe)} for stage in stages],
        "material": material.to_json(),
    }
    out.mkdir(parents=True, exist_ok=True)
    with replacing(out / _FILE) as temporary:
        temporary.write_text(json.dumps(content, indent=1), encoding="utf-8")


def read_stages(out: Path) -> tuple[list[Stage], Material]:
    """Return the stages of a run, at least one, and its folders of recordings. Raises HarkenError if they cannot be read."""
    try:
        content = json.loads((out / _FILE).read_text(encoding="utf-8"))
        stages = [Stage(str(stage["name"]), Recipe.from_json(stage["recipe"])) for stage in content["stages"]]
        material = Material.from_json(content["material"])
        if not stages:
            raise ValueError("no stages")
    except (OSError, ValueError, TypeError, KeyError, AttributeError) as error:
        raise HarkenError(f"{out / _FILE} is not the list of a run's stages: start the run again") from error
    return stages, material


def last_stage_folder(out: Path) -> Path:
    """Return the folder of the last stage of a run. Raises HarkenError if the stages cannot be read."""
    stages, _ = read_stages(out)
    return out / stages[-1].name
