"""Columns: the schema of one value of each, the rule of `codec.fields` as JSON Schema says it.

What it allows is answered. The codec is kinder in places that no schema needs: it takes a category
with spaces around it, and 2.0 for 2.
"""

from __future__ import annotations

from typing import Any

from serving.bundle import (
    END_OF_DATES,
    FIRST_SECOND,
    Boolean,
    Category,
    Date,
    Input,
    Number,
    Spelling,
    gap_words,
)
from serving.bundle.spelling import EXACT
from serving.codec.fields import FLOAT32_LIMIT

# What is stripped off a text is more than the \s of a schema.
SPACE = r"[\u0009-\u000d\u001c-\u0020\u0085\u00a0\u1680\u2000-\u200a\u2028\u2029\u202f\u205f\u3000]"
SPECIAL = r"\^]-["  # in a set of a pattern


def value_schema(column: Input) -> dict[str, Any]:
    """What a value of this column may be, a gap included where the graph fills it."""
    gaps = column.missing == "impute"
    match column:
        case Number():
            return {
                "type": ["number", "null"] if gaps else "number",
                "exclusiveMinimum": -FLOAT32_LIMIT,
                "exclusiveMaximum": FLOAT32_LIMIT,
                "description": f"A float32; in training {column.minimum:g} to {column.maximum:g}.",
            }
        case Boolean():
            return {"enum": [True, False, 1, 0, *[None] * gaps]}
        case Category():
            return _category(column, gaps)
        case Date():
            return {
                "anyOf": [
                    {"type": "string", "format": "date"},
                    {"type": "string", "format": "date-time"},
                    {
                        "type": "number",
                        "minimum": FIRST_SECOND,
                        "exclusiveMaximum": END_OF_DATES,
                        "description": "Seconds since 1970-01-01 UTC.",
                    },
                    *[{"type": "null"}] * gaps,
                ],
                "description": "ISO 8601, UTC where it names no zone, or a number of seconds since "
                f"1970-01-01 UTC; years 1 to 9999; in training {column.minimum} to "
                f"{column.maximum}.",
            }


def _category(column: Category, gaps: bool) -> dict[str, Any]:
    known: list[Any] = list(column.categories)
    if column.unseen == "refuse":
        known += _numbers(column)
        written = column.truths.items()
        known += [truth for truth, text in written if text in column.categories]
        return {"enum": [*known, *[None, ""] * gaps]}
    kinds = ["string"]
    if column.number_type is not None:
        kinds.append(column.number_type)
    if column.truths:
        kinds.append("boolean")
    if gaps:
        kinds.append("null")
    bounds = {"exclusiveMinimum": -EXACT, "exclusiveMaximum": EXACT} if column.number_type else {}
    return {
        "type": kinds,
        **bounds,
        **({} if gaps else no_gap(column)),
        "examples": known[:5],
        "description": f"One of {len(known)} that the model tells apart, or any other.",
    }


def _numbers(column: Category) -> list[int | float]:
    """The categories that may be written as numbers."""
    if column.number_type is None:
        return []
    spelling = Spelling(column)
    numbers: list[int | float] = []
    for text in filter(column.is_number, column.categories):
        number: int | float = int(text) if text.lstrip("-").isdecimal() else float(text)
        if spelling.of_number(number) == text:
            numbers.append(number)
    return numbers


def no_gap(column: Category) -> dict[str, Any]:
    """The schema of texts that stand for no gap in this column."""
    words = "|".join("".join(map(_in_either_case, word)) for word in sorted(gap_words(column.gaps)))
    return {"not": {"pattern": f"^{SPACE}*({words}){SPACE}*$"}}


def _in_either_case(letter: str) -> str:
    """A set of a pattern that holds a letter in lower and upper case."""
    upper = letter.upper()
    both = letter + upper if len(upper) == 1 and upper != letter else letter
    escaped = (f"\\{one}" if one in SPECIAL else one for one in both)
    return f"[{''.join(escaped)}]"
