"""The work for a table is linear in its number of columns."""

import numpy as np
import pytest

from tests.growth import assert_linear, assert_linear_calls
from trainer.data.checks import check_table
from trainer.data.preprocess import Encoder
from trainer.data.records import Column, Records
from trainer.data.sources import load_table
from trainer.data.splits import split_table
from trainer.data.tables import check_names, make_table
from trainer.export.manifest_columns import create_example_record, describe_columns

ROWS = 60


def make_mixed_records(n_columns):
    """Return records whose columns are numbers, dates and categories in turn; one is constant."""
    rng = np.random.default_rng(0)
    kinds = [("number", "date", "category")[i % 3] for i in range(n_columns)]
    columns = [
        Column(f"x{i}", kind, ("a", "b") if kind == "category" else ())
        for i, kind in enumerate(kinds)
    ]
    n_numbers, n_dates, n_codes = map(kinds.count, ("number", "date", "category"))
    return Records(
        tuple(columns),
        rng.normal(size=(ROWS, n_numbers)).astype(np.float32),
        rng.integers(0, 10**9, (ROWS, n_dates)).astype(np.float64),
        rng.integers(0, 2, (ROWS, n_codes)).astype(np.int32),
    )


def make_mixed_table(n_columns):
    return make_table(
        source="wide",
        records=make_mixed_records(n_columns),
        target=np.arange(ROWS) % 2,
        target_names=("y",),
    )


@pytest.mark.parametrize("cells", [["number"], ["number", "2024-03-01", "red", "true", ""]])
def test_load_table_calls_are_linear_in_columns(cells, tmp_path):
    rng = np.random.default_rng(0)

    def prepare(n_columns):
        path = tmp_path / f"{n_columns}.csv"
        lines = [",".join([*(f"x{i}" for i in range(n_columns)), "y"])]
        for row in range(20):
            texts = [cells[i % len(cells)] for i in range(n_columns)]
            numbers = rng.normal(size=n_columns).round(4).astype(str)
            texts = [
                number if text == "number" or (text == "" and row % 2) else text
                for text, number in zip(texts, numbers, strict=True)
            ]
            lines.append(",".join([*texts, "ab"[row % 2]]))
        path.write_text("\n".join(lines))
        return lambda: load_table(str(path))

    assert_linear_calls(prepare, 200)


def test_column_calls_are_linear_in_columns():
    def prepare(n_columns):
        records = make_mixed_records(n_columns)
        return lambda: [records.column(name) for name in records.names]

    assert_linear_calls(prepare, 300)


def test_check_table_calls_are_linear_in_columns():
    def prepare(n_columns):
        table = make_mixed_table(n_columns)
        table.records.numbers[:] = 1  # constant columns are looked up by name
        split = split_table(table, validation=0.2, test=0.2, seed=0)
        return lambda: check_table(table, split)

    assert_linear_calls(prepare, 300)


def test_described_columns_calls_are_linear_in_columns():
    def prepare(n_columns):
        records = make_mixed_records(n_columns)
        encoder = Encoder.fit(records, np.arange(ROWS))
        return lambda: (
            describe_columns(encoder, records, unseen="unknown", refuse_gaps=False),
            create_example_record(records),
        )

    assert_linear_calls(prepare, 300)


def test_check_names_time_is_linear_in_names():
    def prepare(n_names):
        names = [f"x{i}" for i in range(n_names)]
        return lambda: check_names("wide.csv", names)

    assert_linear(prepare, 2000)


def test_make_table_time_is_linear_in_columns():
    def prepare(n_columns):
        records = Records.of_numbers([f"x{i}" for i in range(n_columns)], np.ones((10, n_columns)))
        target = np.arange(10) % 2
        return lambda: make_table(
            source="wide", records=records, target=target, target_names=("y",)
        )

    assert_linear(prepare, 2000)
