"""Sources: a built-in name or a file, read into a table."""

from __future__ import annotations

import re
import zlib
from pathlib import Path
from zipfile import BadZipFile

import numpy as np
from sklearn import datasets

from trainer.data.csv_files import read_csv
from trainer.data.packages import PACKAGED, load_packaged
from trainer.data.records import Records
from trainer.data.tables import DataError, Table, make_table
from trainer.data.toys import TOYS

# All of these lie inside scikit-learn: nothing is downloaded.
REAL = {
    "breast_cancer": datasets.load_breast_cancer,
    "diabetes": datasets.load_diabetes,
    "digits": datasets.load_digits,
    "iris": datasets.load_iris,
    "linnerud": datasets.load_linnerud,
    "wine": datasets.load_wine,
}
# Likewise nothing is downloaded for any of these; the packaged ones ask for their package.
BUILT_IN = (*REAL, *TOYS, *PACKAGED)
SUFFIXES = (".csv", ".csv.gz", ".npz")


def load(data: str, *, target: str | None = None, task: str | None = None) -> Table:
    """Read `data` into a table.

    Args:
        data: a name in `BUILT_IN`, or the path of a CSV file with a header (`.csv`, `.csv.gz`) or
            of an `.npz` file with the arrays `X` and `y`.
        target: the column to predict, for a CSV file; by default the last one.
        task: `classification` or `regression`; by default inferred (see `make_table`).

    Raises:
        DataError: there is no such source, or it cannot be trained on.
    """
    if data in BUILT_IN:
        _refuse_target(data, target)
        return _built_in(data, task)
    path = Path(data)
    if not path.is_file():
        came = "a folder" if path.is_dir() else "neither"
        raise DataError(
            f"expected a built-in name ({', '.join(BUILT_IN)}) or a file; got {data!r}, which is "
            f"{came}"
        )
    if path.name.lower().endswith((".csv", ".csv.gz")):
        return read_csv(path, target, task)
    if path.suffix.lower() == ".npz":
        _refuse_target(data, target)
        return _npz(path, task)
    raise DataError(f"expected a file ending in {', '.join(SUFFIXES)}; got {path.name}")


def default_name(data: str) -> str:
    """The name a model of this source gets unless one is chosen: the file's, without its ending.

    What no folder or URL should hold becomes a dash.
    """
    name = Path(data).name
    endings = "|".join(map(re.escape, SUFFIXES))
    name = re.sub(rf"({endings})$", "", name, flags=re.IGNORECASE)
    return re.sub(r"[^A-Za-z0-9_.-]+", "-", name).strip("-._")[:64] or "model"


def _refuse_target(data: str, target: str | None) -> None:
    if target is not None:
        raise DataError(
            f"expected no target column: {data} says itself what is to be predicted; "
            f"got {target!r}; leave it out"
        )


def _built_in(name: str, task: str | None) -> Table:
    if name in PACKAGED:
        return load_packaged(name, task)
    if name in TOYS:
        return _toy(name, task)
    bunch = REAL[name]()
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


def _npz(path: Path, task: str | None) -> Table:
    try:
        with path.open("rb") as stream, np.load(stream, allow_pickle=False) as file:
            missing = [key for key in ("X", "y") if key not in file.files]
            if missing:
                raise DataError(
                    f"{path.name}: expected arrays named X and y; got {', '.join(file.files)}"
                )
            X, y = file["X"], file["y"]
    except DataError:
        raise
    except (OSError, EOFError, BadZipFile, NotImplementedError, ValueError, zlib.error) as error:
        raise DataError(
            f"{path.name}: expected plain arrays, as np.savez writes them; got a damaged file or "
            f"an array of Python objects; convert text with .astype(str)"
        ) from error
    if y.ndim not in (1, 2) or 0 in y.shape:
        raise DataError(
            f"{path.name}: expected y of shape (rows,) or (rows, targets), none of them 0; "
            f"got {y.shape}"
        )
    if X.ndim != 2 or X.dtype.kind not in "fiub":
        raise DataError(
            f"{path.name}: expected X as numbers of shape (rows, columns); got {X.dtype} {X.shape}"
        )
    n_targets = 1 if y.ndim == 1 else y.shape[1]
    return make_table(
        source=path.name,
        records=Records.of_numbers([f"x{i}" for i in range(X.shape[1])], X),
        target=y,
        target_names=("y",) if n_targets == 1 else tuple(f"y{i}" for i in range(n_targets)),
        task=task,
    )
