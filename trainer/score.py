"""Scoring: a file's rows through a bundle, the same answers as the server's, in constant memory."""

from __future__ import annotations

import json
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv
import pyarrow.parquet

from serving.bundle import (
    Arrays,
    Bundle,
    BundleError,
    Manifest,
    suggest_name,
    to_nfc,
    write_atomically,
)
from serving.runtime import GraphSession, run_in_slices, run_self_test
from trainer.data.column_names import resolve_names
from trainer.data.files.cell_texts import remove_zero_fractions
from trainer.data.files.declared_columns import DeclaredColumns
from trainer.data.files.file_sources import CSV_SUFFIXES, FileSource, open_file
from trainer.data.read_options import ReadOptions
from trainer.data.records import Column, Records
from trainer.data.tables import DataError, join_names

ROWS_A_RUN = 4096  # what the runtime once took for more, it would keep


def score(
    bundle: Bundle,
    source: Path,
    output: Path,
    *,
    variant: str | None = None,
    names: Sequence[str] = (),
    keep: Sequence[str] = (),
    missing: Sequence[str] | None = None,
    warn: Callable[[str], None] | None = None,
    delimiter: str | None = None,
    decimal: str | None = None,
    encoding: str | None = None,
    watch: Callable[..., None] | None = None,
    progress: Callable[[int], None] | None = None,
) -> int:
    """Answer every row of a file.

    Args:
        bundle: proved here first, as a server does.
        source: a file of a format that can be trained on, with the model's columns and any others.
        output: a `.csv`, `.parquet` or `.jsonl` file to write, whole or not at all: for
            classification a column `prediction` and one `probability_CLASS` for each class, for
            regression `prediction`, or one `prediction_TARGET` for each of several.
        variant: of the bundle; its first, the exact one, if left out.
        names: of the columns of a CSV file without a header; those it was trained with if left out.
        keep: columns of `source` to copy into it, under the names of `kept_names`.
        missing: texts of a CSV file that stand for a gap, in any case; None for those of training.
        warn: told of each column of which a large share is none of the categories.
        delimiter: Character between two cells of a CSV file; as in training if left out.
        decimal: Decimal sign of numbers in texts; likewise.
        encoding: Encoding of a CSV file; likewise.
        watch: Called with the rows of each batch as they were read, the answers to them, the
            decimal sign and what names rows, as `FileTruth.add` takes them.
        progress: told, again and again, how many rows are done.

    Returns:
        The number of rows.

    Raises:
        BundleError: there is no such variant, or it does not reproduce its self-test here.
        DataError: the file cannot be read, or a row is none that the manifest admits.
        OSError: `output` cannot be written.
    """
    manifest = bundle.manifest
    session = _proved(bundle, variant)
    if source.name.lower().endswith(CSV_SUFFIXES):
        delimiter = delimiter or _recorded(manifest, "delimiter")
        encoding = encoding or _recorded(manifest, "encoding")
    decimal = decimal or _recorded(manifest, "decimal")
    said = ReadOptions(missing=None if missing is None else tuple(missing)).missing
    opened = partial(open_file, source, delimiter=delimiter, encoding=encoding)
    names = names or _names(source, manifest, opened)
    rows = opened([to_nfc(name) for name in names], said)
    declared = DeclaredColumns(manifest.inputs, said)
    kept = list(dict.fromkeys(resolve_names([to_nfc(name) for name in keep], rows.columns)))
    if strange := [name for name in kept if name not in rows.columns]:
        raise DataError(
            f"{rows.name}: expected columns to keep out of {join_names(rows.columns)}; got "
            f"{join_names(strange)} for --keep{suggest_name(strange[0], rows.columns)}"
        )
    written = select_columns(manifest, kept)
    if output.exists() and output.samefile(source):
        raise DataError(f"expected another file to write than the one to read; got {output} twice")
    done = 0
    with write_atomically(output) as building, WRITERS[output.suffix.lower()](building) as writer:
        for batch in _at_least_one(rows, declared.columns):
            with _faults_named(rows.name):
                values = remove_zero_fractions(batch, decimal)
                records = declared.read(values, done, decimal=decimal, row_names=rows.name_rows)
                answers = _answers(session, records, manifest, done, rows)
                if watch is not None:
                    watch(values, answers, decimal=decimal, row_names=rows.name_rows)
                writer.write(_table(manifest, {written[n]: batch[n] for n in kept}, answers))
            done += batch.num_rows
            if progress is not None:
                progress(done)
    if warn is not None:
        for warning in declared.iter_unseen_warnings():
            warn(warning)
    return done


def _proved(bundle: Bundle, variant: str | None) -> GraphSession:
    variants = list(bundle.manifest.variants)
    there_are = f"{bundle.path} holds {', '.join(variants)}"
    if variant is not None and variant not in variants:
        raise BundleError(f"expected a variant of the bundle; got {variant!r}; {there_are}")
    proof = run_self_test(bundle, variant or variants[0])
    if proof.session is None:
        raise BundleError(f"{proof.failure}; {there_are}")
    return proof.session


