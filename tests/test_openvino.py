"""A model file run by OpenVINO, as docs/how-to/export.md describes."""

import numpy as np
import pytest

from harken.runtime.modelfile import ModelFile, bundled_models

openvino = pytest.importorskip("openvino", reason="openvino is not installed: pip install 'harken[dev]'")


@pytest.mark.parametrize("name", bundled_models())
def test_openvino_gives_the_same_probabilities(name: str) -> None:
    model = ModelFile(name)
    time = np.arange(model.card.window) / model.card.sample_rate
    rng = np.random.default_rng(0)
    # Similar to voices: harmonics of a falling pitch, fading in and out, over noise at several levels.
    voices = [
        sum(np.sin(2 * np.pi * n * time * (pitch - 20 * time)) / n for n in range(1, 20)) * np.sin(np.pi * time) ** 2
        for pitch in (90, 120, 160, 210, 250, 300)
    ]
    noise = rng.standard_normal((6, time.size)) * np.array([[1e-4], [1e-3], [0.01], [0.03], [0.1], [0.3]])
    windows = (0.2 * np.array(voices) + noise).clip(-1, 1).astype(np.float32)
    compiled = openvino.compile_model(model.path, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    np.testing.assert_allclose(compiled(windows)["probabilities"], model.probabilities(windows), atol=1e-4)
