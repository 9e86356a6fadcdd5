"""The log-mel front-end in as few ONNX nodes as possible. Everything that does not depend on the waveform is a constant."""

import numpy as np
from numpy.typing import NDArray

from harken.models.frontend import LOG_FLOOR, LogMel
from harken.models.graph_builder import GraphBuilder


def add_log_mel(graph: GraphBuilder, front_end: LogMel, waveform: str, frames: int) -> str:
    """Add the front-end: a waveform of exactly `frames` frames -> features [N, frames, bands].

    As in `FactoredDFT`, the DFT of a frame of R x Q samples consists of R-point DFTs of every Q-th sample, and Q-point DFTs
    of their results. The first of these matrices includes the window and the rotation between the two.

    Parameters
    ----------
    graph
        The graph.
    front_end
        The front-end.
    waveform
        Name of the waveform [N, window + (frames - 1) * hop].
    frames
        Number of frames.
    """
    rows = front_end.spectrum.rows
    inner = front_end.window // rows
    first, second, filters = _matrices(front_end, rows, inner)
    framed = graph.reshape(_framed(graph, front_end, waveform, frames), frames, rows, inner)
    # [N, inner, frames, rows] -> [N, inner, frames, real and imaginary columns]
    x = graph("MatMul", graph("Transpose", framed, perm=[0, 3, 1, 2]), graph.constant(first, "front_end.first"))
    columns = first.shape[-1] // 2
    x = graph("Conv", x, graph.constant(second, "front_end.second"), dilations=[1, columns])
    x = graph("Transpose", x, perm=[0, 2, 3, 1])
    power = graph.reshape(graph("Mul", x, x), frames, columns * 2 * inner)
    # The filters add the squares of the real and imaginary parts.
    both = graph("Expand", graph.constant(filters, "front_end.filters"), np.array([columns, 2, inner, front_end.bands]))
    both = graph("Reshape", both, np.array([columns * 2 * inner, front_end.bands]))
    return graph("Log", graph("Add", graph("MatMul", power, both), np.array([LOG_FLOOR])))


def _framed(graph: GraphBuilder, front_end: LogMel, waveform: str, frames: int) -> str:
    """Return the frames [N, frames, window]."""
    window, hop = front_end.window, front_end.hop
    if window % hop:
        return graph("Gather", waveform, hop * np.arange(frames)[:, None] + np.arange(window), axis=1)
    hops = window // hop
    pieces = graph.reshape(waveform, frames + hops - 1, hop)
    return graph("Concat", *(graph.slice(pieces, start, start + frames, 1) for start in range(hops)), axis=2)


def _matrices(front_end: LogMel, rows: int, inner: int) -> tuple[NDArray[np.float64], ...]:
    """Return the two DFT matrices, and the filters in the order of the DFT's results.

    Since samples are real, the first `rows // 2 + 1` results of the first DFT determine the others.
    """
    first_bins, second_bins = np.arange(rows // 2 + 1), np.arange(inner)
    samples = inner * np.arange(rows) + np.arange(inner)[:, None]  # [inner, rows]
    hann = front_end.hann.double().numpy()[samples][..., None]
    angles = 2 * np.pi / front_end.window * samples[..., None] * first_bins
    first = np.concatenate([hann * np.cos(angles), -hann * np.sin(angles)], axis=2)
    angles = 2 * np.pi / inner * np.outer(second_bins, second_bins)
    real, imaginary = np.cos(angles), -np.sin(angles)
    parts = np.array([[real, -imaginary], [imaginary, real]])  # [to, from, bin, sample]
    second = parts.transpose(0, 2, 3, 1).reshape(2 * inner, inner, 1, 2)
    bins = first_bins[:, None] + rows * second_bins
    bins = np.minimum(bins, front_end.window - bins)  # The upper half of the spectrum repeats the lower half.
    filters = np.zeros((bins.size, front_end.bands))
    filters[np.unique(bins, return_index=True)[1]] = front_end.filters.double().numpy()
    return first, second, filters.reshape(len(first_bins), 1, inner, front_end.bands)
