"""Print a summary of the data before training: the columns as they were read, and warnings."""

from __future__ import annotations

import math
import sys
from dataclasses import asdict
from typing import Any

import click
from rich import box
from rich.console import Console
from rich.table import Table as Grid

from serving.bundle import DATE_UNITS, ISO8601
from trainer.data.checks import Finding, check_table
from trainer.data.preprocess import Encoding
from trainer.data.read_options import ColumnProfile
from trainer.data.splits import Split, class_shares
from trainer.data.tables import Table
from trainer.data.targets import class_codes
from trainer.evaluate.metric_names import format_class
from trainer.export.manifest_columns import format_timestamp

MAX_LISTED_COLUMNS = 40
MAX_LISTED_VALUES = 4  # classes, or texts of a category
CONSOLE_WIDTH = 100  # characters


class DataSummary:
    """Prints the summary of the data when they are loaded, and keeps the findings for `--json`.

    Args:
        encoding: Encoding of the columns, which some findings are about; None for the default.

    Attributes:
        findings: Findings that were reported so far.
    """

    def __init__(self, encoding: Encoding | None = None) -> None:
        self._encoding = encoding
        self.findings: list[Finding] = []

    def __call__(self, table: Table, split: Split) -> None:
        """Print the columns and the findings of a table on stderr."""
        self.findings += print_data_summary(table, split, self._encoding)

    def to_json(self) -> dict[str, list[dict[str, Any]]]:
        """Return the findings as they stand in a JSON object."""
        return {"findings": [asdict(finding) for finding in self.findings]}


def print_data_summary(
    table: Table, split: Split, encoding: Encoding | None = None
) -> list[Finding]:
    """Print on stderr a table of a file's columns, and a warning for each finding in the rows.

    Args:
        table: All rows of the data.
        split: Split of the rows.
        encoding: Encoding of the columns; None for the default.

    Returns:
        The findings.
    """
    if table.inferred:
        # A column's name may look like rich's markup or emoji codes, and is printed as it is.
        console = Console(
            file=sys.stderr, width=CONSOLE_WIDTH, highlight=False, markup=False, emoji=False
        )
        console.print(_build_grid(table, split))
    findings = check_table(table, split, encoding)
    for finding in findings:
        click.echo(f"warning: {finding.name}: {finding.detail}; {finding.remedy}", err=True)
    return findings


def _build_grid(table: Table, split: Split) -> Grid:
    columns, targets = table.inferred, table.target_names
    grid = Grid(box=box.SIMPLE_HEAD, pad_edge=False)
    grid.add_column("column")
    grid.add_column("kind", no_wrap=True)
    grid.add_column("missing", justify="right")
    grid.add_column("distinct", justify="right")
    grid.add_column("values")
    # The target is often the last of many columns, and is listed in any case.
    listed = [c for i, c in enumerate(columns) if i < MAX_LISTED_COLUMNS or c.name in targets]
    for column in listed:
        kind: str = column.kind
        values = _describe_values(column)
        if column.name in targets and table.task != "regression":
            kind = "classes (target)"
            values = f"{_describe_classes(table, split)}{f', {values}' if column.oddity else ''}"
        elif column.name in targets:
            kind = f"{kind} (target)"
        distinct = "many" if column.distinct is None else f"{column.distinct:,}"
        grid.add_row(column.name, kind, f"{column.gaps:,}", distinct, values)
    if len(columns) > len(listed):
        grid.add_row(f"… and {len(columns) - len(listed)} more")
    return grid


def _describe_classes(table: Table, split: Split) -> str:
    """Return the most common classes with their shares of the training rows."""
    classes, shares = class_codes(table.target)[0].tolist(), class_shares(table, split.train)
    ordered = sorted(zip(classes, shares, strict=True), key=lambda pair: -pair[1])
    listed = [f"{format_class(name)} {share:.1%}" for name, share in ordered[:MAX_LISTED_VALUES]]
    return ", ".join(listed) + (" …" if len(ordered) > MAX_LISTED_VALUES else "")


def _describe_date_format(date_format: str) -> str:
    """Return how dates are written; nothing for ISO 8601."""
    if date_format == ISO8601:
        return ""
    if date_format in DATE_UNITS:
        return f", in {date_format} since 1970"
    return f", written {date_format}"


def _describe_values(column: ColumnProfile) -> str:
    if column.oddity:
        return f"because of {column.oddity}"
    if column.texts:
        return ", ".join(column.texts)
    if column.minimum is None or column.maximum is None:
        more = " …" if len(column.words) > MAX_LISTED_VALUES else ""
        return ", ".join(column.words[:MAX_LISTED_VALUES]) + more
    if column.kind == "precise":
        return f"{column.minimum:.15g} to {column.maximum:.15g}"
    if column.kind == "date":
        first, last = (
            format_timestamp(math.floor(end)) for end in (column.minimum, column.maximum)
        )
        return f"{first} to {last}{_describe_date_format(column.format)}"
    return f"{column.minimum:g} to {column.maximum:g}"
