"""Parse prediction answers and find their faults, alone or compared with a known correct answer."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, get_args

import numpy as np
import orjson
from numpy.typing import NDArray

from serving.loadtest.target import LoadTarget

RequestFormat = Literal["json", "oip", "binary"]
REQUEST_FORMATS: tuple[RequestFormat, ...] = get_args(RequestFormat)

VALUE_TOLERANCE = 1e-5  # largest difference of a value: absolute, plus relative to the correct one
SUM_TOLERANCE = 1e-3  # largest difference of the sum of a row's probabilities from 1
RAW_DTYPES = {"FP32": "<f4", "FP64": "<f8", "INT64": "<i8"}  # by the datatype of a tensor
MAX_QUOTED_CHARACTERS = 40  # longer values are cut in messages


class WrongAnswerError(Exception):
    """An answer is wrong; the message describes the fault."""


@dataclass(frozen=True, slots=True)
class ParsedAnswer:
    """The content of an answer, whatever its format.

    Attributes:
        model: Name of the model that the answer names.
        version: Version number that the answer names.
        labels: Predicted class of each instance; None for a regression.
        values: Probabilities of `k` classes, or values of `k` targets, float64 `(n, k)`.
    """

    model: str
    version: int
    labels: list[Any] | None
    values: NDArray[np.float64]


class AnswerChecker:
    """Finds the faults of the answers to one request.

    The bytes of the last correct answer are remembered. After a reload all answers differ from the
    expected one, and parsing each would cost as much time as ten requests.

    Args:
        request_format: Format of the request, which is also that of its answers.
        target: Server and model.
        rows: Number of instances in the request.
        correct_body: Body of a correct answer of the target's version, to compare with; None if
            none is known.
    """

    def __init__(
        self,
        request_format: RequestFormat,
        target: LoadTarget,
        rows: int,
        correct_body: bytes | None = None,
    ) -> None:
        self._format, self._target, self._rows = request_format, target, rows
        self._correct = (
            None if correct_body is None else parse_answer(correct_body, request_format, target)
        )
        self._known_correct_body = correct_body

    def __call__(self, body: bytes) -> str | None:
        """Return a description of the fault of an answer with status 200; None if correct."""
        if body == self._known_correct_body:
            return None
        fault = find_fault(body, self._format, self._target, self._rows, self._correct)
        if fault is None:
            self._known_correct_body = body
        return fault


def find_fault(
    body: bytes,
    request_format: RequestFormat,
    target: LoadTarget,
    rows: int,
    correct: ParsedAnswer | None = None,
) -> str | None:
    """Find the fault of an answer.

    An answer of another version is not a fault, because a server may reload. Only its shape is
    checked then, as the other version may have other classes.

    Args:
        body: Body of an answer with status 200.
        request_format: Format of the request.
        target: Server and model.
        rows: Number of instances in the request.
        correct: Correct answer of the target's version, or None.

    Returns:
        A sentence "expected X; got Y", or None if the answer is correct.
    """
    try:
        answer = parse_answer(body, request_format, target)
        _check_shape(answer, target, rows)
        if answer.version == target.version:
            _check_labels(answer, target)
            if correct is not None:
                _compare_answers(answer, correct, target)
    except WrongAnswerError as error:
        return str(error)
    return None


def parse_answer(body: bytes, request_format: RequestFormat, target: LoadTarget) -> ParsedAnswer:
    """Parse the body of an answer.

    Args:
        body: Body of an answer with status 200.
        request_format: Format of the request.
        target: Server and model.

    Raises:
        WrongAnswerError: If the body is not an answer of this format.
    """
    try:
        return ANSWER_PARSERS[request_format](body, target)
    except json.JSONDecodeError as error:
        rest = error.doc[error.pos :][:MAX_QUOTED_CHARACTERS]
        raise WrongAnswerError(f"expected JSON; got {rest!r}: {error.msg}") from None
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise WrongAnswerError(
            f"expected an answer in the format {request_format!r}; got something else: "
            f"{type(error).__name__}: {error}"
        ) from None


def _parse_json(body: bytes, target: LoadTarget) -> ParsedAnswer:
    """Parse `{"model", "version", "predictions"}`, with `"probabilities"` of a classifier."""
    content = orjson.loads(body)
    predictions = _require_list(content["predictions"], "predictions")
    if target.classes:
        labels = predictions
        values = _to_float_array(_require_list(content["probabilities"], "probabilities"))
    else:
        labels, values = None, _to_float_array(predictions)
        # With a single target each prediction is a number, not a list.
        values = values[:, None] if values.ndim == 1 else values
    return ParsedAnswer(content["model"], content["version"], labels, values)


def _parse_open_inference(body: bytes, target: LoadTarget) -> ParsedAnswer:
    """Parse an answer of the Open Inference Protocol in JSON."""
    content = orjson.loads(body)
    elements = [_require_list(output["data"], "data") for output in content["outputs"]]
    return _parse_outputs(content, target, elements)


def _parse_binary(body: bytes, target: LoadTarget) -> ParsedAnswer:
    """Parse an answer of the Open Inference Protocol with raw tensors after the JSON.

    The header with the length of the JSON is not available here. The length is that of the body
    minus the sizes of the tensors, which the JSON holds. To read them, the body is first decoded as
    Latin-1, in which any bytes of the tensors are valid text.
    """
    content, _ = json.JSONDecoder().raw_decode(body.decode("latin-1"))
    sizes = [output["parameters"]["binary_data_size"] for output in content["outputs"]]
    start = len(body) - sum(sizes)
    content = orjson.loads(body[: max(start, 0)])
    elements = []
    for output, size in zip(content["outputs"], sizes, strict=True):
        elements.append(_decode_raw_tensor(body[start : start + size], output["datatype"]))
        start += size
    return _parse_outputs(content, target, elements)


ANSWER_PARSERS: Mapping[RequestFormat, Callable[[bytes, LoadTarget], ParsedAnswer]] = {
    "json": _parse_json,
    "oip": _parse_open_inference,
    "binary": _parse_binary,
}


def _parse_outputs(
    content: Mapping[str, Any], target: LoadTarget, elements: Sequence[list[Any]]
) -> ParsedAnswer:
    outputs = {
        output["name"]: (output, data)
        for output, data in zip(content["outputs"], elements, strict=True)
    }
    labels = None
    if target.classes:
        output, labels = outputs["label"]
        if output["shape"] != [len(labels)]:
            raise WrongAnswerError(
                f"expected as many labels as their shape {output['shape']} says; got {len(labels)}"
            )
    output, data = outputs["probabilities" if target.classes else "value"]
    values = _to_float_array(data).reshape(output["shape"])
    return ParsedAnswer(content["model_name"], int(content["model_version"]), labels, values)


def _decode_raw_tensor(content: bytes, datatype: str) -> list[Any]:
    """Return the elements of a raw tensor."""
    if datatype != "BYTES":
        numbers: list[Any] = np.frombuffer(content, RAW_DTYPES[datatype]).tolist()
        return numbers
    texts: list[Any] = []
    end = 0
    while end < len(content):
        start = end + 4
        end = start + int.from_bytes(content[end:start], "little")
        if end > len(content):
            raise WrongAnswerError(f"expected whole texts; got one cut off after {len(texts)}")
        texts.append(content[start:end].decode())
    return texts


def _require_list(value: object, name: str) -> list[Any]:
    if not isinstance(value, list):
        raise WrongAnswerError(f"expected {name!r} to be a list; got {_quote_value(value)}")
    return value


def _to_float_array(value: list[Any]) -> NDArray[np.float64]:
    """Convert a nested list of numbers to float64, null to NaN."""
    array = np.array(value)  # raises ValueError if the rows have different lengths
    if array.dtype.kind not in "iuf":
        # JSON cannot express NaN, so the server sends null. Other types are wrong.
        wrong = next((v for v in array.ravel() if not isinstance(v, int | float | None)), None)
        if wrong is not None or array.dtype.kind != "O":
            raise WrongAnswerError(f"expected numbers; got {_quote_value(value)}")
    return array.astype(np.float64)


def _check_shape(answer: ParsedAnswer, target: LoadTarget, rows: int) -> None:
    """Check the properties that an answer of any version must have."""
    if answer.model != target.model:
        raise WrongAnswerError(
            f"expected an answer of the model {target.model!r}; got {_quote_value(answer.model)}"
        )
    if type(answer.version) is not int or answer.version < 1:
        raise WrongAnswerError(
            f"expected a version of 1 or more; got {_quote_value(answer.version)}"
        )
    noun = "probabilities" if target.classes else "values"
    if answer.values.ndim != 2 or not answer.values.shape[1]:
        raise WrongAnswerError(f"expected {noun} [{rows}, …]; got {list(answer.values.shape)}")
    for predictions in (answer.values, answer.labels):
        if predictions is not None and len(predictions) != rows:
            raise WrongAnswerError(
                f"expected a prediction for each instance, {rows}; got {len(predictions)}"
            )
    is_finite = np.isfinite(answer.values)
    if not is_finite.all():
        row, column = np.argwhere(~is_finite)[0]
        raise WrongAnswerError(
            f"expected finite {noun}; got {answer.values[row, column]} in instance {row}"
        )
    if target.classes:
        _check_probabilities(answer.values)


def _check_probabilities(values: NDArray[np.float64]) -> None:
    is_outside = (values < 0) | (values > 1)
    if is_outside.any():
        row, column = np.argwhere(is_outside)[0]
        raise WrongAnswerError(
            f"expected probabilities from 0 to 1; got {values[row, column]:g} in instance {row}"
        )
    sums = values.sum(axis=1)
    row = int(np.abs(sums - 1).argmax())
    if abs(sums[row] - 1) > SUM_TOLERANCE:
        raise WrongAnswerError(
            f"expected probabilities with the sum 1; got {sums[row]:g} in instance {row}"
        )


def _check_labels(answer: ParsedAnswer, target: LoadTarget) -> None:
    """Check the classes of an answer of the target's version."""
    width = len(target.classes or target.targets)
    if answer.values.shape[1] != width:
        noun = "probabilities" if target.classes else "values"
        raise WrongAnswerError(
            f"expected {width} {noun} per instance; got {answer.values.shape[1]}"
        )
    for row, label in enumerate(answer.labels or ()):
        # In Python, 1.0 and True equal 1, but neither is the class 1.
        if label not in target.classes or type(label) is not type(target.classes[0]):
            raise WrongAnswerError(
                f"expected a class out of {_quote_value(list(target.classes))}; got "
                f"{_quote_value(label)} in instance {row}"
            )


