"""Long work on a folder: claimed once, shared among processes, taken up again.

claim_folder      note in a folder what is being made there; refuse to mix two makings
run_in_parallel   one function over many tasks, in processes, under a progress bar
"""

import json
import multiprocessing
import os
import signal
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import TypeVar

from harken.corpus.table import SYNTHESIS_NOTE
from harken.errors import HarkenError
from harken.files import replacing
from harken.progress import progress

T = TypeVar("T")


def claim_folder(folder: Path, settings: Mapping[str, object]) -> None:
    """Write `settings` into the folder's note, or check that an earlier run had the same.

    Raises HarkenError when the folder holds something made otherwise, or holds anything else.
    """
    note = folder / SYNTHESIS_NOTE
    mend = f"choose another folder, or remove {folder} first"
    if note.is_file():
        try:
            earlier = json.loads(note.read_text(encoding="utf-8"))
        except ValueError:
            earlier = {}
        differing = [name for name, value in settings.items() if earlier.get(name) != value]
        if differing:
            raise HarkenError(f"{folder} was synthesised with other settings ({', '.join(differing)}): {mend}")
        return
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise HarkenError(f"{folder} holds something that was not synthesised here: {mend}")
    with replacing(note) as temporary:
        temporary.write_text(json.dumps(settings, indent=1), encoding="utf-8")


def run_in_parallel(function: Callable[[T], None], tasks: Sequence[T], what: str, *, workers: int | None) -> None:
    """Call `function` on every task, in `workers` processes (all cores by default), and return when all are done.

    One worker, or one task, stays in this process. Ctrl-C and errors let running tasks end and start no more.
    """
    if workers is None:
        workers = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    workers = min(workers, len(tasks))
    if workers <= 1:
        for task in progress(tasks, what):
            function(task)
        return
    # Not forked: a parent that has loaded torch or onnxruntime holds threads, which a fork breaks.
    context = multiprocessing.get_context("spawn")
    pool = ProcessPoolExecutor(workers, mp_context=context, initializer=_leave_interrupts_to_parent)
    try:
        for future in progress([pool.submit(function, task) for task in tasks], what):
            future.result()
    finally:
        pool.shutdown(cancel_futures=True)


def _leave_interrupts_to_parent() -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)
