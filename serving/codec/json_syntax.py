"""JSON that simdjson does not take: what is wrong with it, and where."""

from __future__ import annotations

import json
from functools import partial

from serving.codec.input_schema import MAX_LISTED_NAMES, InputSchema
from serving.codec.json_strict import decode_json_text, make_not_json_error
from serving.codec.quoting import quote_text
from serving.errors import NotJsonError

MAX_REPARSED_BYTES = 2**20  # bytes of a body that is read a second time to find the place


def explain_syntax_error(body: bytes, fields: InputSchema) -> NotJsonError:
    """Why simdjson does not take a body.

    Args:
        body: the text.
        fields: The model's columns.
    """
    try:
        text = decode_json_text(body)
        if len(body) <= MAX_REPARSED_BYTES:
            json.loads(text, parse_int=float, parse_constant=partial(_refuse_constant, fields))
    except json.JSONDecodeError as error:
        return make_not_json_error(error)
    except NotJsonError as error:
        return error
    except (RecursionError, ValueError) as error:
        return NotJsonError(f"expected a JSON body; got one with {error!s:.400}")
    return NotJsonError(
        "expected a JSON body; got one that is damaged, or holds NaN, an integer beyond 64 bits, a "
        "number beyond float64 or half of a surrogate pair"
    )


def _refuse_constant(fields: InputSchema, name: str) -> None:
    raise ValueError(f"{name}, which is no JSON; {_advise_on_gaps(fields)}")


def _advise_on_gaps(fields: InputSchema) -> str:
    """Return how to send a gap, and which columns take one."""
    filled = [quote_text(field.name) for field in fields.columns if field.fills_gaps]
    if not filled:
        return "send a number, since the model fills no gap in any column"
    if len(filled) == len(fields):
        return "send null for a gap"
    more = len(filled) - MAX_LISTED_NAMES
    rest = f" and {more} more" if more > 0 else ""
    return f"send null for a gap, which the model fills in {', '.join(filled[:MAX_LISTED_NAMES])}{rest}"
