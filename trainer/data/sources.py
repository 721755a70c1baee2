"""Data sources: a built-in name or the path of a file, read into a table."""

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

REAL = ("breast_cancer", "diabetes", "digits", "iris", "linnerud", "wine")  # in scikit-learn
# None of these is downloaded. Those of PACKAGED need an installed package.
BUILT_IN = (*REAL, *TOYS, *PACKAGED)
SUFFIXES = (*FILE_SUFFIXES, ".npz", *IDX_SUFFIXES)
DEFAULT_OPTIONS = ReadOptions()
MAX_LISTED_FILES = 10_000  # files of a folder that are compared with a misspelled name
MAX_SUGGESTIONS = 3
MIN_SIMILARITY = 0.7  # of a suggestion, 0 to 1, as of `difflib`
MAX_NAME_LENGTH = 64  # characters


def load_table(data: str, reading: ReadOptions = DEFAULT_OPTIONS) -> Table:
    """Read data into a table.

    Args:
        data: A name in `BUILT_IN`; or the path of a file of columns (`.csv`, `.csv.gz`, `.parquet`,
            `.arrow`, `.feather`), of an `.npz` file with the arrays `X` and `y`, of an IDX file of
            images next to which are its labels, or of a folder with such a `train-images-…` file.
        reading: Options for reading. An `.npz` file accepts only the task and columns of numbers;
            other sources that are no files of columns accept only the task.

    Raises:
        DataError: If there is no such source, or its rows cannot be learned from.
    """
    if data in PACKAGED:
        return load_packaged(data, reading)
    if data in BUILT_IN:
        _refuse_options(data, reading)
        return _load_built_in(data, reading.task)
    path = Path(data)
    images = find_idx(path)
    if not path.is_file() and images is None:
        raise DataError(_describe_missing_source(data, path))
    if path.name.lower().endswith(FILE_SUFFIXES):
        return read_file(path, reading)
    if images is None and path.suffix.lower() != ".npz":
        raise DataError(f"expected a file ending in {', '.join(SUFFIXES)}; got {path.name}")
    if images is None:
        _refuse_options(data, reading, accepted=("number", "precise"))
        return read_npz(path, reading)
    _refuse_options(data, reading)
    return read_idx(images, reading.task)


def default_name(data: str) -> str:
    """Return the name of a model that the user did not name: the file's, without its ending.

    Characters that are unsuitable for folders or URLs become dashes.

    Args:
        data: The source, as of `load_table`.
    """
    name = Path(data).name
    endings = "|".join(map(re.escape, SUFFIXES))
    name = re.sub(rf"({endings})$", "", name, flags=re.IGNORECASE)
    return re.sub(r"[^A-Za-z0-9_.-]+", "-", name).strip("-._")[:MAX_NAME_LENGTH] or "model"


def _describe_missing_source(data: str, path: Path) -> str:
    """Return the message for a source that does not exist, with names that are similar."""
    if path.is_dir():
        return (
            f"expected a file, or a folder with train{IDX_SUFFIXES[0]}; got {data!r}, a folder "
            f"without it; name the file in it"
        )
    problem = f"expected a file or a built-in name; got {data!r}, which is neither"
    if path.is_symlink():
        return f"{problem}: it is a link to a file that does not exist"
    if not path.parent.is_dir():
        return f"{problem}: there is no folder {str(path.parent)!r}"
    folder = "" if path.parent == Path() else f"{path.parent}/"
    with suppress(OSError):  # if the folder may not be read
        files = [each.name for each in islice(path.parent.iterdir(), MAX_LISTED_FILES)]
        readable = [name for name in files if name.lower().endswith(SUFFIXES)]
        names = [*readable, *([] if folder else BUILT_IN)]
        stems = {name: _stem(name) for name in names}
        similar = get_close_matches(
            _stem(path.name), set(stems.values()), n=MAX_SUGGESTIONS, cutoff=MIN_SIMILARITY
        )
        if similar:
            suggestions = [
                f"{folder}{name}" for stem in similar for name in names if stems[name] == stem
            ]
            return f"{problem}; did you mean {' or '.join(suggestions[:MAX_SUGGESTIONS])}?"
    return f"{problem}; the built-in names are listed by trainer fit --help"


def _stem(name: str) -> str:
    return name.split(".", 1)[0].lower()


def _refuse_options(data: str, reading: ReadOptions, accepted: Collection[str] = ()) -> None:
    """Refuse options that only apply to files of columns.

    Args:
        data: The source, for the message.
        reading: Options for reading.
        accepted: Names of the options that apply to this source, besides the task.
    """
    for field in fields(reading):
        value = getattr(reading, field.name)
        if field.name in ("delimiter", "decimal", "encoding") and value is not None:
            raise DataError(
                f"expected no {field.name}, which only a CSV file has; got {value!r} for {data}; "
                f"leave it out"
            )
        if field.name not in ("task", "text_categories", *accepted) and value != field.default:
            raise DataError(
                f"expected no {field.name} column, since {data} defines its own features and "
                f"target; got {value!r}; leave it out"
            )


def _load_built_in(name: str, task: str | None) -> Table:
    if name in TOYS:
        return _load_toy(name, task)
    from sklearn import datasets  # noqa: PLC0415 - slow to import

    bunch = getattr(datasets, f"load_{name}")()
    target, names = np.asarray(bunch.target), getattr(bunch, "target_names", None)
    target_names = ("target",)
    if target.dtype.kind == "f" and names is not None:
        target_names = tuple(names)
    elif names is not None and np.asarray(names).dtype.kind == "U":
        target = np.asarray(names)[target]  # the names of the classes, not their numbers
    return make_table(
        source=name,
        records=Records.of_numbers([str(n) for n in bunch.feature_names], bunch.data),
        target=target,
        target_names=target_names,
        task=task,
    )


def _load_toy(name: str, task: str | None) -> Table:
    features, target = TOYS[name]()
    return make_table(
        source=name,
        records=Records.of_numbers(("x", "y"), features),
        target=target,
        target_names=("class",),
        task=task,
    )
