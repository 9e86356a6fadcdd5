"""The command line: parse, call, print. What a command does lives in the module that it imports when it runs."""

import errno
import io
import json
import os
import sys
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console

from harken import __version__
from harken.cli.corpus import corpus_app
from harken.cli.export import export
from harken.cli.record import record
from harken.cli.serve import serve
from harken.cli.stream import evaluate_stream, listen
from harken.errors import HarkenError
from harken.extras import require_extra
from harken.threads import let_threads_yield

app = typer.Typer(
    name="harken",
    help="Recognise single spoken words: train a recogniser, judge it honestly, run it anywhere.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    add_completion=False,
)
app.add_typer(corpus_app, name="corpus")

Data = Annotated[
    list[Path], typer.Option("--data", metavar="DIR", help="Folder of one-word folders; give it again to join several.")
]
Noise = Annotated[
    list[Path] | None,
    typer.Option("--noise", metavar="DIR", help="Folder of noise recordings; `_background_noise_` is found by itself."),
]
Model = Annotated[
    str, typer.Option("--model", help="Path of a model file, folder of a run, or name of a bundled model.")
]
JsonFile = Annotated[Path | None, typer.Option("--json", metavar="FILE", help="Write the figures as JSON.")]

_FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
# click's, wherever typer has it from: its own copy in some versions, the package in others.
_ClickException: Any = typer.BadParameter.__mro__[2]


def main() -> None:
    """Run the command line; bad input gives one line and exit code 2, Ctrl-C 130."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper) and stream.encoding.lower() == "utf-8":
            stream.reconfigure(errors="surrogateescape")  # file names that are no UTF-8 go out as they are
    try:
        sys.exit(app(prog_name="harken", standalone_mode=False))
    except HarkenError as error:
        print(f"harken: {error}", file=sys.stderr)
        sys.exit(2)
    except _ClickException as error:
        if message := " ".join(error.format_message().split()).rstrip("."):  # none: the help has been printed instead
            print(f"harken: {message[:1].lower()}{message[1:]}: see `{_command_of(error)} --help`", file=sys.stderr)
        sys.exit(2)
    except (KeyboardInterrupt, typer.Abort):
        sys.exit(130)
    except OSError as error:
        if error.errno not in _FULL:
            raise
        what = error.filename or "a file, or standard output,"
        print(f"harken: {what} cannot be written: {error.strerror}; make room on the disk", file=sys.stderr)
        sys.exit(2)


def _command_of(error: Any) -> str:
    context = getattr(error, "ctx", None)
    return "harken" if context is None else str(context.command_path)


def _version(wanted: bool) -> None:
    if wanted:
        print(__version__)
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    pass


@app.command()
def models(
    name: Annotated[str | None, typer.Argument(help="A network, or a model: print its layers.")] = None,
) -> None:
    """List the bundled models and the networks, or print the layers of one."""
    from harken.cli.tables import print_layers, print_models

    if name is None:
        print_models()
    else:
        require_extra("train", "torch")
        print_layers(name)


@app.command()
def train(
    recipe: Annotated[str | None, typer.Option(help="tutorial, v12, v35 or own.")] = None,
    data: Data = [],  # noqa: B006 - typer copies it
    out: Annotated[Path | None, typer.Option(help="Folder of the run.")] = None,
    resume: Annotated[Path | None, typer.Option(help="Go on with the run in this folder.")] = None,
    network: Annotated[str | None, typer.Option(help="A network of `harken models`, instead of the recipe's.")] = None,
    settings: Annotated[list[str] | None, typer.Option("--set", help="A recipe value, as name=value.")] = None,
    noise: Noise = None,
    speech: Annotated[
        list[Path] | None, typer.Option(metavar="DIR", help="Folder of running speech without the words.")
    ] = None,
    other: Annotated[
        list[Path] | None, typer.Option(metavar="DIR", help="Corpus whose every word is `_unknown_` (recipe own).")
    ] = None,
    train_only: Annotated[
        list[Path] | None, typer.Option(metavar="DIR", help="Corpus that trains and never judges.")
    ] = None,
    devices: Annotated[int, typer.Option(help="GPUs to train on; under torchrun, its own numbers hold.")] = 1,
) -> None:
    """Train a recogniser; it ends as RUN/model.onnx."""
    require_extra("train", "torch", "lightning", "onnx", "onnxscript", "sklearn", "filelock")
    let_threads_yield()
    from harken.cli.tables import print_note, print_repeats
    from harken.tasks.protocol import Material
    from harken.tasks.recipe import find_recipe, with_settings
    from harken.training.run import resume as resume_run
    from harken.training.run import train as train_run

    if resume is not None:
        if any((recipe, data, out, settings, network, noise, speech, other, train_only)):
            raise HarkenError("--resume takes recipe and folders from the run: give it alone, or with --devices")
        result = resume_run(resume, devices=devices)
    else:
        if out is None:
            raise HarkenError("no folder was named for the run: give --out RUN")
        chosen = find_recipe(recipe or "tutorial")
        changes = ([f"network={network}"] if network else []) + (settings or [])
        material = Material(
            data=tuple(data),
            noise=tuple(noise or ()),
            speech=tuple(speech or ()),
            other=tuple(other or ()),
            train_only=tuple(train_only or ()),
        )
        result = train_run(with_settings(chosen, changes), material, out, devices=devices)
    if not result.first_process:
        return
    print_repeats(result.repeats)
    for note in result.notes:
        print_note(note)
    sides = ", ".join(f"{count:,} to {side}" for side, count in result.counts.items() if count)
    console = Console(stderr=True, highlight=False, soft_wrap=True)
    console.print(f"{sides}; {result.epochs} epochs; validation accuracy {100 * result.accuracy:.2f} %")
    print(result.model)


@app.command()
def evaluate(
    model: Annotated[
        str, typer.Argument(metavar="MODEL", help="Path of a model file, folder of a run, or name of a bundled model.")
    ],
    folders: Annotated[list[Path], typer.Argument(metavar="DIR", help="Corpus folders, or a test archive's.")],
    split: Annotated[str | None, typer.Option(help="validation, test or all; a test archive is judged whole.")] = None,
    json_file: JsonFile = None,
    report: Annotated[
        Path | None, typer.Option(help="The page to write; else report.html beside the model or here.")
    ] = None,
    noise: Noise = None,
    other: Annotated[
        list[Path] | None,
        typer.Option(metavar="DIR", help="Corpus whose every word is `_unknown_`, for a model of the recipe own."),
    ] = None,
    speech: Annotated[
        list[Path] | None,
        typer.Option(metavar="DIR", help="With --full: folder of speech without the words; false alarms in it count."),
    ] = None,
    full: Annotated[
        bool, typer.Option("--full", help="Measure noise, shift, gain, false alarms, time and memory too: minutes.")
    ] = False,
) -> None:
    """Judge a model: accuracy with its interval, each word's scores, the confusion matrix, and a report to look at."""
    require_extra("train", "matplotlib", "sklearn", "filelock")
    from harken.cli.tables import print_evaluation, print_full_evaluation, print_note, print_repeats
    from harken.evaluation.clips.evaluate import evaluate_clips
    from harken.evaluation.clips.full_evaluation import evaluate_fully
    from harken.evaluation.clips.report import report_json, write_report
    from harken.files import replacing, require_writable
    from harken.runtime.modelfile import ModelFile, page_folder

    if split not in (None, "validation", "test", "all"):
        raise HarkenError(f"--split {split}: give validation, test or all")
    if speech and not full:
        raise HarkenError("--speech is measured with --full: add it")
    require_writable(*filter(None, (json_file, report)))
    opened = ModelFile(model, threads=os.cpu_count() or 1)
    evaluation = evaluate_clips(opened, folders, split=split, noise=noise or (), other=other or ())  # type: ignore[arg-type]
    report = report or page_folder(opened.path) / "report.html"
    print_repeats(evaluation.examples.repeats)
    if evaluation.examples.doubt:
        print_note(evaluation.examples.doubt)
    measured = vars(evaluate_fully(evaluation, folders, noise=noise or (), speech=speech or ())) if full else {}
    if speech and measured["rejection"] is None:
        print_note(
            f"no speaker of {speech[0]} is on the side that measures (docs/streaming.md): no false alarms were counted"
        )
    write_report(evaluation, report, **measured)
    if json_file is not None:
        with replacing(json_file) as temporary:
            temporary.write_text(json.dumps(report_json(evaluation, **measured), indent=1), encoding="utf-8")
    print_evaluation(evaluation)
    if full:
        print_full_evaluation(**measured)
    print(report)


