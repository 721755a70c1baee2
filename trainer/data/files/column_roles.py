"""Decide what each column of a file is used for: target, feature, group, time, or index.

An index is a column that only numbers the rows, as pandas writes it; it is left out.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from serving.bundle import suggest_name
from trainer.data.column_names import format_column_option
from trainer.data.files.cell_parsing import parse_numbers
from trainer.data.files.file_sources import FileSource
from trainer.data.read_options import COLUMN_LISTS, ReadOptions
from trainer.data.tables import DataError, join_names

# pandas' names for an index without a name in Parquet and Arrow files.
RESERVED_NAME = re.compile(r"__index_level_\d+__")
# The header that `to_csv` writes above such an index, and the name that `read_csv` gives to it.
UNNAMED = re.compile(r"|Unnamed: \d+(\.\d+)*")


@dataclass(frozen=True)
class ColumnRoles:
    """The columns of a file by their use.

    Attributes:
        target: Column to predict.
        features: Columns to predict the target from, in the order of the file.
        group: Column whose equal values mark the rows of one group; None if there is none.
        time: Column of the time of each row; None if there is none. It can be a feature, too.
    """

    target: str
    features: tuple[str, ...]
    group: str | None
    time: str | None

    @cached_property
    def columns(self) -> frozenset[str]:
        """All columns that have a role."""
        names = (*self.features, self.target, self.group, self.time)
        return frozenset(name for name in names if name is not None)


def assign_roles(source: FileSource, options: ReadOptions) -> ColumnRoles:
    """Return the roles of the columns of a file.

    Args:
        source: The file.
        options: Options for reading it, with the columns of its index.

    Raises:
        DataError: If the options name a column that the file does not have, or give a column two
            roles or kinds, or if no feature is left.
    """
    _check_named_columns(source, options)
    excluded_columns = {*options.index, *options.drop, options.group}
    candidates = [name for name in source.columns if name not in excluded_columns]
    target = options.target
    if target is None:
        target = _get_last_column(source, options)
        if target not in candidates:
            raise DataError(
                f"{source.name}: expected a target; got the last column, {target!r}, as one to "
                f"drop or to group by; choose another with --target"
            )
    features = tuple(name for name in candidates if name != target)
    for role, name in (("group", options.group), ("time", options.time)):
        if name == target:
            raise DataError(
                f"{source.name}: expected another column than the target as {role}; got {name!r}; "
                f"name the target with --target"
            )
    if target not in candidates:
        raise DataError(
            f"{source.name}: expected the target to be kept; got {target!r} among those to drop"
        )
    if not features:
        raise DataError(
            f"{source.name}: expected columns beside the target, separated by commas and not all "
            f"dropped; got only {target!r}"
        )
    if "" in (*features, target, options.time):
        raise DataError(
            f"{source.name}: expected a name for every column; got none for column "
            f"{source.columns.index('') + 1}; name it in the header, or leave it out with "
            f"{format_column_option('drop', [''])}"
        )
    return ColumnRoles(target, features, options.group, options.time)


def find_index(source: FileSource, options: ReadOptions) -> tuple[str, ...]:
    """Return the columns to leave out because they are an index.

    These are the index columns that a Parquet or Arrow file declares, and columns without a name
    (or called `Unnamed: 0`) that count the rows from 0 or 1. A column that the options name as
    target, group or time, or by its kind, is not an index.

    Args:
        source: The file. If it has columns without a name, its rows are read once.
        options: Options for reading it.
    """
    named_columns = {
        options.target,
        options.group,
        options.time,
        *options.drop,
        *options.map_kinds(),
    }
    unnamed_columns = [name for name in source.columns if UNNAMED.fullmatch(name)]
    candidates = [name for name in unnamed_columns if name not in named_columns]
    index = {*_find_row_counts(source, candidates), *_find_declared_index(source)} - named_columns
    return tuple(name for name in source.columns if name in index)


def _find_declared_index(source: FileSource) -> list[str]:
    """Return the columns that are an index by the file's metadata or by their name."""
    index = set(source.index)
    return [name for name in source.columns if name in index or RESERVED_NAME.fullmatch(name)]


def _find_row_counts(source: FileSource, names: Sequence[str]) -> set[str]:
    """Return the named columns whose values count the rows from 0 or 1."""
    starts: dict[str, float] = {}
    candidates, row = set(names), 0
    if not candidates:
        return candidates
    for batch in source.iter_batches():
        for name in list(candidates):
            values = parse_numbers(batch[name])
            if values is None or not len(values):
                candidates -= {name} if len(batch) else set()
                continue
            start = starts.setdefault(name, values[0])
            if start not in (0, 1) or (values != start + row + np.arange(len(values))).any():
                candidates.discard(name)
        row += batch.num_rows
        if not candidates:
            break
    return candidates & starts.keys()


def _get_last_column(source: FileSource, options: ReadOptions) -> str:
    """Return the last column that is not an index, which is the target by default.

    Raises:
        DataError: If there is none.
    """
    index = {"", *options.index, *_find_declared_index(source)}
    columns = [name for name in source.columns if name not in index]
    if not columns:
        raise DataError(f"{source.name}: expected columns beside an index; got none")
    return columns[-1]


def _list_named_columns(options: ReadOptions) -> dict[str, tuple[str, ...]]:
    """Return the columns that each option names, except for the target."""
    lists = {option: getattr(options, option) for option in COLUMN_LISTS}
    singles = {"group": options.group, "time": options.time}
    return (
        lists
        | {"date-format": tuple(options.map_date_formats())}
        | {option: () if name is None else (name,) for option, name in singles.items()}
    )


def _check_named_columns(source: FileSource, options: ReadOptions) -> None:
    """Refuse options that name unknown columns, or give a column two kinds.

    Raises:
        DataError: If there is such an option.
    """
    columns = source.columns
    try:
        options.list_date_columns()
    except ValueError as error:
        raise DataError(f"{source.name}: {error}") from error
    if options.target is not None and options.target not in columns:
        raise DataError(
            f"{source.name}: expected a target out of {join_names(columns)}; got "
            f"{options.target!r}{suggest_name(options.target, columns)}; name it with --target"
        )
    existing_columns = set(columns)
    unknown_columns = {
        option: unknown_names
        for option, names in _list_named_columns(options).items()
        if (
            unknown_names := [name for name in dict.fromkeys(names) if name not in existing_columns]
        )
    }
    if unknown_columns:
        got = " and ".join(
            f"{join_names(names)} for --{option}" for option, names in unknown_columns.items()
        )
        first = next(iter(unknown_columns.values()))[0]
        raise DataError(
            f"{source.name}: expected names of columns out of {join_names(columns)}; got {got}"
            f"{suggest_name(first, columns)}"
        )
    counts = Counter(name for names in options.group_by_kind().values() for name in names)
    repeated_names = sorted(name for name, count in counts.items() if count > 1)
    if repeated_names:
        raise DataError(
            f"{source.name}: expected one kind for {join_names(repeated_names)}; got two"
        )
