"""Answers: the graph's outputs as a JSON or CSV body, straight from the arrays."""

from __future__ import annotations

import re
from typing import Any

import numpy as np
import orjson
from numpy.typing import NDArray

from serving.bundle import Arrays, Manifest

OPTIONS = orjson.OPT_SERIALIZE_NUMPY | orjson.OPT_APPEND_NEWLINE
NEEDS_QUOTES = re.compile(r'[",\r\n]|^\s|\s$')


def encode_answers(manifest: Manifest, outputs: Arrays) -> bytes:
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
        answer["predictions"] = value[:, 0].copy() if value.shape[1] == 1 else value
    if "label" in outputs:
        answer["predictions"] = plain(outputs["label"])
    if "probabilities" in outputs:
        answer["probabilities"] = outputs["probabilities"]
    return orjson.dumps(answer, option=OPTIONS)


def encode_csv(outputs: Arrays) -> bytes:
    """A line an instance, no header: its prediction or values, then its probabilities.

    Args:
        outputs: as for `encode_answers`.
    """
    columns = []
    if "label" in outputs:
        columns.append([_quoted(str(label)) for label in outputs["label"].tolist()])
    columns += [_lines(outputs[name]) for name in ("value", "probabilities") if name in outputs]
    return "".join(f"{','.join(line)}\n" for line in zip(*columns, strict=True)).encode()


def plain(array: NDArray[Any]) -> Any:
    """An output as orjson takes it."""
    return array.tolist() if array.dtype.kind == "U" else np.ascontiguousarray(array)


def _lines(rows: NDArray[Any]) -> list[str]:
    """The numbers of each row, with commas between."""
    text = orjson.dumps(np.ascontiguousarray(rows), option=OPTIONS).decode().strip()
    return text[2:-2].split("],[") if len(rows) else []


def _quoted(text: str) -> str:
    return f'"{text.replace(chr(34), chr(34) * 2)}"' if NEEDS_QUOTES.search(text) else text
