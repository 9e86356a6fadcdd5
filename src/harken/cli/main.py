"""The command line. Each command parses its options, imports the library when it runs, calls it and prints the result."""

import codecs
import io
import json
import os
import shlex
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console
from typer.core import TyperGroup

from harken import __version__
from harken.cli.corpus import corpus_app
from harken.cli.enroll import enroll
from harken.cli.export import export
from harken.cli.options import Channel, Sensitivity
from harken.cli.push import push
from harken.cli.record import record
from harken.cli.serve import serve
from harken.cli.stream import evaluate_stream, listen
from harken.cli.wyoming import OptionalZeroconfName, wyoming
from harken.errors import HarkenError
from harken.extras import require_extra
from harken.files import DISK_FULL, require_writable
from harken.threads import let_threads_yield

if TYPE_CHECKING:
    from harken.evaluation.clips.evaluate import ClipEvaluation

# As a user meets them: recordings, training, evaluation, use, export. Other commands follow.
_ORDER = (
    "corpus",
    "record",
    "train",
    "enroll",
    "evaluate",
    "evaluate-stream",
    "predict",
    "listen",
    "serve",
    "wyoming",
    "export",
    "push",
)


class _InOrder(TyperGroup):
    """A group that lists its commands in the order of `_ORDER`."""

    def list_commands(self, ctx: Any) -> list[str]:
        """Return the names of the commands."""
        return sorted(self.commands, key=lambda name: _ORDER.index(name) if name in _ORDER else len(_ORDER))


app = typer.Typer(
    name="harken",
    cls=_InOrder,
    help="Recognize spoken keywords: train a recognizer, evaluate it, run it anywhere.",
    no_args_is_help=True,
    rich_markup_mode="markdown",  # Other modes keep the line breaks of the docstrings.
    pretty_exceptions_enable=False,
    add_completion=False,
)
app.add_typer(corpus_app, name="corpus")

_Data = Annotated[
    list[Path],
    typer.Option("--data", metavar="DIR", help="Corpus: a folder with one folder per word. Repeat to join several."),
]
_Noise = Annotated[
    list[Path] | None,
    typer.Option(
        "--noise",
        metavar="DIR",
        help="Folder of noise recordings. Repeatable. A corpus's own `_background_noise_` is always used.",
    ),
]
_Model = Annotated[str, typer.Option("--model", help="Model file, run folder, or name of a bundled model.")]
_JsonFile = Annotated[
    Path | None, typer.Option("--json", metavar="FILE", help="Also write the figures to this JSON file.")
]

# The click of typer: some versions bring a copy of their own, others use the package.
_ClickException: Any = typer.BadParameter.__mro__[2]


def main() -> None:
    """Run the command line. Bad input prints one line and exits with code 2; Ctrl-C exits with 130."""
    codecs.register_error("harken", _replace_unprintable)
    for stream, errors in ((sys.stdout, "harken"), (sys.stderr, "harken"), (sys.stdin, "surrogateescape")):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors=errors)
    try:
        sys.exit(app(prog_name="harken", standalone_mode=False))
    except HarkenError as error:
        print(f"harken: {error}", file=sys.stderr)
        sys.exit(2)
    except _ClickException as error:
        # An empty message means that click has printed the help instead.
        if message := " ".join(error.format_message().split()).rstrip("."):
            print(f"harken: {message[:1].lower()}{message[1:]}; see `{_command_path(error)} --help`", file=sys.stderr)
        sys.exit(2)
    except (KeyboardInterrupt, typer.Abort):
        sys.exit(130)
    except ImportError as error:
        # A compiled module reports Ctrl-C during its import as a failed import.
        if not isinstance(error.__cause__, KeyboardInterrupt):
            raise
        sys.exit(130)
    except OSError as error:
        if error.errno in DISK_FULL:
            what = error.filename or "a file or standard output"
            print(f"harken: cannot write {what}: {error.strerror}; free some disk space", file=sys.stderr)
        elif error.filename:
            print(f"harken: {error.filename}: {error.strerror}; check the path and its permissions", file=sys.stderr)
        else:
            raise
        sys.exit(2)


