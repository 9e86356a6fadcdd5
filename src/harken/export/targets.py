"""Where a form is written: all of its files, or none of them.

refuse_folders   before long work: a target that cannot become a file
replacing_all    `replacing` for several files
"""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from harken.errors import HarkenError
from harken.files import replacing


def refuse_folders(*targets: Path) -> None:
    """Raise HarkenError when a folder stands where a file is to be written."""
    for target in targets:
        if target.is_dir():
            raise HarkenError(f"{target} is a folder, and a file of this name is written: choose another --out")


@contextmanager
def replacing_all(*targets: Path) -> Iterator[list[Path]]:
    """Yield a temporary path for each target; rename all on success, delete all on any error."""
    with ExitStack() as stack:
        yield [stack.enter_context(replacing(target)) for target in targets]
