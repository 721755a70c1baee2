import tracemalloc

import numpy as np
import pytest

from tests.trainer.data.checks.tables import N, check_by_name, make_columns_table
from trainer.data.checks import REMEDIES, check_table, sample
from trainer.data.records import Records
from trainer.data.sources import load_table
from trainer.data.splits import Split, split_table
from trainer.data.tables import make_table


@pytest.mark.parametrize(
    "name", ["iris", "wine", "breast_cancer", "moons", "xor", "diabetes", "linnerud"]
)
def test_check_table_clean_tables_have_no_findings(name):
    assert check_by_name(load_table(name)) == {}


def test_check_table_digits_names_only_blank_pixels():
    table = load_table("digits")
    split = split_table(table, validation=0.15, test=0.15, seed=0)
    found = check_by_name(table, split)
    assert list(found) == ["constant_column"]
    blank = np.ptp(table.records.numbers[split.train], axis=0) == 0
    assert found["constant_column"].columns == tuple(np.array(table.records.names)[blank])
    assert "1,257 training rows" in found["constant_column"].detail


def test_remedies_name_an_option():
    assert all("--" in remedy for remedy in REMEDIES.values())


def test_finding_many_columns_lists_ten_and_names_all(target, noise):
    found = check_by_name(
        make_columns_table(target, noise=noise, **{f"x{i}": np.zeros(N) for i in range(13)})
    )
    assert len(found["constant_column"].columns) == 13
    assert found["constant_column"].detail.endswith("x9 and 3 more")


def test_check_table_large_table_says_that_it_is_a_sample(rng, monkeypatch):
    n = 20_000
    target = rng.integers(0, 2, n)
    table = make_columns_table(
        target,
        noise=rng.normal(size=n),
        copy=target + 0.1 * rng.normal(size=n),
        nearly_constant=np.arange(n) < 2,
        nearly_noise=rng.normal(size=n),
    )
    table.records.numbers[2:, 3] = table.records.numbers[2:, 0]
    split = Split(np.arange(18_000), np.arange(18_000, 19_000), np.arange(19_000, n))
    monkeypatch.setattr(sample, "MAX_ROWS", 1000)
    found = check_by_name(table, split)
    assert list(found) == ["leaking_column"]  # what sets the others apart is not in the sample
    assert "1,000 of 18,000 training rows, drawn at random" in found["leaking_column"].detail
    assert check_table(table, split) == check_table(table, split)


@pytest.mark.slow
def test_check_table_large_table_needs_memory_of_few_row_numbers(rng):
    n = 300_000
    records = Records.of_numbers("abcd", rng.normal(size=(n, 4)))
    target = rng.integers(0, 3, n)
    table = make_table(source="large", records=records, target=target, target_names=("y",))
    split = split_table(table, validation=0.1, test=0.2, seed=0)
    tracemalloc.start()
    assert check_table(table, split) == []
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    fixed = 60e6  # the sample, and the rows that are hashed in one go
    assert peak < 6 * 8 * n + fixed