def _at_least_one(rows: FileSource, columns: Sequence[Column]) -> Iterator[pa.RecordBatch]:
    """The batches of a file; of one without rows an empty one, so that its columns are written."""
    empty = True
    for batch in rows.iter_batches():
        empty = False
        yield batch
    if empty:
        lacking = (to_nfc(column.name) for column in columns)
        names = [*rows.columns, *(name for name in lacking if name not in rows.columns)]
        yield pa.RecordBatch.from_pydict({name: pa.array([], pa.string()) for name in names})


def _recorded(manifest: Manifest, option: str) -> str | None:
    """What was said in training of how its files are written."""
    said = manifest.training.config.get(option)
    return said if isinstance(said, str) and said else None


def _names(source: Path, manifest: Manifest, opened: Callable[[], FileSource]) -> list[str]:
    """Those of a CSV file without a header, if it was trained on one."""
    names = manifest.training.config.get("names")
    if not isinstance(names, list) or not source.name.lower().endswith(CSV_SUFFIXES):
        return []
    try:
        has_them = {to_nfc(str(name)) for name in names} <= set(opened().columns)
    except DataError:  # whose first line is no header
        has_them = False
    return [] if has_them else [str(name) for name in names]


@contextmanager
def _faults_named(source: str) -> Iterator[None]:
    try:
        yield
    except pa.ArrowException as error:  # of columns of lists, of bytes that are no text …
        raise DataError(
            f"{source}: expected columns of numbers, truth values, text or dates; {error}"
        ) from error


def _answers(
    session: GraphSession, records: Records, manifest: Manifest, before: int, rows: FileSource
) -> Arrays:
    names = {column.name: column.input_name for column in manifest.inputs}
    answers = run_in_slices(session, records.inputs(names), ROWS_A_RUN)
    finite = np.isfinite(answers["value" if "value" in answers else "probabilities"]).all(axis=1)
    if not finite.all():
        (called,) = rows.name_rows(before + int(finite.argmin()))
        raise DataError(
            f"expected numbers of the size the model was trained on; got {called}, whose answer "
            f"overflows float32; check its units"
        )
    return answers


def _answered(manifest: Manifest) -> list[str]:
    """The columns of an output that hold the answers."""
    if manifest.classes is not None:
        return ["prediction", *(f"probability_{name}" for name in manifest.classes)]
    targets = manifest.data.target
    return ["prediction"] if len(targets) == 1 else [f"prediction_{name}" for name in targets]


def select_columns(manifest: Manifest, keep: Sequence[str]) -> dict[str, str]:
    """Names under which kept columns are written: their own, unless an answer's.

    Returns:
        By the column's name that in the output, all distinct: `prediction_input` for `prediction`.
    """
    answered = set(_answered(manifest))
    taken, found = answered.union(keep), {}
    for name in dict.fromkeys(keep):
        own = name
        if own in answered:
            own += "_input"
            while own in taken:
                own += "_"
            taken.add(own)
        found[name] = own
    return found


def _table(manifest: Manifest, columns: dict[str, pa.Array], answers: Arrays) -> pa.Table:
    arrays = list(answers.get("value", answers.get("probabilities", np.empty((0, 0)))).T)
    if manifest.classes is not None:
        arrays = [answers["label"], *arrays]
    answered = zip(_answered(manifest), arrays, strict=True)
    return pa.table(columns | {name: pa.array(array) for name, array in answered})


class _Writer(ABC):
    """Writes tables of the same columns, one after the other."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __enter__(self) -> _Writer:
        return self

    @abstractmethod
    def write(self, table: pa.Table) -> None: ...

    @abstractmethod
    def __exit__(self, *_: object) -> None: ...


class _Arrow(_Writer):
    """By one of pyarrow's writers, which know their columns from the first table on."""

    def __init__(self, path: Path, make: Callable[[Path, pa.Schema], Any]) -> None:
        super().__init__(path)
        self._make = make
        self._writer: Any = None

    def write(self, table: pa.Table) -> None:
        if self._writer is None:
            self._writer = self._make(self.path, table.schema)
        self._writer.write_table(table)

    def __exit__(self, *_: object) -> None:
        if self._writer is not None:
            self._writer.close()


class _JSONLines(_Writer):
    def __enter__(self) -> _Writer:
        self._file = self.path.open("w", encoding="utf-8")
        return self

    def write(self, table: pa.Table) -> None:
        for row in _shortest(table).to_pylist():
            self._file.write(
                json.dumps(row, default=str, ensure_ascii=False, allow_nan=False) + "\n"
            )

    def __exit__(self, *_: object) -> None:
        self._file.close()


def _shortest(table: pa.Table) -> pa.Table:
    """Floats as JSON can hold them, float32 with the fewest digits that read back as the same."""
    for place, column in enumerate(table.schema):
        values = table.column(place)
        if pa.types.is_float32(column.type):
            values = pc.cast(pc.cast(values, pa.string()), pa.float64())
        if pa.types.is_floating(values.type):  # JSON has no word for others
            values = pc.if_else(pc.is_finite(values), values, pa.scalar(None, values.type))
            table = table.set_column(place, column.name, values)
    return table


WRITERS: dict[str, Callable[[Path], _Writer]] = {
    ".csv": lambda path: _Arrow(path, pa.csv.CSVWriter),
    ".parquet": lambda path: _Arrow(path, pa.parquet.ParquetWriter),
    ".jsonl": _JSONLines,
}
