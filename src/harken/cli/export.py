"""The command `harken export`: parse, call, print."""

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from harken.errors import HarkenError
from harken.extras import require_extra

if TYPE_CHECKING:
    from harken.export.onnx_stream import StreamReport

_FORMS = ("onnx-stream", "onnx-int8", "litert", "litert-int8", "c", "c-int8", "web")
_SUFFIXES = {
    "onnx-stream": ".onnx",
    "onnx-int8": ".onnx",
    "litert": ".tflite",
    "litert-int8": ".tflite",
    "c": ".c",
    "c-int8": ".c",
}


def export(
    model: Annotated[
        str, typer.Argument(metavar="MODEL", help="Path of a model file, folder of a run, or name of a bundled model.")
    ],
    form: Annotated[str, typer.Option("--to", help="onnx-stream, onnx-int8, litert, litert-int8, c, c-int8 or web.")],
    out: Annotated[
        Path, typer.Option(help="NAME.onnx, NAME.tflite, or NAME.c with NAME.h beside it; for web, a folder.")
    ],
    data: Annotated[
        list[Path] | None,
        typer.Option(
            metavar="DIR", help="Corpus to check the form on; without one, synthetic voices speak some clips."
        ),
    ] = None,
    noise: Annotated[
        list[Path] | None, typer.Option(metavar="DIR", help="Folder of noise recordings, of which silence is checked.")
    ] = None,
    other: Annotated[
        list[Path] | None,
        typer.Option(metavar="DIR", help="Corpus whose every word is `_unknown_`, for a model of the recipe own."),
    ] = None,
    features: Annotated[
        bool, typer.Option("--features", help="For litert: no front-end inside; the form takes log-mel features.")
    ] = False,
    listener: Annotated[
        str | None,
        typer.Option(
            help="For c and c-int8: tuned streaming form or model whose settings for streams go along; else those of the "
            "streaming form beside the model, else the model's own."
        ),
    ] = None,
    ort: Annotated[
        Path | None, typer.Option(help="For web: folder with onnxruntime-web; else it is fetched from npm.")
    ] = None,
) -> None:
    """Export a model to another form, checked on clips against the source before it is left on disk.

    The clips are the corpus's validation side, or all of it where that is small, or a test archive; without --data synthetic
    voices speak them. To the web a model goes as it is: a folder for any static host. The streaming form is checked against
    the network over a made-up stream.
    """
    if form not in _FORMS:
        raise HarkenError(f"--to {form}: give one of {', '.join(_FORMS)}")
    if form in _SUFFIXES and out.suffix != _SUFFIXES[form]:
        raise HarkenError(f"--out {out}: this form is written as NAME{_SUFFIXES[form]}")
    if form in ("web", "onnx-stream") and (data or noise or other):
        raise HarkenError(f"--to {form} takes no clips: leave out --data, --noise and --other")
    litert = form in ("litert", "litert-int8")
    if features and not litert:
        raise HarkenError(f"--features is for litert and litert-int8: leave it out for {form}")
    if form == "web":
        from harken.export.web import write_web

        print(write_web(model, out, ort=ort))
        return
    if listener is not None and form not in ("c", "c-int8"):
        raise HarkenError(f"--listener is for c and c-int8: leave it out for {form}")
    if other and not data:
        raise HarkenError("--other goes with --data: name the corpus of the model's words too")
    require_extra("train", "onnx", "torch", "filelock", "scipy")
    if litert:
        require_extra("litert", "litert_torch", "ai_edge_litert", "ai_edge_quantizer")
    from harken.cli.tables import print_note
    from harken.export.clips import corpus_clips, spoken_clips
    from harken.export.comparison import FEW, open_source

    source = open_source(model)
    if out.exists() and out.samefile(source.path):
        raise HarkenError(f"--out {out} is the model itself: choose another name")
    if form == "onnx-stream":
        from harken.export.onnx_stream import write_stream_of_model

        try:
            spoken = spoken_clips(source.card)
        except HarkenError:  # no voices: the made-up stream is the check
            streamed = write_stream_of_model(model, out)
        else:
            streamed = write_stream_of_model(model, out, clips=spoken.clips, synthesised=True)
        _print_stream(streamed)
        return
    if data:
        heard = corpus_clips(source.card, data, noise=noise or (), other=other or ())
    else:
        heard = spoken_clips(source.card, noise=noise or ())
    for note in heard.notes:
        print_note(note)
    clips, truth, synthesised = heard.clips, heard.truth, heard.synthesised
    figures: dict[str, Any]
    if form == "onnx-int8":
        from harken.export.onnx_int8 import write_onnx_int8

        written = write_onnx_int8(
            model, out, clips, truth=truth, calibration=heard.calibration, synthesised=synthesised
        )
        figures = asdict(written)
    elif litert:
        from harken.export.litert import write_litert

        given = heard.calibration if form == "litert-int8" else None
        flat = write_litert(
            model, out, clips, truth=truth, calibration=given, features=features, synthesised=synthesised
        )
        figures = asdict(flat)
    else:
        from harken.export.c import write_c

        given = heard.calibration if form == "c-int8" else None
        report = write_c(
            model, out.parent, out.stem, clips, calibration=given, listener=listener, synthesised=synthesised
        )
        figures = {**asdict(report), **asdict(report.sizes)}
    agreement, difference = figures["agreement"], figures["largest_difference"]
    what = "synthesised clips" if synthesised else "clips"
    print(f"{100 * agreement:.2f} % of {figures['clips']:,} {what} answered alike; largest difference {difference:.2g}")
    if figures.get("accuracy") is not None:
        print(f"{100 * figures['accuracy']:.2f} % right (source {100 * figures['source_accuracy']:.2f})")
    if "source_bytes" in figures:
        print(
            f"{figures['bytes'] / 1024:,.0f} KB (source {figures['source_bytes'] / 1024:,.0f}); "
            f"one clip {figures['clip_ms']:.2f} ms (source {figures['source_clip_ms']:.2f})"
        )
    else:
        print(
            f"{figures['constants'] / 1024:,.1f} KB of constants, {figures['ram'] / 1024:,.1f} KB of RAM, "
            f"{figures['code'] / 1024:,.1f} KB of code ({figures['machine']}); one clip {figures['run_ms']:.2f} ms"
        )
    if figures["clips"] < FEW:
        print_note(
            f"clips that were checked: {figures['clips']}, which tell little; name a larger corpus by --data DIR"
        )
    print(out)


def _print_stream(checked: "StreamReport") -> None:
    print(f"{checked.steps} steps of a made-up stream; largest difference {checked.largest_difference:.2g}")
    if checked.agreement is not None:
        print(
            f"{100 * checked.agreement:.2f} % of {checked.clips:,} synthesised clips answered as the source answers them, "
            "each at the start of a stream"
        )
    print(
        f"{checked.bytes / 1024:,.0f} KB (source {checked.source_bytes / 1024:,.0f}); "
        f"a step {checked.step_ms:.2f} ms (a window of the source {checked.source_clip_ms:.2f})"
    )
    print(checked.path)
