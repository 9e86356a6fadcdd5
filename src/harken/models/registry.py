"""The registry of networks.

Network          a network at one size: its class, its front-end and its paper
NETWORKS         all networks, by name
find_network     a name -> Network
build_network    a name -> a network with initial weights

Classes are imported when a network is built, so that listing names does not need torch.
"""

import difflib
from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib import import_module
from typing import TYPE_CHECKING, Any, Literal

from harken.errors import HarkenError

if TYPE_CHECKING:
    from torch import nn

FrontEndKind = Literal["log_mel", "speech_mel", "raw"]


@dataclass(frozen=True)
class Network:
    """An architecture at one size.

    Attributes
    ----------
    name
        Name of the network.
    class_path
        `module:class` below harken.models. The class is called as `Class(classes, bands, frames, **options)`.
    front_end
        `log_mel` for log-mel bands, `speech_mel` for those of the speech embedding, or `raw` for the waveform itself (a single
        band, with one frame for each sample).
    summary
        Description for `harken models`, one line.
    source
        The paper.
    options
        Options of the class for this size.
    """

    name: str
    class_path: str
    front_end: FrontEndKind
    summary: str
    source: str
    options: Mapping[str, Any] = field(default_factory=dict)

    @property
    def causal(self) -> bool:
        """Whether the network does not look ahead, so that it can run in a stream and be exported as C."""
        return bool(self.options.get("causal", False))

    def build(self, classes: int, bands: int, frames: int, **options: Any) -> "nn.Module":
        """Return the network with initial weights, for features [N, bands, frames]. `options` take precedence over its own."""
        module, _, name = self.class_path.partition(":")
        architecture = getattr(import_module(f"harken.models.{module}"), name)
        network: nn.Module = architecture(classes, bands, frames, **{**self.options, **options})
        return network


def _family(
    class_path: str, front_end: FrontEndKind, source: str, sizes: Mapping[str, tuple[str, Mapping[str, Any]]]
) -> list[Network]:
    return [
        Network(name, class_path, front_end, summary, source, options) for name, (summary, options) in sizes.items()
    ]


_ALL = [
    Network(
        "tutorial_cnn", "tutorial_cnn:TutorialCNN", "raw",
        "the tutorial's convolutions over the raw waveform", "Speech Recognition with Convolutional Neural Networks",
    ),
    Network(
        "tutorial_lstm", "tutorial_lstm:TutorialLSTM", "log_mel",
        "the tutorial's recurrent counterpart: two LSTM layers", "Hochreiter & Schmidhuber 1997",
    ),
    *_family("bc_resnet:BCResNet", "log_mel", "arXiv:2106.04140", {
        f"bc_resnet_{name}": (f"broadcasted residual learning, width {tau}", {"tau": tau})
        for name, tau in (("1", 1), ("1_5", 1.5), ("2", 2), ("3", 3), ("6", 6), ("8", 8))
    }),
    *_family("bc_resnet:BCResNet", "log_mel", "arXiv:2106.04140, changed", {
        "harken_tiny": ("BC-ResNet-1 without look-ahead", {"tau": 1, "causal": True}),
        "harken_small": ("BC-ResNet-2 without look-ahead, at half the frame rate", {"tau": 2, "causal": True, "time_stride": 2}),
        "harken_base": ("BC-ResNet-3 without look-ahead, at half the frame rate", {"tau": 3, "causal": True, "time_stride": 2}),
        "harken_large": ("BC-ResNet-6 without look-ahead, at half the frame rate", {"tau": 6, "causal": True, "time_stride": 2}),
    }),
    *_family("ds_cnn:DSCNN", "log_mel", "arXiv:1711.07128", {
        "ds_cnn_s": ("depthwise separable convolutions, small: MLPerf Tiny's reference", {"size": "s"}),
        "ds_cnn_m": ("depthwise separable convolutions, medium", {"size": "m"}),
        "ds_cnn_l": ("depthwise separable convolutions, large", {"size": "l"}),
    }),
    Network("res15", "res15:Res15", "log_mel", "deep residual network with dilations", "arXiv:1710.10361"),
    Network(
        "matchboxnet_3x2x64", "matchboxnet:MatchboxNet", "log_mel",
        "1-D time-channel separable convolutions", "arXiv:2004.08531",
    ),
    Network("att_rnn", "att_rnn:AttRNN", "log_mel", "convolutions, two LSTMs, attention", "arXiv:1808.08929"),
    Network(
        "embedding_head", "embedding_head:EmbeddingHead", "speech_mel",
        "Google's speech embedding, which stays as it is, and a small head", "arXiv:2002.01322",
    ),
]  # fmt: skip

NETWORKS: Mapping[str, Network] = {network.name: network for network in _ALL}


def find_network(name: str) -> Network:
    """Return the network called `name`. Raises HarkenError, which suggests the closest name, if there is none."""
    if name in NETWORKS:
        return NETWORKS[name]
    near = difflib.get_close_matches(name, NETWORKS, n=1)
    hint = f"did you mean {near[0]}?" if near else "`harken models` lists them"
    raise HarkenError(f"there is no network {name!r}: {hint}")


def build_network(name: str, *, classes: int, bands: int, frames: int, **options: Any) -> "nn.Module":
    """Build a network by name, with initial weights, for features [N, bands, frames]."""
    return find_network(name).build(classes, bands, frames, **options)
