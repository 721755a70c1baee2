"""JSON that simdjson does not take: what is wrong with it, and where."""

from __future__ import annotations

import json

from serving.codec.json_careful import not_json, text_of
from serving.errors import NotJsonError

SEARCHED = 2**20  # bytes of a body that is read a second time to find the place


def syntax_error(body: bytes) -> NotJsonError:
    """Why simdjson does not take a body.

    Args:
        body: the text.
    """
    try:
        text = text_of(body)
        if len(body) <= SEARCHED:
            json.loads(text, parse_int=float, parse_constant=_refuse_constant)
    except json.JSONDecodeError as error:
        return not_json(error)
    except NotJsonError as error:
        return error
    except (RecursionError, ValueError) as error:
        return NotJsonError(f"expected a JSON body; got one with {error!s:.100}")
    return NotJsonError(
        "expected a JSON body; got one that is damaged, or holds an integer beyond 64 bits, a "
        "number beyond float64 or half of a surrogate pair"
    )


def _refuse_constant(name: str) -> None:
    raise ValueError(f"{name}, which is no JSON; write null for a gap")
