"""JSON Schemas of the values of a column.

They are made of the schema in `bundle.column_schema`, which accepts every value that a JSON Schema
allows. It also accepts a few values that the JSON Schema does not mention: a category with spaces
around it, and 2.0 for 2.
"""

from __future__ import annotations

from typing import Any

from serving.bundle import (
    BASIC_DATE,
    DATE_UNITS,
    END_DATE_SECONDS,
    MIN_DATE_SECONDS,
    TICKS_LIMIT,
    BooleanSchema,
    CategoryColumn,
    CategorySchema,
    DateSchema,
    InputColumn,
    NumberSchema,
    build_date_pattern,
    create_column_schema,
    describe_date_numbers,
)
from serving.bundle.spelling import EXACT_INTEGER_LIMIT

# Characters that the codec strips from texts. They are more than those of \s in a JSON Schema.
STRIPPED_WHITESPACE = (
    r"[\u0009-\u000d\u001c-\u0020\u0085\u00a0\u1680\u2000-\u200a\u2028\u2029\u202f\u205f\u3000]"
)
# Many JSON parsers cannot read integers of this size, so clients send such categories as texts.
JSON_INTEGER_LIMIT = 2.0**63
# Characters that must be escaped inside the brackets of a character set.
SPECIAL_IN_CHARACTER_SET = r"\^]-["


def build_value_schema(column: InputColumn) -> dict[str, Any]:
    """Return the schema of a value of this column.

    The schema includes null if the model imputes missing values of the column.

    Args:
        column: Column of a model's input.
    """
    match create_column_schema(column):
        case NumberSchema() as schema:
            return _build_number_schema(schema)
        case BooleanSchema() as schema:
            return _build_boolean_schema(schema)
        case CategorySchema() as schema:
            return _build_category_schema(schema)
        case DateSchema() as schema:
            return _build_date_schema(schema)
    raise TypeError(column.type)


def _build_number_schema(schema: NumberSchema) -> dict[str, Any]:
    digits = 15 if schema.requires_float64 else 6
    return {
        "type": ["number", "null"] if schema.accepts_gaps else "number",
        "exclusiveMinimum": -schema.magnitude_limit,
        "exclusiveMaximum": schema.magnitude_limit,
        "description": f"A {schema.dtype.__name__}; training values: {schema.minimum:.{digits}g} "
        f"to {schema.maximum:.{digits}g}.",
    }


def _build_date_schema(schema: DateSchema) -> dict[str, Any]:
    date_format = schema.date_format
    pattern = build_date_pattern(date_format)  # None for ISO 8601 and numbers
    written = f"Written {date_format}, " if "%" in date_format else ""
    return {
        "anyOf": [
            {"type": "string", "format": "date"},
            {"type": "string", "format": "date-time"},
            *([{"type": "string", "pattern": pattern}] if pattern else []),
            _build_numeric_date_schema(date_format),
            *[{"type": "null"}] * schema.accepts_gaps,
        ],
        "description": f"{written}ISO 8601, in UTC if without zone, or "
        f"{describe_date_numbers(date_format)}; years 1 to 9999; training values: "
        f"{schema.minimum} to {schema.maximum}.",
    }


def _build_numeric_date_schema(format: str) -> dict[str, Any]:  # noqa: A002
    if format == BASIC_DATE:
        return {
            "type": "integer",
            "minimum": 1_01_01,
            "maximum": 9999_12_31,
            "description": "A day as YYYYMMDD, for example 20240517.",
        }
    ticks = DATE_UNITS.get(format, 1)
    unit = format if format in DATE_UNITS else "seconds"
    return {
        "type": "number",
        "minimum": max(MIN_DATE_SECONDS * ticks, -TICKS_LIMIT),
        "exclusiveMaximum": min(END_DATE_SECONDS * ticks, TICKS_LIMIT),
        "description": f"{unit.capitalize()} since 1970-01-01 UTC.",
    }


def _build_boolean_schema(schema: BooleanSchema) -> dict[str, Any]:
    allowed = [True, False, 1, 0, *[None] * schema.accepts_gaps]
    if not schema.accepts_texts:
        return {"enum": allowed}
    words = schema.truth_words
    pattern = "|".join("".join(f"[{c}{c.upper()}]" for c in word) for word in words)
    return {
        "anyOf": [{"enum": allowed}, {"type": "string", "pattern": f"^({pattern})$"}],
        "description": f"True or false, or one of these texts in any case: {', '.join(words)}.",
    }


def _build_category_schema(schema: CategorySchema) -> dict[str, Any]:
    categories: list[Any] = list(schema.categories)
    if not schema.accepts_unseen:
        categories += _find_numeric_categories(schema)
        categories += [
            truth for truth, text in schema.truth_categories.items() if text in schema.categories
        ]
        return {"enum": [*categories, *[None, ""] * schema.accepts_gaps]}
    kinds = ["string"]
    if schema.json_number_type is not None:
        kinds.append(schema.json_number_type)
    if schema.truth_categories:
        kinds.append("boolean")
    if schema.accepts_gaps:
        kinds.append("null")
    bounds = (
        {"exclusiveMinimum": -EXACT_INTEGER_LIMIT, "exclusiveMaximum": EXACT_INTEGER_LIMIT}
        if schema.json_number_type
        else {}
    )
    return {
        "type": kinds,
        **bounds,
        **({} if schema.accepts_gaps else _build_not_missing_schema(schema)),
        "examples": categories[:5],
        "description": f"One of the model's {len(categories)} categories, or any other text.",
    }


def _find_numeric_categories(schema: CategorySchema) -> list[int | float]:
    """Return the categories that clients may send as JSON numbers."""
    if schema.json_number_type is None:
        return []
    numbers: list[int | float] = []
    for text in filter(CategoryColumn.is_number, schema.categories):
        number: int | float = float(text)
        if text.lstrip("-").isdecimal():
            if abs(number) >= JSON_INTEGER_LIMIT:
                continue
            number = int(text)
        if schema.spelling.spell_number(number) == text:
            numbers.append(number)
    return numbers


def _build_not_missing_schema(schema: CategorySchema) -> dict[str, Any]:
    """Return a schema that excludes the texts that mean a missing value in this column."""
    words = "|".join("".join(map(_build_character_set, word)) for word in sorted(schema.gap_texts))
    return {"not": {"pattern": f"^{STRIPPED_WHITESPACE}*({words}){STRIPPED_WHITESPACE}*$"}}


def _build_character_set(letter: str) -> str:
    """Return a character set, for a regular expression, of a letter in both cases."""
    upper = letter.upper()
    both = letter + upper if len(upper) == 1 and upper != letter else letter
    escaped = (f"\\{c}" if c in SPECIAL_IN_CHARACTER_SET else c for c in both)
    return f"[{''.join(escaped)}]"
