"""The command `harken export`: parse the options, call the library, print the result."""

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from harken.cli.options import CommandTime, read_command_time
from harken.errors import HarkenError
from harken.extras import require_extra

if TYPE_CHECKING:
    from harken.export.stream_report import StreamReport

_FORMATS = ("onnx-stream", "onnx-int8", "litert", "litert-int8", "c", "c-int8", "web")
_SUFFIXES = {
    "onnx-stream": ".onnx",
    "onnx-int8": ".onnx",
    "litert": ".tflite",
    "litert-int8": ".tflite",
    "c": ".c",
    "c-int8": ".c",
}


def export(
    model: Annotated[str, typer.Argument(metavar="MODEL", help="Model file, run folder, or name of a bundled model.")],
    export_format: Annotated[
        str,
        typer.Option(
            "--to",
            metavar="FORMAT",
            help="Export format: onnx-stream, onnx-int8, litert, litert-int8, c, c-int8 or web.",
        ),
    ],
    out: Annotated[
        Path,
        typer.Option(
            help="File to write: NAME.onnx, NAME.tflite, or NAME.c (NAME.h goes beside it). For web: folder to create."
        ),
    ],
    data: Annotated[
        list[Path] | None,
        typer.Option(
            metavar="DIR",
            help="Corpus to check the exported file on; repeat to join several. Default: synthesize some clips.",
        ),
    ] = None,
    noise: Annotated[
        list[Path] | None,
        typer.Option(
            metavar="DIR",
            help="Folder of noise recordings to check silence on. Default: the corpus's own, or synthetic noise.",
        ),
    ] = None,
    other: Annotated[
        list[Path] | None,
        typer.Option(metavar="DIR", help="Corpus of words to count as `_unknown_`. Only for models of the recipe own."),
    ] = None,
    features: Annotated[
        bool,
        typer.Option(
            "--features",
            help="For litert and litert-int8: leave the front-end out, so that the input is log-mel features.",
        ),
    ] = False,
    listener: Annotated[
        str | None,
        typer.Option(
            help="For c and c-int8: model file or streaming file to take the stream settings from. "
            "Default: the streaming file beside the model, or else the model itself."
        ),
    ] = None,
    ort: Annotated[
        Path | None, typer.Option(help="For web: folder with onnxruntime-web. Default: download it from npm.")
    ] = None,
    teach: Annotated[
        bool,
        typer.Option(
            "--teach",
            help="For web: visitors can teach the page a wake phrase in their browser. Adds 14 MB.",
        ),
    ] = False,
    wake: Annotated[
        str | None,
        typer.Option(
            metavar="MODEL",
            help="For web: model of a wake phrase, after which the words count. Default: they always count.",
        ),
    ] = None,
    command_s: CommandTime = None,
) -> None:
    """Export a model to another format, and check it against the original.

    The exported file is compared with the model on clips, and is written only if the two agree. With --data, the clips are
    the corpus's validation set, or the whole corpus where that set is small or the corpus is a test archive. Without
    --data, they are synthetic speech. The format onnx-stream is also compared with the network over a generated stream;
    for enrolled phrases, this is the only comparison. The format web needs no check: it is a folder for any static host,
    with the model file unchanged.
    """
    if export_format not in _FORMATS:
        raise HarkenError(f"--to {export_format}: give one of {', '.join(_FORMATS)}")
    if export_format in _SUFFIXES and out.suffix != _SUFFIXES[export_format]:
        raise HarkenError(f"--out {out}: {export_format} files are written as NAME{_SUFFIXES[export_format]}")
    if export_format in ("web", "onnx-stream") and (data or noise or other):
        raise HarkenError(f"--to {export_format} takes no clips: leave out --data, --noise and --other")
    litert = export_format in ("litert", "litert-int8")
    if features and not litert:
        raise HarkenError(f"--features is for litert and litert-int8: leave it out for {export_format}")
    if teach and export_format != "web":
        raise HarkenError(f"--teach is for web: leave it out for {export_format}")
    if wake is not None and export_format != "web":
        raise HarkenError(f"--wake is for web: leave it out for {export_format}")
    if ort is not None and export_format != "web":
        raise HarkenError(f"--ort is for web: leave it out for {export_format}")
    if listener is not None and export_format not in ("c", "c-int8"):
        raise HarkenError(f"--listener is for c and c-int8: leave it out for {export_format}")
    command_s = read_command_time(command_s, wake)
    if export_format == "web":
        from harken.export.web import write_web

        print(write_web(model, out, ort=ort, teach=teach, wake=wake, command_s=command_s))
        return
    if other and not data:
        raise HarkenError("--other goes with --data: also give the corpus of the model's words")
    from harken.runtime.modelfile import ModelFile

    opened = ModelFile(model)
    if out.exists() and out.samefile(opened.path):
        raise HarkenError(f"--out {out} is the model itself: choose another name")
    if export_format == "onnx-stream" and "enrolled" in opened.card.fields:
        from harken.export.enrolled_stream import write_enrolled_stream

        _print_stream_report(write_enrolled_stream(opened.path, out))
        return
    require_extra("train", "onnx", "torch", "filelock", "scipy")
    if litert:
        require_extra("litert", "litert_torch", "ai_edge_litert", "ai_edge_quantizer")
    from harken.cli.tables import print_note
    from harken.export.clips import corpus_clips, synthetic_clips
    from harken.export.comparison import FEW_CLIPS, open_source

    source = open_source(model)
    if export_format == "onnx-stream":
        from harken.export.embedding_stream import uses_embedding, write_embedding_stream
        from harken.export.onnx_stream import write_stream_of_model

        write_stream = write_embedding_stream if uses_embedding(source.card) else write_stream_of_model
        try:
            check = synthetic_clips(source.card)
        except HarkenError:  # No voice is installed: the generated stream is the only check.
            streamed = write_stream(model, out)
        else:
            streamed = write_stream(model, out, clips=check.clips, synthesized=True)
        _print_stream_report(streamed)
        return
    if data:
        check = corpus_clips(source.card, data, noise=noise or (), other=other or ())
    else:
        check = synthetic_clips(source.card, noise=noise or ())
    for note in check.notes:
        print_note(note)
    clips, truth, synthesized = check.clips, check.truth, check.synthesized
    figures: dict[str, Any]
    if export_format == "onnx-int8":
        from harken.export.onnx_int8 import write_onnx_int8

        onnx_report = write_onnx_int8(
            model, out, clips, truth=truth, calibration=check.calibration, synthesized=synthesized
        )
        figures = asdict(onnx_report)
    elif litert:
        from harken.export.litert import write_litert

        calibration = check.calibration if export_format == "litert-int8" else None
        litert_report = write_litert(
            model, out, clips, truth=truth, calibration=calibration, features=features, synthesized=synthesized
        )
        figures = asdict(litert_report)
    else:
        from harken.export.c import write_c

        calibration = check.calibration if export_format == "c-int8" else None
        c_report = write_c(
            model, out.parent, out.stem, clips, calibration=calibration, listener=listener, synthesized=synthesized
        )
        figures = {**asdict(c_report), **asdict(c_report.sizes)}
    agreement, difference = figures["agreement"], figures["largest_difference"]
    what = "synthetic clips" if synthesized else "clips"
    print(
        f"same answer on {100 * agreement:.2f} % of {figures['clips']:,} {what}; "
        f"largest difference in probability {difference:.2g}"
    )
    if figures.get("accuracy") is not None:
        print(f"accuracy {100 * figures['accuracy']:.2f} % (original {100 * figures['source_accuracy']:.2f} %)")
    if "source_bytes" in figures:
        print(
            f"{figures['bytes'] / 1024:,.0f} KB (original {figures['source_bytes'] / 1024:,.0f} KB); "
            f"{figures['clip_ms']:.2f} ms per clip (original {figures['source_clip_ms']:.2f} ms)"
        )
    else:
        print(
            f"{figures['constants'] / 1024:,.1f} KB of constants, {figures['ram'] / 1024:,.1f} KB of RAM, "
            f"{figures['code'] / 1024:,.1f} KB of code ({figures['machine']}); {figures['run_ms']:.2f} ms per clip"
        )
        print(f"settings for streams: {figures['listener_origin']}")
    if figures["clips"] < FEW_CLIPS:
        print_note(
            f"only {figures['clips']} clips were compared, too few for a reliable check; give a larger corpus with --data DIR"
        )
    print(out)


def _print_stream_report(checked: "StreamReport") -> None:
    print(
        f"{checked.steps} steps of a generated stream; "
        f"largest difference in probability {checked.largest_difference:.2g}"
    )
    if checked.agreement is not None:
        print(
            f"same answer as the original on {100 * checked.agreement:.2f} % of {checked.clips:,} synthetic clips, "
            "each at the start of a stream"
        )
    print(
        f"{checked.bytes / 1024:,.0f} KB (original {checked.source_bytes / 1024:,.0f} KB); "
        f"{checked.step_ms:.2f} ms per step (original {checked.source_clip_ms:.2f} ms per window)"
    )
    print(checked.path)
