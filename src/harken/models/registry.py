"""The registry: a name leads to a network's builder, front-end and source.

The builders are imported when used, so that listing names needs no torch.
"""

import difflib
from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib import import_module
from typing import TYPE_CHECKING, Any, Literal

from harken.errors import HarkenError

if TYPE_CHECKING:
    from torch import nn

FrontEndKind = Literal["log_mel", "raw"]


@dataclass(frozen=True)
class Network:
    """An architecture at one size.

    home : `module:class` under harken.models; the class is called as `Class(classes, bands, frames, **options)`.
    front_end : what it listens to: log-mel bands, or the waveform itself (one band, a frame a sample).
    summary : one line for `harken models`. source : the paper.
    """

    name: str
    home: str
    front_end: FrontEndKind
    summary: str
    source: str
    options: Mapping[str, Any] = field(default_factory=dict)

    @property
    def causal(self) -> bool:
        """Whether it has no look-ahead, so that it streams and leaves as C."""
        return bool(self.options.get("causal", False))

    def build(self, classes: int, bands: int, frames: int, **options: Any) -> "nn.Module":
        """Return the network with fresh weights, for features [N, bands, frames]; `options` go over the size's own."""
        module, _, name = self.home.partition(":")
        architecture = getattr(import_module(f"harken.models.{module}"), name)
        network: nn.Module = architecture(classes, bands, frames, **{**self.options, **options})
        return network


def _family(
    home: str, front_end: FrontEndKind, source: str, sizes: Mapping[str, tuple[str, Mapping[str, Any]]]
) -> list[Network]:
    return [Network(name, home, front_end, summary, source, options) for name, (summary, options) in sizes.items()]


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
]  # fmt: skip

NETWORKS: Mapping[str, Network] = {network.name: network for network in _ALL}


def find_network(name: str) -> Network:
    """Return the network called `name`; raises HarkenError with the nearest name when there is none."""
    if name in NETWORKS:
        return NETWORKS[name]
    near = difflib.get_close_matches(name, NETWORKS, n=1)
    hint = f"did you mean {near[0]}?" if near else "`harken models` lists them"
    raise HarkenError(f"there is no network {name!r}: {hint}")


def build_network(name: str, *, classes: int, bands: int, frames: int, **options: Any) -> "nn.Module":
    """Build a network by name for features [N, bands, frames]."""
    return find_network(name).build(classes, bands, frames, **options)
