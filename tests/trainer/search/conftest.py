from dataclasses import replace

import numpy as np
import pytest

from trainer.config import Config
from trainer.data.sources import load_table
from trainer.search import Grid, Journal
from trainer.search.estimator import SearchContext
from trainer.search.grid_file import SearchPlan


@pytest.fixture
def make_config(tmp_path):
    """Return a function that makes the options of a short training."""

    def make(data="iris", **options):
        quick = {"preset": "fast", "hidden": 8, "epochs": 6, "skip_baselines": True}
        return Config(data=data, models=tmp_path / "models", **quick | options)

    return make


@pytest.fixture
def journal(tmp_path):
    return Journal(tmp_path / "journal.jsonl")


@pytest.fixture
def make_grid():
    """Return a function that makes a grid of values and the keys of its plan."""

    def make(values, **plan):
        return Grid(SearchPlan(**plan), values)

    return make


@pytest.fixture
def make_context(make_config, journal):
    """Return a function that makes the context of a search on a table, or else on iris."""

    def make(table=None, metric="accuracy", **options):
        table = load_table("iris") if table is None else table
        return SearchContext(table, table.fingerprint(), make_config(**options), metric, journal)

    return make


@pytest.fixture
def rows():
    """Row numbers of iris in random order, int64 `(120, 1)`."""
    return np.random.default_rng(3).permutation(150)[:120, None]


@pytest.fixture
def spoil_rows():
    """Return a function that sets all features of some rows of a table to a huge number."""

    def spoil(table, rows):
        numbers = table.records.numbers.copy()
        numbers[rows] = 1e6
        return replace(table, records=replace(table.records, numbers=numbers))

    return spoil
