"""Compatibility: the differences between two versions that break clients of the first.

Most requests name no version, so a client of one version also meets the next. A version can replace
another if it accepts every request that the other accepts, and answers in the same form. Requests
are matched to columns by name (records, Arrow, CSV with a header, tensors of a mixed table) and by
position (rows of JSON, CSV, NumPy, raw floats, the tensor `features`); probabilities and values are
matched to classes and targets by position.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Iterator, Sequence

from serving.bundle.date_formats import ISO8601, describe_date_numbers
from serving.bundle.manifest import (
    BooleanColumn,
    CategoryColumn,
    DateColumn,
    InputColumn,
    Manifest,
    NumberColumn,
)
from serving.bundle.spelling import CategorySpelling, resolve_gap_texts, to_nfc

MAX_LISTED_NAMES = 5  # largest number of names that one difference lists
MAX_NAME_CHARACTERS = 40  # characters of a name; longer ones are cut


def find_breaking_changes(before: Manifest, after: Manifest) -> list[str]:
    """Return the differences that break clients of `before` when `after` answers them.

    Additions do not count: further categories, gaps that are now accepted, another range of
    numbers.

    Args:
        before: Manifest of the version that clients were written for.
        after: Manifest of the version that would answer them.

    Returns:
        The differences, a phrase each, those of the columns first; none if every request that
        `before` accepts is accepted, and answered in the same form.
    """
    return [*_compare_columns(before, after), *_compare_answers(before, after)]


def _compare_columns(before: Manifest, after: Manifest) -> Iterator[str]:
    old = {column.name: column for column in before.inputs}
    new = {column.name: column for column in after.inputs}
    # Another of Unicode's normal forms is taken for the name in NFC.
    old = {
        to_nfc(name) if name not in new and to_nfc(name) in new else name: column
        for name, column in old.items()
    }
    # The order counts as well: clients send rows without names, too.
    yield from _compare_names("column", list(old), list(new))
    for name, column in old.items():
        if name in new:
            yield from _compare_column(column, new[name])


def _compare_column(before: InputColumn, after: InputColumn) -> Iterator[str]:
    name = _quote_name(before.name)
    if after.type != before.type:
        yield f"its column {name} is of type {after.type} instead of {before.type}"
        return
    if before.missing == "impute" and after.missing == "refuse":
        yield f"its column {name} fills no gaps"
    if (
        isinstance(before, NumberColumn)
        and isinstance(after, NumberColumn)
        and after.dtype != before.dtype
    ):
        # A matrix of numbers, and tensors in float32, are not taken in float64; columns one by one
        # may not be taken in float32.
        yield f"its column {name} is a {after.dtype} input instead of a {before.dtype} one"
    if isinstance(before, BooleanColumn) and isinstance(after, BooleanColumn):
        gone = [(str, text) for text in before.texts if after.texts.get(text) != before.texts[text]]
        if gone:
            yield f"its column {name} refuses {_list_names(gone)} as a truth value"
    if isinstance(before, DateColumn) and isinstance(after, DateColumn):
        yield from _compare_date_formats(name, before.format, after.format)
    if isinstance(before, CategoryColumn) and isinstance(after, CategoryColumn):
        yield from _compare_categories(name, before, after)
    elif before.missing == after.missing == "impute":
        words = sorted(resolve_gap_texts(before.gaps) - resolve_gap_texts(after.gaps))
        if words:
            yield f"its column {name} takes {_list_names(list(map(_with_type, words)))} for no gap"


def _compare_date_formats(name: str, before: str, after: str) -> Iterator[str]:
    # What is written in ISO 8601 is taken by all.
    if before not in (ISO8601, after):
        yield f"its column {name} reads no dates written {_quote_name(before)}"
    elif describe_date_numbers(before) != describe_date_numbers(after):
        yield f"its column {name} reads numbers as {after} instead of seconds"


def _compare_categories(name: str, before: CategoryColumn, after: CategoryColumn) -> Iterator[str]:
    if after.unseen == "refuse" and before.unseen == "unknown":
        yield f"its column {name} refuses categories that it does not know"
    old, new = CategorySpelling(before), CategorySpelling(after)

    def is_refused(text: str) -> bool:
        return old.accepts_text(text) and not new.accepts_text(text)

    refused = [
        _with_type(text)
        for text in before.categories
        # Only where both forms are one category does a client write either.
        if is_refused(text)
        or (before.normalized and is_refused(unicodedata.normalize("NFD", text)))
    ]
    if refused:
        yield f"its column {name} refuses the category {_list_names(refused)}"
    fills_none = before.missing == "impute" and after.missing == "refuse"  # which is said already
    words = [
        _with_type(word)
        for word in sorted((old.gaps | new.gaps) - set(before.categories))
        if is_refused(word) and not (fills_none and old.is_gap(word))
    ]
    if words:
        yield f"its column {name} refuses {_list_names(words)}, another word for a gap"
    # A JSON number or boolean matches a category only if categories are numbers or booleans.
    if before.json_number_type and not after.json_number_type:
        yield f"its column {name} takes texts alone, and no numbers"
    if before.json_number_type == "number" and after.json_number_type == "integer":
        yield f"its column {name} takes whole numbers alone"
    if before.truth_categories and not after.truth_categories:
        yield f"its column {name} takes texts alone, and not true and false"


def _compare_answers(before: Manifest, after: Manifest) -> Iterator[str]:
    if after.task != before.task:
        yield f"its task is {after.task} instead of {before.task}"
    else:
        yield from _compare_names("class", before.classes or [], after.classes or [])
    targets = [list(map(to_nfc, manifest.data.target)) for manifest in (before, after)]
    yield from _compare_names("target", *targets)


def _compare_names(
    kind: str, before: Sequence[str | int], after: Sequence[str | int]
) -> Iterator[str]:
    """Yield what differs between two lists of distinct names, whose order counts."""
    old, new = [dict.fromkeys(map(_with_type, names)) for names in (before, after)]
    if gone := [name for name in old if name not in new]:
        yield f"it has no {kind} {_list_names(gone)}"
    if added := [name for name in new if name not in old]:
        yield f"it has the new {kind} {_list_names(added)}"
    if not gone and not added:
        for place, (was, now) in enumerate(zip(old, new, strict=True), 1):
            if was != now:
                yield f"its {kind} {place} is {_format_name(now)} instead of {_format_name(was)}"
                break


def _with_type(name: str | int) -> tuple[type, str | int]:
    return type(name), name  # the text "1" is another class than the number


def _list_names(names: Sequence[tuple[type, str | int]]) -> str:
    more = len(names) - MAX_LISTED_NAMES
    return ", ".join(map(_format_name, names[:MAX_LISTED_NAMES])) + f" and {more} more" * (more > 0)


def _format_name(name: tuple[type, str | int]) -> str:
    _, value = name
    return str(value) if isinstance(value, int) else _quote_name(value)


def _quote_name(text: str) -> str:
    return repr(
        text if len(text) <= MAX_NAME_CHARACTERS else text[: MAX_NAME_CHARACTERS - 3] + "..."
    )
