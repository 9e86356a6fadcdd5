"""The demo: three recognizers on the same clips, evaluated on the same unseen speakers, in one picture."""

import os
import sys
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from rich.console import Console

from harken.cli.demo_voices import REAL, Voices, own_clips, real_is_at_hand, real_voices, synthetic_voices
from harken.corpus.page import write_page
from harken.corpus.table import read_corpus
from harken.errors import HarkenError
from harken.evaluation.clips.cost import measure_cost
from harken.evaluation.clips.evaluate import evaluate_clips
from harken.evaluation.clips.report import write_report
from harken.evaluation.clips.side_by_side import Contender, summary, write_side_by_side
from harken.pages.html import Section, listing
from harken.runtime.modelfile import ModelFile
from harken.runtime.recognizer import Recognizer
from harken.tasks.history import read_history
from harken.tasks.protocol import Material
from harken.tasks.recipe import Recipe, find_recipe
from harken.training.run import resume, train
from harken.training.run_folder import expect_run

# Steps and the seconds they take on two cores of 2023: only their ratio counts once the first ones have been timed.
_STEPS = {"voices": 25, "corpus": 10, "tutorial": 90, "harken": 90, "evaluation": 15}


def run_demo(out: Path, data: Sequence[Path] = (), *, voices: str = "auto") -> None:
    """Run the demo in the folder `out`; one that was interrupted goes on where it stopped.

    Parameters
    ----------
    data : folders of clips to use. Without them:
    voices : `real` downloads mini-speech-commands, `synthetic` lets installed voices speak, `auto` takes the real ones
        where their server answers, and an https:// address downloads the same archive from there.

    Raises
    ------
    HarkenError : a corpus cannot be downloaded or used, or `out` is a file or holds a demo of other clips.
    """
    if out.exists() and not out.is_dir():
        raise HarkenError(f"{out} is a file: name a folder for all that the demo makes")
    progress = _Steps(Console(highlight=False, soft_wrap=True))
    used = _gather(out, data, voices, progress)
    runs = [
        (used.folder / "tutorial", _tutorial_recipe(used.words), "the tutorial's network, raw waveform"),
        (used.folder / "harken", _harken_recipe(used.words), "harken's network, trained just now"),
    ]
    material = Material(data=(used.train,))
    for folder, recipe, _ in runs:  # before minutes are spent on the other one
        if (folder / "recipe.json").is_file():
            expect_run(folder, recipe, material)

    progress.step("corpus", "Draw the corpus")
    corpus = read_corpus([used.train], words=used.words)
    write_page(corpus, used.folder / "corpus.html")
    unseen = read_corpus([used.test], words=used.words)
    speakers = [len({clip.speaker for clip in side.clips}) for side in (corpus, unseen)]
    progress.note(
        f"{len(used.words)} words; {len(corpus.clips):,} clips by {speakers[0]:,} speakers to train, "
        f"{len(unseen.clips):,} by {speakers[1]:,} others to evaluate: {used.folder / 'corpus.html'}"
    )
    contenders: list[tuple[str, str, Path, Path | None]] = []
    for folder, recipe, note in runs:
        progress.step(folder.name, f"Train {note}: up to {recipe.epochs} epochs")
        began = (folder / "recipe.json").is_file()
        result = resume(folder) if began else train(recipe, material, folder)
        progress.note(
            f"{result.epochs} epochs; {100 * result.accuracy:.1f} % of {result.counts['validation']:,} validation clips"
        )
        contenders.append((folder.name, note, result.model, folder / "history.csv"))
    contenders.append(("base", "bundled model, trained on many people", Path("base"), None))

    progress.step("evaluation", "Evaluate three models on the same unseen speakers")
    compared = [_contender(*contender, used) for contender in contenders]
    _report(compared, used, progress)


def _gather(out: Path, data: Sequence[Path], voices: str, progress: "_Steps") -> Voices:
    if data:
        progress.step("voices", "Split your clips by speaker")
        return own_clips(out, data)
    url = voices if voices.startswith(("https://", "http://")) else None
    if url is None and voices not in ("auto", "real", "synthetic"):
        raise HarkenError(f"--voices {voices}: give auto, real, synthetic, or the address of the archive")
    if voices != "synthetic" and (voices == "real" or real_is_at_hand(out, url)):
        progress.step(
            "voices", f"Get {REAL}: 182 MB, 8,000 clips of real people (without a download: make demo VOICES=synthetic)"
        )
        return real_voices(out, url)
    if voices == "synthetic":
        progress.step("voices", "Speak the ten words in synthetic voices")
    else:
        progress.step("voices", f"Speak the ten words in synthetic voices ({REAL} cannot be reached)")
    return synthetic_voices(out)


