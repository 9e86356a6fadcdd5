"""Run long tasks on a folder in several processes. Interrupted work can be continued.

claim_folder       store the settings of the work in a folder, and refuse to mix it with other work
run_in_parallel    call a function on many tasks, in processes, with a progress bar
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
    """Store the settings in a folder, or check that an earlier run stored the same ones.

    Raises HarkenError if the folder belongs to other settings, or contains other files.
    """
    note = folder / SYNTHESIS_NOTE
    fix = f"choose another folder, or remove {folder} first"
    if note.is_file():
        try:
            earlier = dict(json.loads(note.read_text(encoding="utf-8")))
        except (ValueError, TypeError):
            earlier = {}
        differing = [name for name in {**settings, **earlier} if earlier.get(name) != settings.get(name)]
        if differing:
            raise HarkenError(f"{folder} was synthesized with other settings ({', '.join(differing)}): {fix}")
        return
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise HarkenError(f"{folder} contains files that were not synthesized by harken: {fix}")
    with replacing(note) as temporary:
        temporary.write_text(json.dumps(settings, indent=1), encoding="utf-8")


def run_in_parallel(function: Callable[[T], None], tasks: Sequence[T], label: str, *, workers: int | None) -> None:
    """Call a function on each task, and return when all are done.

    After Ctrl-C or an error, running tasks end and no others are started.

    Parameters
    ----------
    function
        A function of one task. It must be importable by other processes.
    tasks
        The tasks.
    label
        Label of the progress bar.
    workers
        Number of processes, or None for one per core. With one worker or one task, this process does the work.
    """
    if workers is None:
        workers = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    workers = min(workers, len(tasks))
    if workers <= 1:
        for task in progress(tasks, label):
            function(task)
        return
    # "spawn", because a fork breaks the threads of a process that has loaded torch or onnxruntime.
    context = multiprocessing.get_context("spawn")
    pool = ProcessPoolExecutor(workers, mp_context=context, initializer=_leave_interrupts_to_parent)
    try:
        for future in progress([pool.submit(function, task) for task in tasks], label):
            future.result()
    finally:
        pool.shutdown(cancel_futures=True)


def _leave_interrupts_to_parent() -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)
