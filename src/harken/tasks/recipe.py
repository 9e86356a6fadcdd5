"""Recipes: every hyperparameter of a run in one frozen dataclass, and the recipes that have a name."""

import difflib
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal, get_type_hints

from harken.errors import HarkenError
from harken.labels import COMMANDS, SILENCE, UNKNOWN
from harken.models.registry import find_network

Protocol = Literal["tutorial", "v12", "v35", "own"]


_OVER_0 = (
    *("epochs", "batch_size", "sample_rate", "window_s", "bands", "frame_ms", "hop_ms"),
    *("learning_rate", "teacher_temperature"),
)
_UP_TO_1 = (
    *("balance", "speech_share", "spliced_share", "chained_share", "full_level_share", "teacher_share"),
    *("noise_probability", "room_probability", "pitch_probability", "cut_probability", "talk_probability"),
    *("suppression_probability", "steady_noise_share", "left_context_probability"),
)
_BELOW_1 = ("label_smoothing", "average_decay", "speed")


def _require(holds: bool, name: str, value: object, wanted: str) -> None:
    if not holds:
        raise HarkenError(f"{name}={value} must be {wanted}")


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """All that decides a run but the recordings themselves. Values are set by `--set name=value`."""

    name: str
    protocol: Protocol  # how a corpus becomes classes and sides: see harken.tasks.protocol
    network: str  # a name of `harken models`
    words: tuple[str, ...] = COMMANDS  # the words to tell apart; empty: all the words of the corpus
    seed: int = 7  # of the split, the weights, and every draw

    # What is heard
    sample_rate: int = 16_000  # Hz
    window_s: float = 1.0  # length of what is judged at once
    exact_length: bool = False  # keep only clips that are exactly one window long, as the tutorial does
    bands: int = 40  # mel bands
    frame_ms: float = 30.0  # length of a frame
    hop_ms: float = 10.0  # from frame to frame

    # What an epoch draws
    batch_size: int = 128  # over all devices together
    epoch_clips: int = (
        0  # of the words, at least so many are drawn: a small corpus several times, each time altered anew
    )
    balance: float = 0.5  # 0: words as often as the corpus has them; 1: all words equally often
    unknown_share: float = 0.25  # clips of `_unknown_`, as a fraction of the command clips
    speech_share: float = 0.2  # of those, windows cut from running speech
    spliced_share: float = 0.0  # of the rest, words of which half is replaced by running speech
    chained_share: float = 0.0  # of all running speech, other words one after another rather than recorded
    silence_share: float = 0.12  # windows of `_silence_`, as a fraction of the command clips
    full_level_share: float = 0.5  # of those, noise at the level it was recorded; the rest is up to 60 dB below
    held_out_words: tuple[str, ...] = ()  # other words of --data that never train, so that validation meets new ones

    # Augmentation; 0 switches each off
    shift_ms: float = 100.0  # moved either way
    gain_db: float = 10.0  # louder or softer by up to this
    noise_probability: float = 0.6  # of clips that get background noise
    steady_noise_share: float = 0.0  # of all noise, silence too, made instead: of any colour, humming, pulsing
    min_snr_db: float = 0.0
    max_snr_db: float = 30.0
    talk_probability: float = 0.0  # of clips that get running speech behind them: else speech around a word unsays it
    min_talk_snr_db: float = 8.0  # of those, up to max_snr_db
    room_probability: float = 0.15  # of clips that get a simulated room
    speed: float = 0.12  # faster or slower by up to this fraction
    pitch_semitones: float = 0.0  # up or down by up to this, tempo kept
    pitch_probability: float = 0.5
    max_filter_db: float = 0.0  # of a drawn frequency response, up or down
    cut_probability: float = 0.0  # of clips whose high bands fall off as behind a telephone line
    suppression_probability: float = 0.0  # of clips whose steady noise is subtracted, as phones do
    left_context_probability: float = (
        0.0  # of batches that follow other sound, as in a stream; networks without look-ahead alone
    )
    band_masks: int = 1
    max_bands: int = 5
    frame_masks: int = 1
    max_frames: int = 15
    mixup: float = 0.0  # alpha of the Beta distribution

    # Optimisation
    epochs: int = 30
    optimizer: Literal["adam", "adamw"] = "adamw"
    learning_rate: float = 6e-3  # at its highest
    weight_decay: float = 0.02  # of AdamW, on weights of two or more dimensions
    schedule: Literal["constant", "cosine"] = "cosine"
    warmup_epochs: float = 2.0
    label_smoothing: float = 0.05
    average_decay: float = 0.998  # a step, of the moving average of weights; 0: none
    start_from: str = ""  # run or model file to start with its weights, widened if need be; new classes begin fresh
    teacher: tuple[str, ...] = ()  # runs or model files of the same classes, to distil from the mean of their logits
    teacher_share: float = 0.7  # of the loss that comes from the teachers
    teacher_temperature: float = 2.0
    patience: int = 0  # epochs without a better validation loss before stopping; 0: never stop early
    min_delta: float = 1e-4  # what counts as better

    # The machine
    precision: Literal["auto", "float32", "bfloat16"] = "auto"  # auto: bfloat16 where the hardware has it
    channels_last: bool = False

    def __post_init__(self) -> None:
        find_network(self.network)
        for name, value in vars(self).items():
            if isinstance(value, int | float):
                signed = name in ("min_snr_db", "max_snr_db", "min_talk_snr_db")
                _require(math.isfinite(value), name, value, "a finite number")
                _require(value >= 0 or signed, name, value, "0 or more")
                _require(value > 0 or name not in _OVER_0, name, value, "over 0")
                _require(value <= 1 or name not in _UP_TO_1, name, value, "from 0 to 1")
                _require(value < 1 or name not in _BELOW_1, name, value, "at least 0 and below 1")
        _require(self.min_snr_db <= self.max_snr_db, "min_snr_db", self.min_snr_db, "at most max_snr_db")
        _require(self.min_talk_snr_db <= self.max_snr_db, "min_talk_snr_db", self.min_talk_snr_db, "at most max_snr_db")
        own = len(set(self.words)) == len(self.words) and not {UNKNOWN, SILENCE} & set(self.words)
        _require(own, "words", ",".join(self.words), f"different words, {UNKNOWN} and {SILENCE} not among them")

    @property
    def samples(self) -> int:
        """Samples in a window."""
        return round(self.window_s * self.sample_rate)

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> "Recipe":
        """Make a recipe of what `dataclasses.asdict` gave and JSON has been through.

        Raises HarkenError for a value that this version does not know.
        """
        if strangers := set(values) - set(get_type_hints(cls)):
            raise HarkenError(f"the recipe has {', '.join(sorted(strangers))}, of a later harken: upgrade this one")
        read: dict[str, Any] = {
            key: tuple(value) if isinstance(value, list) else value for key, value in values.items()
        }
        if isinstance(teacher := read.get("teacher"), str):  # an earlier harken knew one teacher at most
            read["teacher"] = (teacher,) if teacher else ()
        return cls(**read)


