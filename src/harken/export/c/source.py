"""Make the C text from templates/ and the tables of a network.

Description   all that the text needs
c_source      make NAME.c
c_header      make NAME.h
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.resources import files

import numpy as np

from harken.audio.highpass import coefficients
from harken.errors import HarkenError
from harken.export.c.literals import array, braced, number, string
from harken.export.c.tables import BlockTables, Tables, Weights
from harken.labels import SILENCE
from harken.models.frontend import LOG_FLOOR, LogMel
from harken.runtime import isolation
from harken.runtime.listener_settings import ListenerSettings

_NO_WEIGHTS = Weights(np.zeros(0))
_HIGH_PASS = ("HIGH_PASS_GAIN", "HIGH_PASS_A", "HIGH_PASS_B")
_UNREACHABLE = 2.0  # a threshold that no probability reaches


@dataclass(frozen=True)
class Description:
    """All that the C text needs.

    Attributes
    ----------
    name
        Prefix of the public names.
    model
        Name of the original model, for the first comment.
    labels
        The labels.
    thresholds
        Their thresholds in clips.
    sample_rate
        In Hz.
    window
        Samples in a window.
    front_end
        The front-end.
    tables
        The weights.
    listener
        The settings for streams.
    listener_origin
        Where these settings come from, for a comment.
    """

    name: str
    model: str
    labels: Sequence[str]
    thresholds: Mapping[str, float]
    sample_rate: int
    window: int
    front_end: LogMel
    tables: Tables
    listener: ListenerSettings
    listener_origin: str


def c_header(description: Description) -> str:
    """Make the text of NAME.h."""
    return _fill_template("header.h", description)


def c_source(description: Description) -> str:
    """Make the text of NAME.c.

    Raises
    ------
    HarkenError
        The length of the front-end's frame is not supported by the FFT.
    """
    tables, front_end = description.tables, description.front_end
    name = description.name
    parts = [
        f"/* {name}: written by harken from {description.model}, {tables.bits}-bit weights. See {name}.h. */",
        f'#include "{name}.h"\n\n#include <math.h>',
        _defines(_sizes(description)),
        _fill_template("int8.c" if tables.bits == 8 else "float.c", description),
        _front_end_tables(front_end),
        _fill_template("front_end.c", description),
        _network_tables(tables),
        _fill_template("network.c", description).replace("@blocks@", _blocks(tables.blocks, front_end.bands // 2)),
        _labels(description),
        _fill_template("isolation.c", description),
        _fill_template("stream.c", description),
        _fill_template("listener.c", description),
    ]
    return "\n\n".join(part.strip("\n") for part in parts) + "\n"


def _fill_template(template: str, description: Description) -> str:
    listener = description.listener
    text = files("harken.export.c").joinpath("templates", template).read_text(encoding="utf-8")
    labels = description.labels
    values = {
        "silence": f"listener.history[listener.next][{labels.index(SILENCE)}]" if SILENCE in labels else "0.0f",
        "name": description.name,
        "NAME": description.name.upper(),
        "SAMPLE_RATE": description.sample_rate,
        "WINDOW": description.window,
        "STEP": description.front_end.hop * description.tables.time_stride,
        "CLASSES": len(labels),
        # The numbers of hops are rounded as in harken.runtime.listener.Listener.
        "HOP": _hop(description),
        "SMOOTHED": max(1, round(listener.smoothing_ms / listener.hop_ms)),
        "REFRACTORY": math.ceil(listener.refractory_ms / listener.hop_ms),
        "ISOLATION": number(listener.isolation),
        "listener_origin": description.listener_origin,
    }
    for name, value in values.items():
        text = text.replace(f"@{name}@", str(value))
    return text


def _hop(description: Description) -> int:
    """Return the number of samples in a hop of the listener, rounded as in harken.runtime.listener.Listener."""
    hop_ms = description.listener.hop_ms
    hop = round(hop_ms * description.sample_rate / 1000)
    if hop < 1:
        raise HarkenError(f"hop_ms={hop_ms} in the model's settings for streams is less than a sample: tune it again")
    return hop


def _sizes(description: Description) -> dict[str, int | str]:
    tables, front_end = description.tables, description.front_end
    kernel, reach, stem = tables.stem.values.shape
    top_reach, top_bands, top = tables.last.values.shape
    bands = [front_end.bands // 2]
    for block in tables.blocks:
        bands.append(bands[-1] // block.stride)
    expanded, classes = tables.classify.values.shape
    steps = -(-front_end.frames(description.window) // tables.time_stride)
    read = [count * block.channels_in for count, block in zip(bands, tables.blocks, strict=False)]
    middle = [count * block.out for count, block in zip(bands[1:], tables.blocks, strict=True)]
    widened = [count * block.out for count, block in zip(bands, tables.blocks, strict=False) if block.widen]
    widest = max(top, *(block.out for block in tables.blocks))
    dilations = [2 * block.dilation for block in tables.blocks]
    recent, remembered = isolation.silence_hops(_hop(description), description.sample_rate)
    return {
        "FRAME": front_end.window,
        "HALF_FRAME": front_end.window // 2,
        "HOP": front_end.hop,
        "BANDS": front_end.bands,
        "LOG_FLOOR": number(LOG_FLOOR),
        "TIME_STRIDE": tables.time_stride,
        "STEM": stem,
        "STEM_BANDS": bands[0],
        "STEM_KERNEL": kernel,
        "STEM_REACH": reach,
        "BLOCKS": len(tables.blocks),
        "SUB_BANDS": len(tables.blocks[0].band_scale),
        "TOP": top,
        "TOP_BANDS": top_bands,
        "TOP_REACH": top_reach,
        "EXPANDED": expanded,
        "CLASSES": classes,
        "WINDOW_STEPS": steps,
        "FRAME_CYCLE": math.lcm(reach, tables.time_stride),
        "STEP_CYCLE": math.lcm(*dilations, top_reach, steps),
        "PAST_MEANS": sum(2 * block.dilation * block.out for block in tables.blocks),
        "MAX_VALUES": max(read + middle),
        "MAX_WIDENED": max(widened),
        "MAX_MIDDLE": max(middle),
        "MAX_CHANNELS": widest,
        "MAX_SUMS": max(widest, stem, expanded, classes),
        **dict(zip(_HIGH_PASS, map(number, coefficients(description.sample_rate)), strict=True)),
        "LEVEL_FRAME": isolation.frame_length(description.sample_rate),
        "POWER_FLOOR": number(isolation.POWER_FLOOR),
        "HISTORY_FRAMES": isolation.HISTORY_FRAMES,
        "QUIET_FRAMES": isolation.QUIET_FRAMES,
        "AFTER_FRAMES": isolation.AFTER_FRAMES,
        "SILENCE_HOPS": remembered,
        "EARLIER_HOPS": remembered - recent,
        "WINDOW_FRAMES": isolation.window_frames(description.window, description.sample_rate),
        "NO_PENALTY_DB": number(isolation.NO_PENALTY_DB),
        "FULL_PENALTY_DB": number(isolation.FULL_PENALTY_DB),
    }


def _defines(values: Mapping[str, int | str]) -> str:
    return "\n".join(f"#define {name} {value}" for name, value in values.items())


def _front_end_tables(front_end: LogMel) -> str:
    frame, half = front_end.window, front_end.window // 2
    radices = _radices(frame)
    filters = front_end.filters.numpy().T  # [bands, bins]
    firsts = [int(row.nonzero()[0][0]) for row in filters]
    ends = [int(row.nonzero()[0][-1]) + 1 for row in filters]
    spans = list(zip(firsts, ends, strict=True))
    return "\n\n".join(
        [
            "typedef struct {\n    float re, im;\n} Complex;",
            f"#define FFT_STAGES {len(radices)}",
            array("radices", np.array(radices, np.uint8)),
            array("hann", front_end.hann.numpy()[: half + 1]),
            _roots("roots", half, half),
            _roots("half_roots", frame, half // 2 + 1),
            array("mel_first", np.array(firsts, np.uint16)),
            array("mel_count", np.array([end - first for first, end in spans], np.uint16)),
            array("mel_weights", np.concatenate([row[slice(*span)] for row, span in zip(filters, spans, strict=True)])),
        ]
    )


def _radices(frame: int) -> list[int]:
    """Return radices of the FFT whose product is half the frame."""
    rest, radices = frame // 2, []
    for radix in (5, 4, 3, 2):
        while rest % radix == 0:
            radices.append(radix)
            rest //= radix
    if rest != 1 or frame % 2:
        raise HarkenError(
            f"the FFT of the C export does not support frames of {frame} samples: train with a frame_ms that gives an even "
            "number of samples without prime factors above 5"
        )
    return radices


def _roots(name: str, order: int, count: int) -> str:
    angles = -2 * np.pi * np.arange(count) / order
    pairs = [f"{{{number(math.cos(angle))}, {number(math.sin(angle))}}}" for angle in angles]
    return braced(f"static const Complex {name}[{count}]", ", ".join(pairs))


def _network_tables(tables: Tables) -> str:
    layers = {"stem": tables.stem, "last": tables.last, "expand": tables.expand, "classify": tables.classify}
    parts = [array("norm_mean", tables.norm_mean), array("norm_scale", tables.norm_scale)]
    for name, layer in layers.items():
        parts.append(array(name, layer.values))
        parts.append(f"#define {name}_scale NULL" if layer.scale is None else array(f"{name}_scale", layer.scale))
        if layer.bias is not None:
            parts.append(array(f"{name}_bias", layer.bias))
    return "\n\n".join(parts)


def _blocks(blocks: Sequence[BlockTables], bands: int) -> str:
    """Return the tables of all blocks, and the array of Block that points to them."""
    arrays: list[str] = []
    rows: list[str] = []
    past = 0
    for index, block in enumerate(blocks):
        widen = block.widen or _NO_WEIGHTS
        fields = {
            "widen": widen.values if block.widen else None,
            "widen_scale": widen.scale,
            "widen_bias": widen.bias,
            "over_bands": block.over_bands,
            "band_scale": block.band_scale,
            "band_shift": block.band_shift,
            "mean_scale": block.mean_scale,
            "over_time": block.over_time.values,
            "time_scale": block.over_time.scale,
            "time_bias": block.over_time.bias,
            "silu_scale": block.silu_scale,
            "mix": block.mix.values,
            "mix_scale": block.mix.scale,
            "identity_scale": block.identity_scale,
        }
        arrays += [array(f"block_{index}_{field}", values) for field, values in fields.items() if values is not None]
        names = ["NULL" if values is None else f"block_{index}_{field}" for field, values in fields.items()]
        sizes = [block.channels_in, block.out, bands, bands // block.stride, block.dilation]
        rows.append("{" + ", ".join([*map(str, sizes), *names, str(past)]) + "}")
        bands //= block.stride
        past += 2 * block.dilation * block.out
    return "\n\n".join([*arrays, braced(f"static const Block blocks[{len(blocks)}]", ", ".join(rows))])


def _labels(description: Description) -> str:
    name, classes = description.name, f"{description.name.upper()}_CLASSES"
    labels = ", ".join(map(string, description.labels))
    thresholds = ", ".join(number(description.thresholds.get(label, 0.0)) for label in description.labels)
    of_streams = ", ".join(
        number(description.listener.thresholds.get(label, _UNREACHABLE)) for label in description.labels
    )
    return "\n\n".join(
        [
            braced(f"const char *const {name}_labels[{classes}]", labels),
            braced(f"const float {name}_thresholds[{classes}]", thresholds),
            braced(f"const float {name}_stream_thresholds[{classes}]", of_streams),
        ]
    )
