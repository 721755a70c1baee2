"""CSV files: comma-separated, UTF-8, a header of column names, numbers in every feature."""

from __future__ import annotations

import gzip
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.csv
from numpy.typing import NDArray

from trainer.data.records import Records
from trainer.data.tables import DataError, Table, make_table

LARGEST = 2**31 - 1  # bytes that its reader takes for one block
SHOWN = 20  # column names an error lists at most


def read_csv(path: Path, target: str | None, task: str | None) -> Table:
    """Read a `.csv` or `.csv.gz` file; arguments and errors as of `sources.load`."""
    content = _content(path)
    frame = _parse(path.name, content)
    names = frame.column_names
    _check_header(path.name, names)
    if target is None:
        target = names[-1]
    if target not in names:
        raise DataError(f"{path.name}: expected a target out of {_listed(names)}; got {target!r}")
    if pa.types.is_boolean(frame.schema.field(target).type):
        frame = _parse(path.name, content, text=target)  # classes keep the words of the file
    features = [name for name in names if name != target]
    if not features:
        raise DataError(
            f"{path.name}: expected columns beside the target, separated by commas; got only "
            f"{target!r}{_hint(target)}"
        )
    if not frame.num_rows:
        raise DataError(f"{path.name}: expected rows under the header; got none")
    for name in features:
        _require_numbers(path.name, frame, name)
    return make_table(
        source=path.name,
        records=Records.of_numbers(
            features, np.column_stack([_numpy(frame, name) for name in features])
        ),
        target=_target(path.name, frame, target),
        target_names=(target,),
        task=task,
    )


def _content(path: Path) -> bytes:
    try:
        content = path.read_bytes()
        if path.suffix.lower() == ".gz":
            content = gzip.decompress(content)
    except (OSError, EOFError, zlib.error) as error:
        raise DataError(f"{path.name}: expected a readable file; {error}") from error
    if len(content) > LARGEST:
        raise DataError(
            f"{path.name}: expected at most 2 GiB of text; got {len(content)} bytes; take fewer "
            f"rows, or save X and y as .npz"
        )
    return content


def _parse(source: str, content: bytes, *, text: str | None = None) -> pa.Table:
    """The file as typed columns; the column `text` stays as it is written."""
    try:
        content.decode("utf-8")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise DataError(
            f"{source}: expected text in UTF-8; got a byte that is not in line {line}; "
            f"save the file as UTF-8"
        ) from None
    # One block as long as the file, so that a column's type is inferred from all its rows.
    one_block = pa.csv.ReadOptions(block_size=max(len(content), 1))
    types = pa.csv.ConvertOptions(column_types={} if text is None else {text: pa.string()})
    try:
        return pa.csv.read_csv(
            pa.BufferReader(content), read_options=one_block, convert_options=types
        )
    except pa.ArrowInvalid as error:
        header = content.split(b"\n", 1)[0].decode("utf-8")
        raise DataError(
            f"{source}: expected a comma-separated file with a header; {error}{_hint(header)}"
        ) from error


def _hint(header: str) -> str:
    for sign, name in ((";", "semicolons"), ("\t", "tabs"), ("|", "bars")):
        if sign in header:
            return f"; it seems to be separated by {name}: save it with commas"
    return ""


def _check_header(source: str, names: list[str]) -> None:
    repeated = sorted({name for name in names if names.count(name) > 1})
    if repeated:
        raise DataError(f"{source}: expected distinct column names; got {_listed(repeated)} twice")
    if "" in names:
        raise DataError(
            f"{source}: expected a name for every column; got none for column "
            f"{names.index('') + 1}; name it, or drop it if it is an index"
        )
    numbers = [name for name in names if _is_number(name)]
    counted = all(name.isdecimal() for name in numbers) and (
        [int(name) for name in numbers] == list(range(int(numbers[0]), int(numbers[-1]) + 1))
        if numbers
        else True
    )
    if not counted:  # 0, 1, 2 … are names that people give
        raise DataError(
            f"{source}: expected column names in the first line; got the numbers "
            f"{_listed(numbers)}; add a header"
        )


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def _listed(names: list[str]) -> str:
    more = f" and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
    return ", ".join(map(repr, names[:SHOWN])) + more


def _require_numbers(source: str, frame: pa.Table, name: str) -> None:
    kind = frame.schema.field(name).type
    if pa.types.is_null(kind):
        raise DataError(f"{source}: expected numbers in {name!r}; got no value at all; drop it")
    if not _holds_numbers(kind):
        values = frame[name].to_pylist()
        row, example = next(
            (i, str(v)) for i, v in enumerate(values) if v is not None and not _is_number(str(v))
        )
        raise DataError(
            f"{source}: expected numbers in every column but the target; got {_called(kind)} in "
            f"{name!r}, such as {example!r} in row {row + 1}; encode it as numbers or drop it"
        )
    _refuse_gaps(source, frame, name)


def _refuse_gaps(source: str, frame: pa.Table, name: str) -> None:
    gaps = np.flatnonzero(frame[name].is_null().to_numpy())
    if gaps.size:
        raise DataError(
            f"{source}: expected a value in every row of {name!r}; got {gaps.size} missing, the "
            f"first in row {gaps[0] + 1}; fill them or drop those rows"
        )


def _target(source: str, frame: pa.Table, name: str) -> NDArray[Any]:
    kind = frame.schema.field(name).type
    if not (pa.types.is_string(kind) or pa.types.is_null(kind) or _holds_numbers(kind)):
        raise DataError(
            f"{source}: expected text or numbers in {name!r}; got {_called(kind)}; convert it"
        )
    _refuse_gaps(source, frame, name)
    values = _numpy(frame, name)
    if not pa.types.is_string(kind):
        return values
    empty = np.flatnonzero(values == "")
    if empty.size:
        raise DataError(
            f"{source}: expected a value in every row of {name!r}; got {empty.size} missing, the "
            f"first in row {empty[0] + 1}; drop those rows"
        )
    return values.astype(np.str_)


def _holds_numbers(kind: pa.DataType) -> bool:
    types = pa.types
    return bool(types.is_integer(kind) or types.is_floating(kind) or types.is_boolean(kind))


def _called(kind: pa.DataType) -> str:
    if pa.types.is_string(kind):
        return "text"
    return "dates or times" if pa.types.is_temporal(kind) else str(kind)


def _numpy(frame: pa.Table, name: str) -> NDArray[Any]:
    array: NDArray[Any] = frame[name].to_numpy()
    return array
