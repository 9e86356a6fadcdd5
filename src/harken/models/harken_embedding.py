"""harken's own speech embedding: the same numbers as Google's, from a third of the weights.

load_harken_embedding   read the weights that harken ships, which tools/train_embedding.py trains
CHANNELS, BLOCKS        the layers

The network was trained to reproduce Google's speech embedding (knowledge distillation; Hinton et al., arXiv:1503.02531). It
has a convolution, then four stages of residual blocks. A block is a depthwise convolution over time and frequency and a
pointwise one (Howard et al., arXiv:1704.04861). Between two stages, time and frequency are halved.
"""

from functools import lru_cache
from importlib.resources import files

import numpy as np

from harken.errors import HarkenError
from harken.models.onnx_bytes import Array, node
from harken.models.speech_embedding import SpeechEmbedding

CHANNELS, BLOCKS = (32, 64, 96, 128), (2, 3, 2, 2)  # of each stage
MEL_CENTER, MEL_SCALE = 9.0, 1 / 3  # bring the log-mel features near to zero mean and unit variance


@lru_cache(maxsize=1)
def load_harken_embedding() -> SpeechEmbedding:
    """Read the weights that harken ships.

    Raises
    ------
    HarkenError
        If the file is missing or damaged.
    """
    path = files("harken").joinpath("weights/embedding.npz")
    try:
        with path.open("rb") as file, np.load(file, allow_pickle=False) as stored:
            weights: dict[str, Array] = {name: stored[name].astype(np.float32) for name in stored.files}
    except (OSError, KeyError, ValueError) as error:
        raise HarkenError("the speech embedding weights/embedding.npz cannot be read: reinstall harken") from error
    return harken_embedding(weights)


def harken_embedding(weights: dict[str, Array]) -> SpeechEmbedding:
    """Return the embedding with given weights: `weights_I` and `bias_I` of each convolution, in the order of the nodes."""
    constants: dict[str, Array] = {
        **weights,
        "mel_center": np.array(MEL_CENTER, np.float32),
        "mel_scale": np.array(MEL_SCALE, np.float32),
        "crop_start": np.array([1], np.int64),
        "crop_end": np.array([-1], np.int64),
        "axis_2": np.array([2], np.int64),
    }
    return SpeechEmbedding("harken", constants, tuple(_nodes()))


def _nodes() -> list[bytes]:
    """Return the nodes that turn `mel_map` [N, 1, frames, 32] into `embedding_map` [N, 96, steps, 1]."""
    nodes = [
        node("Sub", ["mel_map", "mel_center"], ["mel_centered"]),
        node("Mul", ["mel_centered", "mel_scale"], ["mel_normalized"]),
    ]
    count = 0

    def convolve(source: str, out: str, **attributes: int | list[int]) -> str:
        nonlocal count
        nodes.append(node("Conv", [source, f"weights_{count}", f"bias_{count}"], [out], **attributes))
        count += 1
        return out

    def rectify(source: str) -> str:
        nodes.append(node("Relu", [source], [f"rectified_{source}"]))
        return f"rectified_{source}"

    last = rectify(convolve("mel_normalized", "first", kernel_shape=[3, 3], strides=[1, 2], pads=[0, 1, 0, 1]))
    for stage, (channels, blocks) in enumerate(zip(CHANNELS, BLOCKS, strict=True)):
        if stage:
            nodes.append(node("MaxPool", [last], [f"halved_{stage}"], kernel_shape=[2, 2], strides=[2, 2]))
            last = rectify(convolve(f"halved_{stage}", f"widened_{stage}", kernel_shape=[1, 1]))
        for block in range(blocks):
            name = f"{stage}_{block}"
            # Without padding in time, the convolution loses a frame on each side. So must the branch around it.
            nodes.append(node("Slice", [last, "crop_start", "crop_end", "axis_2"], [f"cropped_{name}"]))
            depthwise = convolve(last, f"depthwise_{name}", kernel_shape=[3, 3], pads=[0, 1, 0, 1], group=channels)
            pointwise = convolve(rectify(depthwise), f"pointwise_{name}", kernel_shape=[1, 1])
            nodes.append(node("Add", [f"cropped_{name}", pointwise], [f"sum_{name}"]))
            last = rectify(f"sum_{name}")
    convolve(last, "embedding_map", kernel_shape=[1, 2])
    return nodes
