"""Sources: a built-in name or a file, read into a table."""

from __future__ import annotations

import gzip
import re
from pathlib import Path
from typing import Any
from zipfile import BadZipFile

import numpy as np
import pyarrow as pa
import pyarrow.csv
from numpy.typing import NDArray
from sklearn import datasets

from trainer.data.tables import DataError, Table, make_table

# All of these lie inside scikit-learn: nothing is downloaded.
BUILT_IN = {
    "breast_cancer": datasets.load_breast_cancer,
    "diabetes": datasets.load_diabetes,
    "digits": datasets.load_digits,
    "iris": datasets.load_iris,
    "linnerud": datasets.load_linnerud,
    "wine": datasets.load_wine,
}
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
        raise DataError(
            f"expected a built-in name ({', '.join(BUILT_IN)}) or a file; got {data!r}, which is "
            f"neither"
        )
    if path.name.endswith((".csv", ".csv.gz")):
        return _csv(path, target, task)
    if path.suffix == ".npz":
        _refuse_target(data, target)
        return _npz(path, task)
    raise DataError(f"expected a file ending in {', '.join(SUFFIXES)}; got {path.name}")


def default_name(data: str) -> str:
    """The name a model of this source gets unless one is chosen: the file's, without its ending.

    What no folder or URL should hold becomes a dash.
    """
    name = Path(data).name
    for suffix in sorted(SUFFIXES, key=len, reverse=True):
        name = name.removesuffix(suffix)
    return re.sub(r"[^A-Za-z0-9_.-]+", "-", name).strip("-._")[:64] or "model"


def _refuse_target(data: str, target: str | None) -> None:
    if target is not None:
        raise DataError(
            f"expected no target column: {data} says itself what is to be predicted; "
            f"got {target!r}; leave it out"
        )


def _built_in(name: str, task: str | None) -> Table:
    bunch = BUILT_IN[name]()
    target = np.asarray(bunch.target)
    names = getattr(bunch, "target_names", None) if target.dtype.kind == "f" else None
    return make_table(
        source=name,
        features=np.asarray(bunch.data),
        feature_names=tuple(str(n) for n in bunch.feature_names),
        target=target,
        target_names=tuple(names) if names is not None else ("target",),
        task=task,
    )


def _npz(path: Path, task: str | None) -> Table:
    try:
        with np.load(path, allow_pickle=False) as file:
            missing = [key for key in ("X", "y") if key not in file.files]
            if missing:
                raise DataError(
                    f"{path.name}: expected arrays named X and y; got {', '.join(file.files)}"
                )
            X, y = file["X"], file["y"]
    except (OSError, BadZipFile, ValueError) as error:
        if isinstance(error, DataError):
            raise
        raise DataError(f"{path.name}: expected an .npz file of plain arrays; {error}") from error
    if y.ndim not in (1, 2) or 0 in y.shape:
        raise DataError(
            f"{path.name}: expected y of shape (rows,) or (rows, targets); got {y.shape}"
        )
    n_features = X.shape[1] if X.ndim == 2 else 0
    n_targets = 1 if y.ndim == 1 else y.shape[1]
    return make_table(
        source=path.name,
        features=X,
        feature_names=tuple(f"x{i}" for i in range(n_features)),
        target=y,
        target_names=("y",) if n_targets == 1 else tuple(f"y{i}" for i in range(n_targets)),
        task=task,
    )


def _csv(path: Path, target: str | None, task: str | None) -> Table:
    try:
        content = gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
        # One block as long as the file, so that a column's type is inferred from all its rows.
        one_block = pa.csv.ReadOptions(block_size=max(len(content), 1))
        frame = pa.csv.read_csv(pa.BufferReader(content), read_options=one_block)
    except (pa.ArrowInvalid, OSError, EOFError) as error:
        raise DataError(
            f"{path.name}: expected a comma-separated file with a header; {error}"
        ) from error
    names = frame.column_names
    repeated = sorted({name for name in names if names.count(name) > 1})
    if repeated:
        raise DataError(f"{path.name}: expected distinct column names; got {repeated} repeatedly")
    if target is None:
        target = names[-1]
    if target not in names:
        raise DataError(f"{path.name}: expected a target out of {', '.join(names)}; got {target!r}")
    features = [name for name in names if name != target]
    if not features:
        raise DataError(f"{path.name}: expected a column beside the target; got only {target}")
    if not frame.num_rows:
        raise DataError(f"{path.name}: expected rows under the header; got none")
    for name in features:
        _require_numbers(path.name, frame, name)
    return make_table(
        source=path.name,
        features=np.column_stack([_numpy(frame, name) for name in features]),
        feature_names=tuple(features),
        target=_target(path.name, frame, target),
        target_names=(target,),
        task=task,
    )


def _require_numbers(source: str, frame: pa.Table, name: str) -> None:
    kind = frame.schema.field(name).type
    if not _is_number(kind):
        raise DataError(
            f"{source}: expected numbers in every column but the target; got {kind} in {name!r}; "
            f"encode it as numbers or drop it"
        )
    if frame[name].null_count:
        raise DataError(
            f"{source}: expected a number in every row of {name!r}; "
            f"got {frame[name].null_count} empty cells; fill them or drop those rows"
        )


def _is_number(kind: pa.DataType) -> bool:
    types = pa.types
    return bool(types.is_integer(kind) or types.is_floating(kind) or types.is_boolean(kind))


def _target(source: str, frame: pa.Table, name: str) -> NDArray[Any]:
    if frame[name].null_count:
        raise DataError(
            f"{source}: expected a target in every row; got {frame[name].null_count} empty cells "
            f"in {name!r}; drop those rows"
        )
    kind = frame.schema.field(name).type
    if pa.types.is_string(kind):
        values = _numpy(frame, name).astype(np.str_)
    elif _is_number(kind):
        values = _numpy(frame, name)
    else:
        raise DataError(
            f"{source}: expected text in UTF-8 or numbers in {name!r}; got {kind}; convert it"
        )
    if values.dtype.kind == "U" and (values == "").any():
        count = np.count_nonzero(values == "")
        raise DataError(
            f"{source}: expected a target in every row; got {count} empty cells in {name!r}; "
            f"drop those rows"
        )
    return values


def _numpy(frame: pa.Table, name: str) -> NDArray[Any]:
    array: NDArray[Any] = frame[name].to_numpy()
    return array
