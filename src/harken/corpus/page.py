"""The HTML page of `harken corpus show`: plots, examples and problems of a corpus in a single file.

write_page    inspect a corpus and write its page
"""

from collections import Counter, defaultdict
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from harken.audio.clip import clip_rate, load_clip
from harken.corpus import figures
from harken.corpus.problems import KINDS, Inspection, Kind, Problem, inspect
from harken.corpus.table import Clip, Corpus
from harken.errors import HarkenError
from harken.files import replacing
from harken.pages.drawing import figure_svg
from harken.pages.html import (
    Html,
    Section,
    Sorted,
    breakable,
    card,
    details,
    document,
    entry,
    grid,
    path_name,
    player,
    stack,
    table,
)
from harken.progress import progress

_MAX_LISTED = 500  # maximum number of clips in a table of problems, the worst first
_MAX_OPEN = 8  # a table with up to this many clips is open from the start
_MAX_PLAYED = 6  # number of clips to play for each kind of problem
_COLUMN: dict[Kind, str] = {
    "unreadable": "Reason",
    "silent": "Loudest 30 ms",
    "clipped": "At full scale",
    "too short": "Length",
    "conflicting": "Same recording",
    "duplicate": "Same recording",
}
_MEASURED = ("silent", "clipped", "too short")
_MAX_CLIP_S = 5.0  # seconds of a clip that are drawn and played; keeps the page small


def write_page(corpus: Corpus, path: str | Path) -> Inspection:
    """Inspect a corpus and write its page.

    Parameters
    ----------
    corpus
        The corpus.
    path
        HTML file to write.

    Returns
    -------
    Inspection
        The measurements and problems.

    Raises
    ------
    HarkenError
        If `path` cannot be written.
    """
    with replacing(path) as temporary:  # opened first, so that a path that cannot be written fails at once
        inspection = inspect(corpus)
        parts = [_overview(inspection), _problems(inspection), _examples(inspection), _words(inspection)]
        page = document(
            " + ".join(root.resolve().name for root in corpus.roots),
            [section for section in parts if section.parts or section.note],
            kicker="harken corpus",
            facts=_facts(inspection),
        )
        temporary.write_text(page, encoding="utf-8")
    return inspection


def _facts(inspection: Inspection) -> list[tuple[str, str]]:
    corpus = inspection.corpus
    speakers = {clip.speaker for clip in corpus.clips} - {""}
    rates = Counter(inspection.sample_rates[np.isfinite(inspection.sample_rates)])
    facts = [
        ("clips", f"{len(corpus.clips):,}"),
        ("words", f"{len(corpus.words):,}"),
        ("speakers", f"{len(speakers):,}" if speakers else "unknown"),
        ("of audio", _format_time(float(np.nansum(inspection.durations_s)))),
        (
            "sample rate" if len(rates) == 1 else "sample rates",
            " · ".join(f"{rate / 1000:g}" for rate in sorted(rates)) + " kHz" if rates else "unknown",
        ),
        ("clips with problems", f"{len({problem.clip.path for problem in inspection.problems}):,}"),
    ]
    return facts + ([("noise recordings", f"{len(corpus.noise):,}")] if corpus.noise else [])


def _overview(inspection: Inspection) -> Section:
    corpus = inspection.corpus
    counts = Counter(clip.word for clip in corpus.clips)
    least, most = min(counts.values()), max(counts.values())
    clips = (
        f"{least:,} clip{'s' * (least > 1)} of each word" if least == most else f"{least:,} to {most:,} clips per word"
    )
    pictures = [("Clips per word", figures.clips_per_word(corpus), clips)]
    unknown = sum(not clip.speaker for clip in corpus.clips)
    if unknown < len(corpus.clips):
        aside = f"{unknown:,} clips of unknown speakers are not counted" if unknown else "number of different speakers"
        pictures.append(("Speakers per word", figures.speakers_per_word(corpus), aside))
    lengths = inspection.durations_s[np.isfinite(inspection.durations_s)]
    if lengths.size:
        shortest, longest = f"{lengths.min():.2f}", f"{lengths.max():.2f}"
        span = f"{shortest} to {longest} s, median {np.median(lengths):.2f} s"
        span = f"all {shortest} s" if shortest == longest else span
        pictures.append(("Durations", figures.durations(inspection), span))
        pictures.append(
            ("Peak levels", figures.peak_levels(inspection), "highest sample of each clip; 0 dB is full scale")
        )
    cards = [card(name, figure_svg(figure, label=name), aside=aside) for name, figure, aside in pictures]
    return Section("Overview", [grid(cards, min_width_px=400)])


def _examples(inspection: Inspection) -> Section:
    words = figures.words_by_size(inspection.corpus)
    examples = _typical_clips(inspection)
    shown = [word for word in words if word in examples][: figures.MOST_WORDS]
    cards = []
    for word in progress(shown, "drawing"):
        samples, rate = _first_seconds(examples[word])
        picture = figure_svg(figures.clip_views(samples, rate), label=f"Waveform and spectrograms of {word}")
        button = player(samples, rate, label=word)
        cards.append(card(breakable(word), picture, aside=breakable(examples[word].path.name), button=button))
    if not cards:
        return Section("Examples", [])
    note = f" Shown are the {len(shown)} most frequent of {len(words):,} words." if len(shown) < len(examples) else ""
    if unread := len(words) - len(examples):
        note += f" {unread:,} word{'s have' if unread > 1 else ' has'} no readable clip."
    text = (
        "For each word, the clip with the median peak level: waveform, and spectrograms with a linear and a logarithmic "
        "frequency axis." + note
    )
    return Section("Examples", [grid(cards, min_width_px=300)], text)


