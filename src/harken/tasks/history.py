"""The history of a run, RUN/history.csv: its columns, and a function that reads it."""

import csv
from pathlib import Path

COLUMNS = (
    "epoch",
    "train_loss",
    "train_accuracy",
    "validation_loss",
    "validation_accuracy",
    "learning_rate",
    "seconds",
)


def read_history(path: Path) -> list[dict[str, float]]:
    """Return the rows of a history, one for each epoch. The list is empty if there is no file."""
    if not path.is_file():
        return []
    with path.open(newline="") as file:
        return [{name: float(value) for name, value in row.items()} for row in csv.DictReader(file)]
