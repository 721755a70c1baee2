"""Phrases for error messages: counts, accepted values, and suggestions for a wrong name."""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from typing import Any

from pydantic import BaseModel
from pydantic_core import ErrorDetails

TYPE_PHRASES = {"boolean": "true or false", "integer": "a whole number", "number": "a number"}


def pluralize(number: int, noun: str) -> str:
    """Return a number with its noun, for example `1 row` or `2 rows`.

    Args:
        number: Number of things.
        noun: Noun in the singular whose plural ends in an s.
    """
    return f"{number} {noun}{'' if number == 1 else 's'}"


def describe_invalid_value(error: ErrorDetails, model: type[BaseModel]) -> str:
    """Return the values that a field of a pydantic model accepts, and the value that it got.

    Args:
        error: One of the errors of the model's `ValidationError`, about a single field.
        model: pydantic model that refused the value.
    """
    if error["type"] == "value_error":  # raised by one of our validators, with its own message
        expected = error["msg"].removeprefix("Value error, ")
    elif error["type"] == "missing":
        return "expected a value; got none"
    else:
        schema = model.model_json_schema()["properties"][error["loc"][0]]
        expected = f"expected {describe_accepted_values(schema)}"
    if "; got " in expected:  # the validator's message already includes the value
        return expected
    return f"{expected}; got {error['input']!r}"


def suggest_name(name: str, known: Iterable[str]) -> str:
    """Return `; did you mean …?` with the most similar known name, or an empty text.

    Args:
        name: Unknown name. Upper and lower case are not distinguished.
        known: Names from which the suggestion is chosen.
    """
    by_lower = {other.lower(): other for other in known}
    matches = difflib.get_close_matches(name.lower(), by_lower, n=1, cutoff=0.6)
    return f"; did you mean {by_lower[matches[0]]}?" if matches else ""


def describe_accepted_values(schema: dict[str, Any]) -> str:
    """Describe the values that the JSON schema of a setting accepts, in words.

    Args:
        schema: Schema of a number, string, boolean or path, of a list of these, or of alternatives
            (`anyOf`).
    """
    kind = schema.get("type")
    if "anyOf" in schema:
        alternatives = [each for each in schema["anyOf"] if each.get("type") != "null"]
        phrase = " or ".join(map(describe_accepted_values, alternatives))
    elif "enum" in schema or "const" in schema:
        phrase = _join_alternatives(schema.get("enum") or [schema["const"]])
    elif kind == "array":
        phrase = f"a list, separated by commas, each {describe_accepted_values(schema['items'])}"
    elif kind in TYPE_PHRASES:
        phrase = TYPE_PHRASES[kind] + _describe_bounds(schema)
    elif "pattern" in schema:
        phrase = f"a text that matches {schema['pattern']}"
    elif schema.get("format") == "path":
        phrase = "a path"
    else:
        phrase = "a text that is not empty" if schema.get("minLength") else "a text"
    return phrase


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
    lower = f"of at least {low}" if low is not None else f"above {above}"
    upper = f"of at most {high}" if high is not None else f"below {below}"
    phrases = [
        phrase
        for phrase, bounds in ((lower, (low, above)), (upper, (high, below)))
        if bounds != (None, None)
    ]
    return " " + " and ".join(phrases) if phrases else ""
