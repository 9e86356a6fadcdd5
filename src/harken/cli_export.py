"""The command `harken export`: parse, call, print."""

from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from harken.errors import HarkenError
from harken.extras import needs

_FORMS = ("onnx-stream", "onnx-int8", "c", "c-int8", "web")
_CALIBRATION = 256  # clips, or half of what there is


def export(
    model: Annotated[str, typer.Argument(help="Path of a model file, folder of a run, or name of a bundled model.")],
    form: Annotated[str, typer.Option("--to", help="onnx-stream, onnx-int8, c, c-int8 or web.")],
    out: Annotated[Path, typer.Option(help="NAME.onnx; or NAME.c, with NAME.h beside it; or, for web, a folder.")],
    data: Annotated[
        list[Path] | None,
        typer.Option(help="Corpus to check the form on: the model's validation side, or a test archive."),
    ] = None,
    noise: Annotated[
        list[Path] | None, typer.Option(help="Folder of noise recordings, of which silence is checked.")
    ] = None,
    ort: Annotated[
        Path | None, typer.Option(help="For web: folder with onnxruntime-web; else it is fetched from npm.")
    ] = None,
) -> None:
    """Export a model to another form, checked on clips against the source before it is left on disk.

    To the web it goes as it is: a folder for any static host. The streaming form is checked against the network over a
    made-up stream.
    """
    if form == "web":
        from harken.export.web import write_web

        print(write_web(model, out, ort=ort))
        return
    needs("train", "onnx", "torch", "filelock")
    if form == "onnx-stream":
        from harken.export.onnx_stream import write_stream_of_model

        write_stream_of_model(model, out)
        print(out)
        return
    import numpy as np

    from harken.evaluation.examples import gather_examples
    from harken.export.c import write_c
    from harken.export.onnx_int8 import write_onnx_int8
    from harken.modelfile import ModelFile

    if form not in _FORMS:
        raise HarkenError(f"--to {form}: give one of {', '.join(_FORMS)}")
    if not data:
        raise HarkenError(f"--to {form} is checked on clips: name a corpus by --data DIR")
    suffix = ".onnx" if form == "onnx-int8" else ".c"
    if out.suffix != suffix:
        raise HarkenError(f"--out {out}: this form is written as NAME{suffix}")
    waveforms = gather_examples(ModelFile(model).card, data, None, noise=noise or ()).waveforms
    drawn = np.random.default_rng(0).permutation(waveforms)
    calibrating = min(_CALIBRATION, len(drawn) // 2)
    calibration, clips = drawn[:calibrating], drawn[calibrating:]
    if form == "onnx-int8":
        figures = asdict(write_onnx_int8(model, out, clips, calibration=calibration))
    else:
        report = write_c(model, out.parent, out.stem, clips, calibration=calibration if form == "c-int8" else None)
        figures = {**asdict(report), **asdict(report.sizes)}
    agreement, difference = figures["agreement"], figures["largest_difference"]
    print(f"{100 * agreement:.2f} % of {figures['clips']:,} clips answered alike; largest difference {difference:.2g}")
    if form == "onnx-int8":
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