RECIPES: Mapping[str, Recipe] = {
    recipe.name: recipe
    for recipe in (
        # The tutorial's own numbers. What beats it comes under other names.
        Recipe(
            name="tutorial", protocol="tutorial", network="tutorial_cnn", sample_rate=8_000, exact_length=True,
            batch_size=32, balance=0, unknown_share=0, silence_share=0,
            shift_ms=0, gain_db=0, noise_probability=0, room_probability=0, speed=0, band_masks=0, frame_masks=0,
            epochs=100, optimizer="adam", learning_rate=1e-3, weight_decay=0, schedule="constant", warmup_epochs=0,
            label_smoothing=0, average_decay=0, patience=10, precision="float32", channels_last=True,
        ),
        Recipe(
            name="v12", protocol="v12", network="bc_resnet_3",
            # Speech Commands' words that few clips show: kept out of training, they stand for the unheard.
            held_out_words=(
                "dog", "house", "marvin", "nine", "seven", "sheila", "six", "tree", "wow", "follow", "learn", "visual",
            ),
        ),
        Recipe(name="v35", protocol="v35", network="bc_resnet_3", words=(), unknown_share=0, silence_share=0),
        # A few recordings of one's own do not teach what speech is: the model in the box has learnt that already.
        Recipe(
            name="own", protocol="own", network="harken_base", words=(), balance=1, epoch_clips=1_000,
            start_from="base", learning_rate=3e-3,
        ),
    )
}  # fmt: skip


def find_recipe(name: str) -> Recipe:
    """Return the recipe called `name`; raises HarkenError with the nearest name when there is none."""
    if name in RECIPES:
        return RECIPES[name]
    raise HarkenError(f"there is no recipe {name!r}: {_nearest(name, RECIPES)}")


def with_settings(recipe: Recipe, settings: Iterable[str]) -> Recipe:
    """Return the recipe with `name=value` settings put over it.

    Raises HarkenError for an unknown name (with the nearest known one) or a value of the wrong kind.
    """
    types = {name: kind for name, kind in get_type_hints(Recipe).items() if name not in ("name", "protocol")}
    changes: dict[str, Any] = {}
    for setting in settings:
        name, equals, text = setting.partition("=")
        if not equals:
            raise HarkenError(f"--set {setting}: write it as name=value")
        if name not in types:
            raise HarkenError(f"--set {setting}: no recipe value is called {name!r}; {_nearest(name, types)}")
        changes[name] = _parsed(name, text, types[name])
    return replace(recipe, **changes)


def _parsed(name: str, text: str, kind: Any) -> Any:
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
    choices = getattr(kind, "__args__", ())
    if choices and text not in choices:
        raise HarkenError(f"--set {name}={text}: give one of {', '.join(choices)}")
    return text


def _nearest(name: str, known: Iterable[str]) -> str:
    near = difflib.get_close_matches(name, known, n=1)
    return f"did you mean {near[0]}?" if near else f"there are {', '.join(known)}"
