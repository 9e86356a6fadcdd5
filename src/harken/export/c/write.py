"""Export a model file to C: NAME.c, NAME.h and NAME.c.json, written once the C code agrees with the model."""

import json
import os
import re
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from harken.errors import HarkenError
from harken.export.c.compiled import CompiledModel, Sizes, compile_c
from harken.export.c.graph import read_network
from harken.export.c.int8 import calibrate, int8_tables
from harken.export.c.source import Description, c_header, c_source
from harken.export.c.tables import float_tables
from harken.export.comparison import open_source, require_agreement
from harken.files import replacing_all, require_writable
from harken.models.frontend import LogMel
from harken.runtime.listener_settings import ListenerSettings
from harken.runtime.modelfile import STREAM_SUFFIX, Card, find_model, open_model

_MAX_DIFFERING = 0.01  # fraction of different answers, in 8 bits
# A streaming file has copies of these entries of its model. A model that was trained again has others.
_COPIED_ENTRIES = ("recipe", "temperature", "validation_accuracy", "clips", "parameters")
# The headers of the C library, up to C23, which NAME.h must not hide.
_C_HEADERS = (
    *(
        "assert",
        "complex",
        "ctype",
        "errno",
        "fenv",
        "float",
        "inttypes",
        "iso646",
        "limits",
        "locale",
        "math",
        "setjmp",
    ),
    *("signal", "stdalign", "stdarg", "stdatomic", "stdbit", "stdbool", "stdckdint", "stddef", "stdint", "stdio"),
    *("stdlib", "stdnoreturn", "string", "tgmath", "threads", "time", "uchar", "wchar", "wctype"),
)


@dataclass(frozen=True)
class CReport:
    """What was written, its cost, and how it agrees with the model file.

    Attributes
    ----------
    source, header, card
        The files NAME.c, NAME.h and NAME.c.json.
    bits
        Bits of a weight.
    sizes
        Bytes of code, constants and RAM.
    clips
        Number of clips compared.
    largest_difference
        Largest difference in probability.
    agreement
        Fraction of clips with the same most probable label.
    run_ms
        Median time for one clip, on this machine.
    synthesized
        Whether the clips are synthetic speech.
    listener_origin
        Where the settings for streams come from, as the header says.
    """

    source: Path
    header: Path
    card: Path
    bits: int
    sizes: Sizes
    clips: int
    largest_difference: float
    agreement: float
    run_ms: float
    synthesized: bool = False
    listener_origin: str = ""


def write_c(
    model: str | os.PathLike[str],
    out_dir: Path,
    name: str,
    clips: NDArray[np.float32],
    *,
    calibration: NDArray[np.float32] | None = None,
    listener: str | os.PathLike[str] | None = None,
    synthesized: bool = False,
) -> CReport:
    """Write a model file as C: OUT_DIR/NAME.c, NAME.h, and NAME.c.json with the card and the result of the check.

    Parameters
    ----------
    model
        A path, a run folder, or the name of a bundled model.
    out_dir
        Folder for the files.
    name
        Prefix of the public names, a lower-case C identifier.
    clips
        Clips to compare the C code with the model file on, full scale 1.0, [N, window].
    calibration
        Other such clips, to choose the scales of 8 bits by. Without them, the weights are float32.
    listener
        Model file or streaming model whose settings for streams go into the header. Default: the streaming model
        beside the model (such as tiny.stream.onnx) if it has the same weights, since it processes streams as the C
        code does; otherwise the model itself.
    synthesized
        Whether the clips are synthetic speech; the check records it.

    Returns
    -------
    CReport
        The result of the check.

    Raises
    ------
    HarkenError
        The network is not a causal BC-ResNet, there is no C compiler, or the C code disagrees with the model (by
        more than 1e-3 in probability in float32, or on significantly more than 1 % of the answers in 8 bits).
        Nothing is written then.
    """
    if not re.fullmatch(r"[a-z][a-z0-9_]*", name):
        raise HarkenError(
            f"{name!r} cannot be a C name: use lower-case letters, digits and underscores, a letter first"
        )
    if name in _C_HEADERS:
        raise HarkenError(f"{name}.h would hide a header of the C library: choose another name")
    targets = {suffix: out_dir / f"{name}{suffix}" for suffix in (".h", ".c", ".c.json")}
    require_writable(*targets.values())
    source_model = open_source(model)
    card = source_model.card
    wanted = source_model.probabilities(clips)
    if not len(clips):
        raise HarkenError("no clips to check the C export on: give a larger corpus with --data DIR")
    settings, origin = _stream_settings(source_model.path, card, listener)
    network = read_network(source_model.path)
    if calibration is None:
        tables = float_tables(network)
    elif not len(calibration):
        raise HarkenError("no clips to calibrate the C export on: give a larger corpus with --data DIR")
    elif calibration.shape[1:] != clips.shape[1:]:
        raise HarkenError(f"clips of shape {calibration.shape} cannot calibrate the model: pass [N, {card.window}]")
    else:
        tables = int8_tables(network, calibrate(source_model.path, network, calibration))
    description = Description(
        name=name,
        model=source_model.path.name,
        labels=card.labels,
        thresholds=card.thresholds,
        sample_rate=card.sample_rate,
        window=card.window,
        front_end=_front_end(source_model.path, card),
        tables=tables,
        listener=settings,
        listener_origin=origin,
    )
    texts = {".h": c_header(description), ".c": c_source(description)}
    with _compiled(texts, name, card) as (compiled, sizes):
        found, run_ms = _timed_run(compiled, clips)
    report = CReport(
        source=out_dir / f"{name}.c",
        header=out_dir / f"{name}.h",
        card=out_dir / f"{name}.c.json",
        bits=tables.bits,
        sizes=sizes,
        clips=len(clips),
        largest_difference=float(np.abs(found - wanted).max()),
        agreement=float((found.argmax(axis=1) == wanted.argmax(axis=1)).mean()),
        run_ms=run_ms,
        synthesized=synthesized,
        listener_origin=origin,
    )
    advice = "calibrate on a larger corpus"
    require_agreement(report.source, report, most_differing=_MAX_DIFFERING, advice=advice)
    texts[".c.json"] = _card_json(card, settings, report)
    with replacing_all(*targets.values()) as temporaries:
        for suffix, temporary in zip(targets, temporaries, strict=True):
            temporary.write_text(texts[suffix], encoding="utf-8")
    return report


