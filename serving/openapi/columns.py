"""Columns: the schema of one value of each, the rule of `codec.fields` as JSON Schema says it.

What it allows is answered. The codec is kinder in places that no schema needs: it takes a category
with spaces around it, and 2.0 for 2.
"""

from __future__ import annotations

from typing import Any

from serving.bundle import (
    END_OF_DATES,
    FIRST_SECOND,
    GAPS,
    ISO8601,
    Boolean,
    Category,
    Date,
    Input,
    Number,
    pattern_of,
)
from serving.codec.fields import EXACT, FLOAT32_LIMIT

# What is stripped off a text is more than the \s of a schema.
SPACE = r"[\u0009-\u000d\u001c-\u0020\u0085\u00a0\u1680\u2000-\u200a\u2028\u2029\u202f\u205f\u3000]"
NO_GAP = {
    "not": {
        "pattern": f"^{SPACE}*("
        + "|".join("".join(f"[{c}{c.upper()}]" if c.isalpha() else f"[{c}]" for c in gap)
                   for gap in GAPS)
        + f"){SPACE}*$"
    }
}  # fmt: skip


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
            return _boolean(column, gaps)
        case Category():
            return _category(column, gaps)
        case Date():
            return {
                "anyOf": [
                    {"type": "string", "format": "date"},
                    {"type": "string", "format": "date-time"},
                    *_written_date(column),
                    {
                        "type": "number",
                        "minimum": FIRST_SECOND,
                        "exclusiveMaximum": END_OF_DATES,
                        "description": "Seconds since 1970-01-01 UTC.",
                    },
                    *[{"type": "null"}] * gaps,
                ],
                "description": f"{_spelling(column)}ISO 8601, UTC where it names no zone, or a "
                "number of seconds since 1970-01-01 UTC; years 1 to 9999; in training "
                f"{column.minimum} to {column.maximum}.",
            }


def _boolean(column: Boolean, gaps: bool) -> dict[str, Any]:
    allowed = [True, False, 1, 0, *[None] * gaps]
    if not column.texts:
        return {"enum": allowed}
    words = ["true", "false", *column.texts]
    pattern = "|".join("".join(f"[{c}{c.upper()}]" for c in word) for word in words)
    return {
        "anyOf": [{"enum": allowed}, {"type": "string", "pattern": f"^({pattern})$"}],
        "description": f"True or false, also as a text in any case: {', '.join(words)}.",
    }


def _written_date(column: Date) -> list[dict[str, Any]]:
    """The schema of texts that the training data write otherwise than ISO 8601 does."""
    pattern = pattern_of(column.format)
    return [{"type": "string", "pattern": pattern}] if pattern else []


def _spelling(column: Date) -> str:
    return f"Written {column.format}, " if column.format != ISO8601 else ""


def _category(column: Category, gaps: bool) -> dict[str, Any]:
    known: list[Any] = list(column.categories)
    if column.unseen == "refuse":
        if column.whole:
            known += [int(text) for text in column.categories]
        written = column.truths.items()
        known += [truth for truth, text in written if text in column.categories]
        return {"enum": [*known, *[None, ""] * gaps]}
    kinds = ["string"]
    if column.whole:
        kinds.append("integer")
    if column.truths:
        kinds.append("boolean")
    if gaps:
        kinds.append("null")
    bounds = {"exclusiveMinimum": -EXACT, "exclusiveMaximum": EXACT} if column.whole else {}
    return {
        "type": kinds,
        **bounds,
        **({} if gaps else NO_GAP),
        "examples": known[:5],
        "description": f"One of {len(known)} that the model tells apart, or any other.",
    }