def _problems(inspection: Inspection) -> Section:
    found = {kind: inspection.of_kind(kind) for kind in KINDS}
    absent = [kind for kind in KINDS if not found[kind]]
    cards = [_problem(inspection.corpus, kind, problems) for kind, problems in found.items() if problems]
    return Section("Problems", [stack(cards)] if cards else [], f"None {', none '.join(absent)}." if absent else "")


def _problem(corpus: Corpus, kind: Kind, found: Sequence[Problem]) -> Html:
    columns = ["Word", "File", _COLUMN[kind]]
    players = []
    for problem in found[:_MAX_PLAYED] if kind != "unreadable" else ():
        try:
            samples, rate = _first_seconds(problem.clip)
        except HarkenError:  # duplicates have not been decoded yet, and may be unreadable as well
            continue
        button = player(samples, rate, label=_name(corpus, problem.clip))
        players.append(entry(breakable(problem.clip.word), aside=_detail(corpus, problem), button=button))
    rows = [
        (breakable(problem.clip.word), path_name(_name(corpus, problem.clip)), _detail(corpus, problem))
        for problem in found[:_MAX_LISTED]
    ]
    if kind in _MEASURED:
        # The table is sorted by severity, and the column's sort value is the position in it.
        listed = table(
            columns, [(word, name, Sorted(detail, place)) for place, (word, name, detail) in enumerate(rows)]
        )
    else:
        listed = table(columns, rows)
    clips = f"{len(found):,} clip" + "s" * (len(found) > 1)
    title = f"List the {clips}" if len(found) <= _MAX_LISTED else f"List the worst {_MAX_LISTED} of {clips}"
    playable = [grid(players, min_width_px=220)] if players else []
    return card(
        f"{kind.capitalize()}: {clips}",
        *playable,
        details(title, listed, is_open=len(found) <= _MAX_OPEN),
        aside=KINDS[kind],
    )


def _detail(corpus: Corpus, problem: Problem) -> str:
    return problem.detail or Html(", ".join(breakable(_name(corpus, clip)) for clip in problem.same_as))


def _words(inspection: Inspection) -> Section:
    speakers, rows_of = defaultdict(set), defaultdict(list)
    for row, clip in enumerate(inspection.corpus.clips):
        rows_of[clip.word].append(row)
        if clip.speaker:
            speakers[clip.word].add(clip.speaker)
    bad = Counter(clip.word for clip in {problem.clip for problem in inspection.problems})
    rows = []
    for word in inspection.corpus.words:
        lengths, peaks = inspection.durations_s[rows_of[word]], inspection.peaks_db[rows_of[word]]
        rows.append(
            (
                breakable(word),
                Sorted(f"{len(rows_of[word]):,}", len(rows_of[word])),
                Sorted(f"{len(speakers[word]):,}", len(speakers[word])),
                _median(lengths, "{:.2f}"),
                _median(peaks, "{:.1f}"),
                Sorted(f"{bad[word]:,}", bad[word]),
            )
        )
    columns = ["Word", "Clips", "Speakers", "Median length, s", "Median peak, dB", "With problems"]
    return Section("Words", [table(columns, rows)], "Click a column header to sort.")


def _median(values: NDArray[np.float64], form: str) -> Sorted:
    read = values[np.isfinite(values)]
    if not read.size:
        return Sorted("–", -1e3)  # below any length or level
    return Sorted(form.format(np.median(read)).replace("-", "\N{MINUS SIGN}"), float(np.median(read)))


def _typical_clips(inspection: Inspection) -> dict[str, Clip]:
    """Return the clip with the median peak level of each word. Clips with problems are only used if there are no others."""
    bad = {problem.clip for problem in inspection.problems}
    levels = defaultdict(list)
    for clip, peak in zip(inspection.corpus.clips, inspection.peaks_db, strict=True):
        if np.isfinite(peak):
            levels[clip.word].append((clip in bad, peak, clip))
    middle = {}
    for word, ranked in levels.items():
        best = sorted((one for one in ranked if not one[0]), key=lambda one: one[1]) or sorted(
            ranked, key=lambda one: one[1]
        )
        middle[word] = best[len(best) // 2][2]
    return middle


def _first_seconds(clip: Clip) -> tuple[NDArray[np.float32], int]:
    """Return the first seconds of a clip and their sample rate: its own, up to the highest rate that every browser plays."""
    rate = min(clip_rate(clip.path), 48_000)
    return load_clip(clip.path, rate)[: round(_MAX_CLIP_S * rate)], rate


def _name(corpus: Corpus, clip: Clip) -> str:
    """Return a clip's path below its corpus folder, preceded by the folder's name if there are several."""
    root = next(root for root in corpus.roots if clip.path.is_relative_to(root))
    path = clip.path.relative_to(root).as_posix()
    return f"{root.resolve().name}/{path}" if len(corpus.roots) > 1 else path


def _format_time(seconds: float) -> str:
    if seconds < 90:
        return f"{seconds:.0f} s"
    hours, minutes = divmod(round(seconds / 60), 60)
    return f"{hours:,} h {minutes} min" if hours else f"{minutes} min"
