"""Answers: the outputs that a client requests, encoded as JSON or CSV straight from the arrays."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import numpy as np
import orjson
from numpy.typing import NDArray

from serving.bundle import Arrays, Manifest, iter_row_slices
from serving.bundle.quoting import MAX_QUOTED_CHARACTERS, describe_value, quote_text
from serving.codec.validation import VALUES_PER_BLOCK, iterate_cooperatively, refuse_instances

MAX_OUTPUTS = 16  # names of outputs in one request; no graph has so many outputs
ORJSON_OPTIONS = orjson.OPT_SERIALIZE_NUMPY | orjson.OPT_APPEND_NEWLINE
OUTPUT_VALUES_PER_BLOCK = 2**15  # values that are encoded between two yields, some milliseconds
CSV_ROWS_PER_BLOCK = VALUES_PER_BLOCK // 4
NEEDS_CSV_QUOTES = re.compile(r'[",\r\n]|^\s|\s$')


def parse_requested_outputs(parameters: Any) -> tuple[str, ...]:
    """Return the names in `{"outputs": [name, …]}`; empty if the client wants all outputs.

    Args:
        parameters: Value of the body's key `parameters`, any JSON; None if it is absent.

    Raises:
        InvalidInstancesError: If the value has another form.
    """
    if parameters is None:
        return ()
    if not isinstance(parameters, dict) or not parameters.keys() <= {"outputs"}:
        refuse_instances(
            'expected "parameters" to be an object of the key "outputs" alone, a list of names; '
            f"got {_describe_json(parameters)}"
        )
    names = parameters.get("outputs")
    if names is None:
        return ()
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        refuse_instances(f'expected "outputs" to be a list of names; got {_describe_json(names)}')
    return require_distinct_outputs(names)


def require_distinct_outputs(names: Sequence[str]) -> tuple[str, ...]:
    """Return the names of outputs if there is at least one and none is repeated.

    Raises:
        InvalidInstancesError: If there is no name, if there are too many, or if one is repeated.
    """
    if not 0 < len(names) <= MAX_OUTPUTS:
        refuse_instances(
            f'expected "outputs" to name at least one output, each once; got {len(names)} names'
        )
    for place, name in enumerate(names):
        if name in names[:place]:
            refuse_instances(
                f"expected every output once; got {quote_text(name)} twice",
                output=name[:MAX_QUOTED_CHARACTERS],
            )
    return tuple(names)


def select_outputs(outputs: Arrays, names: Sequence[str]) -> Arrays:
    """Return the requested outputs of the graph, in the order of the request.

    Args:
        outputs: All outputs of the graph by name.
        names: Names of the requested outputs; empty for all outputs.

    Raises:
        InvalidInstancesError: If the graph has no output of that name.
    """
    for name in names:
        if name not in outputs:
            refuse_instances(
                f"expected outputs among {', '.join(outputs)}; got {quote_text(name)}",
                output=name[:MAX_QUOTED_CHARACTERS],
            )
    return {name: outputs[name] for name in names} if names else outputs


def _describe_json(value: Any) -> str:
    if isinstance(value, dict):
        keys = ", ".join(map(quote_text, list(value)[:3]))
        noun = "key" if len(value) == 1 else "keys"
        return f"an object with the {noun} {keys}" if keys else "an empty object"
    return "a list" if isinstance(value, list) else describe_value(value)


def encode_json_answer(manifest: Manifest, outputs: Arrays) -> bytes:
    """Return the JSON body of an answer to `/predict`.

    Args:
        manifest: Manifest of the version that was run.
        outputs: `label` `(n,)`, `probabilities` `(n, k)`, or both; or `value` `(n, t)`.

    Returns:
        `{"model", "version", "predictions": [n]}`, for classifiers with `"probabilities": [n][k]`.
        A float has the fewest digits that read back as the same float32.
    """
    answer: dict[str, object] = {"model": manifest.name, "version": manifest.version}
    if "value" in outputs:
        value = outputs["value"]
        # With one target, an instance's prediction is a number, not a list of one number.
        answer["predictions"] = prepare_for_orjson(value[:, 0] if value.shape[1] == 1 else value)
    if "label" in outputs:
        answer["predictions"] = prepare_for_orjson(outputs["label"])
    if "probabilities" in outputs:
        answer["probabilities"] = prepare_for_orjson(outputs["probabilities"])
    return orjson.dumps(answer, option=ORJSON_OPTIONS)


def encode_csv_answer(outputs: Arrays) -> bytes:
    """Return the CSV body of an answer to `/predict`, one line for each instance, no header.

    A line has the instance's label or values, then its probabilities.

    Args:
        outputs: Outputs as `encode_json_answer` takes them.
    """
    blocks = map(_encode_csv_rows, iter_row_slices(outputs, CSV_ROWS_PER_BLOCK))
    return b"".join(iterate_cooperatively(blocks, CSV_ROWS_PER_BLOCK))


def _encode_csv_rows(outputs: Arrays) -> bytes:
    columns = []
    if "label" in outputs:
        columns.append([_quote_csv_text(str(label)) for label in outputs["label"].tolist()])
    columns += [
        _format_number_rows(outputs[name]) for name in ("value", "probabilities") if name in outputs
    ]
    return "".join(f"{','.join(line)}\n" for line in zip(*columns, strict=True)).encode()


def prepare_for_orjson(array: NDArray[Any]) -> Any:
    """Return an output in a form that orjson can serialize.

    A long output is encoded here, a block of rows at a time, with a yield to the event loop after
    each.
    """
    if array.size <= OUTPUT_VALUES_PER_BLOCK:
        return array.tolist() if array.dtype.kind == "U" else np.ascontiguousarray(array)
    return encode_list_cooperatively(map(prepare_for_orjson, split_rows(array)))


def split_rows(array: NDArray[Any]) -> Iterator[NDArray[Any]]:
    """Yield the rows of an output in blocks of at most `OUTPUT_VALUES_PER_BLOCK` values."""
    step = max(OUTPUT_VALUES_PER_BLOCK * len(array) // max(array.size, 1), 1)
    for start in range(0, len(array), step):
        yield array[start : start + step]


def encode_list_cooperatively(blocks: Iterable[Any]) -> orjson.Fragment:
    """Return the JSON of one list with the items of all blocks; yield to the loop in between.

    Args:
        blocks: Lists or arrays that orjson can serialize, none of them empty.
    """
    texts = (orjson.dumps(block, option=orjson.OPT_SERIALIZE_NUMPY)[1:-1] for block in blocks)
    return orjson.Fragment(b"[" + b",".join(iterate_cooperatively(texts, VALUES_PER_BLOCK)) + b"]")


def _format_number_rows(rows: NDArray[Any]) -> list[str]:
    """Return the numbers of each row `(n, m)`, with commas between them."""
    text = orjson.dumps(np.ascontiguousarray(rows), option=ORJSON_OPTIONS).decode().strip()
    return text[2:-2].split("],[") if len(rows) else []


def _quote_csv_text(text: str) -> str:
    return f'"{text.replace(chr(34), chr(34) * 2)}"' if NEEDS_CSV_QUOTES.search(text) else text
