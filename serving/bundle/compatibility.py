"""Find the differences between two versions of a model that break clients of the first.

Most requests name no version, so a client that was written for one version also uses the next. A
version can replace another if it accepts every request that the other accepts, and responds in the
same form. Requests are matched to columns by name (records, Arrow, CSV with a header, tensors of a
mixed table) or by position (rows of JSON, CSV, NumPy, raw floats, the tensor `features`);
probabilities and values are matched to classes and targets by position.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Iterator, Sequence

from serving.bundle.column_types import BooleanSchema, CategorySchema
from serving.bundle.date_formats import ISO8601, describe_date_numbers
from serving.bundle.manifest import (
    BooleanColumn,
    CategoryColumn,
    DateColumn,
    InputColumn,
    Manifest,
    NumberColumn,
)
from serving.bundle.spelling import resolve_gap_texts, to_nfc

MAX_LISTED_NAMES = 5  # largest number of names in one phrase; further names are only counted
MAX_NAME_CHARACTERS = 40  # longest name that a phrase quotes in full


def find_breaking_changes(before: Manifest, after: Manifest) -> list[str]:
    """Return the differences that break clients of `before` when `after` is served instead.

    Additions do not count: new categories, gaps that are accepted now, another range of numbers.

    Args:
        before: Manifest of the version that clients were written for.
        after: Manifest of the version that would be served instead.

    Returns:
        One phrase for each difference, those of the columns first. Empty if `after` accepts every
        request that `before` accepts, and responds in the same form.
    """
    return [*_compare_columns(before, after), *_compare_outputs(before, after)]


def _compare_columns(before: Manifest, after: Manifest) -> Iterator[str]:
    old = {column.name: column for column in before.inputs}
    new = {column.name: column for column in after.inputs}
    # The server also finds a column by a name that equals its own after normalization to NFC.
    old = {
        to_nfc(name) if name not in new and to_nfc(name) in new else name: column
        for name, column in old.items()
    }
    # The order matters as well, since clients may send rows without names.
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
        yield f"its column {name} refuses gaps"
    if (
        isinstance(before, NumberColumn)
        and isinstance(after, NumberColumn)
        and after.dtype != before.dtype
    ):
        # A float64 input accepts neither a matrix of numbers nor float32 tensors, and a float32
        # input may be part of a matrix, which does not accept its columns one by one.
        yield f"its column {name} is a {after.dtype} input instead of a {before.dtype} one"
    if isinstance(before, BooleanColumn) and isinstance(after, BooleanColumn):
        accepted = BooleanSchema(after).value_by_text
        gone = [(str, text) for text in before.texts if accepted.get(text) != before.texts[text]]
        if gone:
            yield f"its column {name} refuses {_list_names(gone)} as a truth value"
    if isinstance(before, DateColumn) and isinstance(after, DateColumn):
        yield from _compare_date_formats(name, before.format, after.format)
    if isinstance(before, CategoryColumn) and isinstance(after, CategoryColumn):
        yield from _compare_categories(name, before, after)
    elif before.missing == after.missing == "impute":
        gaps = sorted(resolve_gap_texts(before.gaps) - resolve_gap_texts(after.gaps))
        if gaps:
            texts = _list_names(list(map(_with_type, gaps)))
            yield f"its column {name} does not read {texts} as a gap"


def _compare_date_formats(name: str, before: str, after: str) -> Iterator[str]:
    # Every date column also accepts ISO 8601.
    if before not in (ISO8601, after):
        yield f"its column {name} does not read dates written {_quote_name(before)}"
    elif describe_date_numbers(before) != describe_date_numbers(after):
        yield f"its column {name} reads numbers as {after} instead of seconds"


def _compare_categories(name: str, before: CategoryColumn, after: CategoryColumn) -> Iterator[str]:
    if after.unseen == "refuse" and before.unseen == "unknown":
        yield f"its column {name} refuses unknown categories"
    old, new = CategorySchema(before), CategorySchema(after)

    def is_refused(text: str) -> bool:
        return old.accepts(text) and not new.accepts(text)

    refused = [
        _with_type(text)
        for text in before.categories
        # A client may send the decomposed form too, but only a normalized column accepts it.
        if is_refused(text)
        or (before.normalized and is_refused(unicodedata.normalize("NFD", text)))
    ]
    if refused:
        yield f"its column {name} refuses the category {_list_names(refused)}"
    # If the caller has reported that the column refuses gaps, do not list its gap texts again.
    gaps_are_reported = before.missing == "impute" and after.missing == "refuse"
    gaps = [
        _with_type(text)
        for text in sorted((old.gap_texts | new.gap_texts) - set(before.categories))
        if is_refused(text) and not (gaps_are_reported and old.is_gap(text))
    ]
    if gaps:
        yield f"its column {name} refuses the gap text {_list_names(gaps)}"
    # A JSON number or boolean matches a category only if categories are numbers or booleans.
    if before.json_number_type and not after.json_number_type:
        yield f"its column {name} accepts only texts, no numbers"
    if before.json_number_type == "number" and after.json_number_type == "integer":
        yield f"its column {name} accepts only whole numbers"
    if before.truth_categories and not after.truth_categories:
        yield f"its column {name} accepts only texts, neither true nor false"


def _compare_outputs(before: Manifest, after: Manifest) -> Iterator[str]:
    if after.task != before.task:
        yield f"its task is {after.task} instead of {before.task}"
    else:
        yield from _compare_names("class", before.classes or [], after.classes or [])
    targets = [list(map(to_nfc, manifest.data.target)) for manifest in (before, after)]
    yield from _compare_names("target", *targets)


def _compare_names(
    kind: str, before: Sequence[str | int], after: Sequence[str | int]
) -> Iterator[str]:
    """Yield the differences between two lists of distinct names, including their order."""
    old, new = [dict.fromkeys(map(_with_type, names)) for names in (before, after)]
    if gone := [name for name in old if name not in new]:
        yield f"it has no {kind} {_list_names(gone)}"
    if added := [name for name in new if name not in old]:
        yield f"it has the new {kind} {_list_names(added)}"
    if not gone and not added:
        for position, (old_name, new_name) in enumerate(zip(old, new, strict=True), 1):
            if old_name != new_name:
                yield (
                    f"its {kind} {position} is {_format_name(new_name)} instead of "
                    f"{_format_name(old_name)}"
                )
                break


def _with_type(name: str | int) -> tuple[type, str | int]:
    return type(name), name  # the class "1" (a text) differs from the class 1


def _list_names(names: Sequence[tuple[type, str | int]]) -> str:
    more = len(names) - MAX_LISTED_NAMES
    return ", ".join(map(_format_name, names[:MAX_LISTED_NAMES])) + f" and {more} more" * (more > 0)


def _format_name(name: tuple[type, str | int]) -> str:
    _, value = name
    return str(value) if isinstance(value, int) else _quote_name(value)


def _quote_name(text: str) -> str:
    is_long = len(text) > MAX_NAME_CHARACTERS
    return repr(text[: MAX_NAME_CHARACTERS - 3] + "..." if is_long else text)
