"""The request of the Open Inference Protocol: its tensors to what the graph takes."""

from __future__ import annotations

from typing import Any, NamedTuple

from serving.bundle import FEATURES_INPUT, Arrays
from serving.codec.input_schema import InputSchema
from serving.codec.json_values import peek_value, read_members, require_list
from serving.codec.open_inference_tensors import (
    TENSOR_KEYS,
    InputTensor,
    decode_column_tensor,
    decode_matrix_tensor,
    decode_tensor_rows_fast,
    is_extra_input,
    read_binary_size,
    read_parameters,
    read_tensor,
    refuse_shared_memory,
    require_text,
)
from serving.codec.outputs import MAX_OUTPUTS, require_distinct_outputs
from serving.codec.quoting import describe_value, quote_text
from serving.codec.validation import (
    build_inputs_from_columns,
    iterate_cooperatively,
    refuse_instances,
    require_common_length,
)

MAX_ID_CHARACTERS = 256  # characters
INPUT_COST_IN_VALUES = 64  # values that take as long to check as the head of an input to read
# The last two are not the protocol's: KServe's client repeats there what the URL has said.
REQUEST_KEYS = ("inputs", "id", "parameters", "outputs", "model_name", "model_version")


class AnswerOptions(NamedTuple):
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
    is_binary_by_output: dict[str, bool]


def read_request(
    document: Any, head: bytes, rest: memoryview, fields: InputSchema
) -> tuple[Arrays, AnswerOptions]:
    """The graph's inputs, and how its answer is to be told.

    Args:
        document: simdjson's.
        head: that it was made of.
        rest: the binary tensors behind it.
        fields: the model's columns.

    Raises:
        InvalidInstancesError: anything is not what the model or the protocol takes.
    """
    request = read_members(document, REQUEST_KEYS, "the request")
    asked = _read_answer_options(request)
    tensors: dict[str, InputTensor] = {}
    inputs = require_list(request.get("inputs"), '"inputs"')
    if fields.should_ignore_extra and len(inputs) > fields.max_named_columns:
        refuse_instances(f"expected at most {fields.max_named_columns} inputs; got {len(inputs)}")
    # Without those that are left out there are no more inputs than columns.
    for value in (
        iterate_cooperatively(inputs, INPUT_COST_IN_VALUES)
        if fields.should_ignore_extra
        else inputs
    ):
        members = read_members(value, TENSOR_KEYS, "an input")
        if fields.should_ignore_extra and is_extra_input(members, fields):
            rest = rest[read_binary_size(members, rest) or 0 :]
            continue
        tensor, size = read_tensor(members, tensors, rest, fields)
        rest = rest[size:]
        tensors[tensor.name] = tensor
    if rest:
        refuse_instances(f"expected no bytes behind the last tensor; got {len(rest)}")
    if fields.all_numbers:
        if FEATURES_INPUT not in tensors:
            refuse_instances(f'expected the input "{FEATURES_INPUT}"; got none')
        tensor = tensors[FEATURES_INPUT]
        rows = (
            None
            if tensor.data is None
            else decode_tensor_rows_fast(tensor, head, request, len(fields))
        )
        if rows is not None and fields.take(rows):
            return {FEATURES_INPUT: rows}, asked
        return decode_matrix_tensor(tensor, fields), asked
    # By what their shapes say, before they are decoded: too many rows are refused in no time.
    lengths = {name: range(tensor.rows) for name, tensor in tensors.items()}
    size = len(head) + sum(len(tensor.content) for tensor in tensors.values())
    count = require_common_length(lengths, fields, size)
    columns = {
        name: decode_column_tensor(tensor, fields.columns[fields.places[name]])
        for name, tensor in tensors.items()
    }
    return build_inputs_from_columns(columns, count, fields), asked


def _read_answer_options(request: dict[str, Any]) -> AnswerOptions:
    known = request.get("id")
    if known is not None and not (isinstance(known, str) and len(known) <= MAX_ID_CHARACTERS):
        refuse_instances(
            f'expected "id" to be a text of at most {MAX_ID_CHARACTERS} characters; got '
            f"{describe_value(peek_value(known))}"
        )
    binary = _read_flag(read_parameters(request, "the request"), "binary_data_output")
    outputs = require_list(request["outputs"], '"outputs"') if "outputs" in request else ()
    if len(outputs) > MAX_OUTPUTS:
        refuse_instances(f'expected "outputs" to name each output once; got {len(outputs)} names')
    each: dict[str, bool] = {}
    names = []
    for value in outputs:
        members = read_members(value, ("name", "parameters"), "an output")
        names.append(require_text(members.get("name"), '"name" of an output'))
        parameters = read_parameters(members, "an output")
        if "classification" in parameters:
            refuse_instances(
                'expected outputs as tensors; got "classification" among the parameters of '
                f'{quote_text(names[-1])}; ask for "probabilities" and sort them'
            )
        refuse_shared_memory(parameters, f"output {quote_text(names[-1])}")
        if "binary_data" in parameters:
            each[names[-1]] = _read_flag(parameters, "binary_data")
    return AnswerOptions(known, require_distinct_outputs(names) if names else (), binary, each)


def _read_flag(parameters: dict[str, Any], name: str) -> bool:
    found = parameters.get(name, False)
    if not isinstance(found, bool):
        refuse_instances(f'expected "{name}" to be true or false; got another value')
    return found
