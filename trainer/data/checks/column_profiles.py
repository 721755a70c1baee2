"""Checks of what reading a file found in its columns: number formats, dates, and float32's limits.

They use the `ColumnProfile` of each column and need no second look at the values. Tables that do
not come from a file have no profiles, and nothing is found in them.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator

from serving.bundle import BASIC_DATE
from trainer.data.checks.finding import REMEDIES, Details, Finding, join_limited
from trainer.data.precision_loss import MAX_LOST_SHARE
from trainer.data.tables import Table
from trainer.data.targets import MAX_CLASS_NUMBER


def check_file_columns(table: Table) -> Iterator[Finding]:
    """Yield a finding for an index that was left out, and for texts that seem to be numbers."""
    if table.index:
        names = join_limited([name or "a column without a name" for name in table.index])
        detail = f"left out, for it only numbers the rows: {names}"
        remedy = REMEDIES["index_column"]
        if "" in table.index:
            remedy = (
                "to use it as a feature, name it in the header; to leave it out without this note, "
                "--drop ''"
            )
        yield Finding("index_column", table.index, detail, remedy)
    suspicions = [column.suspicion for column in table.inferred if column.suspicion is not None]
    for remedy in dict.fromkeys(suspicion.remedy for suspicion in suspicions):
        group = [suspicion for suspicion in suspicions if suspicion.remedy == remedy]
        columns = tuple(suspicion.name for suspicion in group)
        detail = join_limited([suspicion.detail for suspicion in group])
        yield Finding("numbers_as_text", columns, detail, remedy)


def find_precision_losses(table: Table) -> tuple[Details, Details]:
    """Return the columns whose values float32 cannot tell apart.

    Returns:
        The columns that are therefore read in float64, and those that are read in float32 and lose
        values.
    """
    kinds = {column.name: column.kind for column in table.records.columns}
    precise: Details = {}
    imprecise: Details = {}
    for loss in table.losses:
        if kinds.get(loss.name) == "precise" and loss.share > MAX_LOST_SHARE:
            precise[loss.name] = loss.description
        elif kinds.get(loss.name) == "number" and loss.needs_float64:
            imprecise[loss.name] = loss.description
    return precise, imprecise


def find_huge_integers(table: Table, date_like: Collection[str]) -> Details:
    """Return the columns of whole numbers from 2^53 on, which float64 cannot all tell apart.

    Args:
        table: All rows of the data.
        date_like: Names of the columns that `find_date_like_numbers` found, which are left out.
    """
    found: Details = {}
    features = _number_features(table)
    for column in table.inferred:
        if column.name in features and column.name not in date_like and column.is_whole:
            largest = max(abs(column.minimum or 0.0), abs(column.maximum or 0.0))
            if largest >= MAX_CLASS_NUMBER:
                found[column.name] = f"{column.name} (up to {largest:.3g})"
    return found


def find_date_like_numbers(table: Table) -> Details:
    """Return the columns of numbers that are recent times in one unit, or days like 20230318."""
    found: Details = {}
    features = _number_features(table)
    for column in table.inferred:
        if column.suggested_date_format and column.name in features:
            is_days = column.suggested_date_format == BASIC_DATE
            unit = column.suggested_date_format
            meaning = "days as 20230318 is" if is_days else f"{unit} since 1970"
            found[column.name] = f"{column.name} ({meaning})"
    return found


def find_leading_zeros(table: Table) -> Details:
    """Return the columns of numbers with texts such as 01234, each with the first such text."""
    features = _number_features(table)
    return {
        column.name: f"{column.name} (such as {column.zero_padded_text!r})"
        for column in table.inferred
        if column.zero_padded_text and column.name in features
    }


def _number_features(table: Table) -> set[str]:
    return {column.name for column in table.records.of_kind("number", "precise")}


def check_date_formats(table: Table) -> Iterator[Finding]:
    """Yield findings about dates in other formats than ISO 8601, and texts that look like dates."""
    for name, kind, sentence in (
        ("dates_as_text", "category", "texts that look like dates: {}"),
        ("recognized_dates", "date", "texts that are read as dates: {}"),
    ):
        proposals = {c.name: c.proposal for c in table.inferred if c.proposal and c.kind == kind}
        if proposals:
            texts = join_limited([f"{column}: {text}" for column, text in proposals.items()])
            yield Finding(name, tuple(proposals), sentence.format(texts), REMEDIES[name])
