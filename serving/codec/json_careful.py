"""The careful decoder: slow, and precise about what is wrong with a body.

The standard library's parser keeps what faster ones drop: both of two equal keys, NaN and Infinity,
numbers of any size, the place of a syntax error.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any, NoReturn

import numpy as np
from numpy.typing import NDArray

from serving.errors import InvalidInstancesError, NotJsonError

SHOWN = 40  # characters of a wrong value that an error repeats
FLOAT32_LIMIT = 2.0**128 - 2.0**103  # halfway past the largest: rounds to infinity from here on


def decode_carefully(body: bytes, fields: Sequence[str]) -> NDArray[np.float32]:
    """As `json_rows.decode_rows`, with the precise error."""
    instances = _instances(_parse(body))
    rows = np.empty((len(instances), len(fields)), np.float32)
    for i, instance in enumerate(instances):
        if not isinstance(instance, list):
            _refuse(
                f"expected instance {i} to be a list of {len(fields)} numbers; "
                f"got {_shown(instance)}",
                instance=i,
            )
        if len(instance) != len(fields):
            _refuse(
                f"expected {len(fields)} numbers in instance {i}, one per feature; "
                f"got {len(instance)}",
                instance=i,
                expected=len(fields),
                got=len(instance),
            )
        rows[i] = [
            _number(value, i, position, fields[position]) for position, value in enumerate(instance)
        ]
    return rows


def _parse(body: bytes) -> Any:
    if not body.strip():
        raise NotJsonError('expected a JSON body such as {"instances": [[...]]}; got an empty one')
    try:
        return json.loads(body.decode("utf-8-sig"), object_pairs_hook=_object, parse_int=_integer)
    except UnicodeDecodeError as error:
        raise NotJsonError(
            f"expected JSON in UTF-8; got a byte that is not at position {error.start}",
            position=error.start,
        ) from None
    except json.JSONDecodeError as error:
        at_end = error.pos >= len(error.doc.rstrip())
        came = "one that breaks off" if at_end else "something else"
        raise NotJsonError(
            f"expected a JSON body; got {came} at line {error.lineno}, column {error.colno}: "
            f"{error.msg}",
            line=error.lineno,
            column=error.colno,
        ) from None
    except RecursionError:
        raise NotJsonError("expected JSON; got lists or objects nested too deeply") from None


def _integer(digits: str) -> float:
    # As a float: Python refuses to read integers of thousands of digits.
    return float(digits)


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for key, value in pairs:
        if key in found:
            _refuse(f"expected every key once; got {_shown(key)} twice", key=key[:SHOWN])
        found[key] = value
    return found


def _instances(document: Any) -> list[Any]:
    if not isinstance(document, dict):
        _refuse(f'expected an object {{"instances": [[...], ...]}}; got {_shown(document)}')
    if "instances" not in document:
        came = f"only {_shown(next(iter(document)))}" if document else "an empty object"
        _refuse(f'expected the key "instances" with a list of instances; got {came}')
    unknown = [key for key in document if key != "instances"]
    if unknown:
        _refuse(
            f'expected no key but "instances"; got {_shown(unknown[0])} too; leave it out',
            key=unknown[0][:SHOWN],
        )
    instances = document["instances"]
    if not isinstance(instances, list):
        _refuse(f'expected "instances" to be a list of instances; got {_shown(instances)}')
    return instances


def _number(value: Any, instance: int, position: int, field: str) -> float:
    if isinstance(value, float) and abs(value) < FLOAT32_LIMIT:
        return value
    too_large = isinstance(value, float) and abs(value) >= FLOAT32_LIMIT
    came = "a number that float32 cannot hold" if too_large else _shown(value)
    _refuse(
        f"expected a finite number in instance {instance}, field {field!r} (position {position}); "
        f"got {came}",
        instance=instance,
        field=field,
        position=position,
    )


def _shown(value: Any) -> str:
    """A value in a few words; what nests is not repeated, however deep it goes."""
    if isinstance(value, list):
        return f"a list of {len(value)}"
    if isinstance(value, dict):
        return f"an object of {len(value)} keys"
    if isinstance(value, str):
        return f"the text {json.dumps(value[:SHOWN])}{'...' * (len(value) > SHOWN)}"
    if isinstance(value, float):
        # as it was most likely written: integers are read as floats too
        whole = value.is_integer() and abs(value) < 1e15
        return f"the number {json.dumps(int(value) if whole else value)}"
    return json.dumps(value)  # true, false, null


def _refuse(message: str, **details: Any) -> NoReturn:
    raise InvalidInstancesError(message, **details)
