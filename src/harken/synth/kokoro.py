"""The voices of Kokoro-82M (Apache-2.0; a StyleTTS 2 network, arXiv:2306.07691), and speakers blended from them.

kokoro_voices    the voices in the folder that HARKEN_KOKORO gives
KokoroVoice      one of them

The extra does not include the model. HARKEN_KOKORO must be set to a folder with an ONNX export of it and its voices, in one
of the published layouts: `*.onnx` beside `voices*.bin` (NumPy archive), or beside `voices/NAME.bin` (float32). `hibari-tts`
converts text to phonemes, because it uses the same alphabet.
"""

import json
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np
import onnxruntime
from hibari.g2p import ASSETS, G2P
from numpy.typing import NDArray

from harken.errors import HarkenError
from harken.synth.kokoro_files import kokoro_model

_SAMPLE_RATE = 24_000
_STYLE = 256
_TIMBRE = 128  # the first half of a style's values is the timbre, the second half the way of speaking
# Voices are only blended within a family. A family that is held out therefore sounds like none of the others.
_FAMILIES = 9
_MAX_BLEND = 0.6


@dataclass(frozen=True)
class KokoroVoice:
    """One of Kokoro's voices. Each seed is another speaker: the voice blended with up to 0.6 of another one.

    Timbre and way of speaking are blended separately. The 54 voices in nine languages are 54 people that the network was
    trained on, and blends of them sound like people too.

    Attributes
    ----------
    key
        Published name, such as `af_heart`.
    partners
        Names of all voices of its family, including itself.
    """

    name: str
    family: str
    accent: str
    key: str
    partners: tuple[str, ...]

    def speak(
        self, text: str, *, rate: float = 1.0, pitch: float = 1.0, seed: int = 0
    ) -> tuple[NDArray[np.float32], int]:
        """See `harken.synth.voices.Voice.speak`. The pitch is changed as in `HibariVoice`."""
        tokens = _tokens(text, british=self.accent == "en-gb")
        if not tokens:
            raise HarkenError(f"Kokoro cannot speak {text!r}: use letters that it can read")
        if len(tokens) > len(_styles()[self.key]):
            raise HarkenError(f"{text[:40]!r}... is too long for Kokoro: split it into several sentences")
        session = _session()
        first = session.get_inputs()[0].name  # the two published exports have different names
        samples = session.run(
            None,
            {
                first: np.array([[0, *tokens, 0]], np.int64),
                "style": self._style(len(tokens), np.random.default_rng(seed)),
                "speed": np.array([min(2.0, max(0.5, rate / pitch))], np.float32),
            },
        )[0]
        return np.clip(np.asarray(samples, np.float32).reshape(-1), -1.0, 1.0), round(_SAMPLE_RATE * pitch)

    def _style(self, tokens: int, rng: np.random.Generator) -> NDArray[np.float32]:
        """Return the style of a random speaker for a text of `tokens` tokens, [1, 256]."""
        table = _styles()
        style = np.array(table[self.key][tokens - 1])
        for part in (slice(0, _TIMBRE), slice(_TIMBRE, _STYLE)):
            other = table[str(rng.choice(self.partners))][tokens - 1]
            share = rng.uniform(0.0, _MAX_BLEND)
            style[part] = (1 - share) * style[part] + share * other[part]
        return style[None]


def kokoro_voices() -> list[KokoroVoice]:
    """Return the voices in the folder, sorted by name.

    Raises HarkenError if the folder does not contain the model and its voices.
    """
    kokoro_model()
    keys = sorted(_styles())
    groups = [keys[start::_FAMILIES] for start in range(_FAMILIES)]
    return [
        KokoroVoice(
            name=f"kokoro-{key}",
            family=f"kokoro-{number % _FAMILIES}",
            accent="en-gb" if key.startswith("b") else "en-us",
            key=key,
            partners=tuple(groups[number % _FAMILIES]),
        )
        for number, key in enumerate(keys)
    ]


@lru_cache(maxsize=1)
def _session() -> onnxruntime.InferenceSession:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.inter_op_num_threads = 1
    options.log_severity_level = 3
    try:
        return onnxruntime.InferenceSession(str(kokoro_model()), options, providers=["CPUExecutionProvider"])
    except Exception as error:  # the errors of onnxruntime have no other common base class
        raise HarkenError(f"{kokoro_model()} is not a usable ONNX model: download it again") from error


@lru_cache(maxsize=1)
def _styles() -> dict[str, NDArray[np.float32]]:
    """Return the styles of each voice, [maximum number of tokens, 256]. There is one for each length of text."""
    folder = kokoro_model().parent
    files = [*sorted((folder / "voices").glob("*.bin")), *sorted(folder.glob("voices*.bin"))]
    if not files:
        raise HarkenError(
            f"{folder} contains no voices of Kokoro: add voices-v1.0.bin or a folder voices/ beside the model"
        )
    found: dict[str, NDArray[np.float32]] = {}
    for path in files:
        try:
            if path.parent.name == "voices":
                found[path.stem] = np.fromfile(path, "<f4").reshape(-1, _STYLE)
            else:
                with np.load(path) as archive:
                    found |= {name: archive[name].reshape(-1, _STYLE).astype(np.float32) for name in archive.files}
        except (OSError, ValueError) as error:
            raise HarkenError(f"{path} contains no voices of Kokoro: download it again") from error
    return found


def _tokens(text: str, *, british: bool) -> list[int]:
    vocabulary = _vocabulary()
    return [vocabulary[symbol] for symbol in _phonemizer(british)(text) if symbol in vocabulary]


@lru_cache(maxsize=2)
def _phonemizer(british: bool) -> G2P:
    return G2P(british=british)


@lru_cache(maxsize=1)
def _vocabulary() -> dict[str, int]:
    return {
        symbol: int(number) for symbol, number in json.loads((Path(ASSETS) / "vocab.json").read_text("utf-8")).items()
    }
