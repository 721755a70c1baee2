"""What is known of the data before training: the columns as they were read, and what to mind."""

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
from trainer.data.checks.run import Finding, check_table
from trainer.data.preprocess import Encoding
from trainer.data.read_options import ColumnProfile
from trainer.data.splits import Split, class_codes, class_shares
from trainer.data.tables import Table
from trainer.evaluate.metric_names import format_class
from trainer.export.manifest_columns import format_timestamp

SHOWN = 40  # columns of a file that are listed at most


class DataSummary:
    """Says what is known of the data before training, and keeps the findings for `--json`.

    Args:
        encoding: Encoding of the columns, which some findings are about; None for the default.

    Attributes:
        findings: Findings that were reported so far.
    """

    def __init__(self, encoding: Encoding | None = None) -> None:
        self._encoding = encoding
        self.findings: list[Finding] = []

    def __call__(self, table: Table, parts: Split) -> None:
        """Report the columns and the findings of a table on stderr."""
        self.findings += print_data_summary(table, parts, self._encoding)

    def described(self) -> dict[str, list[dict[str, Any]]]:
        """Return the findings as they stand in a JSON object."""
        return {"findings": [asdict(finding) for finding in self.findings]}


def print_data_summary(
    table: Table, parts: Split, encoding: Encoding | None = None
) -> list[Finding]:
    """Say on stderr what was found in a file's columns, and what in the rows needs attention.

    Returns:
        The latter.
    """
    if table.inferred:
        # Names are names: neither markup nor emoji.
        console = Console(file=sys.stderr, width=100, highlight=False, markup=False, emoji=False)
        console.print(_columns(table, parts))
    findings = check_table(table, parts, encoding)
    for finding in findings:
        click.echo(f"warning: {finding.name}: {finding.detail}; {finding.remedy}", err=True)
    return findings


def _columns(table: Table, parts: Split) -> Grid:
    columns, targets = table.inferred, table.target_names
    grid = Grid(box=box.SIMPLE_HEAD, pad_edge=False)
    for heading, justify in (
        ("column", "left"),
        ("kind", "left"),
        ("gaps", "right"),
        ("different", "right"),
        ("values", "left"),
    ):
        grid.add_column(heading, justify=justify, no_wrap=heading == "kind")  # type: ignore[arg-type]
    # The target is often the last of many.
    shown = [c for place, c in enumerate(columns) if place < SHOWN or c.name in targets]
    for column in shown:
        kind: str = column.kind
        values = _values(column)
        if column.name in targets and table.task != "regression":
            kind = "classes (target)"
            values = f"{_classes(table, parts)}{f', {values}' if column.oddity else ''}"
        elif column.name in targets:
            kind = f"{kind} (target)"
        distinct = "many" if column.distinct is None else f"{column.distinct:,}"
        grid.add_row(column.name, kind, f"{column.gaps:,}", distinct, values)
    if len(columns) > len(shown):
        grid.add_row(f"… and {len(columns) - len(shown)} more")
    return grid


def _classes(table: Table, parts: Split) -> str:
    """The commonest classes and their shares of the training rows, whatever they are written as."""
    shares = class_shares(table, parts.train)
    found = sorted(
        zip(class_codes(table.target)[0].tolist(), shares, strict=True), key=lambda pair: -pair[1]
    )
    shown = [f"{format_class(name)} {share:.1%}" for name, share in found[:4]]
    return ", ".join(shown) + (" …" if len(found) > 4 else "")


def _written(format: str) -> str:  # noqa: A002
    """Return how dates are written, unless in ISO 8601."""
    if format == ISO8601:
        return ""
    return f", in {format} since 1970" if format in DATE_UNITS else f", written {format}"


def _values(column: ColumnProfile) -> str:
    if column.oddity:
        return f"for {column.oddity}"
    if column.texts:
        return ", ".join(column.texts)
    if column.minimum is None or column.maximum is None:
        return ", ".join(column.words[:4]) + (" …" if len(column.words) > 4 else "")
    if column.kind == "precise":
        return f"{column.minimum:.15g} to {column.maximum:.15g}"
    if column.kind == "date":
        first, last = (
            format_timestamp(math.floor(end)) for end in (column.minimum, column.maximum)
        )
        return f"{first} to {last}{_written(column.format)}"
    return f"{column.minimum:g} to {column.maximum:g}"