def _stream_settings(path: Path, card: Card, named: str | os.PathLike[str] | None) -> tuple[ListenerSettings, str]:
    """Return the settings for streams, and where they come from, for a comment in the header."""
    neighbor = path.with_suffix(f"{STREAM_SUFFIX}.onnx")
    tuned, tuned_card, ignored = path, card, ""
    if named is not None:
        tuned = find_model(named)
        tuned_card = open_model(tuned, 1)[1]
    elif neighbor.is_file():
        found = open_model(neighbor, 1)[1]
        if all(found.fields.get(key) == card.fields.get(key) for key in _COPIED_ENTRIES):
            tuned, tuned_card = neighbor, found
        else:  # its thresholds do not fit these weights
            ignored = f"; {neighbor.name} has other weights and was not used"
    if set(tuned_card.words) != set(card.words):
        raise HarkenError(f"{tuned} has other words than {path}: give a file of the same model with --listener")
    settings = ListenerSettings.from_card(tuned_card)
    if "listener" not in tuned_card.fields:
        return settings, f"harken's defaults, which were not tuned{ignored}"
    if "step" in tuned_card.fields:
        return settings, f"tuned for the streaming model {tuned.name}, which processes streams as this code does"
    return (
        settings,
        f"tuned for {tuned.name}, which evaluates single windows: for this code, tune a streaming model instead{ignored}",
    )


def _front_end(path: Path, card: Card) -> LogMel:
    recipe: Any = card.fields.get("recipe")
    try:
        return LogMel(card.sample_rate, bands=recipe["bands"], window_ms=recipe["frame_ms"], hop_ms=recipe["hop_ms"])
    except (KeyError, TypeError) as error:
        raise HarkenError(f"{path} does not state its front-end in its recipe: train or export it again") from error


@contextmanager
def _compiled(texts: dict[str, str], name: str, card: Card) -> Iterator[tuple[CompiledModel, Sizes]]:
    with tempfile.TemporaryDirectory() as folder:
        for suffix, text in texts.items():
            (Path(folder) / f"{name}{suffix}").write_text(text, encoding="utf-8")
        source = Path(folder) / f"{name}.c"
        yield compile_c(source, Path(folder), classes=len(card.labels), window=card.window)


def _timed_run(compiled: CompiledModel, clips: NDArray[np.float32]) -> tuple[NDArray[np.float32], float]:
    rows, times = [], []
    for clip in clips:
        start = time.perf_counter()
        rows.append(compiled.run(clip[None]))
        times.append(time.perf_counter() - start)
    return np.concatenate(rows), 1000 * float(np.median(times))


def _card_json(card: Card, listener: ListenerSettings, report: CReport) -> str:
    fields: dict[str, Any] = {
        "labels": card.labels,
        "sample_rate": card.sample_rate,
        "window": card.window,
        "thresholds": card.thresholds,
        **card.fields,
        "listener": listener.to_json(),
        "export": {key: value for key, value in asdict(report).items() if key not in ("source", "header", "card")},
    }
    return json.dumps(fields, indent=1, ensure_ascii=False) + "\n"
