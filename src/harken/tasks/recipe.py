"""Recipes: every hyperparameter of a training run.

Recipe           the hyperparameters, a frozen dataclass
RECIPES          the recipes that have a name
find_recipe      a name -> Recipe
with_settings    a Recipe with some values changed, as by `--set name=value`
"""

import difflib
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal, get_args, get_type_hints

from harken.errors import HarkenError
from harken.labels import COMMANDS, SILENCE, UNKNOWN, normalize_word
from harken.models.registry import find_network

Protocol = Literal["tutorial", "v12", "v35", "own"]


_ABOVE_0 = (
    *("epochs", "batch_size", "sample_rate", "window_s", "bands", "frame_ms", "hop_ms"),
    *("learning_rate", "teacher_temperature"),
)
_UP_TO_1 = (
    *("balance", "speech_share", "spliced_share", "hard_share", "chained_share", "full_level_share", "teacher_share"),
    *("noise_probability", "room_probability", "pitch_probability", "cut_probability", "talk_probability"),
    *("suppression_probability", "steady_noise_share", "left_context_probability"),
)
_BELOW_1 = ("label_smoothing", "average_decay", "speed")


def _require(holds: bool, name: str, value: object, wanted: str) -> None:
    if not holds:
        raise HarkenError(f"{name}={value} must be {wanted}")


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """Every hyperparameter of a run. `--set name=value` changes one.

    A share or a probability is a fraction from 0 to 1. Raises HarkenError for a value that is out of range.
    """

    name: str
    protocol: Protocol  # how the corpus is turned into classes and split; see harken.tasks.protocol
    network: str  # network to train; `harken models` lists the names
    words: tuple[str, ...] = COMMANDS  # words to recognize; empty: all words of the corpus
    seed: int = 7  # random seed of the split, the initial weights and all random choices

    # Input
    sample_rate: int = 16_000  # sample rate, in Hz
    window_s: float = 1.0  # length of the audio that the network classifies at once, in seconds
    exact_length: bool = False  # use only clips that are exactly one window long, as the tutorial does
    bands: int = 40  # number of mel bands
    frame_ms: float = 30.0  # length of a frame, in milliseconds
    hop_ms: float = 10.0  # step between two frames, in milliseconds

    # Examples of an epoch
    batch_size: int = 128  # examples in a batch, over all devices together
    # Minimum number of word clips in an epoch. A smaller corpus is repeated, each time with new augmentation. 0: no minimum
    epoch_clips: int = 0
    balance: float = 0.5  # 0: each word as often as in the corpus; 1: all words equally often
    unknown_share: float = 0.25  # examples of `_unknown_`, as a fraction of the word clips; 0: no such class
    speech_share: float = 0.2  # share of the `_unknown_` examples that are cut from running speech
    spliced_share: float = 0.0  # share of the other `_unknown_` examples that are half a word, half running speech
    # Share of the running speech taken from what a listener would most likely mistake for a keyword, searched anew in each epoch
    hard_share: float = 0.0
    chained_share: float = 0.0  # share of all running speech that is made by joining clips of other words
    # Windows of harken's speech bank that are added to each batch as `_unknown_`; only for a network on the speech embedding
    bank_windows: int = 0
    silence_share: float = 0.12  # examples of `_silence_`, as a fraction of the word clips; 0: no such class
    full_level_share: float = 0.5  # share of `_silence_` examples at the recorded level; others are up to 60 dB lower
    # Other words of --data to leave out of training, so that they are new in validation
    held_out_words: tuple[str, ...] = ()

    # Augmentation; 0 turns each off
    shift_ms: float = 100.0  # maximum shift in time, either way, in milliseconds
    gain_db: float = 10.0  # maximum change of level, up or down, in dB
    noise_probability: float = 0.6  # probability that a clip is mixed with background noise
    # Share of all noise, including `_silence_`, that is generated: colored, humming or pulsing
    steady_noise_share: float = 0.0
    min_snr_db: float = 0.0  # lowest signal-to-noise ratio, in dB
    max_snr_db: float = 30.0  # highest signal-to-noise ratio, in dB, for noise and for speech
    # Probability that a clip is mixed with background speech. Without this, speech near a keyword suppresses the detection.
    talk_probability: float = 0.0
    min_talk_snr_db: float = 8.0  # lowest ratio of a word to the background speech, in dB; the highest is max_snr_db
    room_probability: float = 0.15  # probability that a clip gets the reverberation of a simulated room
    speed: float = 0.12  # maximum change of speed, faster or slower, as a fraction
    pitch_semitones: float = 0.0  # maximum change of pitch, up or down, in semitones; the tempo stays the same
    pitch_probability: float = 0.5  # probability that the pitch of a clip is changed
    max_filter_db: float = 0.0  # maximum gain or loss of the random frequency response, in dB
    cut_probability: float = 0.0  # probability that a clip loses its high frequencies, as on a telephone line
    suppression_probability: float = 0.0  # probability that steady noise is subtracted from a clip, as phones do
    # Probability that the clips of a batch are preceded by other sound, as in a stream; for networks without look-ahead only.
    left_context_probability: float = 0.0
    band_masks: int = 1  # SpecAugment: number of masks over mel bands
    max_bands: int = 5  # SpecAugment: maximum width of a mask, in bands
    frame_masks: int = 1  # SpecAugment: number of masks over frames
    max_frames: int = 15  # SpecAugment: maximum width of a mask, in frames
    mixup: float = 0.0  # Mixup: alpha of the Beta distribution

    # Optimization
    epochs: int = 30  # maximum number of epochs
    optimizer: Literal["adam", "adamw"] = "adamw"
    learning_rate: float = 6e-3  # highest learning rate
    weight_decay: float = 0.02  # weight decay of AdamW, for weights of two or more dimensions; 0: none
    schedule: Literal["constant", "cosine"] = "cosine"  # learning rate after the warm-up; cosine: falls to 0
    warmup_epochs: float = 2.0  # epochs in which the learning rate rises to its highest; 0: no warm-up
    label_smoothing: float = 0.05  # part of the target that is shared by all classes; 0: none
    average_decay: float = 0.998  # decay per step of the moving average of the weights; 0: no average
    # Run or model file whose weights training starts with. It may be wider or narrower; new classes start untrained. Empty: none
    start_from: str = ""
    teacher: tuple[str, ...] = ()  # runs or model files with the same classes, to distill the mean of their logits from
    teacher_share: float = 0.7  # share of the loss that comes from the teachers
    teacher_temperature: float = 2.0  # softmax temperature of distillation
    # Weights that become the model: those of the epoch with the best validation accuracy, or of the last epoch
    keep: Literal["best", "last"] = "best"
    patience: int = 0  # stop after this many epochs without a better validation loss; 0: never stop early
    min_delta: float = 1e-4  # smallest decrease of the validation loss that counts as better

    # Machine
    precision: Literal["auto", "float32", "bfloat16"] = "auto"  # auto: bfloat16 where the hardware supports it
    channels_last: bool = False  # use PyTorch's channels-last memory format for the network

    def __post_init__(self) -> None:
        network = find_network(self.network)
        if self.bank_windows and network.front_end != "speech_mel":
            raise HarkenError(
                f"bank_windows={self.bank_windows} needs a network on the speech embedding, not {self.network}: set it to 0"
            )
        for name in ("words", "held_out_words"):
            object.__setattr__(self, name, tuple(map(normalize_word, getattr(self, name))))
        for name, value in vars(self).items():
            if isinstance(value, int | float):
                signed = name in ("min_snr_db", "max_snr_db", "min_talk_snr_db")
                _require(math.isfinite(value), name, value, "a finite number")
                _require(value >= 0 or signed, name, value, "0 or more")
                _require(value > 0 or name not in _ABOVE_0, name, value, "greater than 0")
                _require(value <= 1 or name not in _UP_TO_1, name, value, "from 0 to 1")
                _require(value < 1 or name not in _BELOW_1, name, value, "at least 0 and less than 1")
        _require(self.min_snr_db <= self.max_snr_db, "min_snr_db", self.min_snr_db, "at most max_snr_db")
        _require(self.min_talk_snr_db <= self.max_snr_db, "min_talk_snr_db", self.min_talk_snr_db, "at most max_snr_db")
        valid = len(set(self.words)) == len(self.words) and not {UNKNOWN, SILENCE} & set(self.words)
        _require(valid, "words", ",".join(self.words), f"different words, without {UNKNOWN} and {SILENCE}")

    @property
    def samples(self) -> int:
        """Number of samples in a window."""
        return round(self.window_s * self.sample_rate)

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> "Recipe":
        """Build a recipe from values read from JSON.

        Parameters
        ----------
        values
            What `dataclasses.asdict` returns for a recipe. Missing values get their defaults.

        Raises
        ------
        HarkenError
            If a value is missing, has the wrong type or is out of range, or if this version of harken does not know it.
        """
        kinds = get_type_hints(cls)
        if missing := {"name", "protocol", "network"} - set(values):
            raise HarkenError(f"the recipe lacks {', '.join(sorted(missing))}: get the run or the model file again")
        if unknown := set(values) - set(kinds):
            names = ", ".join(sorted(unknown))
            raise HarkenError(
                f"the recipe contains {names}, which this version of harken does not know: upgrade harken"
            )
        read: dict[str, Any] = {
            key: tuple(value) if isinstance(value, list) else value for key, value in values.items()
        }
        if isinstance(teacher := read.get("teacher"), str):  # earlier versions of harken stored a single teacher
            read["teacher"] = (teacher,) if teacher else ()
        for name, value in read.items():
            if not _is_of(value, kinds[name]):
                raise HarkenError(f"the recipe's {name} is {value!r}: get the run or the model file again")
        return cls(**read)


