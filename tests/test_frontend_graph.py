"""The front-end as ONNX nodes, compared with the torch module."""

import numpy as np
import onnxruntime
import pytest
import torch

from harken.models.frontend import LogMel
from harken.models.frontend_graph import add_log_mel
from harken.models.graph_builder import GraphBuilder

FRAMES = 7


@pytest.mark.parametrize(
    ("rate", "window_ms", "hop_ms", "bands"),
    # 480 = 20 x 24 samples, 200 = 10 x 20 without whole hops, 441 = 21 x 21 with an odd number of rows, 251 a prime.
    [(16_000, 30, 10, 40), (8_000, 25, 10, 20), (44_100, 10, 5, 10), (10_000, 25.1, 10, 20)],
)
def test_the_nodes_compute_what_torch_computes(rate: int, window_ms: float, hop_ms: float, bands: int) -> None:
    front_end = LogMel(rate, bands=bands, window_ms=window_ms, hop_ms=hop_ms)
    samples = front_end.window + (FRAMES - 1) * front_end.hop
    graph = GraphBuilder()
    features = add_log_mel(graph, front_end, "waveform", FRAMES)
    graph("Reshape", features, np.array([-1, FRAMES * bands]), out="features")
    model = graph.model({"waveform": samples}, {"features": FRAMES * bands})
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    waveforms = 0.1 * np.random.default_rng(0).standard_normal((3, samples)).astype(np.float32)
    waveforms[1] *= np.sin(np.arange(samples) * 2 * np.pi * 440 / rate, dtype=np.float32)
    waveforms[2] = 0
    (found,) = session.run(["features"], {"waveform": waveforms})
    wanted = front_end(torch.from_numpy(waveforms)).transpose(1, 2).numpy()
    np.testing.assert_allclose(found.reshape(wanted.shape), wanted, atol=1e-3)
