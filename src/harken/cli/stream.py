"""The commands `harken listen` and `harken evaluate-stream`: parse the options, call the library, print the result."""

import json
import math
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any

import typer

from harken.cli.options import Channel, CommandTime, Sensitivity, Wake, read_command_time
from harken.errors import HarkenError
from harken.extras import require_extra

_HopMs = Annotated[
    float | None,
    typer.Option(
        help="Step between two evaluations of the network, in milliseconds. A streaming file has a fixed step. "
        "Default: stored in the model file."
    ),
]
_SmoothingMs = Annotated[
    float | None,
    typer.Option(help="Average the probabilities over this many milliseconds. Default: stored in the model file."),
]
_RefractoryMs = Annotated[
    float | None,
    typer.Option(help="Minimum time between two detections, in milliseconds. Default: stored in the model file."),
]
_GateDb = Annotated[
    float | None,
    typer.Option(
        help="Level in dB of full scale below which audio is silence and the network does not run. "
        "-inf turns this off. Default: stored in the model file."
    ),
]
_Isolation = Annotated[
    float | None,
    typer.Option(
        help="How much other sound right before or after a word lowers its confidence, in logits. "
        "0 turns this off. Default: stored in the model file."
    ),
]

# The background should be long enough to expect this many false alarms at the wanted rate: if none occurs in so long, the
# rate is lower with 95 % confidence (the rule of three).
_MIN_EXPECTED_ALARMS = 3


def listen(
    source: Annotated[
        str | None,
        typer.Argument(
            metavar="SOURCE", help="Audio file, or - for raw PCM on standard input. Default: the microphone."
        ),
    ] = None,
    model: Annotated[
        str,
        typer.Option(
            "--model",
            help="Model file, run folder, or name of a bundled model. With two joined by `+`, the second one checks what "
            "the first one, a streaming file, takes for a word.",
        ),
    ] = "base.stream+large",
    wake: Wake = None,
    command_s: CommandTime = None,
    run: Annotated[
        list[str] | None,
        typer.Option(metavar="WORD=COMMAND", help="Start a program when a word is detected. Repeatable."),
    ] = None,
    shell: Annotated[bool, typer.Option("--shell", help="Run the commands of --run in the shell.")] = False,
    sensitivity: Sensitivity = None,
    threshold: Annotated[
        list[str] | None,
        typer.Option(
            metavar="WORD=VALUE",
            help="Minimum confidence of a word, 0 to 1. Repeatable. Default: stored in the model file.",
        ),
    ] = None,
    hop_ms: _HopMs = None,
    smoothing_ms: _SmoothingMs = None,
    refractory_ms: _RefractoryMs = None,
    gate_db: _GateDb = None,
    isolation: _Isolation = None,
    rate: Annotated[int | None, typer.Option(help="Sample rate of raw PCM, in Hz.")] = None,
    channels: Annotated[int | None, typer.Option(help="Number of channels of raw PCM. Default: 1.")] = None,
    pcm_format: Annotated[
        str | None, typer.Option("--format", help="Sample format of raw PCM: s16, s32 or f32. Default: s16.")
    ] = None,
    channel: Channel = None,
    device: Annotated[
        str | None, typer.Option(help="Microphone, by number or part of its name. Default: the system's.")
    ] = None,
    save: Annotated[
        Path | None,
        typer.Option(metavar="DIR", help="Save each detection and near miss as a clip in this folder. Default: off."),
    ] = None,
    devices: Annotated[bool, typer.Option("--devices", help="List the microphones and exit.")] = False,
) -> None:
    """Detect words in live audio.

    Prints each word as soon as it is detected; writes JSON lines when piped.
    """
    from harken.audio.sources import input_devices
    from harken.cli.live import listen as run_live
    from harken.cli.live import read_actions, read_thresholds
    from harken.runtime.two_stage import open_stream_model

    if devices:
        print(*input_devices(), sep="\n")
        return
    command_s = read_command_time(command_s, wake)
    recognizer = open_stream_model(model, sensitivity=sensitivity)
    wake_recognizer = None if wake is None else open_stream_model(wake, sensitivity=sensitivity)
    settings = {
        "thresholds": read_thresholds(threshold or []),
        "hop_ms": hop_ms,
        "smoothing_ms": smoothing_ms,
        "refractory_ms": refractory_ms,
        "gate_db": gate_db,
        "isolation": isolation,
    }
    wake_words = () if wake_recognizer is None else wake_recognizer.card.words
    actions = read_actions(run or [], (*recognizer.card.words, *wake_words), shell=shell)
    run_live(
        recognizer,
        source,
        sample_rate=rate,
        channels=channels,
        channel=channel,
        pcm_format=pcm_format,
        device=device,
        actions=actions,
        settings=settings,
        save=save,
        wake=wake_recognizer,
        command_s=command_s,
    )


