"""The commands `harken listen` and `harken evaluate-stream`: parse, call, print."""

import json
import math
from collections.abc import Iterable
from pathlib import Path
from typing import Annotated, Any

import typer

from harken.errors import HarkenError
from harken.extras import require_extra

_HopMs = Annotated[float | None, typer.Option(help="From one look at the last window to the next.")]
_SmoothingMs = Annotated[float | None, typer.Option(help="Posteriors are averaged over this time.")]
_RefractoryMs = Annotated[float | None, typer.Option(help="For so long after a word there is no other.")]
_GateDb = Annotated[float | None, typer.Option(help="What stays below this level is silence; -inf: nothing.")]
_Isolation = Annotated[
    float | None, typer.Option(help="What other sound right before or after a word costs it, in logits; 0: nothing.")
]

_ALARMS_THAT_TELL = 3  # in the time heard: with none in so long, the rate is below one in it (the rule of three)


def listen(
    source: Annotated[
        str | None, typer.Argument(help="A file, or - for PCM on standard input; without it the microphone.")
    ] = None,
    model: Annotated[
        str, typer.Option("--model", help="Path of a model file, folder of a run, or name of a bundled model.")
    ] = "base",
    run: Annotated[list[str] | None, typer.Option(help="Start a program on a word: WORD=COMMAND.")] = None,
    shell: Annotated[bool, typer.Option("--shell", help="Give the commands of --run to the shell.")] = False,
    threshold: Annotated[list[str] | None, typer.Option(help="Least confidence of a word, 0 to 1: WORD=VALUE.")] = None,
    hop_ms: _HopMs = None,
    smoothing_ms: _SmoothingMs = None,
    refractory_ms: _RefractoryMs = None,
    gate_db: _GateDb = None,
    isolation: _Isolation = None,
    rate: Annotated[int | None, typer.Option(help="Sample rate of raw PCM, in Hz.")] = None,
    channels: Annotated[int | None, typer.Option(help="Channels of raw PCM.")] = None,
    device: Annotated[str | None, typer.Option(help="The microphone, by number or name.")] = None,
    devices: Annotated[bool, typer.Option("--devices", help="List the microphones.")] = False,
) -> None:
    """Hear a stream out: each word as it is found, drawn live on a terminal, JSON lines in a pipe."""
    from harken.audio.sources import input_devices
    from harken.cli.live import listen as run_live
    from harken.cli.live import read_actions, read_thresholds
    from harken.runtime.streamfile import open_stream_model

    if devices:
        print(*input_devices(), sep="\n")
        return
    recognizer = open_stream_model(model)
    settings = {
        "thresholds": read_thresholds(threshold or []),
        "hop_ms": hop_ms,
        "smoothing_ms": smoothing_ms,
        "refractory_ms": refractory_ms,
        "gate_db": gate_db,
        "isolation": isolation,
    }
    actions = read_actions(run or [], recognizer.card.words, shell=shell)
    run_live(recognizer, source, sample_rate=rate, channels=channels, device=device, actions=actions, settings=settings)


def evaluate_stream(
    model: Annotated[
        str, typer.Argument(metavar="MODEL", help="Path of a model file, folder of a run, or name of a bundled model.")
    ],
    keywords: Annotated[
        list[Path],
        typer.Option(metavar="DIR", help="Corpus whose clips of the model's words are placed in the stream."),
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
    hop_ms: _HopMs = None,
    smoothing_ms: _SmoothingMs = None,
    refractory_ms: _RefractoryMs = None,
    gate_db: _GateDb = None,
    isolation: _Isolation = None,
    report: Annotated[
        Path | None, typer.Option(help="The page to write; else stream.html beside the model or here.")
    ] = None,
    json_file: Annotated[
        Path | None, typer.Option("--json", metavar="FILE", help="Write the figures to this file.")
    ] = None,
) -> None:
    """Judge a model as a listener on continuous audio: words missed, false alarms an hour, latency; or tune it."""
    require_extra("train", "matplotlib", "filelock", "onnx", "torch")
    from harken.cli.tables import print_note, print_stream
    from harken.evaluation.stream.audio import StreamAudio, keyword_clips, read_backgrounds
    from harken.evaluation.stream.evaluate import evaluate_run, run_listener
    from harken.evaluation.stream.report import write_stream_report
    from harken.evaluation.stream.tuning import tune_listener
    from harken.files import replacing, require_writable
    from harken.models.onnx_writer import change_metadata
    from harken.runtime.listener import Listener
    from harken.runtime.modelfile import find_model, page_folder
    from harken.runtime.streamfile import open_stream_model

    if split not in ("validation", "test", "all"):
        raise HarkenError(f"--split {split}: give validation, test or all")
    if (tune is None) != (out is None):
        raise HarkenError("--tune RATE and --out FILE go together: a tuned model is written as a copy")
    if tune is not None and not 0 < tune < math.inf:
        raise HarkenError(f"--tune {tune:g}: give the false alarms an hour to keep to, a number over 0")
    recognizer = open_stream_model(model)
    given: dict[str, Any] = {
        "hop_ms": hop_ms,
        "smoothing_ms": smoothing_ms,
        "refractory_ms": refractory_ms,
        "gate_db": gate_db,
        "isolation": isolation,
    }
    Listener(recognizer, source_rate=recognizer.sample_rate, **given)  # says what is unfit before anything is read
    path = find_model(model)
    page = report or page_folder(path) / "stream.html"
    require_writable(*filter(None, (out, page, json_file)))
    audio = StreamAudio(
        clips=tuple(keyword_clips(recognizer.card, keywords, split)),  # type: ignore[arg-type]
        backgrounds=read_backgrounds(background),
        sample_rate=recognizer.sample_rate,
        seed=seed,
        **({"snrs_db": tuple(snr)} if snr else {}),
    )
    _check_readable(file for files in audio.backgrounds.values() for file in files)
    listener_run = run_listener(recognizer, audio, **given)
    settings, title = listener_run.settings, path.stem
    if tune is not None and out is not None:
        settings = tune_listener(listener_run, false_alarms_per_hour=tune)
        title = f"{path.stem}, tuned for {tune:g} an hour"
        if listener_run.hours < _ALARMS_THAT_TELL / tune:
            print_note(
                f"{listener_run.hours:.2f} hours of background tell little of {tune:g} false alarms an hour: name more of it"
            )
        change_metadata(path, out, {"listener": settings.to_json()})
    evaluation = evaluate_run(listener_run, settings)
    write_stream_report(evaluation, page, title=title, sample_rate=recognizer.sample_rate)
    if json_file is not None:
        with replacing(json_file) as temporary:
            temporary.write_text(json.dumps(evaluation.to_json(), indent=1), encoding="utf-8")
    print_stream(evaluation)
    if out is not None:
        print(out)
    print(page)


def _check_readable(recordings: Iterable[Path]) -> None:
    """Read every recording to its end once: one that is unfit would else be found when its turn comes."""
    from harken.audio.sources import open_file
    from harken.progress import progress

    for path in progress(list(recordings), "checking"):
        with open_file(path) as source:
            for _ in source.chunks:
                pass