def _compare_answers(answer: ParsedAnswer, correct: ParsedAnswer, target: LoadTarget) -> None:
    """Compare an answer with the correct one of the same version."""
    if answer.labels != correct.labels:
        pairs = zip(answer.labels or (), correct.labels or (), strict=True)
        row, (got, expected) = next(
            (row, pair) for row, pair in enumerate(pairs) if pair[0] != pair[1]
        )
        raise WrongAnswerError(
            f"expected the class {_quote_value(expected)} for instance {row}; got "
            f"{_quote_value(got)}"
        )
    difference = np.abs(answer.values - correct.values)
    excess = difference - VALUE_TOLERANCE * (1 + np.abs(correct.values))
    if excess.max() > 0:
        row, column = (int(index) for index in np.unravel_index(excess.argmax(), excess.shape))
        raise WrongAnswerError(
            f"expected {correct.values[row, column]:.9g} for {_describe_output(column, target)} in "
            f"instance {row}; got {answer.values[row, column]:.9g}, a difference of "
            f"{difference[row, column]:.3g}"
        )


def _describe_output(column: int, target: LoadTarget) -> str:
    """Return a description of the values in a column of `ParsedAnswer.values`."""
    if target.classes:
        return f"the probability of {target.classes[column]!r}"
    return f"the value of {target.targets[column]!r}"


def _quote_value(value: object) -> str:
    text = repr(value)
    return f"{text[:MAX_QUOTED_CHARACTERS]}{'…' * (len(text) > MAX_QUOTED_CHARACTERS)}"
