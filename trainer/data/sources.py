"""Sources: a built-in name or a file, read into a table."""

from __future__ import annotations

import re
from collections.abc import Collection
from contextlib import suppress
from dataclasses import fields
from difflib import get_close_matches
from itertools import islice
from pathlib import Path

import numpy as np

from trainer.data.files.file_sources import FILE_SUFFIXES
from trainer.data.files.numpy_files import IDX_SUFFIXES, find_idx, read_idx, read_npz
from trainer.data.files.read_file import read_file
from trainer.data.packages import PACKAGED, load_packaged
from trainer.data.read_options import ReadOptions
from trainer.data.records import Records
from trainer.data.tables import DataError, Table, make_table
from trainer.data.toys import TOYS

__all__ = ["BUILT_IN", "REAL", "SUFFIXES", "TOYS", "ReadOptions", "default_name", "load_table"]

# All of these lie inside scikit-learn: nothing is downloaded.
REAL = ("breast_cancer", "diabetes", "digits", "iris", "linnerud", "wine")
# Likewise nothing is downloaded for any of these; the packaged ones ask for their package.
BUILT_IN = (*REAL, *TOYS, *PACKAGED)
SUFFIXES = (*FILE_SUFFIXES, ".npz", *IDX_SUFFIXES)
WHATEVER = ReadOptions()
MOST_LISTED = 10_000  # files of a folder that are looked at for a name that may have been meant
MOST_MEANT = 3


def load_table(data: str, reading: ReadOptions = WHATEVER) -> Table:
    """Read `data` into a table.

    Args:
        data: a name in `BUILT_IN`; the path of a file of columns (`.csv`, `.csv.gz`, `.parquet`,
            `.arrow`, `.feather`), of an `.npz` file with the arrays `X` and `y`, of an IDX file of
            images beside which are its labels, or of a folder with such a `train-images-…`.
        reading: what there is to say of a file's columns; of arrays in an `.npz` file the task and
            kinds of numbers, of other sources only the task.

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
        raise DataError(_no_such_source(data, path))
    if path.name.lower().endswith(FILE_SUFFIXES):
        return read_file(path, reading)
    if images is None and path.suffix.lower() != ".npz":
        raise DataError(f"expected a file ending in {', '.join(SUFFIXES)}; got {path.name}")
    if images is None:
        _refuse_columns(data, reading, taken=("number", "precise"))
        return read_npz(path, reading)
    _refuse_columns(data, reading)
    return read_idx(images, reading.task)


def default_name(data: str) -> str:
    """The name a model of this source gets unless one is chosen: the file's, without its ending.

    What no folder or URL should hold becomes a dash.
    """
    name = Path(data).name
    endings = "|".join(map(re.escape, SUFFIXES))
    name = re.sub(rf"({endings})$", "", name, flags=re.IGNORECASE)
    return re.sub(r"[^A-Za-z0-9_.-]+", "-", name).strip("-._")[:64] or "model"


def _no_such_source(data: str, path: Path) -> str:
    """Say that there is neither a file nor a built-in name, and what may have been meant."""
    if path.is_dir():
        return (
            f"expected a file, or a folder with train{IDX_SUFFIXES[0]}; got {data!r}, a folder "
            f"without it; name the file in it"
        )
    came = f"expected a file or a built-in name; got {data!r}, which is neither"
    if path.is_symlink():
        return f"{came}: it is a link that leads nowhere"
    if not path.parent.is_dir():
        return f"{came}: there is no folder {str(path.parent)!r}"
    folder = "" if path.parent == Path() else f"{path.parent}/"
    with suppress(OSError):  # of a folder that may not be read
        files = [each.name for each in islice(path.parent.iterdir(), MOST_LISTED)]
        readable = [name for name in files if name.lower().endswith(SUFFIXES)]
        names = [*readable, *([] if folder else BUILT_IN)]
        stems = {name: _stem(name) for name in names}
        close = get_close_matches(_stem(path.name), set(stems.values()), n=MOST_MEANT, cutoff=0.7)
        if close:
            meant = [f"{folder}{name}" for stem in close for name in names if stems[name] == stem]
            return f"{came}; did you mean {' or '.join(meant[:MOST_MEANT])}?"
    return f"{came}; the built-in names are listed by trainer fit --help"


def _stem(name: str) -> str:
    return name.split(".", 1)[0].lower()


def _refuse_columns(data: str, reading: ReadOptions, taken: Collection[str] = ()) -> None:
    for field in fields(reading):
        said = getattr(reading, field.name)
        if field.name in ("delimiter", "decimal", "encoding") and said is not None:
            raise DataError(
                f"expected no {field.name}, which only a CSV file has; got {said!r} for {data}; "
                f"leave it out"
            )
        if field.name not in ("task", "text_categories", *taken) and said != field.default:
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