def _replace_unprintable(error: UnicodeError) -> tuple[str | bytes, int]:
    """Print the bytes of file names that are not text as they are, and an escape for what the code page lacks."""
    assert isinstance(error, UnicodeEncodeError)
    character = ord(error.object[error.start])
    if 0xDC80 <= character <= 0xDCFF:  # how Python stands for a byte that is not text
        return bytes([character - 0xDC00]), error.start + 1
    one = UnicodeEncodeError(error.encoding, error.object, error.start, error.start + 1, error.reason)
    return codecs.backslashreplace_errors(one)


def _command_path(error: Any) -> str:
    context = getattr(error, "ctx", None)
    return "harken" if context is None else str(context.command_path)


def _print_version(requested: bool) -> None:
    if requested:
        print(__version__)
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version and exit.")
    ] = False,
) -> None:
    pass


@app.command()
def models(
    name: Annotated[
        str | None, typer.Argument(metavar="NAME", help="Network or bundled model whose layers to print.")
    ] = None,
) -> None:
    """List the bundled models and the networks, or print the layers of one of them."""
    from harken.cli.tables import print_layers, print_models

    if name is None:
        print_models()
    else:
        require_extra("train", "torch")
        print_layers(name)


@app.command()
def train(
    recipe: Annotated[
        str | None,
        typer.Option(
            help="Recipe: tutorial, v12, v35, own or own-embedding, or a file of stages (.toml). Default: tutorial."
        ),
    ] = None,
    data: _Data = [],  # noqa: B006 - typer copies it
    out: Annotated[Path | None, typer.Option(help="Folder to create for the run.")] = None,
    resume: Annotated[Path | None, typer.Option(help="Continue the run in this folder.")] = None,
    network: Annotated[
        str | None, typer.Option(help="Network to train; `harken models` lists them. Default: the recipe's.")
    ] = None,
    settings: Annotated[
        list[str] | None,
        typer.Option(
            "--set", metavar="NAME=VALUE", help="Change a value of the recipe, for example `epochs=20`. Repeatable."
        ),
    ] = None,
    noise: _Noise = None,
    speech: Annotated[
        list[Path] | None,
        typer.Option(
            metavar="DIR", help="Folder of continuous speech without the words, to train against. Repeatable."
        ),
    ] = None,
    other: Annotated[
        list[Path] | None,
        typer.Option(
            metavar="DIR", help="Corpus of words to learn as `_unknown_`. Only for own and own-embedding. Repeatable."
        ),
    ] = None,
    train_only: Annotated[
        list[Path] | None,
        typer.Option(metavar="DIR", help="Extra corpus used for training only, never for validation. Repeatable."),
    ] = None,
    devices: Annotated[
        int,
        typer.Option(
            help="Number of GPUs to train on; without a GPU, of processes. Ignored under torchrun, which sets its own."
        ),
    ] = 1,
) -> None:
    """Train a recognizer and write it to RUN/model.onnx."""
    require_extra("train", "torch", "lightning", "onnx", "onnxscript", "sklearn", "filelock")
    let_threads_yield()
    from harken.cli.tables import print_note, print_repeats
    from harken.tasks.protocol import Material
    from harken.tasks.recipe import find_recipe, with_settings
    from harken.tasks.recipe_file import is_recipe_file, read_recipe_file
    from harken.training.run import resume as resume_run
    from harken.training.run import train as train_run
    from harken.training.stages import resume_stages, train_stages
    from harken.training.stages_file import has_stages

    if resume is not None:
        if any((recipe, data, out, settings, network, noise, speech, other, train_only)):
            raise HarkenError(
                "--resume reads the recipe and the folders from the run: give no other option but --devices"
            )
        continue_run = resume_stages if has_stages(resume) else resume_run
        with _hint_at_resume(resume):
            result = continue_run(resume, devices=devices)
    else:
        if out is None:
            raise HarkenError("no folder given for the run: add --out RUN")
        from_file = recipe is not None and is_recipe_file(recipe)
        if from_file and (network or settings):
            raise HarkenError(
                f"{recipe} contains the network and all values: change them there, without --network or --set"
            )
        changes = ([f"network={network}"] if network else []) + (settings or [])
        material = Material(
            data=tuple(data),
            noise=tuple(noise or ()),
            speech=tuple(speech or ()),
            other=tuple(other or ()),
            train_only=tuple(train_only or ()),
        )
        with _hint_at_resume(out):
            if from_file:
                result = train_stages(read_recipe_file(Path(str(recipe))), material, out, devices=devices)
            else:
                chosen = with_settings(find_recipe(recipe or "tutorial"), changes)
                result = train_run(chosen, material, out, devices=devices)
    if not result.first_process:
        return
    print_repeats(result.duplicates)
    for note in result.notes:
        print_note(note)
    sets = ", ".join(f"{side} {count:,}" for side, count in result.counts.items() if count)
    console = Console(stderr=True, highlight=False, soft_wrap=True)
    console.print(f"clips: {sets}; {result.epochs} epochs; validation accuracy {100 * result.accuracy:.2f} %")
    print(result.model)


