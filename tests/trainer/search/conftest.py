from dataclasses import replace

import numpy as np
import pytest

from trainer.config import Config
from trainer.data.sources import load_table
from trainer.search import Grid, Journal
from trainer.search.estimator import SearchContext
from trainer.search.grid import SearchPlan


@pytest.fixture
def config(tmp_path):
    def make(data="iris", **choices):
        quick = {"hidden": 8, "epochs": 6, "skip_baselines": True, "models": tmp_path / "models"}
        return Config(data=data, **quick | choices)

    return make


@pytest.fixture
def journal(tmp_path):
    return Journal(tmp_path / "journal.jsonl")


@pytest.fixture
def grid():
    def make(values, **plan):
        return Grid(SearchPlan(**plan), values)

    return make


@pytest.fixture
def bench(config, journal):
    def make(table=None, metric="accuracy", **choices):
        table = load_table("iris") if table is None else table
        return SearchContext(table, table.fingerprint(), config(**choices), metric, journal)

    return make


@pytest.fixture
def rows():
    """Row numbers of iris in some order, `(120, 1)`."""
    return np.random.default_rng(3).permutation(150)[:120, None]


@pytest.fixture
def poisoned():
    """A table with absurd features in some rows."""

    def make(table, places):
        numbers = table.records.numbers.copy()
        numbers[places] = 1e6
        return replace(table, records=replace(table.records, numbers=numbers))

    return make
