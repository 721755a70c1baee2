"""Outputs: those a client asks for, encoded as JSON or CSV straight from the arrays."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import numpy as np
import orjson
from numpy.typing import NDArray

from serving.bundle import Arrays, Manifest, iter_row_slices
from serving.codec.quoting import describe_value, quote_text
from serving.codec.validation import VALUES_PER_BLOCK, iterate_cooperatively, refuse_instances

MAX_OUTPUTS = 16  # names; no graph has so many outputs


def parse_requested_outputs(parameters: Any) -> tuple[str, ...]:
    """The names in `{"outputs": [name, …]}`; none for all there are.

    Args:
        parameters: of a body, any JSON.

    Raises:
        InvalidInstancesError: they are of another form.
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
    """The same names, at least one and each once.

    Raises:
        InvalidInstancesError: one comes twice, or there is none.
    """
    if not 0 < len(names) <= MAX_OUTPUTS:
        refuse_instances(
            f'expected "outputs" to name at least one output, each once; got {len(names)} names'
        )
    for place, name in enumerate(names):
        if name in names[:place]:
            refuse_instances(
                f"expected every output once; got {quote_text(name)} twice", output=name[:40]
            )
    return tuple(names)


def select_outputs(outputs: Arrays, names: Sequence[str]) -> Arrays:
    """Those of the graph's outputs that are asked for, in the order they are asked for.

    Args:
        outputs: of the graph, by name.
        names: that are asked for; none for all.

    Raises:
        InvalidInstancesError: the graph has no such output.
    """
    for name in names:
        if name not in outputs:
            refuse_instances(
                f"expected outputs out of {', '.join(outputs)}; got {quote_text(name)}",
                output=name[:40],
            )
    return {name: outputs[name] for name in names} if names else outputs


def _describe_json(value: Any) -> str:
    if isinstance(value, dict):
        return f"an object of {', '.join(map(quote_text, list(value)[:3])) or 'nothing'}"
    return "a list" if isinstance(value, list) else describe_value(value)


ORJSON_OPTIONS = orjson.OPT_SERIALIZE_NUMPY | orjson.OPT_APPEND_NEWLINE
OUTPUT_VALUES_PER_BLOCK = 2**15  # numbers or texts of an output, some milliseconds
CSV_ROWS_PER_BLOCK = VALUES_PER_BLOCK // 4  # of an answer in CSV that are written at once
NEEDS_CSV_QUOTES = re.compile(r'[",\r\n]|^\s|\s$')


def encode_json_answer(manifest: Manifest, outputs: Arrays) -> bytes:
    """The body of an answer.

    Args:
        manifest: of the version that answered.
        outputs: `label` `(n,)`, `probabilities` `(n, k)`, or both; or `value` `(n, t)`.

    Returns:
        `{"model", "version", "predictions": [n]}`, for classifiers with `"probabilities": [n][k]`.
        Floats have the fewest digits that read back as the same float32.
    """
    answer: dict[str, object] = {"model": manifest.name, "version": manifest.version}
    if "value" in outputs:
        value = outputs["value"]
        # One target: a number per instance, not a list of one.
        answer["predictions"] = prepare_for_orjson(value[:, 0] if value.shape[1] == 1 else value)
    if "label" in outputs:
        answer["predictions"] = prepare_for_orjson(outputs["label"])
    if "probabilities" in outputs:
        answer["probabilities"] = prepare_for_orjson(outputs["probabilities"])
    return orjson.dumps(answer, option=ORJSON_OPTIONS)


def encode_csv_answer(outputs: Arrays) -> bytes:
    """A line an instance, no header: its prediction or values, then its probabilities.

    Args:
        outputs: as for `encode_json_answer`.
    """
    return b"".join(
        iterate_cooperatively(
            map(_encode_csv_rows, iter_row_slices(outputs, CSV_ROWS_PER_BLOCK)), CSV_ROWS_PER_BLOCK
        )
    )


def _encode_csv_rows(outputs: Arrays) -> bytes:
    """Return the lines of some rows."""
    columns = []
    if "label" in outputs:
        columns.append([_quote_csv_text(str(label)) for label in outputs["label"].tolist()])
    columns += [
        _format_number_rows(outputs[name]) for name in ("value", "probabilities") if name in outputs
    ]
    return "".join(f"{','.join(line)}\n" for line in zip(*columns, strict=True)).encode()


def prepare_for_orjson(array: NDArray[Any]) -> Any:
    """Return an output in a form that orjson takes.

    A long one is encoded here, some rows at a time, and other connections have their turn.
    """
    if array.size <= OUTPUT_VALUES_PER_BLOCK:
        return array.tolist() if array.dtype.kind == "U" else np.ascontiguousarray(array)
    return encode_list_cooperatively(map(prepare_for_orjson, split_rows(array)))


def split_rows(array: NDArray[Any]) -> Iterator[NDArray[Any]]:
    """Yield some rows of an output at a time, no more than are encoded at once."""
    step = max(OUTPUT_VALUES_PER_BLOCK * len(array) // max(array.size, 1), 1)
    for start in range(0, len(array), step):
        yield array[start : start + step]


def encode_list_cooperatively(blocks: Iterable[Any]) -> orjson.Fragment:
    """Return the JSON of one list of what all blocks hold; others have their turn in between.

    Args:
        blocks: Lists or arrays that orjson takes, none of them empty.
    """
    texts = (orjson.dumps(block, option=orjson.OPT_SERIALIZE_NUMPY)[1:-1] for block in blocks)
    return orjson.Fragment(b"[" + b",".join(iterate_cooperatively(texts, VALUES_PER_BLOCK)) + b"]")


def _format_number_rows(rows: NDArray[Any]) -> list[str]:
    """The numbers of each row, with commas between."""
    text = orjson.dumps(np.ascontiguousarray(rows), option=ORJSON_OPTIONS).decode().strip()
    return text[2:-2].split("],[") if len(rows) else []


def _quote_csv_text(text: str) -> str:
    return f'"{text.replace(chr(34), chr(34) * 2)}"' if NEEDS_CSV_QUOTES.search(text) else text