@contextmanager
def _hint_at_resume(run: Path) -> Iterator[None]:
    """After Ctrl-C, print how to continue the run."""
    from harken.cli.tables import print_note
    from harken.training.stages_file import has_stages

    try:
        yield
    except KeyboardInterrupt:
        if (run / "recipe.json").is_file() or has_stages(run):
            print_note(f"interrupted; to continue, run harken train --resume {shlex.quote(str(run))}")
        raise


@app.command()
def evaluate(
    model: Annotated[str, typer.Argument(metavar="MODEL", help="Model file, run folder, or name of a bundled model.")],
    folders: Annotated[list[Path], typer.Argument(metavar="DIR", help="Corpus folders, or an official test archive.")],
    split: Annotated[
        str | None,
        typer.Option(
            help="Clips to evaluate: validation, test or all. Default: validation; all of a folder with `_unknown_` or "
            "`_silence_`."
        ),
    ] = None,
    json_file: _JsonFile = None,
    report: Annotated[
        Path | None,
        typer.Option(
            help="HTML report to write. Default: report.html beside the model (in the current folder for a bundled model)."
        ),
    ] = None,
    noise: _Noise = None,
    other: Annotated[
        list[Path] | None,
        typer.Option(
            metavar="DIR",
            help="Corpus of words to count as `_unknown_`. Only for models of the recipe own. Repeatable.",
        ),
    ] = None,
    speech: Annotated[
        list[Path] | None,
        typer.Option(
            metavar="DIR", help="With --full: folder of speech without the words, to count false alarms in. Repeatable."
        ),
    ] = None,
    full: Annotated[
        bool,
        typer.Option(
            "--full",
            help="Also measure the effect of noise, shift and gain, false alarms, time and memory. Takes minutes.",
        ),
    ] = False,
    tune: Annotated[
        float | None,
        typer.Option(
            metavar="PERCENT",
            help="Choose the threshold for clips at which this percentage of other words and noises is accepted, and store "
            "it in --out. Default: off.",
        ),
    ] = None,
    out: Annotated[
        Path | None, typer.Option(help="With --tune: file to write, a copy of the model with the new threshold.")
    ] = None,
) -> None:
    """Evaluate a model on clips and write an HTML report.

    Measures accuracy with its 95 % interval, precision and recall of each word, and the confusion matrix. With --tune, also
    choose the threshold that `predict` uses and write a copy of the model that contains it.
    """
    require_extra("train", "matplotlib", "sklearn", "filelock")
    from harken.cli.tables import print_evaluation, print_full_evaluation, print_note, print_repeats
    from harken.evaluation.clips.evaluate import evaluate_clips
    from harken.evaluation.clips.full_evaluation import evaluate_fully
    from harken.evaluation.clips.report import report_json, write_report
    from harken.files import replacing
    from harken.runtime.modelfile import ModelFile, report_folder

    if split not in (None, "validation", "test", "all"):
        raise HarkenError(f"--split {split}: give validation, test or all")
    if speech and not full:
        raise HarkenError("--speech only has an effect with --full: add --full")
    if (tune is None) != (out is None):
        raise HarkenError("--tune PERCENT and --out FILE go together: give both, since the tuned model is a copy")
    if tune is not None and not 0 < tune < 100:
        raise HarkenError(f"--tune {tune:g}: give the allowed percentage of other sounds, above 0 and below 100")
    opened = ModelFile(model, threads=os.cpu_count() or 1)
    report = report or report_folder(opened.path) / "report.html"
    _require_writable_report(report, json_file, out)
    evaluation = evaluate_clips(opened, folders, split=split, noise=noise or (), other=other or ())  # type: ignore[arg-type]
    print_repeats(evaluation.examples.repeats, counted=evaluation.examples.counts_repeats)
    for line in evaluation.examples.notes:
        print_note(line)
    if evaluation.examples.overlap_warning:
        print_note(evaluation.examples.overlap_warning)
    measured = vars(evaluate_fully(evaluation, folders, noise=noise or (), speech=speech or ())) if full else {}
    if speech and measured["rejection"] is None:
        print_note(
            f"{speech[0]} has no speakers that are kept for measurement (see docs/reference/recordings.md): "
            "no false alarms were counted"
        )
    print_evaluation(evaluation)  # first, so that the figures are there if a file cannot be written after all
    if full:
        print_full_evaluation(**measured)
    write_report(evaluation, report, **measured)
    if json_file is not None:
        with replacing(json_file) as temporary:
            temporary.write_text(json.dumps(report_json(evaluation, **measured), indent=1), encoding="utf-8")
    if tune is not None and out is not None:
        _store_clip_threshold(evaluation, tune / 100, out)
    print(report)


