"""A recipe file names a recipe, shared values, and stages; what is wrong with it is one line."""

from pathlib import Path

import pytest

from harken.errors import HarkenError
from harken.tasks.recipe import find_recipe
from harken.tasks.recipe_file import is_recipe_file, read_recipe_file

TWO_STAGES = """
recipe = "v12"

[settings]
network = "harken_base"
seed = 3

[[stages]]
name = "words"
epochs = 4
channels_last = true

[[stages]]
name = "negatives"
start_from = "words"
teacher = ["large", "words"]
hard_share = 0.5
seed = 5
"""


def write(folder: Path, text: str) -> Path:
    path = folder / "base.toml"
    path.write_text(text, encoding="utf-8")
    return path


def test_stages_share_settings_and_may_change_them(tmp_path):
    first, second = read_recipe_file(write(tmp_path, TWO_STAGES))
    assert (first.name, second.name) == ("words", "negatives")
    assert (first.recipe.network, first.recipe.seed, first.recipe.epochs) == ("harken_base", 3, 4)
    assert first.recipe.channels_last is True
    assert (second.recipe.seed, second.recipe.hard_share, second.recipe.start_from) == (5, 0.5, "words")
    assert second.recipe.teacher == ("large", "words")
    assert second.recipe.protocol == find_recipe("v12").protocol


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("recipe = ", "cannot be read as a recipe file"),
        ("recipe = 'v12'", "has no stages"),
        ("[[stages]]\nepochs = 3", "stage 1 needs a name of its own"),
        ("[[stages]]\nname = 'a'\n[[stages]]\nname = 'a'", "stage 2 needs a name of its own"),
        ("[[stages]]\nname = '../a'", "stage 1 needs a name of its own"),
        ("[[stages]]\nname = 'a'\nepoch = 3", "stage a: .*did you mean epochs"),
        ("[[stages]]\nname = 'a'\nepochs = 'many'", "stage a: .*give a whole number"),
        ("recipe = 'v13'\n[[stages]]\nname = 'a'", "there is no recipe 'v13'"),
        ("epochs = 3\n[[stages]]\nname = 'a'", "contains epochs"),
        ("settings = 3\n[[stages]]\nname = 'a'", r"write settings as a table"),
    ],
)
def test_what_is_wrong_with_a_file_is_said_in_one_line(tmp_path, text, message):
    with pytest.raises(HarkenError, match=message) as caught:
        read_recipe_file(write(tmp_path, text))
    assert "\n" not in str(caught.value) or "cannot be read" in message


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(HarkenError, match=r"gone\.toml cannot be read"):
        read_recipe_file(tmp_path / "gone.toml")


def test_a_recipe_file_is_told_from_a_recipe_by_its_ending():
    assert is_recipe_file("recipes/base.toml")
    assert not is_recipe_file("v12")


@pytest.mark.parametrize(
    "path", sorted((Path(__file__).parents[1] / "recipes").glob("*.toml")), ids=lambda path: path.stem
)
def test_the_recipe_files_of_the_repository_can_be_read(path):
    stages = read_recipe_file(path)
    names = [stage.name for stage in stages]
    for number, stage in enumerate(stages):
        for earlier in (stage.recipe.start_from, *stage.recipe.teacher):
            assert earlier in ("", "tiny", "base", "large", *names[:number])