RECIPES: Mapping[str, Recipe] = {
    recipe.name: recipe
    for recipe in (
        # The tutorial's values, unchanged. Better values get a recipe with another name.
        Recipe(
            name="tutorial", protocol="tutorial", network="tutorial_cnn", sample_rate=8_000, exact_length=True,
            batch_size=32, balance=0, unknown_share=0, silence_share=0,
            shift_ms=0, gain_db=0, noise_probability=0, room_probability=0, speed=0, band_masks=0, frame_masks=0,
            epochs=100, optimizer="adam", learning_rate=1e-3, weight_decay=0, schedule="constant", warmup_epochs=0,
            label_smoothing=0, average_decay=0, patience=10, precision="float32", channels_last=True,
        ),
        Recipe(
            name="v12", protocol="v12", network="bc_resnet_3",
            # The words of Speech Commands with the fewest clips. They stand for words that the network was not trained on.
            held_out_words=(
                "dog", "house", "marvin", "nine", "seven", "sheila", "six", "tree", "wow", "follow", "learn", "visual",
            ),
        ),
        Recipe(name="v35", protocol="v35", network="bc_resnet_3", words=(), unknown_share=0, silence_share=0),
        # A user's few recordings are not enough to learn speech from. The bundled model has learned that already.
        Recipe(
            name="own", protocol="own", network="harken_base", words=(), balance=1, epoch_clips=1_000,
            start_from="base", learning_rate=3e-3,
        ),
        # The speech embedding has met more speech than any of the bundled models. Only a small head is trained.
        Recipe(
            name="own-embedding", protocol="own", network="embedding_head", words=(), window_s=2.0, bands=32, frame_ms=25,
            batch_size=32, balance=1, epoch_clips=1_000, unknown_share=1, speech_share=0.8, bank_windows=64, shift_ms=400,
            steady_noise_share=0.2, talk_probability=0.2, band_masks=0, frame_masks=0, epochs=4, learning_rate=3e-3,
            warmup_epochs=0.5, label_smoothing=0, average_decay=0.99, keep="last",
        ),
    )
}  # fmt: skip