def _store_clip_threshold(evaluation: "ClipEvaluation", accepted: float, out: Path) -> None:
    from harken.cli.tables import print_clip_threshold
    from harken.evaluation.clips.tuning import tune_clips
    from harken.models.onnx_writer import change_metadata

    require_extra("train", "onnx", "torch")
    card = evaluation.card
    found = tune_clips(evaluation.probabilities, evaluation.examples.truth, card.labels, accepted=accepted)
    change_metadata(evaluation.model.path, out, found.metadata(card.labels, card.fields.get("sensitivity")))
    print_clip_threshold(found)
    print(out)


def _require_writable_report(report: Path, *others: Path | None) -> None:
    try:
        require_writable(report)
    except HarkenError as error:
        raise HarkenError(f"{error}, with --report FILE") from error
    require_writable(*filter(None, others))


app.command("enroll")(enroll)
app.command("evaluate-stream")(evaluate_stream)
app.command("export")(export)
app.command("push")(push)
app.command("record")(record)
app.command("serve")(serve)
app.command("wyoming", cls=OptionalZeroconfName)(wyoming)


@app.command()
def predict(
    clips: Annotated[
        list[str],
        typer.Argument(metavar="CLIP", help="Audio files or folders; - reads their paths from standard input."),
    ],
    model: _Model = "base",
    sensitivity: Sensitivity = None,
    channel: Channel = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON line per clip.")] = False,
) -> None:
    """Print the word spoken in each clip, or why none was recognized.

    A clip that cannot be read is reported, and the others follow. The exit code is then 1, or 2 if no clip could be read.
    """
    from harken.cli.tables import print_note, print_predictions
    from harken.corpus.table import audio_files, skipped_audio
    from harken.runtime.recognizer import Recognizer

    errors = 0

    def report(error: HarkenError) -> None:
        nonlocal errors
        errors += 1
        print(f"harken: {error}", file=sys.stderr, flush=True)

    def paths() -> Any:
        # Lists made on other systems may have a byte order mark and other line endings.
        lines = (line.strip("\r\n\ufeff") for line in sys.stdin or () if line.strip())
        for given in (path for clip in clips for path in (lines if clip == "-" else [clip])):
            if "\0" in given:
                raise HarkenError(
                    "standard input is not a list of paths, one per line: give the path of the audio file, "
                    "or pipe audio into `harken listen -`"
                )
            try:
                if not (found := audio_files(given)):
                    raise HarkenError(f"{given} contains no WAV, FLAC, OGG or MP3 files: give another folder")
            except HarkenError as error:
                report(error)
                continue
            if note := skipped_audio(given):
                print_note(note)
            yield from found

    recognizer = Recognizer(model, sensitivity=sensitivity)
    read = print_predictions(recognizer, paths(), channel=channel, as_json=as_json, report=report)
    if errors:
        raise typer.Exit(1 if read else 2)


app.command("listen")(listen)


@app.command()
def demo(
    out: Annotated[Path, typer.Option(help="Folder to create for the corpus, the runs and the report.")] = Path("demo"),
    data: _Data = [],  # noqa: B006 - typer copies it
    voices: Annotated[
        str,
        typer.Option(
            metavar="VOICES",
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
    """Print versions and devices, what is missing, and how to install it."""
    from harken.cli.doctor import print_doctor

    print_doctor()


if __name__ == "__main__":
    main()
