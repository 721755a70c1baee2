"""Score a file: answer each row with a bundle's model, as the server does, in constant memory."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import trainer.train_extra  # noqa: F401 - says which extra to install

import numpy as np
import pyarrow as pa

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
from trainer.score_writers import WRITERS

# ONNX Runtime never frees the memory that its largest run once needed.
MAX_ROWS_PER_RUN = 4096


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
    on_batch: Callable[..., None] | None = None,
    on_progress: Callable[[int], None] | None = None,
) -> int:
    """Answer every row of a file.

    Args:
        bundle: Bundle of the model. Its self-test is run first, as in a server.
        source: File of a format that can be trained on, with the columns of the model and any
            others.
        output: File to write, `.csv`, `.parquet` or `.jsonl`; nothing is written if scoring fails.
            For classification it has a column `prediction` and `probability_CLASS` for each class;
            for regression `prediction`, or `prediction_TARGET` for each of several targets.
        variant: Name of the variant that answers; by default the first of the bundle, fp32.
        names: Column names of a CSV file without a header; by default those given in training.
        keep: Columns of `source` to copy to the output, under the names of `name_kept_columns`.
        missing: Texts of a CSV file that mean a missing value, in any case; None for those of
            training.
        warn: Function that is called with a warning for each column of which a large share is
            unseen categories.
        delimiter: Delimiter of a CSV file; by default that of training.
        decimal: Decimal sign of numbers in texts; by default that of training.
        encoding: Encoding of a CSV file; by default that of training.
        on_batch: Function that is called with each batch of rows, the answers to them, the decimal
            sign and the function that names rows, as `FileEvaluator.add` takes them.
        on_progress: Function that is called with the number of rows answered so far.

    Returns:
        The number of rows.

    Raises:
        BundleError: If there is no such variant, or its self-test fails on this machine.
        DataError: If the file cannot be read, or the model does not accept one of its rows.
        OSError: If `output` cannot be written.
    """
    manifest = bundle.manifest
    session = load_session(bundle, variant)
    decimal = decimal or get_training_option(manifest, "decimal")
    gap_texts = ReadOptions(missing=None if missing is None else tuple(missing)).missing
    rows = _open_source(source, manifest, names, gap_texts, delimiter=delimiter, encoding=encoding)
    declared = DeclaredColumns(manifest.inputs, gap_texts)
    keep_columns = _resolve_kept_columns(rows, keep)
    output_names = name_kept_columns(manifest, keep_columns)
    if output.exists() and output.samefile(source):
        raise DataError(f"expected another file to write than the one to read; got {output} twice")
    n_rows = 0
    with write_atomically(output) as building, WRITERS[output.suffix.lower()](building) as writer:
        for batch in iter_batches(rows, declared.columns):
            with _explain_arrow_errors(rows.name):
                values = remove_zero_fractions(batch, decimal)
                records = declared.read(values, n_rows, decimal=decimal, row_names=rows.name_rows)
                answers = run_batch(session, records, manifest, n_rows, rows)
                if on_batch is not None:
                    on_batch(values, answers, decimal=decimal, row_names=rows.name_rows)
                kept_columns = {output_names[name]: batch[name] for name in keep_columns}
                writer.write(_build_table(manifest, kept_columns, answers))
            n_rows += batch.num_rows
            if on_progress is not None:
                on_progress(n_rows)
    if warn is not None:
        for warning in declared.iter_unseen_warnings():
            warn(warning)
    return n_rows


def load_session(bundle: Bundle, variant: str | None) -> GraphSession:
    """Return a session of a variant's graph, whose self-test has passed.

    Args:
        bundle: Bundle of the model.
        variant: Name of the variant; None for the first of the bundle.

    Raises:
        BundleError: If there is no such variant, or its self-test fails on this machine.
    """
    variants = list(bundle.manifest.variants)
    available = f"{bundle.path} holds {', '.join(variants)}"
    if variant is not None and variant not in variants:
        raise BundleError(f"expected a variant of the bundle; got {variant!r}; {available}")
    result = run_self_test(bundle, variant or variants[0])
    if result.session is None:
        raise BundleError(f"{result.failure}; {available}")
    return result.session


def get_training_option(manifest: Manifest, option: str) -> str | None:
    """Return the text that an option had in training; None if it was not given."""
    value = manifest.training.config.get(option)
    return value if isinstance(value, str) and value else None


def _open_source(
    source: Path,
    manifest: Manifest,
    names: Sequence[str],
    gap_texts: Sequence[str] | None,
    *,
    delimiter: str | None,
    encoding: str | None,
) -> FileSource:
    """Open the file to score; what is not given for a CSV file is as in training."""
    if source.name.lower().endswith(CSV_SUFFIXES):
        delimiter = delimiter or get_training_option(manifest, "delimiter")
        encoding = encoding or get_training_option(manifest, "encoding")
    open_source = partial(open_file, source, delimiter=delimiter, encoding=encoding)
    names = names or _find_header_names(source, manifest, open_source)
    return open_source([to_nfc(name) for name in names], gap_texts)


def _find_header_names(
    source: Path, manifest: Manifest, open_source: Callable[[], FileSource]
) -> list[str]:
    """Return the names that training gave to the columns of a file without a header.

    The list is empty if training gave none, or if the file to score has these names as its header.
    """
    names = manifest.training.config.get("names")
    if not isinstance(names, list) or not source.name.lower().endswith(CSV_SUFFIXES):
        return []
    try:
        has_header = {to_nfc(str(name)) for name in names} <= set(open_source().columns)
    except DataError:  # the first line cannot be a header
        has_header = False
    return [] if has_header else [str(name) for name in names]


def _resolve_kept_columns(rows: FileSource, keep: Sequence[str]) -> list[str]:
    columns = list(dict.fromkeys(resolve_names([to_nfc(name) for name in keep], rows.columns)))
    if unknown_names := [name for name in columns if name not in rows.columns]:
        raise DataError(
            f"{rows.name}: expected columns to keep out of {join_names(rows.columns)}; got "
            f"{join_names(unknown_names)} for --keep"
            f"{suggest_name(unknown_names[0], rows.columns)}"
        )
    return columns


def iter_batches(rows: FileSource, columns: Sequence[Column]) -> Iterator[pa.RecordBatch]:
    """Yield the batches of a file; one empty batch if it has no rows.

    With the empty batch, the output of a file without rows has its columns, too.

    Args:
        rows: The file.
        columns: Columns of the model, which the empty batch has in any case.
    """
    is_empty = True
    for batch in rows.iter_batches():
        is_empty = False
        yield batch
    if is_empty:
        model_names = (to_nfc(column.name) for column in columns)
        names = [*rows.columns, *(name for name in model_names if name not in rows.columns)]
        yield pa.RecordBatch.from_pydict({name: pa.array([], pa.string()) for name in names})


@contextmanager
def _explain_arrow_errors(source: str) -> Iterator[None]:
    try:
        yield
    except pa.ArrowException as error:  # for example columns of lists, or bytes that are no text
        raise DataError(
            f"{source}: expected columns of numbers, booleans, texts or dates; {error}"
        ) from error


def run_batch(
    session: GraphSession, records: Records, manifest: Manifest, first_row: int, rows: FileSource
) -> Arrays:
    """Return the answers to some records, by the names of the graph's outputs.

    Args:
        session: Session of the graph.
        records: The records.
        manifest: Manifest of the bundle.
        first_row: Index of the first record in the file, from 0.
        rows: The file, which names rows in errors.

    Raises:
        DataError: If an answer overflows float32.
    """
    input_names = {column.name: column.input_name for column in manifest.inputs}
    answers = run_in_slices(session, records.inputs(input_names), MAX_ROWS_PER_RUN)
    values = answers["value" if "value" in answers else "probabilities"]
    is_finite = np.isfinite(values).all(axis=1)
    if not is_finite.all():
        (row_name,) = rows.name_rows(first_row + int(is_finite.argmin()))
        raise DataError(
            f"expected numbers of the size the model was trained on; got {row_name}, whose answer "
            f"overflows float32; check its units"
        )
    return answers


def _name_answer_columns(manifest: Manifest) -> list[str]:
    if manifest.classes is not None:
        return ["prediction", *(f"probability_{name}" for name in manifest.classes)]
    targets = manifest.data.target
    return ["prediction"] if len(targets) == 1 else [f"prediction_{name}" for name in targets]


def name_kept_columns(manifest: Manifest, keep: Sequence[str]) -> dict[str, str]:
    """Return the names of kept columns in the output: their own, unless an answer has it.

    Args:
        manifest: Manifest of the bundle.
        keep: Names of the columns.

    Returns:
        The distinct names in the output by the columns' names, for example `prediction_input` for
        `prediction`.
    """
    answer_names = set(_name_answer_columns(manifest))
    used_names, output_names = answer_names.union(keep), {}
    for name in dict.fromkeys(keep):
        output_name = name
        if name in answer_names:
            output_name += "_input"
            while output_name in used_names:
                output_name += "_"
            used_names.add(output_name)
        output_names[name] = output_name
    return output_names


def _build_table(manifest: Manifest, columns: dict[str, pa.Array], answers: Arrays) -> pa.Table:
    arrays = list(answers.get("value", answers.get("probabilities", np.empty((0, 0)))).T)
    if manifest.classes is not None:
        arrays = [answers["label"], *arrays]
    named = zip(_name_answer_columns(manifest), arrays, strict=True)
    return pa.table(columns | {name: pa.array(array) for name, array in named})