def find_recipe(name: str) -> Recipe:
    """Return the recipe called `name`. Raises HarkenError, which suggests the closest name, if there is none."""
    if name in RECIPES:
        return RECIPES[name]
    raise HarkenError(f"there is no recipe {name!r}: {_suggestion(name, RECIPES)}")


def with_settings(recipe: Recipe, settings: Iterable[str] | Mapping[str, Any]) -> Recipe:
    """Return a recipe with some of its values changed.

    Parameters
    ----------
    recipe
        The recipe to start from.
    settings
        Texts of the form `name=value`, as in `["epochs=2"]`, or a mapping of names to values, as in `{"epochs": 2}`. A later
        text replaces an earlier one of the same name.

    Raises
    ------
    HarkenError
        If a name is unknown (the message suggests the closest one), or a value has the wrong type or is out of range.
    """
    types = {name: kind for name, kind in get_type_hints(Recipe).items() if name not in ("name", "protocol")}
    if isinstance(settings, Mapping):
        return replace(recipe, **{name: _typed(name, value, types) for name, value in settings.items()})
    if isinstance(settings, str):  # it would be taken for a list of its letters
        raise HarkenError(f"settings={settings!r} is a single text: pass a list of texts, such as ['epochs=2']")
    changes: dict[str, Any] = {}
    for setting in settings:
        name, equals, text = setting.partition("=")
        if not equals:
            raise HarkenError(f"--set {setting}: write it as name=value")
        if name not in types:
            raise HarkenError(f"--set {setting}: no recipe value is called {name!r}; {_suggestion(name, types)}")
        changes[name] = _parse(name, text, types[name])
    return replace(recipe, **changes)


