"""Describe invalid options in sentences that name each option as the user wrote it."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

from pydantic import BaseModel, ValidationError
from pydantic.fields import FieldInfo
from pydantic_core import ErrorDetails

from serving.bundle import describe_invalid_value, suggest_name

NAME_RULE = "up to 64 letters, digits, dots, dashes and underscores, the first a letter or digit"
EXAMPLE_NAME = "churn-2"
EXAMPLE_INTEGERS = "64,32"
EXAMPLE_SHARE = 0.1  # for numbers that must be below 1
BOUND_ERRORS = ("greater_than", "less_than")  # the starts of the types of pydantic's bound errors


def to_option_name(name: str) -> str:
    """Return a field's name as it is typed on a command line; DATA, an argument, as in the help."""
    return "DATA" if name == "data" else f"--{name.replace('_', '-')}"


def list_option_errors(
    error: ValidationError,
    model: type[BaseModel],
    format_name: Callable[[str], str] = to_option_name,
) -> str:
    """Return one sentence for each invalid option, separated by semicolons.

    Args:
        error: Error of pydantic's validation.
        model: Class of the options that were validated.
        format_name: Function from a field's name to the option's name as the user wrote it.
    """
    # A list with invalid entries is also reported as too short, which would be misleading.
    errors = [e for e in error.errors() if e["type"] != "too_short" or not e["input"]]
    # Pydantic reports each entry of a list, and each type of a union; the first is enough.
    first = {str(e["loc"][0] if e["loc"] else e["msg"]): e for e in reversed(errors)}
    return "; ".join(_describe_error(e, model, format_name) for e in reversed(first.values()))


def describe_unknown_key(key: str, valid_keys: list[str]) -> str:
    """Return the sentence for a key that does not exist, with a suggestion if one is similar."""
    keys = ", ".join(valid_keys)
    return f"expected a key out of {keys}; got {key!r}{suggest_name(key, valid_keys)}"


def _describe_error(
    error: ErrorDetails, model: type[BaseModel], format_name: Callable[[str], str]
) -> str:
    if not error["loc"]:  # an error of a combination of options, which begins with one's name
        message = error["msg"].removeprefix("Value error, ")
        name, _, rest = message.partition(": ")
        return f"{format_name(name)}: {rest}" if name in model.model_fields else message
    name = str(error["loc"][0])
    if error["type"] == "extra_forbidden":
        return describe_unknown_key(name, list(model.model_fields))
    field, schema = model.model_fields[name], model.model_json_schema()["properties"][name]
    text = _describe_value(error, model, schema)
    _, has_choices, choices = text.partition("; got ")[0].partition(" one of ")
    if has_choices:
        text += suggest_name(str(error["input"]), re.findall(r"[\w@]+", choices))
    example = _find_example(field, schema)
    if example and format_name is to_option_name:
        text += f"; for example {format_name(name)} {example}"
    return f"{format_name(name)}: {text}"


def _describe_value(error: ErrorDetails, model: type[BaseModel], schema: dict[str, Any]) -> str:
    items = next((s["items"] for s in _list_types(schema) if s.get("type") == "array"), None)
    got = f"got {error['input']!r}"
    if items is not None and items.get("type") == "integer":
        has_bound = error["type"].startswith(BOUND_ERRORS) and "minimum" in items
        bound = f" of at least {items['minimum']}" if has_bound else ""
        return f"expected integers{bound} such as {EXAMPLE_INTEGERS}; {got}"
    if error["type"] == "string_pattern_mismatch":
        return f"expected {NAME_RULE}; {got}"
    return describe_invalid_value(error, model)


def _find_example(field: FieldInfo, schema: dict[str, Any]) -> str:
    """Return a valid value of an option for a number or a model's name; else an empty text.

    It is the example of the field, if there is one, or its default.
    """
    types = _list_types(schema)
    if any("pattern" in each for each in types):
        return EXAMPLE_NAME
    number = next((each for each in types if each.get("type") in ("number", "integer")), None)
    if number is None or len(types) > 1 or "enum" in number:
        return ""
    for value in (*(field.examples or ()), field.default):
        if value:
            return f"{value:g}"
    if number["type"] == "integer":
        return str(max(1, number.get("minimum", 1)))
    return f"{EXAMPLE_SHARE if number.get('exclusiveMaximum', 2) <= 1 else 1:g}"


def _list_types(schema: dict[str, Any]) -> list[dict[str, Any]]:
    return [each for each in schema.get("anyOf", [schema]) if each.get("type") != "null"]
