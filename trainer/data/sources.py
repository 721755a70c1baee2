"""Sources: a built-in name or a file, read into a table."""

from __future__ import annotations

import re
from dataclasses import fields
from pathlib import Path

import numpy as np

from trainer.data.files.numpy_files import IDX_SUFFIXES, find_idx, read_idx, read_npz
from trainer.data.files.read import read_file
from trainer.data.files.source import SUFFIXES as ROWS
from trainer.data.packages import PACKAGED, load_packaged
from trainer.data.reading import Reading
from trainer.data.records import Records
from trainer.data.tables import DataError, Table, make_table
from trainer.data.toys import TOYS

__all__ = ["BUILT_IN", "REAL", "SUFFIXES", "TOYS", "Reading", "default_name", "load"]

# All of these lie inside scikit-learn: nothing is downloaded.
REAL = ("breast_cancer", "diabetes", "digits", "iris", "linnerud", "wine")
# Likewise nothing is downloaded for any of these; the packaged ones ask for their package.
BUILT_IN = (*REAL, *TOYS, *PACKAGED)
SUFFIXES = (*ROWS, ".npz", *IDX_SUFFIXES)
WHATEVER = Reading()


def load(data: str, reading: Reading = WHATEVER) -> Table:
    """Read `data` into a table.

    Args:
        data: a name in `BUILT_IN`; the path of a file of columns (`.csv`, `.csv.gz`, `.parquet`,
            `.arrow`, `.feather`), of an `.npz` file with the arrays `X` and `y`, of an IDX file of
            images beside which are its labels, or of a folder with such a `train-images-…`.
        reading: what there is to say of a file's columns; of other sources only the task.

    Raises:
        DataError: there is no such source, or it cannot be trained on.
    """
    if data in PACKAGED:
        return load_packaged(data, reading)
    if data in BUILT_IN:
        _refuse_columns(data, reading)
        return _built_in(data, reading.task)
    path = Path(data)
    images = find_idx(path)
    if not path.is_file() and images is None:
        came = f"a folder without train{IDX_SUFFIXES[0]}" if path.is_dir() else "neither"
        raise DataError(
            f"expected a built-in name ({', '.join(BUILT_IN)}) or a file; got {data!r}, which is "
            f"{came}"
        )
    if path.name.lower().endswith(ROWS):
        return read_file(path, reading)
    if images is None and path.suffix.lower() != ".npz":
        raise DataError(f"expected a file ending in {', '.join(SUFFIXES)}; got {path.name}")
    _refuse_columns(data, reading)
    return read_npz(path, reading.task) if images is None else read_idx(images, reading.task)


def default_name(data: str) -> str:
    """The name a model of this source gets unless one is chosen: the file's, without its ending.

    What no folder or URL should hold becomes a dash.
    """
    name = Path(data).name
    endings = "|".join(map(re.escape, SUFFIXES))
    name = re.sub(rf"({endings})$", "", name, flags=re.IGNORECASE)
    return re.sub(r"[^A-Za-z0-9_.-]+", "-", name).strip("-._")[:64] or "model"


def _refuse_columns(data: str, reading: Reading) -> None:
    for field in fields(reading):
        said = getattr(reading, field.name)
        if field.name in ("delimiter", "decimal", "encoding") and said is not None:
            raise DataError(
                f"expected no {field.name}, which only a CSV file has; got {said!r} for {data}; "
                f"leave it out"
            )
        if field.name != "task" and said != field.default:
            raise DataError(
                f"expected no {field.name} column: {data} says itself what is to be predicted, and "
                f"from what; got {said!r}; leave it out"
            )


def _built_in(name: str, task: str | None) -> Table:
    if name in TOYS:
        return _toy(name, task)
    from sklearn import datasets  # noqa: PLC0415 - slow to import

    bunch = getattr(datasets, f"load_{name}")()
    target, names = np.asarray(bunch.target), getattr(bunch, "target_names", None)
    target_names = ("target",)
    if target.dtype.kind == "f" and names is not None:
        target_names = tuple(names)
    elif names is not None and np.asarray(names).dtype.kind == "U":
        target = np.asarray(names)[target]  # classes go by their names
    return make_table(
        source=name,
        records=Records.of_numbers([str(n) for n in bunch.feature_names], bunch.data),
        target=target,
        target_names=target_names,
        task=task,
    )


def _toy(name: str, task: str | None) -> Table:
    features, target = TOYS[name]()
    return make_table(
        source=name,
        records=Records.of_numbers(("x", "y"), features),
        target=target,
        target_names=("class",),
        task=task,
    )
