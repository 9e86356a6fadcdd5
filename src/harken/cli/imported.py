"""Print the result of `harken corpus import`."""

import sys

from harken.corpus.importers.convert import Imported

_MOST_REASONS = 10


def print_imported(imported: Imported) -> None:
    """Print the summary on standard error, since standard output is for the path of the result."""
    clips, words = sum(imported.words.values()), len(imported.words)
    speakers = f"{imported.speakers:,} speakers" if imported.speakers else "no speaker is known"
    lines = [f"{imported.layout}: took {clips:,} clips of {words:,} words; {speakers}"]
    if imported.sides:
        sides = ", ".join(f"{side} {imported.sides[side]:,}" for side in ("train", "validation", "test"))
        lines.append(f"split: {sides}")
    else:
        lines.append("split: none in the source; harken splits by speaker")
    if imported.drawn_validation:
        unit = "speakers" if imported.speakers else "clips"
        lines.append(f"the source has no validation side: about a tenth of the {unit} in training was drawn for it")
    if imported.noise:
        lines.append(f"took {imported.noise:,} recordings of noise")
    for reason, count in imported.left_out.most_common(_MOST_REASONS):
        lines.append(f"left out {count:,}: {reason}")
    if more := sum(count for _, count in imported.left_out.most_common()[_MOST_REASONS:]):
        lines.append(f"left out {more:,} for other reasons")
    print(*(f"harken: {line}" for line in lines), sep="\n", file=sys.stderr)
