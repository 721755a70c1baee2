"""Refusals: what is wrong with a choice, said of the option or key as it was written."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

from pydantic import BaseModel, ValidationError
from pydantic.fields import FieldInfo
from pydantic_core import ErrorDetails

from serving.bundle import describe_invalid_value, suggest_name

NAME = "up to 64 letters, digits, dots, dashes and underscores, the first a letter or digit"
INTEGERS = "64,32"  # as lists of them are written
SHARE = 0.1  # an example of a number that is less than 1
BOUNDS = ("greater_than", "less_than")  # how pydantic's types of such errors begin


def to_option_name(name: str) -> str:
    """A choice as it is typed on a command line; of data, which is an argument, as help has it."""
    return "DATA" if name == "data" else f"--{name.replace('_', '-')}"


def list_option_errors(
    error: ValidationError, model: type[BaseModel], said: Callable[[str], str] = to_option_name
) -> str:
    """What a model of choices refuses.

    Args:
        error: Error of pydantic's validation.
        model: Class of the options that were validated.
        said: Function from an option's name to how the user wrote it.
    """
    # A list whose entries are wrong is not also too short.
    found = [e for e in error.errors() if e["type"] != "too_short" or not e["input"]]
    # Each entry of a list is an error of its own, and each of a choice's kinds that it is not.
    first = {str(e["loc"][0] if e["loc"] else e["msg"]): e for e in reversed(found)}
    return "; ".join(_fault(e, model, said) for e in reversed(first.values()))


def describe_unknown_key(name: str, known: list[str]) -> str:
    """What to say of a key that is none."""
    return f"expected a key out of {', '.join(known)}; got {name!r}{suggest_name(name, known)}"


def _fault(error: ErrorDetails, model: type[BaseModel], said: Callable[[str], str]) -> str:
    if not error["loc"]:  # of several choices together, the first of them named
        message = error["msg"].removeprefix("Value error, ")
        name, _, rest = message.partition(": ")
        return f"{said(name)}: {rest}" if name in model.model_fields else message
    name = str(error["loc"][0])
    if error["type"] == "extra_forbidden":
        return describe_unknown_key(name, list(model.model_fields))
    field, schema = model.model_fields[name], model.model_json_schema()["properties"][name]
    text = _refused(error, model, schema)
    _, several, names = text.partition("; got ")[0].partition(" one of ")
    text += suggest_name(str(error["input"]), re.findall(r"[\w@]+", names)) if several else ""
    example = _example(field, schema)
    shown = f"; for example {said(name)} {example}" if example and said is to_option_name else ""
    return f"{said(name)}: {text}{shown}"


def _refused(error: ErrorDetails, model: type[BaseModel], schema: dict[str, Any]) -> str:
    items = next((s["items"] for s in _kinds(schema) if s.get("type") == "array"), None)
    got = f"got {error['input']!r}"
    if items is not None and items.get("type") == "integer":
        bounded = error["type"].startswith(BOUNDS) and "minimum" in items
        least = f" of at least {items['minimum']}" if bounded else ""
        return f"expected integers{least} such as {INTEGERS}; {got}"
    if error["type"] == "string_pattern_mismatch":
        return f"expected {NAME}; {got}"
    return describe_invalid_value(error, model)


def _example(field: FieldInfo, schema: dict[str, Any]) -> str:
    """A value that the option takes, where words alone may not do: of numbers and names."""
    kinds = _kinds(schema)
    if any("pattern" in kind for kind in kinds):
        return "churn-2"
    number = next((k for k in kinds if k.get("type") in ("number", "integer")), None)
    if number is None or len(kinds) > 1 or "enum" in number:
        return ""
    if field.default:
        return f"{field.default:g}"
    if number["type"] == "integer":
        return str(max(1, number.get("minimum", 1)))
    return f"{SHARE if number.get('exclusiveMaximum', 2) <= 1 else 1:g}"


def _kinds(schema: dict[str, Any]) -> list[dict[str, Any]]:
    return [kind for kind in schema.get("anyOf", [schema]) if kind.get("type") != "null"]
