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

from serving.bundle.date_formats import ISO8601, words_of_numbers
from serving.bundle.manifest import Boolean, Category, Date, Input, Manifest, Number
from serving.bundle.spelling import Spelling, gap_words, nfc

MOST_SHOWN = 5  # largest number of names that one difference lists
LONGEST_SHOWN = 40  # characters of a name; longer ones are cut


def breaking_differences(before: Manifest, after: Manifest) -> list[str]:
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
    return [*_differences_of_columns(before, after), *_differences_of_answers(before, after)]


def _differences_of_columns(before: Manifest, after: Manifest) -> Iterator[str]:
    old = {column.name: column for column in before.inputs}
    new = {column.name: column for column in after.inputs}
    # Another of Unicode's normal forms is taken for the name in NFC.
    old = {
        nfc(name) if name not in new and nfc(name) in new else name: column
        for name, column in old.items()
    }
    # The order counts as well: clients send rows without names, too.
    yield from _differences_of_names("column", list(old), list(new))
    for name, column in old.items():
        if name in new:
            yield from _differences_of_column(column, new[name])


def _differences_of_column(before: Input, after: Input) -> Iterator[str]:
    name = _quoted(before.name)
    if after.type != before.type:
        yield f"its column {name} is of type {after.type} instead of {before.type}"
        return
    if before.missing == "impute" and after.missing == "refuse":
        yield f"its column {name} fills no gaps"
    if isinstance(before, Number) and isinstance(after, Number) and after.dtype != before.dtype:
        # A matrix of numbers, and tensors in float32, are not taken in float64; columns one by one
        # may not be taken in float32.
        yield f"its column {name} is a {after.dtype} input instead of a {before.dtype} one"
    if isinstance(before, Boolean) and isinstance(after, Boolean):
        gone = [(str, text) for text in before.texts if after.texts.get(text) != before.texts[text]]
        if gone:
            yield f"its column {name} refuses {_listed(gone)} as a truth value"
    if isinstance(before, Date) and isinstance(after, Date):
        yield from _differences_of_dates(name, before.format, after.format)
    if isinstance(before, Category) and isinstance(after, Category):
        yield from _differences_of_categories(name, before, after)
    elif before.missing == after.missing == "impute":
        words = sorted(gap_words(before.gaps) - gap_words(after.gaps))
        if words:
            yield f"its column {name} takes {_listed(list(map(_typed, words)))} for no gap"


def _differences_of_dates(name: str, before: str, after: str) -> Iterator[str]:
    # What is written in ISO 8601 is taken by all.
    if before not in (ISO8601, after):
        yield f"its column {name} reads no dates written {_quoted(before)}"
    elif words_of_numbers(before) != words_of_numbers(after):
        yield f"its column {name} reads numbers as {after} instead of seconds"


def _differences_of_categories(name: str, before: Category, after: Category) -> Iterator[str]:
    if after.unseen == "refuse" and before.unseen == "unknown":
        yield f"its column {name} refuses categories that it does not know"
    old, new = Spelling(before), Spelling(after)

    def is_refused(text: str) -> bool:
        return old.accepts(text) and not new.accepts(text)

    refused = [
        _typed(text)
        for text in before.categories
        # Only where both forms are one category does a client write either.
        if is_refused(text)
        or (before.normalized and is_refused(unicodedata.normalize("NFD", text)))
    ]
    if refused:
        yield f"its column {name} refuses the category {_listed(refused)}"
    fills_none = before.missing == "impute" and after.missing == "refuse"  # which is said already
    words = [
        _typed(word)
        for word in sorted((old.gaps | new.gaps) - set(before.categories))
        if is_refused(word) and not (fills_none and old.is_gap(word))
    ]
    if words:
        yield f"its column {name} refuses {_listed(words)}, another word for a gap"
    # A JSON number or boolean matches a category only if categories are numbers or booleans.
    if before.number_type and not after.number_type:
        yield f"its column {name} takes texts alone, and no numbers"
    if before.number_type == "number" and after.number_type == "integer":
        yield f"its column {name} takes whole numbers alone"
    if before.truths and not after.truths:
        yield f"its column {name} takes texts alone, and not true and false"


def _differences_of_answers(before: Manifest, after: Manifest) -> Iterator[str]:
    if after.task != before.task:
        yield f"its task is {after.task} instead of {before.task}"
    else:
        yield from _differences_of_names("class", before.classes or [], after.classes or [])
    targets = [list(map(nfc, manifest.data.target)) for manifest in (before, after)]
    yield from _differences_of_names("target", *targets)


def _differences_of_names(
    kind: str, before: Sequence[str | int], after: Sequence[str | int]
) -> Iterator[str]:
    """Yield what differs between two lists of distinct names, whose order counts."""
    old, new = [dict.fromkeys(map(_typed, names)) for names in (before, after)]
    if gone := [name for name in old if name not in new]:
        yield f"it has no {kind} {_listed(gone)}"
    if added := [name for name in new if name not in old]:
        yield f"it has the new {kind} {_listed(added)}"
    if not gone and not added:
        for place, (was, now) in enumerate(zip(old, new, strict=True), 1):
            if was != now:
                yield f"its {kind} {place} is {_shown(now)} instead of {_shown(was)}"
                break


def _typed(name: str | int) -> tuple[type, str | int]:
    return type(name), name  # the text "1" is another class than the number


def _listed(names: Sequence[tuple[type, str | int]]) -> str:
    more = len(names) - MOST_SHOWN
    return ", ".join(map(_shown, names[:MOST_SHOWN])) + f" and {more} more" * (more > 0)


def _shown(name: tuple[type, str | int]) -> str:
    _, value = name
    return str(value) if isinstance(value, int) else _quoted(value)


def _quoted(text: str) -> str:
    return repr(text if len(text) <= LONGEST_SHOWN else text[: LONGEST_SHOWN - 3] + "...")
