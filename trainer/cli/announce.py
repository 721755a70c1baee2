"""What is known of the data before training: the columns as they were read, and what to mind."""

from __future__ import annotations

import sys
from dataclasses import asdict
from typing import Any

import click
from rich import box
from rich.console import Console
from rich.table import Table as Grid

from trainer.data.findings import Finding, find
from trainer.data.reading import Inferred
from trainer.data.splits import Split
from trainer.data.tables import Table
from trainer.export.columns import iso

SHOWN = 40  # columns of a file that are listed at most


class Announcement:
    """Says what is known of the data before training, and keeps the findings for `--json`.

    Attributes:
        findings: What was said to need attention.
    """

    def __init__(self) -> None:
        """Begin with no findings."""
        self.findings: list[Finding] = []

    def __call__(self, table: Table, parts: Split) -> None:
        """Say it."""
        self.findings += announce(table, parts)

    def described(self) -> dict[str, list[dict[str, Any]]]:
        """Return the findings as they stand in a JSON object."""
        return {"findings": [asdict(finding) for finding in self.findings]}


def announce(table: Table, parts: Split) -> list[Finding]:
    """Say on stderr what was found in a file's columns, and what in the rows needs attention.

    Returns:
        The latter.
    """
    if table.inferred:
        Console(file=sys.stderr, width=100, highlight=False).print(
            _columns(table.inferred, table.target_names)
        )
    findings = find(table, parts)
    for finding in findings:
        click.echo(f"warning: {finding.name}: {finding.detail}; {finding.remedy}", err=True)
    return findings


def _columns(columns: tuple[Inferred, ...], targets: tuple[str, ...]) -> Grid:
    table = Grid(box=box.SIMPLE_HEAD, pad_edge=False)
    for heading, justify in (
        ("column", "left"), ("kind", "left"), ("gaps", "right"), ("different", "right"),
        ("values", "left"),
    ):  # fmt: skip
        table.add_column(heading, justify=justify, no_wrap=heading == "kind")  # type: ignore[arg-type]
    for column in columns[:SHOWN]:
        kind = f"{column.kind} (target)" if column.name in targets else column.kind
        distinct = "many" if column.distinct is None else f"{column.distinct:,}"
        table.add_row(column.name, kind, f"{column.gaps:,}", distinct, _values(column))
    if len(columns) > SHOWN:
        table.add_row(f"… and {len(columns) - SHOWN} more")
    return table


def _values(column: Inferred) -> str:
    if column.oddity:
        return f"for {column.oddity}"
    if column.minimum is None or column.maximum is None:
        return ", ".join(column.words[:4]) + (" …" if len(column.words) > 4 else "")
    if column.kind == "date":
        return f"{iso(column.minimum)} to {iso(column.maximum)}"
    return f"{column.minimum:g} to {column.maximum:g}"
