"""All checks of a table before training.

None of them stops a run, since each finding may be harmless. But each may also be the reason that a
model looks better than it is, or learns less than it could.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator

from trainer.data.checks.categorical import (
    MAX_TEXTS,
    find_category_variants,
    find_class_variants,
    find_many_categories,
    find_merged_columns,
    find_rare_classes,
    find_unseen_categories,
)
from trainer.data.checks.column_profiles import (
    check_date_formats,
    check_file_columns,
    find_date_like_numbers,
    find_huge_integers,
    find_leading_zeros,
    find_precision_losses,
)
from trainer.data.checks.columns import (
    find_constant_columns,
    find_identifiers,
    find_mostly_missing_columns,
)
from trainer.data.checks.duplicates import find_duplicate_columns, find_duplicate_rows
from trainer.data.checks.finding import Details, Finding
from trainer.data.checks.leaks import find_leaks
from trainer.data.checks.sample import TableSample
from trainer.data.checks.sentinels import find_sentinel_columns
from trainer.data.preprocess import Encoding
from trainer.data.splits import Split
from trainer.data.tables import Table


def check_table(table: Table, split: Split, encoding: Encoding | None = None) -> list[Finding]:
    """Run all checks; each gives at most one finding.

    What shows in a sample is taken from up to 50,000 training rows drawn at random, fewer of tables
    with more than 100 columns, and the detail of the finding says so. Apart from these rows, the
    memory needed is that of a few row numbers per row.

    Args:
        table: All rows of the data.
        split: Row numbers of the three parts.
        encoding: Encoding of the columns [default: that of `trainer.fit`].
    """
    sample = TableSample.draw(table, split)
    constant = find_constant_columns(sample)
    varying = [pair for pair in sample.columns if pair[0].name not in constant]
    # Texts that are meant to be numbers differ from row to row as numbers do: no identifiers.
    suspected = {column.name for column in table.inferred if column.suspicion is not None}
    dates = {c.name for c in table.inferred if c.proposal and c.kind == "category"}
    identifiers = find_identifiers(
        sample, [pair for pair in varying if pair[0].name not in suspected]
    )
    precise, imprecise = find_precision_losses(table)
    # A column that is constant only because float32 merges its values is reported as imprecise.
    constant = {name: detail for name, detail in constant.items() if name not in imprecise}
    # Other advice removes these columns or changes their kind, so that their texts do not matter.
    explained = {*identifiers, *suspected, *dates}
    findings: Iterable[Finding | None] = (
        *check_file_columns(table),
        *_report_numbers(sample, precise, imprecise),
        sample.report("identifier_column", identifiers, "different from row to row in {rows}: {}"),
        sample.report("constant_column", constant, "at most one value in {all}: {}"),
        sample.report(
            "duplicate_column", find_duplicate_columns(sample, varying), "equal in {all}: {}"
        ),
        sample.report(
            "leaking_column", find_leaks(sample, varying), "as good as the target in {rows}: {}"
        ),
        find_duplicate_rows(table, split),
        find_rare_classes(table, split),
        find_class_variants(table),
        *_report_values(sample, encoding or Encoding(), identifiers, explained),
        *check_date_formats(table),
    )
    return [finding for finding in findings if finding is not None]


def _report_numbers(
    sample: TableSample, precise: Details, imprecise: Details
) -> Iterator[Finding | None]:
    """Yield the findings about columns of numbers."""
    date_like = find_date_like_numbers(sample.table)
    yield sample.report(
        "precise_column", precise, "float32 cannot tell some values apart: {}; read in float64"
    )
    yield sample.report(
        "imprecise_column", imprecise, "float32 cannot tell some values apart: {}; read in float32"
    )
    yield sample.report(
        "huge_integer",
        find_huge_integers(sample.table, date_like),
        "beyond 2^53, where float64 cannot tell all whole numbers apart: {}",
    )
    yield sample.report("number_like_date", date_like, "numbers that look like dates: {}")
    yield sample.report(
        "leading_zeros",
        find_leading_zeros(sample.table),
        "codes with leading zeros that are read as numbers: {}",
    )


def _report_values(
    sample: TableSample,
    encoding: Encoding,
    identifiers: Collection[str],
    explained: Collection[str],
) -> Iterator[Finding | None]:
    """Yield the findings about texts, gaps and sentinels.

    Args:
        sample: Training rows.
        encoding: Encoding of the columns.
        identifiers: Names of the columns that only identify rows.
        explained: Names of all columns for whose texts another finding has advice already.
    """
    table, split = sample.table, sample.split
    yield sample.report(
        "category_variants",
        find_category_variants(sample, identifiers),
        "alike but for upper and lower case or white space, in {rows}: {}",
    )
    yield sample.report(
        "unseen_categories",
        find_unseen_categories(table, split, explained),
        "texts in validation and test rows that none of {all} has: {}",
    )
    yield sample.report(
        "mostly_missing_column", find_mostly_missing_columns(sample), "missing in {rows}: {}"
    )
    yield sample.report(
        "many_categories",
        find_many_categories(table.records, explained),
        f"more than {MAX_TEXTS:,} different texts: {{}}",
    )
    yield sample.report(
        "merged_column",
        find_merged_columns(table.records, split, encoding, explained),
        "texts that are rare or unseen, so that the network sees one value for all: {}",
    )
    yield sample.report(
        "sentinel_value",
        find_sentinel_columns(sample),
        "far outside all other values in {rows}: {}",
    )
