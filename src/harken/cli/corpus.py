"""The commands `harken corpus ...`: parse the options, call the library, print the result."""

from pathlib import Path
from typing import Annotated

import typer

from harken.errors import HarkenError
from harken.extras import require_extra
from harken.labels import normalize_word

corpus_app = typer.Typer(
    help="Download, import, inspect or synthesize a corpus.", no_args_is_help=True, rich_markup_mode="markdown"
)

_Engines = Annotated[
    str,
    typer.Option(help="Speech engines to use, for example `hibari,kokoro`. Default: all that are installed."),
]


@corpus_app.command("get")
def corpus_get(
    name: Annotated[
        str,
        typer.Argument(
            metavar="NAME",
            help="Corpus to download: speech-commands-v0.01, speech-commands-v0.02, mini-speech-commands, "
            "speech-commands-test-v0.01 or speech-commands-test-v0.02.",
        ),
    ],
    out: Annotated[
        Path | None,
        typer.Option("--out", help="Folder to create. Default: the corpus's name, in the current folder."),
    ] = None,
) -> None:
    """Download a published corpus, verify it and unpack it. After an interruption, the same command continues."""
    from harken.corpus.fetch import get_corpus

    print(get_corpus(name, out or Path(name)))


@corpus_app.command("speak")
def corpus_speak(
    out: Annotated[Path, typer.Argument(metavar="DIR", help="Folder to create. Clips go into DIR/train and DIR/test.")],
    words: Annotated[
        str, typer.Option(help="Words or phrases to synthesize, separated by commas: `dog,good night`.")
    ] = "",
    words_file: Annotated[
        Path | None, typer.Option(help="Text file of words to synthesize, separated by spaces or line breaks.")
    ] = None,
    takes: Annotated[int, typer.Option(help="Clips per word, DIR/train and DIR/test together.")] = 100,
    seed: Annotated[int, typer.Option(min=0, help="Random seed. Another seed gives another corpus.")] = 0,
    held_out: Annotated[float, typer.Option(help="Fraction of voices and clips that go to DIR/test, 0 to 0.9.")] = 0.2,
    min_snr: Annotated[float, typer.Option(help="Lowest signal-to-noise ratio of a clip, in dB.")] = 5.0,
    max_snr: Annotated[float, typer.Option(help="Highest signal-to-noise ratio of a clip, in dB.")] = 45.0,
    seconds: Annotated[float, typer.Option(help="Length of a clip, in seconds, 0.5 to 3.")] = 1.0,
    engines: _Engines = "",
) -> None:
    """Create a corpus of synthetic speech.

    Useful for words you have few recordings of: pass the result to `harken train --train-only DIR/train`.
    """
    require_extra("synth", "hibari", "espeakng_loader", "piper")
    from harken.synth.corpus import synthesize_corpus

    requested = _names(words)
    if words_file is not None:
        try:
            requested += normalize_word(words_file.read_text(encoding="utf-8-sig")).split()
        except (OSError, UnicodeDecodeError) as error:
            raise HarkenError(f"cannot read --words-file {words_file}: give a text file (UTF-8) of words") from error
    made = synthesize_corpus(
        requested,
        out,
        takes=takes,
        seed=seed,
        held_out_fraction=held_out,
        snr_db=(min_snr, max_snr),
        engines=_names(engines),
        seconds=seconds,
    )
    print(made.train)
    if made.test is not None:
        print(made.test)


@corpus_app.command("talk")
def corpus_talk(
    out: Annotated[Path, typer.Argument(metavar="DIR", help="Folder to create, for recordings of about a minute.")],
    hours: Annotated[float, typer.Option(help="Hours of speech to synthesize.")] = 1.0,
    avoid: Annotated[
        str,
        typer.Option(
            help="Words to avoid, and everything that sounds like them, separated by commas. Default: the ten commands."
        ),
    ] = "",
    seed: Annotated[int, typer.Option(min=0, help="Random seed. Another seed gives other sentences.")] = 0,
    engines: _Engines = "",
) -> None:
    """Create synthetic speech without the ten commands, to count false alarms in.

    Every detection in it is a false alarm. Pass the folder to --speech of `train` and `evaluate`, and to --background of
    `evaluate-stream`: these commands keep the speakers of training, thresholds and measurement apart.
    """
    require_extra("synth", "hibari", "espeakng_loader", "piper")
    from harken.labels import COMMANDS
    from harken.synth.speech import synthesize_speech

    synthesize_speech(out, hours=hours, seed=seed, avoid=_names(avoid) or COMMANDS, engines=_names(engines))
    print(out)


@corpus_app.command("show")
def corpus_show(
    folders: Annotated[list[Path], typer.Argument(metavar="DIR", help="Corpus folders to inspect.")],
    out: Annotated[Path, typer.Option("--out", help="HTML page to write.")] = Path("corpus.html"),
) -> None:
    """Write an HTML page about a corpus: clips, durations, speakers, an example of each word, and problems found."""
    require_extra("train", "matplotlib")
    from harken.audio.clip import AUDIO_SUFFIXES, UNREADABLE_SUFFIXES
    from harken.cli.tables import print_note, print_repeats
    from harken.corpus.page import write_page
    from harken.corpus.table import read_corpus
    from harken.files import require_writable

    if out.suffix.lower() in AUDIO_SUFFIXES | UNREADABLE_SUFFIXES:
        raise HarkenError(f"--out {out} is the name of a recording: name a page to write, such as corpus.html")
    require_writable(out)
    corpus = read_corpus(folders)
    write_page(corpus, out)
    print_repeats(len(corpus.duplicates))
    for note in corpus.notes:
        print_note(note)
    print(out)


@corpus_app.command("import")
def corpus_import(
    source: Annotated[
        Path,
        typer.Argument(
            metavar="SOURCE",
            help="Folder, or zip or tar.gz archive: MSWC, a Hugging Face AudioFolder or Parquet files, an Edge Impulse "
            "export, or folders of splits or words.",
        ),
    ],
    out: Annotated[Path, typer.Option("--out", metavar="DIR", help="Folder to create.")],
) -> None:
    """Convert a corpus from another layout, with its speakers and its split."""
    from harken.cli.imported import print_imported
    from harken.corpus.importers.convert import import_corpus

    print_imported(import_corpus(source, out))
    print(out)


def _names(listed: str) -> list[str]:
    return [normalize_word(name.strip()) for name in listed.split(",") if name.strip()]
