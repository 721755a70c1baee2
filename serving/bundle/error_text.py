"""Phrases for messages: a number with its noun, and the values that a setting accepts."""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from typing import Any

from pydantic import BaseModel
from pydantic_core import ErrorDetails

TYPE_PHRASES = {"boolean": "true or false", "integer": "a whole number", "number": "a number"}


def pluralize(number: int, noun: str) -> str:
    """Return a number and its noun: `1 row` or `2 rows`.

    Args:
        number: Number of things.
        noun: Their name in the singular, of which an s makes the plural.
    """
    return f"{number} {noun}{'' if number == 1 else 's'}"


def describe_invalid_value(error: ErrorDetails, model: type[BaseModel]) -> str:
    """Return the values that a field of a pydantic model accepts, and the one it got.

    Args:
        error: One of the errors of the model's `ValidationError`, about a field.
        model: The model that refused the value.
    """
    if error["type"] == "value_error":  # raised by a validator of ours, with a message of its own
        expected = error["msg"].removeprefix("Value error, ")
    elif error["type"] == "missing":
        return "expected a value; got none"
    else:
        expected = f"expected {describe_accepted_values(model.model_json_schema()['properties'][error['loc'][0]])}"
    if "; got " in expected:  # as it may well say itself
        return expected
    return f"{expected}; got {error['input']!r}"


def suggest_name(name: str, known: Iterable[str]) -> str:
    """Return `; did you mean …?` with the known name that a wrong one is most like, or nothing.

    Args:
        name: Name that is none of the known ones; the case of letters is not looked at.
        known: Names that there are.
    """
    by_lower = {other.lower(): other for other in known}
    found = difflib.get_close_matches(name.lower(), by_lower, n=1, cutoff=0.6)
    return f"; did you mean {by_lower[found[0]]}?" if found else ""


def describe_accepted_values(schema: dict[str, Any]) -> str:
    """Describe the values that the JSON schema of a setting accepts, in words.

    Args:
        schema: Schema of a number, string, boolean or path, of a list of these, or of a choice of
            several (`anyOf`).
    """
    kind = schema.get("type")
    if "anyOf" in schema:
        kinds = [kind for kind in schema["anyOf"] if kind.get("type") != "null"]
        found = " or ".join(map(describe_accepted_values, kinds))
    elif "enum" in schema or "const" in schema:
        found = _join_alternatives(schema.get("enum") or [schema["const"]])
    elif kind == "array":
        found = f"a list, separated by commas, each {describe_accepted_values(schema['items'])}"
    elif kind in TYPE_PHRASES:
        found = TYPE_PHRASES[kind] + _describe_bounds(schema)
    elif "pattern" in schema:
        found = f"a text that matches {schema['pattern']}"
    elif schema.get("format") == "path":
        found = "a path"
    else:
        found = "a text that is not empty" if schema.get("minLength") else "a text"
    return found


def _join_alternatives(values: list[Any]) -> str:
    *others, last = map(str, values)
    if not others:
        return last
    return f"{'one of ' if len(others) > 1 else ''}{', '.join(others)} or {last}"


def _describe_bounds(schema: dict[str, Any]) -> str:
    low, above = schema.get("minimum"), schema.get("exclusiveMinimum")
    high, below = schema.get("maximum"), schema.get("exclusiveMaximum")
    if low is not None and high is not None:
        return f" from {low} to {high}"
    least = f"of at least {low}" if low is not None else f"above {above}"
    most = f"of at most {high}" if high is not None else f"below {below}"
    found = [
        phrase
        for phrase, bounds in ((least, (low, above)), (most, (high, below)))
        if bounds != (None, None)
    ]
    return " " + " and ".join(found) if found else ""
