"""A model file in OpenVINO, as docs/export.md has it."""

import numpy as np
import pytest

from harken.runtime.modelfile import ModelFile, bundled_models

openvino = pytest.importorskip("openvino", reason="openvino, which comes with harken[dev], is not here")


@pytest.mark.parametrize("name", bundled_models())
def test_a_model_file_answers_in_openvino_as_it_does_here(name: str) -> None:
    model = ModelFile(name)
    time = np.arange(model.card.window) / model.card.sample_rate
    rng = np.random.default_rng(0)
    # Something like voices: harmonics of a falling pitch, loud for a while, over noise of every level.
    voices = [
        sum(np.sin(2 * np.pi * n * time * (pitch - 20 * time)) / n for n in range(1, 20)) * np.sin(np.pi * time) ** 2
        for pitch in (90, 120, 160, 210, 250, 300)
    ]
    noise = rng.standard_normal((6, time.size)) * np.array([[1e-4], [1e-3], [0.01], [0.03], [0.1], [0.3]])
    windows = (0.2 * np.array(voices) + noise).clip(-1, 1).astype(np.float32)
    judge = openvino.compile_model(model.path, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    np.testing.assert_allclose(judge(windows)["probabilities"], model.probabilities(windows), atol=1e-4)
