"""The tables by which defaults are chosen; no figure on the page is of one of them."""

from __future__ import annotations

from pathlib import Path

from benchmarks.defaults.row_split import split_rows
from benchmarks.defaults.shared_tables import SharedTable, share_table
from trainer.data.read_options import ReadOptions
from trainer.data.sources import load_table

# Built-in names of the trainer, and `letters`, which `make data` writes.
CHOICE_TABLES = (
    "digits",
    "breast_cancer",
    "wine",
    "iris",
    "diabetes",
    "penguins",
    "magic",
    "adult",
    "bank",
    "caravan",
    "diamonds",
    "letters",
    "mnist",
)
LETTERS = "letters"


def load_choice_table(name: str, *, letters: Path, seed: int) -> SharedTable:
    """Load a table, and split its rows.

    Args:
        name: Name of the table, one of `CHOICE_TABLES`.
        letters: Path of the file of letters.
        seed: Seed of the split.
    """
    if name == LETTERS:
        table = load_table(str(letters), ReadOptions(target="lettr"))
    else:
        table = load_table(name)
    is_regression = table.task == "regression"
    train, test = split_rows(table.target, is_regression=is_regression, seed=seed)
    return share_table(table, name, train, test)
