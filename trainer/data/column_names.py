"""Split and join lists of column names in options: separated by commas, quoted as in a CSV file."""

from __future__ import annotations

import csv
import io
import shlex
from collections.abc import Sequence


def split_names(text: str) -> list[str]:
    """Return the names in a text such as `a,b` or `"Revenue, USD",id`.

    Args:
        text: Value of an option. An empty entry is the column without a name.
    """
    if text.count('"') % 2:  # the quotation mark belongs to a name
        return [part.strip() for part in text.split(",")]
    rows = list(csv.reader([text], skipinitialspace=True))
    return [name.strip() for name in rows[0]] if rows and rows[0] else [""]


def format_column_option(option: str, names: Sequence[str]) -> str:
    """Return an option with a list of columns, such as `--drop 'a b,c'`, quoted for a shell.

    Args:
        option: Name of the option, without dashes.
        names: Names of the columns.
    """
    buffer = io.StringIO()
    csv.writer(buffer, lineterminator="").writerow(names)
    text = "" if list(names) == [""] else buffer.getvalue()
    return f"--{option} {shlex.quote(text)}"


def resolve_names(names: Sequence[str], columns: Sequence[str]) -> tuple[str, ...]:
    """Return the column names in a list whose commas may belong to the names.

    If all names are columns, they do not change. Otherwise, consecutive names that joined by commas
    are the name of a column, with any spaces around its commas, become that column. A name that is
    not a column stays, so that the caller can refuse it. An empty name, as after a last comma, is
    left out unless the file has a column without a name.

    Args:
        names: Names as `split_names` returns them.
        columns: Names of all columns of the file.
    """
    existing_columns = set(columns)
    parts = [name for name in names if name or "" in existing_columns]
    if existing_columns.issuperset(parts):
        return tuple(parts)
    names_with_commas = {_strip_parts(name): name for name in columns if "," in name}
    # A name with n commas has at most n + 1 parts, so that longer joins need not be tried.
    max_parts = 1 + max((name.count(",") for name in names_with_commas), default=0)
    resolved_names: list[str] = []
    start = 0
    while start < len(parts):
        for end in range(min(len(parts), start + max_parts), start + 1, -1):
            candidate = _strip_parts(",".join(parts[start:end]))
            if candidate in names_with_commas:
                resolved_names.append(names_with_commas[candidate])
                break
        else:
            end = start + 1
            resolved_names.append(parts[start])
        start = end
    return tuple(resolved_names)


def _strip_parts(name: str) -> str:
    """Return a name without spaces around its commas."""
    return ",".join(part.strip() for part in name.split(","))
