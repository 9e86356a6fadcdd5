"""The command `harken export`: parse, call, print."""

from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import typer

from harken.errors import HarkenError
from harken.extras import needs

_FORMS = ("onnx-stream", "onnx-int8", "litert", "litert-int8", "c", "c-int8", "web")
_SUFFIXES = {
    "onnx-stream": ".onnx",
    "onnx-int8": ".onnx",
    "litert": ".tflite",
    "litert-int8": ".tflite",
    "c": ".c",
    "c-int8": ".c",
}
_CALIBRATION = 256  # clips, or half of what there is


def export(
    model: Annotated[str, typer.Argument(help="Path of a model file, folder of a run, or name of a bundled model.")],
    form: Annotated[str, typer.Option("--to", help="onnx-stream, onnx-int8, litert, litert-int8, c, c-int8 or web.")],
    out: Annotated[
        Path, typer.Option(help="NAME.onnx, NAME.tflite, or NAME.c with NAME.h beside it; for web, a folder.")
    ],
    data: Annotated[
        list[Path] | None,
        typer.Option(help="Corpus to check the form on: the model's validation side, or a test archive."),
    ] = None,
    noise: Annotated[
        list[Path] | None, typer.Option(help="Folder of noise recordings, of which silence is checked.")
    ] = None,
    other: Annotated[
        list[Path] | None, typer.Option(help="Corpus whose every word is `_unknown_`, for a model of the recipe own.")
    ] = None,
    features: Annotated[
        bool, typer.Option("--features", help="For litert: no front-end inside; the form takes log-mel features.")
    ] = False,
    ort: Annotated[
        Path | None, typer.Option(help="For web: folder with onnxruntime-web; else it is fetched from npm.")
    ] = None,
) -> None:
    """Export a model to another form, checked on clips against the source before it is left on disk.

    To the web it goes as it is: a folder for any static host. The streaming form is checked against the network over a
    made-up stream.
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
    needs("train", "onnx", "torch", "filelock")
    if form == "onnx-stream":
        from harken.export.onnx_stream import write_stream_of_model

        checked = write_stream_of_model(model, out)
        print(f"{checked.steps} steps of a made-up stream; largest difference {checked.largest_difference:.2g}")
        print(f"{checked.bytes / 1024:,.0f} KB (source {checked.source_bytes / 1024:,.0f})")
        print(out)
        return
    import numpy as np

    from harken.evaluation.examples import gather_examples
    from harken.modelfile import ModelFile

    if not data:
        raise HarkenError(f"--to {form} is checked on clips: name a corpus by --data DIR")
    if litert:
        needs("litert", "litert_torch", "ai_edge_litert", "ai_edge_quantizer")
    examples = gather_examples(ModelFile(model).card, data, None, noise=noise or (), other=other or ())
    drawn = np.random.default_rng(0).permutation(len(examples.waveforms))
    calibrating, checking = np.split(drawn, [min(_CALIBRATION, len(drawn) // 2)])
    calibration, clips, truth = examples.waveforms[calibrating], examples.waveforms[checking], examples.truth[checking]
    figures: dict[str, Any]
    if form == "onnx-int8":
        from harken.export.onnx_int8 import write_onnx_int8

        figures = asdict(write_onnx_int8(model, out, clips, truth=truth, calibration=calibration))
    elif litert:
        from harken.export.litert import write_litert

        given = calibration if form == "litert-int8" else None
        figures = asdict(write_litert(model, out, clips, truth=truth, calibration=given, features=features))
    else:
        from harken.export.c import write_c

        report = write_c(model, out.parent, out.stem, clips, calibration=calibration if form == "c-int8" else None)
        figures = {**asdict(report), **asdict(report.sizes)}
    agreement, difference = figures["agreement"], figures["largest_difference"]
    print(f"{100 * agreement:.2f} % of {figures['clips']:,} clips answered alike; largest difference {difference:.2g}")
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
    print(out)
