"""The command `harken evaluate-stream`: parse, call, print."""

import json
from pathlib import Path
from typing import Annotated

import typer

from harken.errors import HarkenError
from harken.extras import needs


def evaluate_stream(
    model: Annotated[str, typer.Argument(help="Path of a model file, folder of a run, or name of a bundled model.")],
    keywords: Annotated[
        list[Path], typer.Option(help="Corpus whose clips of the model's words are placed in the stream.")
    ],
    background: Annotated[
        list[str],
        typer.Option(
            metavar="DIR[:SIDE]",
            help="Recordings without the words, heard on their own too; SIDE, thresholds or measure, takes those speakers alone.",
        ),
    ],
    split: Annotated[str, typer.Option(help="Side of the keywords: validation, test or all.")] = "validation",
    snr: Annotated[
        list[float] | None, typer.Option(help="Of words over background, in dB; several are drawn from.")
    ] = None,
    seed: Annotated[int, typer.Option(min=0, help="Of all that is drawn.")] = 0,
    tune: Annotated[
        float | None, typer.Option(help="Choose thresholds for this many false alarms an hour; write them into --out.")
    ] = None,
    out: Annotated[Path | None, typer.Option(help="With --tune: the copy of the model file to write.")] = None,
    report: Annotated[
        Path | None, typer.Option(help="The page to write; else stream.html beside the model or here.")
    ] = None,
    json_file: Annotated[Path | None, typer.Option("--json", help="Write the figures to this file.")] = None,
) -> None:
    """Judge a model as a listener on continuous audio: words missed, false alarms an hour, latency; or tune it."""
    needs("train", "matplotlib", "filelock", "onnx", "torch")
    from harken.evaluation.stream import hear_stream, judge_stream
    from harken.evaluation.stream_audio import StreamAudio, keyword_clips, read_backgrounds
    from harken.evaluation.stream_report import write_stream_report
    from harken.evaluation.stream_tuning import tune_listener
    from harken.export.onnx import change_metadata
    from harken.files import replacing
    from harken.modelfile import find_model, page_folder
    from harken.streamfile import open_for_streams
    from harken.tables import print_stream

    if split not in ("validation", "test", "all"):
        raise HarkenError(f"--split {split}: give validation, test or all")
    if (tune is None) != (out is None):
        raise HarkenError("--tune RATE and --out FILE go together: a tuned model is written as a copy")
    recognizer = open_for_streams(model)
    path = find_model(model)
    audio = StreamAudio(
        clips=tuple(keyword_clips(recognizer.card, keywords, split)),  # type: ignore[arg-type]
        backgrounds=read_backgrounds(background),
        sample_rate=recognizer.sample_rate,
        seed=seed,
        **({"snrs_db": tuple(snr)} if snr else {}),
    )
    hearing = hear_stream(recognizer, audio)
    settings = hearing.settings
    if tune is not None and out is not None:
        settings = tune_listener(hearing, false_alarms_per_hour=tune)
        change_metadata(path, out, {"listener": settings.to_json()})
    judgement = judge_stream(hearing, settings)
    page = report or page_folder(path) / "stream.html"
    write_stream_report(judgement, page, title=path.stem, sample_rate=recognizer.sample_rate)
    if json_file is not None:
        with replacing(json_file) as temporary:
            temporary.write_text(json.dumps(judgement.to_json(), indent=1), encoding="utf-8")
    print_stream(judgement)
    if out is not None:
        print(out)
    print(page)
