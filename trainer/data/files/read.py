"""Reading a file of columns: two looks, one to know what it holds and one to take it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from trainer.data.files.infer import infer
from trainer.data.files.ingest import ingest
from trainer.data.files.roles import roles
from trainer.data.files.source import CSV, open_file
from trainer.data.reading import Reading
from trainer.data.tables import Table, make_table


def read_file(path: Path, reading: Reading) -> Table:
    """The table in a file of one of `source.SUFFIXES`.

    Raises:
        DataError: it cannot be read or trained on.
    """
    source = open_file(path, reading.names, reading.missing)
    inferred = infer(source, reading)
    records, target, groups, times = ingest(source, inferred, reading)
    table = make_table(
        source=source.name,
        records=records,
        target=target,
        target_names=(roles(source, reading).target,),
        task=reading.task,
        groups=groups,
        times=times,
        inferred=tuple(inferred),
    )
    return replace(table, gaps=reading.missing, has_nulls=not path.name.lower().endswith(CSV))
