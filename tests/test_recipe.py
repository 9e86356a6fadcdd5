import json
from dataclasses import asdict, fields, replace
from pathlib import Path

import pytest

from harken.errors import HarkenError
from harken.labels import COMMANDS
from harken.runtime.modelfile import ModelFile
from harken.tasks.recipe import RECIPES, Recipe, find_recipe, with_settings

V12 = RECIPES["v12"]


@pytest.mark.parametrize(
    ("setting", "name", "value"),
    [
        ("epochs=3", "epochs", 3),
        ("learning_rate=1e-3", "learning_rate", 1e-3),
        ("shift_ms=50", "shift_ms", 50.0),
        ("min_snr_db=-5", "min_snr_db", -5.0),
        ("channels_last=true", "channels_last", True),
        ("exact_length=False", "exact_length", False),
        ("words=up, down,,left", "words", ("up", "down", "left")),
        ("words=", "words", ()),
        ("network=ds_cnn_s", "network", "ds_cnn_s"),
        ("precision=bfloat16", "precision", "bfloat16"),
        ("teacher=runs/a=b", "teacher", ("runs/a=b",)),
        ("teacher=runs/a,large", "teacher", ("runs/a", "large")),
    ],
)
def test_a_setting_changes_only_its_value(setting: str, name: str, value: object) -> None:
    changed = with_settings(V12, [setting])
    assert getattr(changed, name) == value
    assert type(getattr(changed, name)) is type(value)
    assert replace(changed, **{name: getattr(V12, name)}) == V12


def test_later_settings_replace_earlier_ones_and_none_changes_nothing() -> None:
    assert with_settings(V12, ["epochs=3", "seed=1", "epochs=4"]) == replace(V12, epochs=4, seed=1)
    assert with_settings(V12, []) == V12


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ("learning_rat=1", "no recipe value is called 'learning_rat'; did you mean learning_rate?"),
        ("zzz=1", "choose from network, words"),
        ("name=mine", "no recipe value is called 'name'"),
        ("protocol=own", "no recipe value is called 'protocol'"),
        ("epochs", "write it as name=value"),
        ("epochs=2.5", "--set epochs=2.5: give a whole number"),
        ("gain_db=loud", "--set gain_db=loud: give a number"),
        ("channels_last=yes", "give true or false"),
        ("optimizer=sgd", "give one of adam, adamw"),
        ("network=bc_resnet_5", "no network 'bc_resnet_5': did you mean bc_resnet_"),
    ],
)
def test_invalid_settings_are_refused(setting: str, message: str) -> None:
    with pytest.raises(HarkenError) as refused:
        with_settings(V12, [setting])
    assert message in str(refused.value)


def test_settings_can_be_a_mapping_of_names_to_values() -> None:
    changed = with_settings(
        V12, {"epochs": 2, "gain_db": 5, "channels_last": True, "words": ["up", "down"], "keep": "last"}
    )
    assert changed == replace(V12, epochs=2, gain_db=5.0, channels_last=True, words=("up", "down"), keep="last")
    assert type(changed.gain_db) is float
    assert with_settings(V12, {}) == V12


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("learning_rat", 1, "no recipe value is called 'learning_rat'; did you mean learning_rate?"),
        ("protocol", "own", "no recipe value is called 'protocol'"),
        ("epochs", "2", "epochs='2' is not possible: give a whole number"),
        ("epochs", 2.5, "epochs=2.5 is not possible: give a whole number"),
        ("epochs", True, "epochs=True is not possible: give a whole number"),
        ("gain_db", None, "gain_db=None is not possible: give a number"),
        ("channels_last", 1, "channels_last=1 is not possible: give True or False"),
        ("optimizer", "sgd", "optimizer='sgd' is not possible: give one of adam, adamw"),
        ("words", "up", "words='up' is not possible: give a list of texts"),
        ("start_from", 5, "start_from=5 is not possible: give a text"),
        ("epochs", 0, "epochs=0 must be greater than 0"),
    ],
)
def test_invalid_values_of_a_mapping_are_refused(name: str, value: object, message: str) -> None:
    with pytest.raises(HarkenError) as refused:
        with_settings(V12, {name: value})
    assert message in str(refused.value)
    assert "--set" not in str(refused.value)


def test_a_single_setting_in_place_of_a_list_is_refused() -> None:
    with pytest.raises(HarkenError, match=r"^settings='epochs=2' is a single text: pass a list of texts"):
        with_settings(V12, "epochs=2")


def test_protocol_is_not_suggested() -> None:
    with pytest.raises(HarkenError) as refused:
        with_settings(V12, ["protocol=own"])
    assert "did you mean protocol" not in str(refused.value)


