"""Tables with their split, in files that the processes of all contenders read.

A file is an `.npz` archive of numbers and texts without pickles, so that the environment of the
rivals reads it with NumPy alone.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from trainer.data.records import Column, Records
from trainer.data.tables import Table


@dataclass(frozen=True)
class SharedTable:
    """Rows of a table and their split, alike for all contenders.

    Attributes:
        name: Name of the table.
        task: `binary`, `multiclass` or `regression`.
        columns: Name and kind of each column, in the order of a row; kinds as of `Column.kind`.
        words: Texts of each column of categories.
        numbers: Values of all other columns, in order, float64 `(n, n_numbers)`; NaN is a gap.
        codes: Values of the columns of categories, positions in their words, int32
            `(n, n_categories)`; -1 is a gap.
        target: Classes as int64 from 0, or quantities as float64, `(n,)`.
        train: Numbers of the rows to learn from, int64; our validation rows are among them.
        test: Numbers of the rows to measure the error on, int64.
    """

    name: str
    task: str
    columns: tuple[tuple[str, str], ...]
    words: tuple[tuple[str, ...], ...]
    numbers: NDArray[np.float64]
    codes: NDArray[np.int32]
    target: NDArray[Any]
    train: NDArray[np.int64]
    test: NDArray[np.int64]

    @property
    def n_classes(self) -> int:
        """Number of classes; 0 for a regression."""
        return 0 if self.task == "regression" else int(self.target.max()) + 1

    def compute_digest(self) -> str:
        """Return a digest of columns, values, target and split."""
        digest = hashlib.sha256(repr((self.task, self.columns, self.words)).encode())
        for array in (self.numbers, self.codes, self.target, self.train, self.test):
            digest.update(np.ascontiguousarray(array).tobytes())
        return digest.hexdigest()

    def write(self, path: Path) -> None:
        """Write the table as an `.npz` file without pickles."""
        description = {"task": self.task, "columns": self.columns, "words": self.words}
        np.savez(
            path,
            description=np.array(json.dumps({"name": self.name, **description})),
            numbers=self.numbers,
            codes=self.codes,
            target=self.target,
            train=self.train,
            test=self.test,
        )

    @classmethod
    def read(cls, path: Path) -> SharedTable:
        """Read a table that `write` wrote."""
        with np.load(path, allow_pickle=False) as arrays:
            description = json.loads(str(arrays["description"]))
            return cls(
                name=description["name"],
                task=description["task"],
                columns=tuple((name, kind) for name, kind in description["columns"]),
                words=tuple(map(tuple, description["words"])),
                numbers=arrays["numbers"],
                codes=arrays["codes"],
                target=arrays["target"],
                train=arrays["train"],
                test=arrays["test"],
            )

    def to_table(self) -> Table:
        """Return the table as the trainer has it, with the numbers of the classes as classes."""
        remaining_words = iter(self.words)
        columns = tuple(
            Column(name, kind, next(remaining_words) if kind == "category" else ())  # type: ignore[arg-type]
            for name, kind in self.columns
        )
        kinds = [column.kind for column in columns if column.kind != "category"]

        def select(*selected: str) -> NDArray[np.float64]:
            return self.numbers[:, [kind in selected for kind in kinds]]

        records = Records(
            columns,
            np.ascontiguousarray(select("number", "boolean"), np.float32),
            select("date"),
            self.codes,
            select("precise"),
        )
        target = self.target[:, None] if self.task == "regression" else self.target
        return Table(self.name, records, target, ("target",), self.task)  # type: ignore[arg-type]


def share_table(
    table: Table, name: str, train: NDArray[np.int64], test: NDArray[np.int64]
) -> SharedTable:
    """Return the rows of a table that are in one of two parts.

    Args:
        table: All rows, with a single target.
        name: Name of the table.
        train: Row numbers of the training part, int64.
        test: Row numbers of the test part, int64.
    """
    rows = np.concatenate([train, test])
    records, target = table.records.take(rows), table.target[rows]
    others = [column for column in records.columns if column.kind != "category"]
    categories = records.of_kind("category")
    return SharedTable(
        name=name,
        task=table.task,
        columns=tuple((column.name, column.kind) for column in records.columns),
        words=tuple(column.words for column in categories),
        numbers=_stack_columns(records, others, np.float64),
        codes=_stack_columns(records, categories, np.int32),
        # Numbers of the sorted classes of the whole table.
        target=target[:, 0]
        if table.task == "regression"
        else np.searchsorted(np.unique(table.target), target).astype(np.int64),
        train=np.arange(len(train)),
        test=np.arange(len(train), len(rows)),
    )


def _stack_columns(records: Records, columns: Sequence[Column], dtype: type) -> NDArray[Any]:
    values: NDArray[Any] = np.empty((len(records), len(columns)), dtype)
    for place, column in enumerate(columns):
        values[:, place] = records.column(column.name)
    return values