def _tutorial_recipe(words: tuple[str, ...]) -> Recipe:
    """The tutorial's network and its numbers, on the same clips and sides as the other; it stops early, as there."""
    return replace(find_recipe("tutorial"), protocol="own", words=words, exact_length=False, epochs=32)


def _harken_recipe(words: tuple[str, ...]) -> Recipe:
    """The recipe v12 for few clips and few minutes: the words alone, smaller batches, no noise to mix in."""
    return replace(
        find_recipe("v12"),
        protocol="own",
        network="harken_base",
        words=words,
        held_out_words=(),
        unknown_share=0.0,
        silence_share=0.0,
        noise_probability=0.0,
        room_probability=0.0,
        batch_size=32,
        epochs=9,
        warmup_epochs=1.0,
        learning_rate=4e-3,
        average_decay=0.99,
    )


def _contender(name: str, note: str, model: Path, history: Path | None, used: Voices) -> Contender:
    opened = ModelFile(str(model))
    evaluation = evaluate_clips(opened, [used.test], split="all")
    report = used.folder / f"{name}.html"
    write_report(evaluation, report, history=history)
    cost = measure_cost(opened)
    return Contender(
        name=name,
        note=note,
        evaluation=evaluation,
        parameters=cost.parameters,
        latency_ms=cost.latency_ms_median,
        training_s=None if history is None else sum(row["seconds"] for row in read_history(history)),
        report=report.name,
    )


def _report(compared: Sequence[Contender], used: Voices, progress: "_Steps") -> None:
    page, picture = used.folder / "report.html", used.folder / "report.png"
    command = f"harken predict CLIP --model {used.folder / 'harken'}"
    next_steps = "harken serve                      # a page to speak to, at http://127.0.0.1:8000\n" + command
    write_side_by_side(
        compared,
        used.words,
        page=page,
        picture=picture,
        title="Three recognizers, the same unseen speakers",
        lead=f"Trained and evaluated on {used.what}. The first two learned from the same clips.",
        sections=[
            Section("What next", [listing(next_steps)], "Speak to the bundled model, teach it a word, use yours.")
        ],
    )
    for contender in compared:
        progress.note(f"{contender.name:9} {summary(contender, used.words)}")
    progress.note(_one_answer(compared[1], used))
    progress.done(
        f"Picture: {picture}\nReport:  {page.absolute()}",
        f"Next: run `{_command()} serve`, open http://127.0.0.1:8000, speak to it and teach it a word of yours.",
    )


def _command() -> str:
    """Return what to type for harken: its path from here where it was called by one, as `make demo` does."""
    script = Path(sys.argv[0])
    return os.path.relpath(script) if script.stem == "harken" and script.is_file() else "harken"


def _one_answer(contender: Contender, used: Voices) -> str:
    """Answer one clip as `harken predict` does."""
    evaluation = contender.evaluation
    right = evaluation.answers == evaluation.examples.truth
    name = evaluation.examples.names[int(right.argmax())]
    path = next(clip.path for clip in read_corpus([used.test]).clips if clip.name == name)
    prediction = Recognizer(evaluation.model.path).predict(path)
    return f"harken predict {path} --model {used.folder / contender.name}: {prediction.label}, {prediction.probability:.2f}"


class _Steps:
    """Prints which step runs and about how long the rest takes, by the pace of the steps before."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._left = dict(_STEPS)
        self._begun = time.monotonic()
        self._running = ""
        self._pace = 1.0

    def step(self, name: str, what: str) -> None:
        self._end_step()
        number = len(_STEPS) - len(self._left) + 1
        left = self._pace * sum(self._left.values()) / 60
        about = f"about {left:.0f} min left" if left >= 1.5 else "about a minute left"
        self._console.print(f"\n[bold]{number}/{len(_STEPS)} {what}[/bold] [dim]({about})[/dim]", markup=True)
        self._running, self._begun = name, time.monotonic()

    def note(self, line: str) -> None:
        self._console.print(line, markup=False)

    def done(self, *lines: str) -> None:
        self._end_step()
        self._console.print()
        for line in lines:
            self._console.print(line, markup=False)

    def _end_step(self) -> None:
        if not self._running:
            return
        expected = self._left.pop(self._running)
        if self._running in ("tutorial", "harken"):  # a download says nothing of the processor
            self._pace = min(10.0, max(0.2, (time.monotonic() - self._begun) / expected))
        self._running = ""
