"""A record of the clips of a run, kept in its checkpoints.

ClipRecord    write the record, and refuse to resume on other clips

Weights belong to the classes that they were trained for, and a network must not be validated on clips that it learned from. Both
would happen without an error if the folders changed before a run is resumed.
"""

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from lightning.pytorch.callbacks import Callback

from harken.errors import HarkenError
from harken.tasks.protocol import Material, Task


class ClipRecord(Callback):
    """Write which clips a run is trained on into its checkpoints.

    Parameters
    ----------
    task
        The clips of the run, with their classes and sides.
    """

    def __init__(self, task: Task) -> None:
        digest = hashlib.sha256()
        for clip, label, side in zip(task.clips, task.classes.tolist(), task.sides.tolist(), strict=True):
            digest.update(f"{clip.name}\t{label}\t{side}\n".encode(errors="surrogateescape"))
        self._record = {"labels": list(task.labels), "digest": digest.hexdigest()}

    def state_dict(self) -> dict[str, Any]:
        """Return what Lightning writes into a checkpoint."""
        return self._record

    def check(self, checkpoint: Mapping[str, Any], out: Path, material: Material) -> None:
        """Raise HarkenError if a checkpoint of the run in `out` was trained on other clips.

        Checkpoints of earlier versions of harken contain no record, and are accepted.
        """
        before = checkpoint.get("callbacks", {}).get(self.state_key)
        if not isinstance(before, Mapping) or before == self._record:
            return
        folders = " + ".join(map(str, material.data))
        if (labels := before.get("labels")) != self._record["labels"]:
            now, then = (", ".join(map(str, names)) for names in (self._record["labels"], labels or ()))
            raise HarkenError(
                f"{folders} gives the classes {now}, but {out} began with {then}: restore the folders, or start a new run"
            )
        raise HarkenError(
            f"the clips of {folders} are not those that {out} began with: restore them, or start a new run, which can begin with "
            f"these weights (--set start_from={out})"
        )
