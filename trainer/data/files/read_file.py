"""Read a file of rows and columns into a table, in bounded memory.

The file is read twice: once to infer the columns, and once to take in the rows.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from trainer.data.column_names import format_column_option
from trainer.data.files.cell_parsing import create_parser, parse_booleans
from trainer.data.files.cell_texts import to_codes, to_texts
from trainer.data.files.column_inference import add_suspicions, infer_columns
from trainer.data.files.column_roles import assign_roles, find_index
from trainer.data.files.file_records import RecordsStore, to_records
from trainer.data.files.file_sources import CSV_SUFFIXES, FileSource, open_file
from trainer.data.read_options import ColumnProfile, ReadOptions
from trainer.data.records import Column, Records
from trainer.data.tables import MAX_CLASS_NUMBER, DataError, Table, make_table

# Returns the values of a column of a batch, `(n,)`.
Reader = Callable[[pa.Array], NDArray[Any]]


def read_file(path: Path, options: ReadOptions) -> Table:
    """Read a file with one of `FILE_SUFFIXES` into a table.

    Args:
        path: Path of the file.
        options: Options for reading it.

    Raises:
        DataError: If the file cannot be read, or cannot be trained on.
    """
    source = open_file(
        path,
        options.names,
        missing=options.missing,
        delimiter=options.delimiter,
        encoding=options.encoding,
        decimal=options.decimal,
    )
    options = options.resolve_columns(source.columns)
    options = replace(options, index=find_index(source, options))
    profiles = add_suspicions(source, infer_columns(source, options), options)
    rows = read_rows(source, profiles, options)
    target_name = assign_roles(source, options).target
    try:
        table = make_table(
            source=source.name,
            records=rows.records,
            target=rows.target,
            target_names=(target_name,),
            task=options.task,
            groups=rows.groups,
            times=rows.times,
            inferred=tuple(profiles),
            losses=tuple(p.loss for p in profiles if p.loss and p.loss.lost),
            index=options.index,
        )
    except DataError as error:
        (suspicion,) = (p.suspicion for p in profiles if p.name == target_name)
        if suspicion is None:
            raise
        raise DataError(f"{error}; or, {suspicion.detail}; {suspicion.remedy}") from error
    has_nulls = not path.name.lower().endswith(CSV_SUFFIXES)
    return replace(table, gaps=options.missing, has_nulls=has_nulls)


@dataclass(frozen=True)
class FileRows:
    """All rows of a file, by the roles of its columns.

    Attributes:
        records: Records of the features.
        target: Target, `(n,)`: text, int64 if all values are whole numbers, or float64.
        groups: Number of each row's group, int64 `(n,)`; None if no column is the group.
        times: Time of each row, float64 `(n,)`; None if no column is the time.
    """

    records: Records
    target: NDArray[Any]
    groups: NDArray[np.int64] | None
    times: NDArray[np.float64] | None


def read_rows(
    source: FileSource, profiles: Sequence[ColumnProfile], options: ReadOptions
) -> FileRows:
    """Read all rows of a file.

    Args:
        source: The file. It is read once.
        profiles: Profiles of its columns, from `infer_columns`.
        options: Options for reading it.

    Returns:
        The rows. If they have more than `MAX_MEMORY_BYTES`, they are mapped from temporary files.

    Raises:
        DataError: If the target, the group or the time has gaps or is of an unsuitable kind, if a
            number is too large for float32, or if the file has changed since it was profiled.
    """
    roles = assign_roles(source, options)
    profiles_by_name = {profile.name: profile for profile in profiles}
    columns = [_to_column(profiles_by_name[name]) for name in roles.features]
    decimal = options.decimal
    readers = {roles.target: _create_target_reader(source, profiles_by_name[roles.target], decimal)}
    if roles.group is not None:
        _refuse_gaps(source, profiles_by_name[roles.group])
        readers[roles.group] = np.dtype(np.int64), _GroupReader(source.gaps)
    if roles.time is not None:
        time_reader = _create_time_reader(source, profiles_by_name[roles.time], decimal)
        readers[roles.time] = np.dtype(np.float64), time_reader
    dtypes = {name: dtype for name, (dtype, _) in readers.items()}
    with closing(RecordsStore(profiles[0].rows, columns, dtypes)) as store:
        row = 0
        for batch in source.iter_batches():
            records = to_records(
                batch,
                columns,
                row,
                gaps=source.gaps,
                decimal=decimal,
                row_names=source.name_rows,
            )
            store.append(records, {name: read(batch[name]) for name, (_, read) in readers.items()})
            row += batch.num_rows
        records, arrays = store.get_arrays()
    pa.default_memory_pool().release_unused()
    return FileRows(
        records,
        arrays[roles.target],
        None if roles.group is None else arrays[roles.group],
        None if roles.time is None else arrays[roles.time],
    )


def _to_column(profile: ColumnProfile) -> Column:
    return Column(profile.name, profile.kind, profile.words, profile.texts, profile.format)


def _create_target_reader(
    source: FileSource, profile: ColumnProfile, decimal: str | None
) -> tuple[np.dtype[Any], Reader]:
    """Return the dtype of the target, and the function that reads it.

    Raises:
        DataError: If the target has gaps, or is a date.
    """
    _refuse_gaps(source, profile)
    if profile.kind == "date":
        raise DataError(
            f"{source.name}: expected text, truth values or numbers in the target "
            f"{profile.name!r}; got dates; use "
            f"{format_column_option('category', [profile.name])} if they are classes"
        )
    words = ("false", "true") if profile.kind == "boolean" else profile.words
    if not words:
        largest = max(abs(profile.minimum or 0.0), abs(profile.maximum or 0.0))
        is_integer = profile.is_whole and largest <= MAX_CLASS_NUMBER
        dtype = np.dtype(np.int64 if is_integer else np.float64)
        parse = create_parser(profile, source.gaps, decimal)
        return dtype, lambda array: _require_values(parse(array)).astype(dtype)
    table = np.array(words)
    if profile.kind == "boolean":
        return table.dtype, lambda array: table[
            _require_values(parse_booleans(array, source.gaps)).astype(np.int64)
        ]
    texts = pa.array(words)
    return table.dtype, lambda array: table[to_codes(array, texts, source.gaps)]


def _create_time_reader(source: FileSource, profile: ColumnProfile, decimal: str | None) -> Reader:
    """Return the function that reads the time of each row.

    Raises:
        DataError: If the time has gaps, or is neither a date nor a number.
    """
    _refuse_gaps(source, profile)
    if profile.kind in ("category", "boolean"):
        raise DataError(
            f"{source.name}: expected dates or numbers in {profile.name!r}, the time of each row; "
            f"got {profile.example!r}; {profile.oddity or 'choose another column'}"
        )
    parse = create_parser(profile, source.gaps, decimal)
    return lambda array: _require_values(parse(array))


class _GroupReader:
    """Numbers the texts of a column in the order in which they first occur.

    All distinct texts are kept in memory.

    Args:
        gaps: Lower-case texts that stand for a gap.
    """

    def __init__(self, gaps: Collection[str]) -> None:
        self._gaps = gaps
        self._numbers: dict[str, int] = {}

    def __call__(self, array: pa.Array) -> NDArray[np.int64]:
        """Return the number of each row's group, int64 `(n,)`."""
        texts = to_texts(array.unique(), self._gaps).drop_null().unique()
        for text in texts.to_pylist():
            self._numbers.setdefault(text, len(self._numbers))
        table = np.array([self._numbers[text] for text in texts.to_pylist()], np.int64)
        return table[to_codes(array, texts, self._gaps)]


def _refuse_gaps(source: FileSource, profile: ColumnProfile) -> None:
    """Raise DataError if a column has gaps."""
    if profile.gaps:
        (row_name,) = source.name_rows(profile.first_gap - 1)
        raise DataError(
            f"{source.name}: expected a value in every row of {profile.name!r}; got "
            f"{profile.gaps} missing, the first in {row_name}; drop those rows"
        )


def _require_values(values: NDArray[np.float64] | None) -> NDArray[np.float64]:
    """Return values of a column that could be parsed before, or raise DataError."""
    if values is None:
        raise DataError(
            "expected the values of a moment ago; got others: the file is being changed"
        )
    return values
