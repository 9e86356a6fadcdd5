"""write_c: a model file leaves as NAME.c, NAME.h and NAME.c.json, once the C agrees with it."""

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
from harken.export.comparison import open_source, too_many_differ
from harken.files import replacing_all, require_writable
from harken.models.frontend import LogMel
from harken.runtime.listener import ListenerSettings
from harken.runtime.modelfile import STREAMING, Card, find_model, open_model

_TOLERANCE = 1e-3  # in probability, of the float32 form
_DIFFERING = 0.01  # of answers, of the 8-bit form
# NAME.h would stand in the way of these: C's own headers, up to C23.
_HEADERS = (
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
    """What was written, what it costs and how it agrees with its model file.

    bits : of a weight. clips : how many were compared. largest_difference : in probability. agreement : fraction of clips with
    the same most probable label. run_ms : median time of one clip, on this machine. synthesised : whether synthetic voices
    spoke the clips.
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
    synthesised: bool = False


def write_c(
    model: str | os.PathLike[str],
    out_dir: Path,
    name: str,
    clips: NDArray[np.float32],
    *,
    calibration: NDArray[np.float32] | None = None,
    listener: str | os.PathLike[str] | None = None,
    synthesised: bool = False,
) -> CReport:
    """Write a model file as C: OUT_DIR/NAME.c, NAME.h, and NAME.c.json with the card and the check.

    model : a path, or the name of a bundled model. name : prefix of all that is public, a lower-case C identifier.
    clips : [N, window], full scale 1.0, on which the C is compared with the model file. calibration : other such clips, to set
    the scales of 8 bits by; without them the weights are float32. listener : a model file or streaming form whose settings
    for streams go into the header; else those of the streaming form that lies beside the model (tiny.stream.onnx) and has its
    weights, for it hears as the C does, else the model's own. synthesised : whether synthetic voices spoke the clips; the
    check says so.

    Raises HarkenError, and leaves no file, when the network is not a causal BC-ResNet, when there is no C compiler, or when
    the C disagrees: by over 1e-3 in probability in float32, in 8 bits on over 1 % of the clips' answers, by more than
    chance may have it in so few clips.
    """
    if not re.fullmatch(r"[a-z][a-z0-9_]*", name):
        raise HarkenError(f"{name!r} cannot name C functions: take small letters, digits and underscores")
    if name in _HEADERS:
        raise HarkenError(f"{name}.h would hide the C library's own header: choose another name")
    targets = {suffix: out_dir / f"{name}{suffix}" for suffix in (".h", ".c", ".c.json")}
    require_writable(*targets.values())
    source_model = open_source(model)
    card = source_model.card
    wanted = source_model.probabilities(clips)
    if not len(clips):
        raise HarkenError("no clips to check the C form on: name a larger corpus with --data DIR")
    settings, origin = _listener(source_model.path, card, listener)
    network = read_network(source_model.path)
    if calibration is None:
        tables = float_tables(network)
    elif not len(calibration):
        raise HarkenError("no clips to calibrate the C form on: name a larger corpus with --data DIR")
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
        synthesised=synthesised,
    )
    _require_agreement(report)
    texts[".c.json"] = _card_json(card, settings, report)
    with replacing_all(*targets.values()) as temporaries:
        for suffix, temporary in zip(targets, temporaries, strict=True):
            temporary.write_text(texts[suffix], encoding="utf-8")
    return report


def _listener(path: Path, card: Card, named: str | os.PathLike[str] | None) -> tuple[ListenerSettings, str]:
    """Return the settings for streams, and where they are from, for the header's reader."""
    beside = path.with_suffix(f"{STREAMING}.onnx")
    if named is not None:
        tuned = find_model(named)
        about = open_model(tuned, 1)[1]
    elif beside.is_file() and (of_form := open_model(beside, 1)[1]).fields.get("recipe") == card.fields.get("recipe"):
        tuned, about = beside, of_form
    else:  # a form that was trained on has weights of its own, whose thresholds do not fit these
        tuned, about = path, card
    if set(about.words) != set(card.words):
        raise HarkenError(f"{tuned} hears other words than {path}: name a form of the same model by --listener")
    settings = ListenerSettings.of_card(about)
    if "listener" not in about.fields:
        return settings, "harken's defaults, tuned on nothing"
    if "step" in about.fields:
        return settings, f"tuned on the streaming form {tuned.name}, which hears as this code does"
    return (
        settings,
        f"tuned on {tuned.name}, whose windows are judged whole: tune a streaming form for this code's streams",
    )


def _front_end(path: Path, card: Card) -> LogMel:
    recipe: Any = card.fields.get("recipe")
    try:
        return LogMel(card.sample_rate, bands=recipe["bands"], window_ms=recipe["frame_ms"], hop_ms=recipe["hop_ms"])
    except (KeyError, TypeError) as error:
        raise HarkenError(f"{path} does not say in its recipe how it hears: train or export it again") from error


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


def _require_agreement(report: CReport) -> None:
    differing = round((1 - report.agreement) * report.clips)
    if report.bits == 32 and not report.largest_difference <= _TOLERANCE:
        raise HarkenError(
            f"{report.source} was not written: its answers differ from the model file's by {report.largest_difference:.2g}"
        )
    finite = np.isfinite(report.largest_difference)
    if report.bits == 8 and (not finite or too_many_differ(differing, report.clips, _DIFFERING)):
        raise HarkenError(
            f"{report.source} was not written: in 8 bits it answers {differing} of {report.clips} clips otherwise than the "
            "model file; calibrate on more clips of the corpus"
        )


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
