"""Columns: the schema of one value of each, the rule of `codec.fields` as JSON Schema says it.

What it allows is answered. The codec is kinder in places that no schema needs: it takes a category
with spaces around it, and 2.0 for 2.
"""

from __future__ import annotations

from typing import Any

from serving.bundle import (
    BASIC_DATE,
    DATE_UNITS,
    END_DATE_SECONDS,
    MIN_DATE_SECONDS,
    TICKS_LIMIT,
    BooleanColumn,
    CategoryColumn,
    CategorySpelling,
    DateColumn,
    InputColumn,
    NumberColumn,
    build_date_pattern,
    describe_date_numbers,
    resolve_gap_texts,
)
from serving.bundle.spelling import EXACT_INTEGER_LIMIT
from serving.codec.column_validators import FLOAT32_LIMIT, FLOAT64_LIMIT

# What is stripped off a text is more than the \s of a schema.
STRIPPED_WHITESPACE = (
    r"[\u0009-\u000d\u001c-\u0020\u0085\u00a0\u1680\u2000-\u200a\u2028\u2029\u202f\u205f\u3000]"
)
JSON_INTEGER_LIMIT = (
    2.0**63
)  # from here on parsers of JSON read no integer, and clients send the text
SPECIAL_IN_CHARACTER_SET = r"\^]-["  # in a set of a pattern


def value_schema(column: InputColumn) -> dict[str, Any]:
    """What a value of this column may be, a gap included where the graph fills it."""
    gaps = column.missing == "impute"
    match column:
        case NumberColumn():
            is_precise = column.dtype == "float64"
            limit, digits = (FLOAT64_LIMIT, 15) if is_precise else (FLOAT32_LIMIT, 6)
            return {
                "type": ["number", "null"] if gaps else "number",
                "exclusiveMinimum": -limit,
                "exclusiveMaximum": limit,
                "description": f"A {column.dtype}; in training {column.minimum:.{digits}g} to "
                f"{column.maximum:.{digits}g}.",
            }
        case BooleanColumn():
            return _boolean_schema(column, gaps)
        case CategoryColumn():
            return _category_schema(column, gaps)
        case DateColumn():
            return {
                "anyOf": [
                    {"type": "string", "format": "date"},
                    {"type": "string", "format": "date-time"},
                    *_date_text_schemas(column),
                    _numeric_date_schema(column.format),
                    *[{"type": "null"}] * gaps,
                ],
                "description": f"{_date_format_note(column)}ISO 8601, UTC where it names no zone, or "
                f"{describe_date_numbers(column.format)}; years 1 to 9999; in training "
                f"{column.minimum} to {column.maximum}.",
            }


def _numeric_date_schema(format: str) -> dict[str, Any]:  # noqa: A002
    if format == BASIC_DATE:
        return {
            "type": "integer",
            "minimum": 1_01_01,
            "maximum": 9999_12_31,
            "description": "A day, such as 20240517.",
        }
    ticks = DATE_UNITS.get(format, 1)
    unit = format if format in DATE_UNITS else "seconds"
    return {
        "type": "number",
        "minimum": max(MIN_DATE_SECONDS * ticks, -TICKS_LIMIT),
        "exclusiveMaximum": min(END_DATE_SECONDS * ticks, TICKS_LIMIT),
        "description": f"{unit.capitalize()} since 1970-01-01 UTC.",
    }


def _boolean_schema(column: BooleanColumn, gaps: bool) -> dict[str, Any]:
    allowed = [True, False, 1, 0, *[None] * gaps]
    if not column.texts:
        return {"enum": allowed}
    words = ["true", "false", *column.texts]
    pattern = "|".join("".join(f"[{c}{c.upper()}]" for c in word) for word in words)
    return {
        "anyOf": [{"enum": allowed}, {"type": "string", "pattern": f"^({pattern})$"}],
        "description": f"True or false, also as a text in any case: {', '.join(words)}.",
    }


def _date_text_schemas(column: DateColumn) -> list[dict[str, Any]]:
    """The schema of texts that the training data write otherwise than ISO 8601 does."""
    pattern = build_date_pattern(column.format)
    return [{"type": "string", "pattern": pattern}] if pattern else []


def _date_format_note(column: DateColumn) -> str:
    return f"Written {column.format}, " if "%" in column.format else ""


def _category_schema(column: CategoryColumn, gaps: bool) -> dict[str, Any]:
    known: list[Any] = list(column.categories)
    if column.unseen == "refuse":
        known += _numeric_categories(column)
        written = column.truth_categories.items()
        known += [truth for truth, text in written if text in column.categories]
        return {"enum": [*known, *[None, ""] * gaps]}
    kinds = ["string"]
    if column.json_number_type is not None:
        kinds.append(column.json_number_type)
    if column.truth_categories:
        kinds.append("boolean")
    if gaps:
        kinds.append("null")
    bounds = (
        {"exclusiveMinimum": -EXACT_INTEGER_LIMIT, "exclusiveMaximum": EXACT_INTEGER_LIMIT}
        if column.json_number_type
        else {}
    )
    return {
        "type": kinds,
        **bounds,
        **({} if gaps else not_missing_schema(column)),
        "examples": known[:5],
        "description": f"One of {len(known)} that the model tells apart, or any other.",
    }


def _numeric_categories(column: CategoryColumn) -> list[int | float]:
    """The categories that may be written as numbers."""
    if column.json_number_type is None:
        return []
    spelling = CategorySpelling(column)
    numbers: list[int | float] = []
    for text in filter(column.is_number, column.categories):
        number: int | float = float(text)
        if text.lstrip("-").isdecimal():
            if abs(number) >= JSON_INTEGER_LIMIT:
                continue
            number = int(text)
        if spelling.spell_number(number) == text:
            numbers.append(number)
    return numbers


def not_missing_schema(column: CategoryColumn) -> dict[str, Any]:
    """The schema of texts that stand for no gap in this column."""
    words = "|".join(
        "".join(map(_case_insensitive_set, word)) for word in sorted(resolve_gap_texts(column.gaps))
    )
    return {"not": {"pattern": f"^{STRIPPED_WHITESPACE}*({words}){STRIPPED_WHITESPACE}*$"}}


def _case_insensitive_set(letter: str) -> str:
    """A set of a pattern that holds a letter in lower and upper case."""
    upper = letter.upper()
    both = letter + upper if len(upper) == 1 and upper != letter else letter
    escaped = (f"\\{one}" if one in SPECIAL_IN_CHARACTER_SET else one for one in both)
    return f"[{''.join(escaped)}]"
