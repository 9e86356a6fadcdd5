"""The commands `harken corpus …`: parse, call, print."""

from pathlib import Path
from typing import Annotated

import typer

from harken.errors import HarkenError
from harken.extras import require_extra

corpus_app = typer.Typer(help="Fetch a corpus, look at one, or have one spoken.", no_args_is_help=True)

Engines = Annotated[
    str,
    typer.Option(help="Whose voices speak, as hibari,kokoro; else espeak, hibari, piper, and kokoro if it is there."),
]


@corpus_app.command("get")
def corpus_get(
    name: Annotated[
        str,
        typer.Argument(help="speech-commands-v0.01, -v0.02, mini-speech-commands, speech-commands-test-v0.01, -v0.02"),
    ],
    out: Annotated[Path | None, typer.Option("--out", help="Folder to put it in; else one of its name, here.")] = None,
) -> None:
    """Fetch a published corpus: resumed where it broke off, verified, unpacked safely."""
    from harken.corpus.fetch import get_corpus

    print(get_corpus(name, out or Path(name)))


@corpus_app.command("speak")
def corpus_speak(
    out: Annotated[Path, typer.Argument(metavar="DIR", help="Folder for DIR/train and DIR/test.")],
    words: Annotated[str, typer.Option(help="Words to speak, as dog,house.")] = "",
    words_file: Annotated[Path | None, typer.Option(help="File with words to speak, apart by spaces or lines.")] = None,
    takes: Annotated[int, typer.Option(help="Clips a word, both sides together.")] = 100,
    seed: Annotated[int, typer.Option(min=0, help="Another seed, another corpus.")] = 0,
    held_out: Annotated[float, typer.Option(help="Share of voices and takes that go to DIR/test.")] = 0.2,
    min_snr: Annotated[float, typer.Option(help="Lowest ratio of word to background noise, dB.")] = 5.0,
    max_snr: Annotated[float, typer.Option(help="Highest ratio, dB.")] = 45.0,
    engines: Engines = "",
) -> None:
    """Speak words in many synthetic voices, as a corpus: what is scarce can be trained with --train-only DIR/train."""
    require_extra("synth", "hibari", "espeakng_loader", "piper")
    from harken.synth.corpus import synthesize_corpus

    asked = _names(words)
    if words_file is not None:
        try:
            asked += words_file.read_text(encoding="utf-8").split()
        except (OSError, UnicodeDecodeError) as error:
            raise HarkenError(f"--words-file {words_file} cannot be read: give a text file of words") from error
    made = synthesize_corpus(
        asked,
        out,
        takes=takes,
        seed=seed,
        held_out_fraction=held_out,
        snr_db=(min_snr, max_snr),
        engines=_names(engines),
    )
    print(made.train)
    if made.test is not None:
        print(made.test)


@corpus_app.command("talk")
def corpus_talk(
    out: Annotated[Path, typer.Argument(metavar="DIR", help="Folder for the recordings, a minute each.")],
    hours: Annotated[float, typer.Option(help="How much to speak.")] = 1.0,
    avoid: Annotated[str, typer.Option(help="Words that never occur, nor their sound.")] = "",
    seed: Annotated[int, typer.Option(min=0, help="Another seed, other sentences.")] = 0,
    engines: Engines = "",
) -> None:
    """Speak hours of sentences without the ten commands (or the words of --avoid): every detection in them is a false alarm.

    For --speech in training and judging, and --background in evaluate-stream; all of these keep the speakers apart.
    """
    require_extra("synth", "hibari", "espeakng_loader", "piper")
    from harken.labels import COMMANDS
    from harken.synth.speech import synthesize_speech

    synthesize_speech(out, hours=hours, seed=seed, avoid=_names(avoid) or COMMANDS, engines=_names(engines))
    print(out)


@corpus_app.command("show")
def corpus_show(
    folders: Annotated[list[Path], typer.Argument(metavar="DIR", help="Corpus folders.")],
    out: Annotated[Path, typer.Option("--out", help="The page to write.")] = Path("corpus.html"),
) -> None:
    """Draw a corpus as one HTML page: its clips, durations, speakers, an example of each word, and what is wrong."""
    require_extra("train", "matplotlib")
    from harken.cli.tables import print_repeats
    from harken.corpus.page import write_page
    from harken.corpus.table import read_corpus

    corpus = read_corpus(folders)
    write_page(corpus, out)
    print_repeats(len(corpus.repeats))
    print(out)


def _names(listed: str) -> list[str]:
    return [name.strip() for name in listed.split(",") if name.strip()]