def _typed(name: str, value: Any, types: Mapping[str, Any]) -> Any:
    """Return a value of a mapping in the type that a recipe stores."""
    if name not in types:
        raise HarkenError(f"no recipe value is called {name!r}; {_suggestion(str(name), types)}")
    kind = types[name]
    value = tuple(value) if isinstance(value, list) else value
    if not _is_of(value, kind):
        raise HarkenError(f"{name}={value!r} is not possible: give {_wanted(kind)}")
    return float(value) if kind is float else value


def _wanted(kind: Any) -> str:
    if kind == tuple[str, ...]:
        return "a list of texts"
    if choices := get_args(kind):
        return f"one of {', '.join(choices)}"
    return {bool: "True or False", int: "a whole number", float: "a number", str: "a text"}[kind]


def _parse(name: str, text: str, kind: Any) -> Any:
    if kind == tuple[str, ...]:
        return tuple(word.strip() for word in text.split(",") if word.strip())
    if kind is bool:
        if text.lower() in ("true", "false"):
            return text.lower() == "true"
        raise HarkenError(f"--set {name}={text}: give true or false")
    if kind in (int, float):
        try:
            return kind(text)
        except ValueError as error:
            raise HarkenError(f"--set {name}={text}: give {'a whole number' if kind is int else 'a number'}") from error
    choices = get_args(kind)
    if choices and text not in choices:
        raise HarkenError(f"--set {name}={text}: give one of {', '.join(choices)}")
    return text


def _is_of(value: Any, kind: Any) -> bool:
    if kind == tuple[str, ...]:
        return isinstance(value, tuple) and all(isinstance(word, str) for word in value)
    if choices := get_args(kind):
        return value in choices
    if isinstance(value, bool) or kind is bool:
        return isinstance(value, bool) and kind is bool
    return isinstance(value, int | float if kind is float else kind)


def _suggestion(name: str, known: Iterable[str]) -> str:
    near = difflib.get_close_matches(name, known, n=1)
    return f"did you mean {near[0]}?" if near else f"choose from {', '.join(known)}"
