"""JSON Schemas of the values of a column.

Every value that a schema allows is accepted by `codec.column_validators`. The codec also accepts a
few values that the schema does not mention: a category with spaces around it, and 2.0 for 2.
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
from serving.bundle.column_schema import FLOAT32_LIMIT, FLOAT64_LIMIT
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
    accepts_gaps = column.missing == "impute"
    match column:
        case NumberColumn():
            is_precise = column.dtype == "float64"
            limit, digits = (FLOAT64_LIMIT, 15) if is_precise else (FLOAT32_LIMIT, 6)
            return {
                "type": ["number", "null"] if accepts_gaps else "number",
                "exclusiveMinimum": -limit,
                "exclusiveMaximum": limit,
                "description": f"A {column.dtype}; training values: {column.minimum:.{digits}g} to "
                f"{column.maximum:.{digits}g}.",
            }
        case BooleanColumn():
            return _build_boolean_schema(column, accepts_gaps)
        case CategoryColumn():
            return _build_category_schema(column, accepts_gaps)
        case DateColumn():
            return {
                "anyOf": [
                    {"type": "string", "format": "date"},
                    {"type": "string", "format": "date-time"},
                    *_build_date_text_schemas(column),
                    _build_numeric_date_schema(column.format),
                    *[{"type": "null"}] * accepts_gaps,
                ],
                "description": f"{_describe_date_format(column)}ISO 8601, in UTC if without zone, "
                f"or {describe_date_numbers(column.format)}; years 1 to 9999; training values: "
                f"{column.minimum} to {column.maximum}.",
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


def _build_boolean_schema(column: BooleanColumn, accepts_gaps: bool) -> dict[str, Any]:
    allowed = [True, False, 1, 0, *[None] * accepts_gaps]
    if not column.texts:
        return {"enum": allowed}
    words = ["true", "false", *column.texts]
    pattern = "|".join("".join(f"[{c}{c.upper()}]" for c in word) for word in words)
    return {
        "anyOf": [{"enum": allowed}, {"type": "string", "pattern": f"^({pattern})$"}],
        "description": f"True or false, or one of these texts in any case: {', '.join(words)}.",
    }


def _build_date_text_schemas(column: DateColumn) -> list[dict[str, Any]]:
    """Return the schema of dates in the training data's format, if it is not ISO 8601."""
    pattern = build_date_pattern(column.format)
    return [{"type": "string", "pattern": pattern}] if pattern else []


def _describe_date_format(column: DateColumn) -> str:
    return f"Written {column.format}, " if "%" in column.format else ""


def _build_category_schema(column: CategoryColumn, accepts_gaps: bool) -> dict[str, Any]:
    categories: list[Any] = list(column.categories)
    if column.unseen == "refuse":
        categories += _find_numeric_categories(column)
        categories += [
            truth for truth, text in column.truth_categories.items() if text in column.categories
        ]
        return {"enum": [*categories, *[None, ""] * accepts_gaps]}
    kinds = ["string"]
    if column.json_number_type is not None:
        kinds.append(column.json_number_type)
    if column.truth_categories:
        kinds.append("boolean")
    if accepts_gaps:
        kinds.append("null")
    bounds = (
        {"exclusiveMinimum": -EXACT_INTEGER_LIMIT, "exclusiveMaximum": EXACT_INTEGER_LIMIT}
        if column.json_number_type
        else {}
    )
    return {
        "type": kinds,
        **bounds,
        **({} if accepts_gaps else _build_not_missing_schema(column)),
        "examples": categories[:5],
        "description": f"One of the model's {len(categories)} categories, or any other text.",
    }


def _find_numeric_categories(column: CategoryColumn) -> list[int | float]:
    """Return the categories that clients may send as JSON numbers."""
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


def _build_not_missing_schema(column: CategoryColumn) -> dict[str, Any]:
    """Return a schema that excludes the texts that mean a missing value in this column."""
    words = "|".join(
        "".join(map(_build_character_set, word)) for word in sorted(resolve_gap_texts(column.gaps))
    )
    return {"not": {"pattern": f"^{STRIPPED_WHITESPACE}*({words}){STRIPPED_WHITESPACE}*$"}}


def _build_character_set(letter: str) -> str:
    """Return a character set, for a regular expression, of a letter in both cases."""
    upper = letter.upper()
    both = letter + upper if len(upper) == 1 and upper != letter else letter
    escaped = (f"\\{c}" if c in SPECIAL_IN_CHARACTER_SET else c for c in both)
    return f"[{''.join(escaped)}]"
