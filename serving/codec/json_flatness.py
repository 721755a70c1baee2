"""Whether the lists of a JSON body are flat, found by counting the brackets in its text.

simdjson copies a list of numbers to an array without a Python object for each number. It flattens
lists of any depth on the way: [[1, [2]]] would become the same array as [[1, 2]]. To look at the
type of each value would take as long as to build them all. So the decoders count brackets instead,
which is one pass over the bytes, by this argument:

Each list has one "[" in the text. The caller knows of some lists: the list of rows, each row (it
has checked that they all are lists), and those elsewhere in the body. If the text has exactly as
many "[", there is no other list, so none is nested in a row. A "[" in a string makes the count too
high. Then the body is not found flat, and is decoded more slowly, but never wrongly.

The brackets elsewhere in the body are counted in parts of the parsed document. There, an escape
sequence has become a bracket that the text does not have, and a nested list might take its place in
the count. So they are not counted if the body has any escape sequence.
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

# If occurrences of a character are at least this many bytes apart on average, `bytes.find` is
# faster than counting with NumPy.
SPARSE_BYTES_PER_CHARACTER = 2048


def is_flat_matrix(body: bytes, row_count: int, other_brackets: int = 0) -> bool:
    """Return whether no list is nested in the rows of a list, `[[…], …]`.

    Args:
        body: JSON text of the whole request.
        row_count: Number of rows, all of which are lists.
        other_brackets: Number of `[` that are known to be outside of the list; must not exceed the
            true number.

    Returns:
        False also if there are other brackets than these in the body, for instance in a string.
    """
    return _has_bracket_count(body, 1 + row_count + other_brackets)


def is_flat_list(body: bytes, other_brackets: int = 0) -> bool:
    """Return whether no list is nested in a list of values, `[…]`.

    Args:
        body: JSON text of the whole request.
        other_brackets: Number of `[` in the body outside of the list, as for `is_flat_matrix`.

    Returns:
        False also if there are other brackets than these in the body, for instance in a string.
    """
    return _has_bracket_count(body, 1 + other_brackets)


def has_flat_instances(body: bytes, instance_count: int) -> bool:
    """Return whether no list or object is nested in the instances of `{"instances": […]}`.

    Each list and each object has one opening bracket. One is the body's and one the list's.

    Args:
        body: JSON text of the whole request.
        instance_count: Number of instances, all of which are lists or objects.

    Returns:
        False also if there are other brackets or braces in the body, for instance in a string.
    """
    return count_character(body, b"[") + count_character(body, b"{") == 2 + instance_count


def count_brackets(parts: Iterable[bytes], body: bytes) -> int | None:
    """Return the number of `[` in parts of a body, None if the body has an escape sequence.

    Args:
        parts: Text of each part as parsed: JSON, or the value of a string. They are not read if the
            body has an escape sequence.
        body: JSON text of the whole request.
    """
    return None if b"\\" in body else b"".join(parts).count(b"[")


def count_character(body: bytes, character: bytes) -> int:
    """Return how many times an ASCII character occurs in a body, strings included."""
    return int(np.count_nonzero(np.frombuffer(body, np.uint8) == ord(character)))


def _has_bracket_count(body: bytes, count: int) -> bool:
    """Return whether `[` occurs exactly `count` times in a body."""
    if len(body) < count * SPARSE_BYTES_PER_CHARACTER:
        return count_character(body, b"[") == count
    at = -1
    for _ in range(count):
        at = body.find(b"[", at + 1)
        if at < 0:
            return False
    return body.find(b"[", at + 1) < 0
