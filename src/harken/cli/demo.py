"""The tutorial from end to end: a corpus, a look at it, training, judging, a prediction, a report."""

from collections.abc import Sequence
from pathlib import Path

from rich.console import Console

from harken.cli.tables import print_evaluation
from harken.corpus.page import write_page
from harken.corpus.table import Clip, read_corpus
from harken.errors import HarkenError
from harken.evaluation.clips.evaluate import ClipEvaluation, evaluate_clips
from harken.evaluation.clips.report import write_report
from harken.labels import COMMANDS
from harken.runtime.modelfile import ModelFile
from harken.runtime.recognizer import Recognizer
from harken.tasks.protocol import Material
from harken.tasks.recipe import find_recipe
from harken.training.run import resume, train
from harken.training.run_folder import expect_run

_TAKES = 500  # of each word, a fifth of them in voices that training never hears
_SEED = 1  # puts the one natural voice of Piper among those
_ROOMS = 0.2  # of the clips sound in a room
_SNR_DB = (20.0, 50.0)  # raw waveforms and few clips: a network of this kind learns little from noisier ones


def run_demo(out: Path, data: Sequence[Path] = ()) -> None:
    """Walk the tutorial's road in the folder `out`, on the corpora `data` or on a synthesized one.

    A demo that was interrupted goes on where it stopped. Raises HarkenError when a corpus cannot be used.
    """
    console = Console(highlight=False, soft_wrap=True)
    if out.exists() and not out.is_dir():
        raise HarkenError(f"{out} is a file: name a folder for all that the demo makes")
    folders, unseen = (tuple(data), None) if data else _synthesized(out / "corpus", console)
    run, recipe, material = out / "run", find_recipe("tutorial"), Material(data=folders)
    begun = (run / "recipe.json").is_file()
    if begun:
        expect_run(run, recipe, material)

    _step(console, "Looking at the corpus")
    corpus = read_corpus(folders, words=COMMANDS)
    page = out / "corpus.html"
    write_page(corpus, page)
    console.print(f"{len(corpus.clips):,} clips of {len(COMMANDS)} words: {page}")

    _step(console, "Training the tutorial's network")
    result = resume(run) if begun else train(recipe, material, run)
    console.print(
        f"{result.counts['train']:,} clips trained it in {result.epochs} epochs; on {result.counts['validation']:,} "
        f"validation clips it reaches {100 * result.accuracy:.2f} %"
    )

    _step(console, "Judging it" + (" on voices that it never heard" if unseen else " on its validation side"))
    model = ModelFile(result.model)
    evaluation = evaluate_clips(model, [unseen] if unseen else folders, split="all" if unseen else "validation")
    print_evaluation(evaluation)
    report = out / "report.html"
    write_report(evaluation, report, history=run / "history.csv")

    _step(console, "Predicting one clip")
    _predict_one(result.model, evaluation, read_corpus([unseen] if unseen else folders, words=COMMANDS).clips, console)
    _step(console, f"The report lies at {report.absolute()}")


def _synthesized(folder: Path, console: Console) -> tuple[tuple[Path, ...], Path]:
    from harken.synth import synthesize_corpus

    _step(console, "Synthesising a spoken corpus")
    made = synthesize_corpus(COMMANDS, folder, takes=_TAKES, seed=_SEED, room_fraction=_ROOMS, snr_db=_SNR_DB)
    if made.test is None:
        raise HarkenError(
            "one family of voices alone is installed, so none is left to judge by: pip install 'harken[synth]'"
        )
    voices = [len({clip.speaker for clip in read_corpus([side]).clips}) for side in (made.train, made.test)]
    console.print(f"{voices[0]} voices to learn from in {made.train}, {voices[1]} others to judge by in {made.test}")
    return (made.train,), made.test


def _predict_one(model: Path, evaluation: ClipEvaluation, clips: Sequence[Clip], console: Console) -> None:
    right = evaluation.answers == evaluation.examples.truth
    if not right.any():
        raise HarkenError(f"{model} gets no clip right: look at the report, then train on more clips")
    name = evaluation.examples.names[int(right.argmax())]
    path = next(clip.path for clip in clips if clip.name == name)
    prediction = Recognizer(model).predict(path)
    console.print(f"harken predict {path} --model {model}")
    console.print(f"[bold]{prediction.label}[/bold], probability {prediction.probability:.3f}")


def _step(console: Console, what: str) -> None:
    console.print(f"\n[bold]{what}[/bold]")
