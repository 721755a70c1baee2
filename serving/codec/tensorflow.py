"""TensorFlow Serving's REST protocol: instances in rows, or inputs in columns.

https://www.tensorflow.org/tfx/serving/api_rest#predict_api. Vertex AI sends the first of the two.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from functools import partial
from typing import Any

import numpy as np
import orjson
import simdjson
from numpy.typing import NDArray

from serving.bundle import FEATURES, Arrays, Manifest, slices
from serving.codec.answers import ENCODED_AT_ONCE, OPTIONS, list_in_turns, plain
from serving.codec.beside import LONGEST, Beside
from serving.codec.input_schema import Fields
from serving.codec.json_documents import after_step, read_document
from serving.codec.json_fast import has_signs, narrow, plain_rows
from serving.codec.json_rows import decode_rows
from serving.codec.json_syntax import syntax_error
from serving.codec.json_values import built, column_of, list_of, matrix_of, members_of
from serving.codec.messages import Message, Reply
from serving.codec.outputs import asked_outputs, chosen
from serving.codec.question import Question
from serving.codec.quoting import quoted
from serving.codec.validation import VALUES, common_length, in_turns, inputs_of_columns, refuse
from serving.event_loop import Work

SIGNATURE = "serving_default"
NESTS = 3  # an object, its key and its list cost what so many values do
BESIDE = ("signature_name", "parameters")
# The usual order of keys, in which the form is known at once.
ROWS_FIRST = re.compile(
    rb'\s*\{\s*(?:"signature_name"\s*:\s*"\w*"\s*,\s*)?"instances"\s*:\s*\[\s*'
    rb'(\{\s*"features"\s*:\s*\[)?'
)
NAMED_TENSORS = re.compile(rb'"instances"\s*:\s*\[\s*\{\s*"features"\s*:\s*\[')


def ask_tensorflow(message: Message, fields: Fields) -> Question:
    """The question of `{"instances": [...]}` or `{"inputs": …}`.

    An instance is what `/predict` takes, or `{"features": [...]}`. Inputs are `{"features":
    [[…], …]}` or the matrix alone, for tables of several types `{column: [...], …}`. Both may have
    `signature_name` and `parameters`, `{"outputs": [name, …]}`.

    Answers are `{"predictions": [n]}` to rows and `{"outputs": …}` to columns. A single output
    comes without its name; an instance of `value` is a list even of one target, as the graph's
    face and TensorFlow have it.

    Raises:
        NotJsonError: the body is not JSON.
        InvalidInstancesError: it is JSON of another form.
    """
    body, beside = message.content, Beside(*BESIDE)
    inputs, by_rows = _decode(body, fields, beside)
    said = beside.said
    signature = said.get("signature_name", SIGNATURE)
    if signature != SIGNATURE:
        refuse(f'expected "signature_name" to be "{SIGNATURE}" or absent; got {_short(signature)}')
    return Question(inputs, partial(_reply, asked_outputs(said.get("parameters")), by_rows=by_rows))


def _decode(body: bytes, fields: Fields, beside: Beside) -> tuple[Arrays, bool]:
    """What the graph takes, and whether it came in rows."""
    first = ROWS_FIRST.match(body)
    named = first[1] if first else NAMED_TENSORS.search(body, 0, 2 * LONGEST)
    if fields.ignores_extra:  # an instance may begin with a key that is left out
        named = named or b'"features"' in body
    # A column may have that name, too.
    named = bool(named and fields.all_numbers and FEATURES not in fields.places)
    if named or (not first and b'"inputs"' in body):
        read = partial(_read, body=body, fields=fields, beside=beside, named=named)
        try:
            inputs = read_document(body, read)
        except (ValueError, RuntimeError):
            raise syntax_error(body, fields) from None
        if inputs is not None:
            return inputs
    return decode_rows(body, fields, beside), True


def _read(
    document: Any, *, body: bytes, fields: Fields, beside: Beside, named: bool
) -> tuple[Arrays, bool] | None:
    """Inputs in columns, or instances that name the tensor; None of what `/predict` takes."""
    if not isinstance(document, simdjson.Object) or not (named or "inputs" in document):
        return None
    members = members_of(document, ("instances", "inputs", *BESIDE), "the body")
    if "inputs" in members and "instances" in members:
        refuse('expected either "instances" or "inputs"; got both')
    for key in BESIDE:
        if key in members:
            beside.said[key] = built(members[key], LONGEST, f'"{key}"')
    if "inputs" in members:
        return _columns(members["inputs"], body, fields), False
    if fields.ignores_extra and not _names_tensor(members.get("instances"), fields):
        return None
    rows = _plain_named(members["instances"], len(fields), body)
    if rows is not None and fields.take(rows):
        return {FEATURES: rows}, True
    return matrix_of(_named(members["instances"], fields), fields, f'"{FEATURES}"'), True


def _columns(values: Any, body: bytes, fields: Fields) -> Arrays:
    """Inputs in columns."""
    if fields.all_numbers:
        if isinstance(values, simdjson.Object):
            values = members_of(values, (FEATURES,), '"inputs"', _most(fields)).get(FEATURES)
        return _matrix(values, body, fields)
    tensors = members_of(values, fields.places, '"inputs"', _most(fields), fields.named)
    whats = {name: f'{quoted(name)} in "inputs"' for name in tensors}
    # Before they are decoded: a column of too many values is refused in no time.
    lengths = {name: range(len(list_of(array, whats[name]))) for name, array in tensors.items()}
    common_length(lengths, fields, len(body))
    columns = {
        name: column_of(array, fields.columns[fields.places[name]], whats[name])
        for name, array in tensors.items()
    }
    return inputs_of_columns(columns, common_length(columns, fields, len(body)), fields)


def _matrix(values: object, body: bytes, fields: Fields) -> Arrays:
    try:
        # What is beside is short and has hardly a bracket; with one this is only slower.
        rows = plain_rows(values, len(fields), body, brackets=0)
    except (ValueError, TypeError):
        rows = None
    if rows is not None and fields.take(rows):
        return {FEATURES: rows}
    return matrix_of(list_of(values, f'"{FEATURES}" in "inputs"'), fields, '"inputs"')


def _plain_named(instances: object, width: int, body: bytes) -> NDArray[np.float32] | None:
    """The rows of `[{"features": [...]}, …]`, or None where they are not ordinary."""
    # As in `plain_rows`: no bracket is left for nesting inside a row.
    if not isinstance(instances, simdjson.Array) or not has_signs(body, b"[", len(instances) + 1):
        return None
    if len(instances) * width > len(body):  # which could not hold them
        return None
    rows = np.empty((len(instances), width))
    for number, instance in enumerate(in_turns(instances, width + NESTS)):
        row = _only_member(instance)
        if not isinstance(row, simdjson.Array) or len(row) != width:
            return None
        try:
            rows[number] = np.frombuffer(row.as_buffer(of_type="d"), np.float64)
        except (ValueError, TypeError):
            return None
    after_step(body)
    flat = narrow(rows.ravel())
    return None if flat is None else flat.reshape(rows.shape)


def _only_member(instance: object) -> object:
    """Return what `{"features": …}` holds; None of anything else."""
    if not isinstance(instance, simdjson.Object) or len(instance) != 1:
        return None
    return instance[FEATURES] if next(iter(instance)) == FEATURES else None


def _names_tensor(instances: object, fields: Fields) -> bool:
    """Return whether the first instance is `{"features": …}`, perhaps with keys of no column."""
    first: Any = instances[0] if isinstance(instances, simdjson.Array) and len(instances) else None
    if not isinstance(first, simdjson.Object) or FEATURES not in first:
        return False
    return fields.places.keys().isdisjoint(map(fields.named, first))


def _named(instances: object, fields: Fields) -> Iterator[object]:
    """What instances hold that are each `{"features": [...]}`."""
    work = Work(VALUES)
    instance: Any
    for number, instance in enumerate(list_of(instances, '"instances"')):
        found = members_of(instance, (FEATURES,), f"instance {number}", _most(fields))
        work.spend(len(instance))  # keys that are left out
        yield found.get(FEATURES)


def _most(fields: Fields) -> int | None:
    """Return how many keys an object may have where others than the model's are left out."""
    return fields.most_names if fields.ignores_extra else None