@pytest.mark.parametrize(
    "setting",
    [
        "epochs=0",
        "batch_size=-1",
        "sample_rate=0",
        "window_s=0",
        "frame_ms=0",
        "learning_rate=0",
        "learning_rate=nan",
        "learning_rate=inf",
        "seed=-1",
        "balance=1.1",
        "speech_share=-0.1",
        "noise_probability=2",
        "pitch_probability=1.5",
        "label_smoothing=1",
        "average_decay=1",
        "speed=1",
        "unknown_share=-1",
        "max_bands=-1",
        "mixup=-0.5",
        "patience=-1",
        "min_snr_db=40",
        "max_snr_db=nan",
        "words=yes,no,yes",
        "words=yes,_silence_",
    ],
)
def test_values_out_of_range_are_refused_by_name(setting: str) -> None:
    with pytest.raises(HarkenError, match=setting.partition("=")[0]):
        with_settings(V12, [setting])


@pytest.mark.parametrize("name", RECIPES)
def test_recipes_survive_a_round_trip_through_json(name: str) -> None:
    recipe = find_recipe(name)
    assert recipe.name == name
    assert type(recipe).from_json(json.loads(json.dumps(asdict(recipe)))) == recipe


def test_a_recipe_of_an_earlier_version_has_a_single_teacher() -> None:
    values = asdict(V12)
    assert type(V12).from_json(values | {"teacher": "large"}).teacher == ("large",)
    assert type(V12).from_json(values | {"teacher": ""}) == V12


def test_a_recipe_with_unknown_values_is_refused_by_their_names() -> None:
    with pytest.raises(HarkenError, match="contains warp, which this version of harken does not know"):
        type(V12).from_json({**asdict(V12), "warp": 0.1})


@pytest.mark.parametrize(
    ("name", "value"),
    [
        *[("epochs", "30"), ("epochs", True), ("epochs", 1.5), ("learning_rate", "fast"), ("exact_length", 1)],
        *[("words", "yes"), ("words", [1, 2]), ("protocol", "v13"), ("keep", "third"), ("network", None)],
    ],
)
def test_a_value_of_the_wrong_type_is_refused_in_one_line(name: str, value: object) -> None:
    with pytest.raises(HarkenError, match=f"the recipe's {name} is .*: get the run or the model file again"):
        type(V12).from_json({**asdict(V12), name: value})


def test_a_recipe_that_lacks_its_protocol_is_refused_in_one_line() -> None:
    with pytest.raises(HarkenError, match="the recipe lacks network, protocol: get the run or the model file again"):
        type(V12).from_json({"name": "v12"})


def test_an_unknown_recipe_is_refused_with_the_closest_name() -> None:
    with pytest.raises(HarkenError, match="no recipe 'tutoral': did you mean tutorial"):
        find_recipe("tutoral")


def test_own_recipe_starts_from_a_bundled_model_of_the_same_shape() -> None:
    own = RECIPES["own"]
    card = ModelFile(own.start_from).card
    base = Recipe.from_json(card.fields["recipe"])
    names = ("network", "sample_rate", "window_s", "bands", "frame_ms", "hop_ms")
    assert [getattr(own, name) for name in names] == [getattr(base, name) for name in names]


def test_the_speech_bank_is_only_for_networks_on_the_speech_embedding() -> None:
    assert RECIPES["own-embedding"].bank_windows > 0
    with pytest.raises(HarkenError, match="bank_windows=8 needs a network on the speech embedding, not harken_base"):
        with_settings(RECIPES["own"], ["bank_windows=8"])


def test_the_tutorial_recipe_has_the_tutorials_values() -> None:
    recipe = find_recipe("tutorial")
    assert (recipe.network, recipe.words, recipe.samples) == ("tutorial_cnn", COMMANDS, 8_000)
    assert (recipe.seed, recipe.batch_size, recipe.epochs) == (7, 32, 100)
    assert (recipe.optimizer, recipe.learning_rate, recipe.schedule) == ("adam", 1e-3, "constant")
    assert (recipe.patience, recipe.min_delta, recipe.exact_length) == (10, 1e-4, True)
    augmented = ("shift_ms", "gain_db", "noise_probability", "room_probability", "speed", "pitch_semitones", "mixup")
    assert not any(getattr(recipe, name) for name in (*augmented, "label_smoothing", "average_decay", "band_masks"))


def test_samples_are_rounded() -> None:
    assert replace(V12, sample_rate=11_025, window_s=0.75).samples == 8269


def test_the_recipes_page_lists_every_value() -> None:
    document = Path(__file__).parents[1] / "docs" / "reference" / "recipes.md"
    rows = [
        line.strip("| ").split(" | ") for line in document.read_text(encoding="utf-8").splitlines() if "| `" in line[:4]
    ]
    known = {field.name for field in fields(V12)}
    listed = {
        name: values for cell, *values in rows if (name := cell.strip("`")) in known
    }  # without the table of recipes
    assert list(listed) == [field.name for field in fields(V12) if field.name not in ("name", "protocol")]
    for name, values in listed.items():
        for text, recipe in zip(values, (find_recipe("tutorial"), V12), strict=False):
            value = getattr(recipe, name)
            if isinstance(value, bool | tuple):
                continue  # the page writes these in words
            assert text == (f"{value:g}" if isinstance(value, int | float) else value or "–"), name
