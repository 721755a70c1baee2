"""JSON documents: a body parsed by simdjson, whose parsers are kept and used again.

A parser's memory grows with the body it reads. A new one's pages are all new to the process, and
touching them first costs more than reading the body does.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import simdjson

from serving.event_loop import yield_to_loop

Result = TypeVar("Result")

MAX_POOLED_BODY_BYTES = 2**20  # bytes of the longest body that leaves its parser's memory with us
LONG_BODY_BYTES = 2**20  # bytes of a body through which a single step takes milliseconds
MAX_FREE_PARSERS = 4  # parsers; as many as decode at the same time, which is rarely more than one

_free_parsers: list[simdjson.Parser] = []


def read_document(body: bytes, read: Callable[[Any], Result]) -> Result:
    """What `read` makes of the document of a body.

    Args:
        body: the JSON text, UTF-8.
        read: is given the document, simdjson's own or a plain value; keeps no part of it.

    Raises:
        ValueError: simdjson does not take the body; UnicodeDecodeError is one.
        RuntimeError: likewise, as a body nested too deep.
    """
    try:
        parser = _free_parsers.pop()
    except IndexError:
        parser = simdjson.Parser()
    # What is raised holds on to its frames, and they to the document: then the parser goes, too.
    document = parser.parse(body)
    yield_after_step(body)
    answer = read(document)
    del document  # or it would be in the way of the next one
    if len(body) <= MAX_POOLED_BODY_BYTES and len(_free_parsers) < MAX_FREE_PARSERS:
        _free_parsers.append(parser)
    return answer


def yield_after_step(body: bytes) -> None:
    """Let others have a turn between two steps that each go through the whole of a long body."""
    if len(body) > LONG_BODY_BYTES:
        yield_to_loop()


def serialize_part(part: simdjson.Object | simdjson.Array) -> bytes:
    """A part of a document as JSON again, without spaces."""
    text: Any = part.mini  # bytes, whatever its stub says
    return bytes(text)