app.command("evaluate-stream")(evaluate_stream)
app.command("export")(export)
app.command("record")(record)
app.command("serve")(serve)


@app.command()
def predict(
    clips: Annotated[
        list[str], typer.Argument(metavar="CLIP", help="Files or folders; - reads their paths from standard input.")
    ],
    model: Model = "base",
    as_json: Annotated[bool, typer.Option("--json", help="One JSON line a clip.")] = False,
) -> None:
    """Say which word is spoken in each clip, or that none is, and why."""
    from harken.cli.tables import print_predictions
    from harken.corpus.table import audio_files
    from harken.runtime.recognizer import Recognizer

    def paths() -> Any:
        # Lists made elsewhere bring a byte order mark, and ends of lines of their own.
        lines = (line.strip("\r\n\ufeff") for line in sys.stdin or () if line.strip())
        for given in (path for clip in clips for path in (lines if clip == "-" else [clip])):
            if not (found := audio_files(given)):
                raise HarkenError(f"{given} holds no WAV, FLAC, OGG or MP3: name another folder")
            yield from found

    print_predictions(Recognizer(model), paths(), as_json=as_json)


app.command("listen")(listen)


@app.command()
def demo(
    out: Annotated[Path, typer.Option(help="Folder for all that it makes.")] = Path("demo"),
    data: Data = [],  # noqa: B006 - typer copies it
    voices: Annotated[
        str,
        typer.Option(
            metavar="real|synthetic|URL",
            help="Without --data: `real` downloads mini-speech-commands (182 MB), `synthetic` uses installed voices, a URL "
            "downloads the same archive from another place. Default: real voices where their server answers, else synthetic.",
        ),
    ] = "auto",
) -> None:
    """Train the tutorial's network and harken's own on the same clips, and compare both with the bundled model."""
    require_extra("train", "torch", "lightning", "onnx", "onnxscript", "sklearn", "filelock", "matplotlib")
    let_threads_yield()
    from harken.cli.demo import run_demo

    if data and voices != "auto":
        raise HarkenError("--voices is for a demo without --data: leave one of them out")
    run_demo(out, data, voices=voices)


@app.command()
def doctor() -> None:
    """Print versions, devices, and for each extra that is missing the line that installs it."""
    from harken.cli.doctor import print_doctor

    print_doctor()


if __name__ == "__main__":
    main()
