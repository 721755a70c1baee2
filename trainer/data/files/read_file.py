"""Reading a file of columns: two looks, one to know what it holds and one to take it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from trainer.data.files.column_inference import infer_columns
from trainer.data.files.index import find_index
from trainer.data.files.file_records import ingest
from trainer.data.files.column_roles import roles
from trainer.data.files.file_sources import CSV, open_file
from trainer.data.files.suspected_types import suspect
from trainer.data.read_options import ReadOptions
from trainer.data.tables import DataError, Table, make_table


def read_file(path: Path, reading: ReadOptions) -> Table:
    """The table in a file of one of `source.SUFFIXES`.

    Raises:
        DataError: it cannot be read or trained on.
    """
    source = open_file(
        path,
        reading.names,
        missing=reading.missing,
        delimiter=reading.delimiter,
        encoding=reading.encoding,
        decimal=reading.decimal,
    )
    reading = reading.resolved(source.columns)
    reading = replace(reading, index=find_index(source, reading))
    inferred = suspect(source, infer_columns(source, reading), reading)
    records, target, groups, times = ingest(source, inferred, reading)
    name = roles(source, reading).target
    try:
        table = make_table(
            source=source.name,
            records=records,
            target=target,
            target_names=(name,),
            task=reading.task,
            groups=groups,
            times=times,
            inferred=tuple(inferred),
            losses=tuple(found.loss for found in inferred if found.loss and found.loss.lost),
            index=reading.index,
        )
    except DataError as error:
        (found,) = (column.suspicion for column in inferred if column.name == name)
        if found is None:
            raise
        raise DataError(f"{error}; or, {found.detail}; {found.remedy}") from error
    return replace(table, gaps=reading.missing, has_nulls=not path.name.lower().endswith(CSV))
