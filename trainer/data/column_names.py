"""Names of columns as options list them: separated by commas, quoted as in a CSV file."""

from __future__ import annotations

import csv
import io
import shlex
from collections.abc import Sequence


def split_names(text: str) -> list[str]:
    """Return the names in `a,b` or `"Revenue, USD",id`; an empty one is a column without a name."""
    if text.count('"') % 2:  # a quotation mark that belongs to a name
        return [part.strip() for part in text.split(",")]
    rows = list(csv.reader([text], skipinitialspace=True))
    return [name.strip() for name in rows[0]] if rows and rows[0] else [""]


def column_option(option: str, names: Sequence[str]) -> str:
    """Return an option that lists columns, such as `--drop 'a b,c'`, as a shell takes it.

    Args:
        option: Name of the option.
        names: Names of the columns.
    """
    written = io.StringIO()
    csv.writer(written, lineterminator="").writerow(names)
    text = "" if list(names) == [""] else written.getvalue()
    return f"--{option} {shlex.quote(text)}"


def resolve_names(names: Sequence[str], columns: Sequence[str]) -> tuple[str, ...]:
    """Return names with those put together again that a comma inside a column's name parted.

    Names that are columns stay as they are if all are; else neighbours that together are a column's
    name, however spaces surround its commas, are that column. What is none stays, to be refused.
    A name that is empty, as after a last comma, is left out where every column has a name.

    Args:
        names: Names as `split_names` gives them.
        columns: Names of all columns of the file.
    """
    known = set(columns)
    asked = [name for name in names if name or "" in known]
    if known.issuperset(asked):
        return tuple(asked)
    whole = {_without_spaces(name): name for name in columns if "," in name}
    found: list[str] = []
    start = 0
    while start < len(asked):
        for end in range(len(asked), start + 1, -1):
            joined = _without_spaces(",".join(asked[start:end]))
            if joined in whole:
                found.append(whole[joined])
                break
        else:
            end = start + 1
            found.append(asked[start])
        start = end
    return tuple(found)


def _without_spaces(name: str) -> str:
    return ",".join(part.strip() for part in name.split(","))
