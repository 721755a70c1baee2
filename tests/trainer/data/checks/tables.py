"""Tables for the tests of the checks, made from one array for each column."""

from __future__ import annotations

import re

import numpy as np

from trainer.data.checks import REMEDIES, check_table
from trainer.data.records import Column, Records
from trainer.data.splits import split_table
from trainer.data.tables import Table, make_table

N = 600  # rows of most tables


def make_columns_table(target, task=None, groups=None, **columns):
    """Return a table whose columns have the kinds of their arrays.

    Floats are numbers, booleans are booleans, datetimes are dates and texts are categories, of
    which "" is a gap.
    """
    arrays = {"number": [], "date": [], "category": []}
    described = []
    for name, array in columns.items():
        values = np.asarray(array)
        if values.dtype.kind == "U":
            words = [word for word in np.unique(values) if word]
            code_of = {word: code for code, word in enumerate(words)} | {"": -1}
            described.append(Column(name, "category", tuple(words)))
            arrays["category"].append([code_of[text] for text in values.tolist()])
        elif values.dtype.kind == "M":
            described.append(Column(name, "date"))
            seconds = values.astype("datetime64[s]").astype(np.int64).astype(np.float64)
            arrays["date"].append(np.where(np.isnat(values), np.nan, seconds))
        else:
            described.append(Column(name, "boolean" if values.dtype.kind == "b" else "number"))
            arrays["number"].append(values.astype(np.float32))
    n = len(target)
    dtypes = (("number", np.float32), ("date", np.float64), ("category", np.int32))
    records = Records(
        tuple(described),
        *(np.array(arrays[kind], dtype).reshape(-1, n).T for kind, dtype in dtypes),
    )
    table = make_table(
        source="by hand",
        records=records,
        target=np.asarray(target),
        target_names=("y",) if np.ndim(target) == 1 else ("y", "z"),
        task=task,
    )
    return Table(**{**vars(table), "groups": groups})


def check(table):
    """Return the findings of a table that is split at random."""
    return check_table(table, split_table(table, validation=0.15, test=0.15, seed=0))


def check_by_name(table, split=None):
    """Return the findings by name; each occurs once, has numbers, and has its remedy."""
    findings = check(table) if split is None else check_table(table, split)
    names = [finding.name for finding in findings]
    assert len(set(names)) == len(names)
    for finding in findings:
        assert finding.remedy == REMEDIES[finding.name]
        assert re.search(r"\d", finding.detail)
    return {finding.name: finding for finding in findings}