def evaluate_stream(
    *,
    model: Annotated[
        str | None,
        typer.Argument(
            metavar="[MODEL]",
            help="Model file, run folder, name of a bundled model, or two joined by `+`. Leave it out with --peer.",
        ),
    ] = None,
    keywords: Annotated[
        list[str],
        typer.Option(
            metavar="DIR[:SIDE]",
            help="Corpus whose clips of the model's words are placed in the stream. Repeatable. With :SIDE, use only half of "
            "the speakers: thresholds or measure.",
        ),
    ],
    background: Annotated[
        list[str],
        typer.Option(
            metavar="DIR[:SIDE]",
            help="Folder of recordings without the words, to place words in and to count false alarms in. Repeatable. "
            "With :SIDE, use only the speakers of this side: train, thresholds or measure.",
        ),
    ],
    peer: Annotated[
        str | None,
        typer.Option(
            metavar="ENGINE:PHRASE",
            help="Evaluate an engine of another project instead of a model: porcupine, openwakeword, microwakeword or "
            "pocketsphinx. Example: 'porcupine:view glass'.",
        ),
    ] = None,
    split: Annotated[
        str | None,
        typer.Option(
            help="Clips of --keywords to use: validation, test or all. Default: validation; with --peer, all.",
        ),
    ] = None,
    snr: Annotated[
        list[float] | None,
        typer.Option(
            help="Signal-to-noise ratio of the words over the background, in dB. Repeat to draw from several. "
            "Default: 20, 15, 10 and 5."
        ),
    ] = None,
    seed: Annotated[int, typer.Option(min=0, help="Random seed for choosing and placing clips.")] = 0,
    tune: Annotated[
        float | None,
        typer.Option(
            metavar="RATE",
            help="Choose thresholds for this many false alarms per hour and store them in --out. Default: off.",
        ),
    ] = None,
    out: Annotated[
        Path | None, typer.Option(help="With --tune: file to write, a copy of the model with the new thresholds.")
    ] = None,
    wake: Annotated[
        str | None,
        typer.Option(
            metavar="MODEL",
            help="Also evaluate the words when they count only after the wake phrase of this model. Default: off.",
        ),
    ] = None,
    command_s: CommandTime = None,
    wake_clips: Annotated[
        Path | None,
        typer.Option(
            metavar="DIR",
            help="With --wake: recordings of the wake phrase. One is placed 0.5 to 1.5 s before each word. Default: none, "
            "and only false alarms are counted.",
        ),
    ] = None,
    hop_ms: _HopMs = None,
    smoothing_ms: _SmoothingMs = None,
    refractory_ms: _RefractoryMs = None,
    gate_db: _GateDb = None,
    isolation: _Isolation = None,
    report: Annotated[
        Path | None,
        typer.Option(
            help="HTML report to write. Default: stream.html beside the model (in the current folder for a bundled model)."
        ),
    ] = None,
    json_file: Annotated[
        Path | None, typer.Option("--json", metavar="FILE", help="Also write the figures to this JSON file.")
    ] = None,
) -> None:
    """Evaluate a model on continuous audio: miss rate, false alarms per hour, latency.

    Clips of the words are placed in background recordings. With --tune, also choose thresholds for a given rate of false
    alarms and write a copy of the model that contains them. With --wake, the words are also evaluated as commands that
    count only after a wake phrase, in the same stream. With --peer, evaluate an engine of another project instead.
    """
    require_extra("train", "matplotlib", "filelock", "onnx", "torch")
    from harken.cli.peers import check_readable, evaluate_peer_on_stream
    from harken.cli.tables import print_note, print_stream_evaluation, print_wake_evaluation
    from harken.evaluation.stream.audio import StreamAudio, keyword_clips, read_backgrounds, read_wake_clips
    from harken.evaluation.stream.evaluate import evaluate_run
    from harken.evaluation.stream.listener_run import run_listener
    from harken.evaluation.stream.report import write_stream_report
    from harken.evaluation.stream.tuning import tune_listener
    from harken.evaluation.stream.wake import evaluate_wake
    from harken.files import replacing, require_writable
    from harken.models.onnx_writer import change_metadata
    from harken.runtime.listener import Listener
    from harken.runtime.modelfile import find_model, report_folder
    from harken.runtime.two_stage import JOIN, open_stream_model, two_stages
    from harken.runtime.wake_listener import WakeListener

    given: dict[str, Any] = {
        "hop_ms": hop_ms,
        "smoothing_ms": smoothing_ms,
        "refractory_ms": refractory_ms,
        "gate_db": gate_db,
        "isolation": isolation,
    }
    if peer is not None:
        if model is not None:
            raise HarkenError(f"the model {model} and --peer are both given: give one, and run the command for each")
        evaluate_peer_on_stream(
            peer, [Path(folder) for folder in keywords], background, snr, seed, report or Path("stream.html"), json_file,
            refused={
                "split": None if split == "all" else split, "tune": tune, "out": out,
                "wake": wake, "wake-clips": wake_clips, "for": command_s, **given,
            },
        )  # fmt: skip
        return
    if model is None:
        raise HarkenError("no model given: name one, for example base, or an engine with --peer ENGINE:PHRASE")
    split = split or "validation"
    if split not in ("validation", "test", "all"):
        raise HarkenError(f"--split {split}: give validation, test or all")
    if (tune is None) != (out is None):
        raise HarkenError("--tune RATE and --out FILE go together: give both, since a tuned model is written as a copy")
    if tune is not None and not 0 < tune < math.inf:
        raise HarkenError(f"--tune {tune:g}: give the allowed false alarms per hour, a number above 0")
    if wake_clips is not None and wake is None:
        raise HarkenError("--wake-clips has an effect only with --wake: add the model of the wake phrase")
    command_s = read_command_time(command_s, wake)
    recognizer = open_stream_model(model)
    wake_recognizer = None if wake is None else open_stream_model(wake)
    # These reject bad settings before any audio is read.
    listener = Listener(recognizer, source_rate=recognizer.sample_rate, **given)
    if wake_recognizer is not None:
        WakeListener(Listener(wake_recognizer, source_rate=recognizer.sample_rate), listener, command_s=command_s)
    paths = [find_model(name) for name in two_stages(model) or (model,)]
    path, title = paths[-1], JOIN.join(path.stem for path in paths)
    page = report or report_folder(path) / "stream.html"
    require_writable(*filter(None, (out, page, json_file)))
    audio = StreamAudio(
        clips=tuple(keyword_clips(recognizer.card, keywords, split)),  # type: ignore[arg-type]
        backgrounds=read_backgrounds(background),
        sample_rate=recognizer.sample_rate,
        seed=seed,
        wake_clips=() if wake_clips is None else read_wake_clips(wake_clips),
        **({"snrs_db": tuple(snr)} if snr else {}),
    )
    check_readable(file for files in audio.backgrounds.values() for file in files)
    listener_run = run_listener(recognizer, audio, wake=wake_recognizer, **given)
    settings = listener_run.settings
    if tune is not None and out is not None:
        settings = tune_listener(listener_run, false_alarms_per_hour=tune)
        title = f"{title}, tuned for {tune:g} false alarms per hour"
        if listener_run.hours < _MIN_EXPECTED_ALARMS / tune:
            print_note(
                f"{listener_run.hours:.2f} hours of background are too few to tune for {tune:g} false alarms per hour: "
                "add more with --background"
            )
        listener_run = replace(listener_run, tuned_on=listener_run.sources)
    evaluation = evaluate_run(listener_run, settings)
    wake_evaluation = None if wake is None else evaluate_wake(evaluation, command_s)
    print_stream_evaluation(evaluation)  # first, so that the figures are there if a file cannot be written after all
    if wake_evaluation is not None:
        print_wake_evaluation(wake_evaluation)
    if out is not None:
        sensitivity = {**recognizer.card.fields.get("sensitivity", {}), "stream": evaluation.sensitivity_shifts}
        changes = {"listener": settings.to_json(), "sensitivity": sensitivity, "tuned_on": sorted(listener_run.sources)}
        change_metadata(path, out, changes)
    write_stream_report(evaluation, page, title=title, sample_rate=recognizer.sample_rate, wake=wake_evaluation)
    if json_file is not None:
        figures = evaluation.to_json()
        if wake_evaluation is not None:
            figures["wake"] = wake_evaluation.to_json()
        with replacing(json_file) as temporary:
            temporary.write_text(json.dumps(figures, indent=1), encoding="utf-8")
    if out is not None:
        print(out)
    print(page)
