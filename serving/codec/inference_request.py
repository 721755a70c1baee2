"""The request of the Open Inference Protocol: its tensors to what the graph takes."""

from __future__ import annotations

from typing import Any, NamedTuple

from serving.bundle import FEATURES, Arrays
from serving.codec.input_schema import Fields
from serving.codec.json_values import list_of, members_of, unbuilt
from serving.codec.open_inference_tensors import (
    TENSOR,
    Tensor,
    binary_size,
    column_of,
    inputs_of,
    is_left_out,
    parameters_of,
    plain_rows,
    read_tensor,
    refuse_shared_memory,
    required_text,
)
from serving.codec.outputs import MOST, distinct
from serving.codec.quoting import quoted, shown
from serving.codec.validation import common_length, in_turns, inputs_of_columns, refuse

LONGEST_ID = 256  # characters
INPUT_VALUES = 64  # values that take as long to check as the head of an input to read
# The last two are not the protocol's: KServe's client repeats there what the URL has said.
REQUEST = ("inputs", "id", "parameters", "outputs", "model_name", "model_version")


class Asked(NamedTuple):
    """How the answer is to be told.

    Attributes:
        id: to be repeated; None where there is none.
        names: of the outputs; none for all.
        binary: whether an output of no word of its own is raw bytes.
        each: the outputs that have their own.
    """

    id: str | None
    names: tuple[str, ...]
    binary: bool
    each: dict[str, bool]


def read_request(
    document: Any, head: bytes, rest: memoryview, fields: Fields
) -> tuple[Arrays, Asked]:
    """The graph's inputs, and how its answer is to be told.

    Args:
        document: simdjson's.
        head: that it was made of.
        rest: the binary tensors behind it.
        fields: the model's columns.

    Raises:
        InvalidInstancesError: anything is not what the model or the protocol takes.
    """
    request = members_of(document, REQUEST, "the request")
    asked = _asked(request)
    tensors: dict[str, Tensor] = {}
    inputs = list_of(request.get("inputs"), '"inputs"')
    if fields.ignores_extra and len(inputs) > fields.most_names:
        refuse(f"expected at most {fields.most_names} inputs; got {len(inputs)}")
    # Without those that are left out there are no more inputs than columns.
    for value in in_turns(inputs, INPUT_VALUES) if fields.ignores_extra else inputs:
        members = members_of(value, TENSOR, "an input")
        if fields.ignores_extra and is_left_out(members, fields):
            rest = rest[binary_size(members, rest) or 0 :]
            continue
        tensor, size = read_tensor(members, tensors, rest, fields)
        rest = rest[size:]
        tensors[tensor.name] = tensor
    if rest:
        refuse(f"expected no bytes behind the last tensor; got {len(rest)}")
    if fields.all_numbers:
        if FEATURES not in tensors:
            refuse(f'expected the input "{FEATURES}"; got none')
        tensor = tensors[FEATURES]
        rows = None if tensor.data is None else plain_rows(tensor, head, request, len(fields))
        if rows is not None and fields.take(rows):
            return {FEATURES: rows}, asked
        return inputs_of(tensor, fields), asked
    # By what their shapes say, before they are decoded: too many rows are refused in no time.
    lengths = {name: range(tensor.rows) for name, tensor in tensors.items()}
    size = len(head) + sum(len(tensor.content) for tensor in tensors.values())
    count = common_length(lengths, fields, size)
    columns = {
        name: column_of(tensor, fields.columns[fields.places[name]])
        for name, tensor in tensors.items()
    }
    return inputs_of_columns(columns, count, fields), asked


def _asked(request: dict[str, Any]) -> Asked:
    known = request.get("id")
    if known is not None and not (isinstance(known, str) and len(known) <= LONGEST_ID):
        refuse(
            f'expected "id" to be a text of at most {LONGEST_ID} characters; got '
            f"{shown(unbuilt(known))}"
        )
    binary = _flag(parameters_of(request, "the request"), "binary_data_output")
    outputs = list_of(request["outputs"], '"outputs"') if "outputs" in request else ()
    if len(outputs) > MOST:
        refuse(f'expected "outputs" to name each output once; got {len(outputs)} names')
    each: dict[str, bool] = {}
    names = []
    for value in outputs:
        members = members_of(value, ("name", "parameters"), "an output")
        names.append(required_text(members.get("name"), '"name" of an output'))
        parameters = parameters_of(members, "an output")
        if "classification" in parameters:
            refuse(
                'expected outputs as tensors; got "classification" among the parameters of '
                f'{quoted(names[-1])}; ask for "probabilities" and sort them'
            )
        refuse_shared_memory(parameters, f"output {quoted(names[-1])}")
        if "binary_data" in parameters:
            each[names[-1]] = _flag(parameters, "binary_data")
    return Asked(known, distinct(names) if names else (), binary, each)


def _flag(parameters: dict[str, Any], name: str) -> bool:
    found = parameters.get(name, False)
    if not isinstance(found, bool):
        refuse(f'expected "{name}" to be true or false; got another value')
    return found