def _short(value: Any) -> str:
    return quoted(json.dumps(value))


def _elements(output: NDArray[Any]) -> Any:
    """Each instance's part of an output; a number or a text by itself as Python's own."""
    return output.tolist() if output.ndim == 1 else np.ascontiguousarray(output)


def _by_rows(outputs: Arrays) -> Any:
    """Return the outputs row by row, each under its name; others have their turn in between."""
    count, size = len(next(iter(outputs.values()))), sum(a.size for a in outputs.values())
    if size <= ENCODED_AT_ONCE:
        return _rows(outputs)
    step = max(ENCODED_AT_ONCE * count // size // NESTS, 1)
    return list_in_turns(map(_rows, slices(outputs, step)))


def _rows(outputs: Arrays) -> list[dict[str, Any]]:
    rows = zip(*map(_elements, outputs.values()), strict=True)
    return [dict(zip(outputs, row, strict=True)) for row in rows]


def _reply(names: tuple[str, ...], manifest: Manifest, outputs: Arrays, *, by_rows: bool) -> Reply:
    del manifest
    asked = chosen(outputs, names)
    if by_rows:
        single = next(iter(asked.values())) if len(asked) == 1 else None
        predictions = _by_rows(asked) if single is None else plain(single)
        return Reply(orjson.dumps({"predictions": predictions}, option=OPTIONS))
    answered: Any = {name: plain(array) for name, array in asked.items()}
    if len(answered) == 1:
        (answered,) = answered.values()
    return Reply(orjson.dumps({"outputs": answered}, option=OPTIONS))
