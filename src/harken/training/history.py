"""Write the history of a run, one CSV line for each epoch."""

import csv
import time
from pathlib import Path
from typing import Any

import lightning
from lightning.pytorch.callbacks import Callback

from harken.files import replacing
from harken.tasks.history import COLUMNS


class History(Callback):
    """Write the history after each epoch. A resumed run continues after its last complete epoch."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.rows: list[dict[str, Any]] = []
        self.started = 0.0

    def on_train_epoch_start(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        self.started = time.perf_counter()

    def on_train_epoch_end(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        metrics = trainer.callback_metrics
        row = {name: f"{float(metrics[name]):.6f}" for name in COLUMNS[1:5]}
        rate = trainer.optimizers[0].param_groups[0]["lr"]
        seconds = time.perf_counter() - self.started
        self.rows.append(
            {"epoch": trainer.current_epoch, **row, "learning_rate": f"{rate:.3g}", "seconds": f"{seconds:.1f}"}
        )
        if trainer.is_global_zero:
            with replacing(self.path) as temporary, temporary.open("w", newline="") as file:
                writer = csv.DictWriter(file, COLUMNS)
                writer.writeheader()
                writer.writerows(self.rows)

    # The rows are kept in the checkpoint, because the file can be an epoch ahead of where a run resumes.
    def state_dict(self) -> dict[str, Any]:
        return {"rows": self.rows}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.rows = list(state_dict["rows"])
