"""`harken evaluate-stream --peer`: evaluate an engine of another project."""

import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from harken.audio.sources import open_file
from harken.cli.tables import print_peer_evaluation
from harken.errors import HarkenError
from harken.evaluation.peers.engine import SAMPLE_RATE
from harken.evaluation.peers.registry import find_peer
from harken.evaluation.peers.run import evaluate_peer, peer_clips, run_peer
from harken.evaluation.stream.audio import SNRS_DB, StreamAudio, read_backgrounds
from harken.evaluation.stream.report import write_stream_report
from harken.files import replacing, require_writable
from harken.progress import progress


def evaluate_peer_on_stream(
    name: str,
    keywords: Sequence[Path],
    background: Sequence[str],
    snr: Sequence[float] | None,
    seed: int,
    page: Path,
    json_file: Path | None,
    *,
    refused: Mapping[str, Any],
) -> None:
    """Run an engine over a stream, print its figures, and write the report.

    Parameters
    ----------
    name
        `ENGINE:PHRASE`.
    keywords, background, snr, seed
        What the stream is made of, as for a model.
    page, json_file
        Files to write.
    refused
        Options that only harken's own models have, by name. All must be None.

    Raises
    ------
    HarkenError
        One of `refused` is given, or the engine, the stream or a file to write cannot be had.
    """
    given = [f"--{option.replace('_', '-')}" for option, value in refused.items() if value is not None]
    if given:
        raise HarkenError(f"{', '.join(given)} cannot be used with --peer, only with a model: leave it out")
    peer = find_peer(name)
    require_writable(*filter(None, (page, json_file)))
    audio = StreamAudio(
        clips=tuple(peer_clips(peer, keywords)),
        backgrounds=read_backgrounds(background),
        sample_rate=SAMPLE_RATE,
        seed=seed,
        snrs_db=tuple(snr) if snr else SNRS_DB,
    )
    check_readable(file for files in audio.backgrounds.values() for file in files)
    evaluation = evaluate_peer(peer, run_peer(peer, audio))
    print_peer_evaluation(evaluation)
    write_stream_report(evaluation, page, title=f"{peer.engine}: {peer.phrase}", sample_rate=SAMPLE_RATE)
    if json_file is not None:
        with replacing(json_file) as temporary:
            temporary.write_text(json.dumps(evaluation.to_json(), indent=1), encoding="utf-8")
    print(page)


def check_readable(recordings: Iterable[Path]) -> None:
    """Read every recording once, so that a bad one is reported now and not in the middle of the evaluation."""
    for path in progress(list(recordings), "checking recordings"):
        with open_file(path) as source:
            for _ in source.chunks:
                pass
