"""What is wrong with an answer: of its form, and beside the one that is known to be right."""

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

TOLERANCE = 1e-5  # of a value, absolute and relative to the right one, together
SUM_TOLERANCE = 1e-3  # of a row's probabilities, which sum to 1
RAW_DTYPES = {"FP32": "<f4", "FP64": "<f8", "INT64": "<i8"}  # datatypes of raw tensors
MAX_QUOTED_CHARACTERS = 40  # characters of a wrong value that a sentence repeats


class WrongAnswerError(Exception):
    """What is wrong with an answer, in a sentence."""


@dataclass(frozen=True, slots=True)
class ParsedAnswer:
    """What an answer says, in whatever form it came.

    Attributes:
        model: that answered.
        version: of it.
        labels: the predicted class of each instance; None of a regression.
        numbers: float64 `(n, k)`: probabilities of k classes, or values of k targets.
    """

    model: str
    version: int
    labels: list[Any] | None
    numbers: NDArray[np.float64]


class AnswerChecker:
    """Says what is wrong with the answers to one request.

    An answer that was found good is known by its bytes from then on: after a reload all answers
    differ from the expected ones, and each would be read anew at the cost of some ten requests.

    Args:
        form: of the request, and so of the answers.
        target: who is asked.
        rows: that it is asked about.
        right: the body of an answer to compare with, itself without fault and of the target's
            version; None if none is known.
    """

    def __init__(
        self, form: RequestFormat, target: LoadTarget, rows: int, right: bytes | None = None
    ) -> None:
        self._form, self._target, self._rows = form, target, rows
        self._right = None if right is None else parse_answer(right, form, target)
        self._good = right

    def __call__(self, body: bytes) -> str | None:
        """What is wrong with the body of an answer with status 200; None if nothing is."""
        if body == self._good:
            return None
        found = find_fault(body, self._form, self._target, self._rows, self._right)
        if found is None:
            self._good = body
        return found


def find_fault(
    body: bytes,
    form: RequestFormat,
    target: LoadTarget,
    rows: int,
    right: ParsedAnswer | None = None,
) -> str | None:
    """What is wrong with an answer; None if nothing is.

    One of another version than expected is not wrong, for a server may reload: of it only the form
    is looked at, as the next version may tell other classes apart.

    Args:
        body: of an answer with status 200.
        form: of the request.
        target: who was asked.
        rows: that it was asked about.
        right: what it is compared with, of the target's version, if anything is known.

    Returns:
        A sentence, "expected X; got Y".
    """
    try:
        answer = parse_answer(body, form, target)
        _check_shape(answer, target, rows)
        if answer.version == target.version:
            _check_labels(answer, target)
            if right is not None:
                _compare_answers(answer, right, target)
    except WrongAnswerError as error:
        return str(error)
    return None


def parse_answer(body: bytes, form: RequestFormat, target: LoadTarget) -> ParsedAnswer:
    """What an answer says.

    Args:
        body: of an answer with status 200.
        form: of the request.
        target: who was asked.

    Raises:
        FaultError: it is of another form.
    """
    try:
        return ANSWER_PARSERS[form](body, target)
    except json.JSONDecodeError as error:
        around = error.doc[error.pos :][:MAX_QUOTED_CHARACTERS]
        raise WrongAnswerError(f"expected JSON; got {around!r}: {error.msg}") from None
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise WrongAnswerError(
            f"expected an answer of the form {form!r}; got another: {type(error).__name__}: {error}"
        ) from None


def _parse_json(body: bytes, target: LoadTarget) -> ParsedAnswer:
    """`{"model", "version", "predictions"}`, of classifiers with `"probabilities"`."""
    said = orjson.loads(body)
    predictions = _require_list(said["predictions"], "predictions")
    if target.classes:
        labels, numbers = (
            predictions,
            _to_float_array(_require_list(said["probabilities"], "probabilities")),
        )
    else:
        labels, numbers = None, _to_float_array(predictions)
        # One target: a number per instance, not a list of one.
        numbers = numbers[:, None] if numbers.ndim == 1 else numbers
    return ParsedAnswer(said["model"], said["version"], labels, numbers)


def _parse_open_inference(body: bytes, target: LoadTarget) -> ParsedAnswer:
    """The Open Inference Protocol's, in JSON."""
    said = orjson.loads(body)
    return _parse_outputs(
        said, target, [_require_list(each["data"], "data") for each in said["outputs"]]
    )


def _parse_binary(body: bytes, target: LoadTarget) -> ParsedAnswer:
    """The same with the binary extension: the outputs, raw, behind the JSON.

    The header that tells the length of the JSON is not at hand; what is left of the body, once all
    outputs have their bytes, is as long. Each byte is a character here, so that the parser finds
    where the JSON ends, whatever comes behind.
    """
    said, _ = json.JSONDecoder().raw_decode(body.decode("latin-1"))
    sizes = [each["parameters"]["binary_data_size"] for each in said["outputs"]]
    start = len(body) - sum(sizes)
    said = orjson.loads(body[: max(start, 0)])
    data = []
    for each, size in zip(said["outputs"], sizes, strict=True):
        data.append(_decode_raw_tensor(body[start : start + size], each["datatype"]))
        start += size
    return _parse_outputs(said, target, data)


ANSWER_PARSERS: Mapping[RequestFormat, Callable[[bytes, LoadTarget], ParsedAnswer]] = {
    "json": _parse_json,
    "oip": _parse_open_inference,
    "binary": _parse_binary,
}


def _parse_outputs(
    said: Mapping[str, Any], target: LoadTarget, data: Sequence[list[Any]]
) -> ParsedAnswer:
    outputs = {
        each["name"]: (each, found) for each, found in zip(said["outputs"], data, strict=True)
    }
    labels = None
    if target.classes:
        described, labels = outputs["label"]
        if described["shape"] != [len(labels)]:
            raise WrongAnswerError(
                f"expected as many labels as their shape {described['shape']} says; got "
                f"{len(labels)}"
            )
    described, found = outputs["probabilities" if target.classes else "value"]
    numbers = _to_float_array(found).reshape(described["shape"])
    return ParsedAnswer(said["model_name"], int(said["model_version"]), labels, numbers)


def _decode_raw_tensor(content: bytes, datatype: str) -> list[Any]:
    """The elements of a raw tensor."""
    if datatype != "BYTES":
        numbers: list[Any] = np.frombuffer(content, RAW_DTYPES[datatype]).tolist()
        return numbers
    texts: list[Any] = []
    at = 0
    while at < len(content):
        start = at + 4
        at = start + int.from_bytes(content[at:start], "little")
        if at > len(content):
            raise WrongAnswerError(f"expected whole texts; got one cut off after {len(texts)}")
        texts.append(content[start:at].decode())
    return texts


def _require_list(value: object, name: str) -> list[Any]:
    if not isinstance(value, list):
        raise WrongAnswerError(f"expected {name!r} to be a list; got {_quote_value(value)}")
    return value


def _to_float_array(value: list[Any]) -> NDArray[np.float64]:
    """Numbers, however nested, null for what JSON has no word for."""
    numbers = np.array(value)  # ValueError where rows are of different lengths
    if numbers.dtype.kind not in "iuf":
        # Null is how NaN is written; a text or a truth is no number at all.
        wrong = next((v for v in numbers.ravel() if not isinstance(v, int | float | None)), None)
        if wrong is not None or numbers.dtype.kind != "O":
            raise WrongAnswerError(f"expected numbers; got {_quote_value(value)}")
    return numbers.astype(np.float64)


def _check_shape(answer: ParsedAnswer, target: LoadTarget, rows: int) -> None:
    if answer.model != target.model:
        raise WrongAnswerError(
            f"expected an answer of {target.model!r}; got {_quote_value(answer.model)}"
        )
    if type(answer.version) is not int or answer.version < 1:
        raise WrongAnswerError(f"expected a version, 1 or more; got {_quote_value(answer.version)}")
    what = "probabilities" if target.classes else "values"
    if answer.numbers.ndim != 2 or not answer.numbers.shape[1]:
        raise WrongAnswerError(f"expected {what} [{rows}, …]; got {list(answer.numbers.shape)}")
    for told in (answer.numbers, answer.labels):
        if told is not None and len(told) != rows:
            raise WrongAnswerError(
                f"expected a prediction of each instance, {rows}; got {len(told)}"
            )
    finite = np.isfinite(answer.numbers)
    if not finite.all():
        row, place = np.argwhere(~finite)[0]
        raise WrongAnswerError(
            f"expected finite {what}; got {answer.numbers[row, place]} in instance {row}"
        )
    if target.classes:
        _check_probabilities(answer.numbers)


def _check_probabilities(numbers: NDArray[np.float64]) -> None:
    outside = (numbers < 0) | (numbers > 1)
    if outside.any():
        row, place = np.argwhere(outside)[0]
        raise WrongAnswerError(
            f"expected probabilities from 0 to 1; got {numbers[row, place]:g} in instance {row}"
        )
    sums = numbers.sum(axis=1)
    row = int(np.abs(sums - 1).argmax())
    if abs(sums[row] - 1) > SUM_TOLERANCE:
        raise WrongAnswerError(
            f"expected probabilities that sum to 1; got {sums[row]:g} in instance {row}"
        )


def _check_labels(answer: ParsedAnswer, target: LoadTarget) -> None:
    """Of the version whose classes are known."""
    width = len(target.classes or target.targets)
    if answer.numbers.shape[1] != width:
        what = "probabilities" if target.classes else "values"
        raise WrongAnswerError(
            f"expected {width} {what} an instance; got {answer.numbers.shape[1]}"
        )
    for row, label in enumerate(answer.labels or ()):
        # 1.0 and true are equal to 1, and yet no class of whole numbers.
        if label not in target.classes or type(label) is not type(target.classes[0]):
            raise WrongAnswerError(
                f"expected a class out of {_quote_value(list(target.classes))}; got "
                f"{_quote_value(label)} in "
                f"instance {row}"
            )


def _compare_answers(answer: ParsedAnswer, right: ParsedAnswer, target: LoadTarget) -> None:
    """With the right answer, of the same version."""
    if answer.labels != right.labels:
        pairs = zip(answer.labels or (), right.labels or (), strict=True)
        row, (got, expected) = next(
            (row, pair) for row, pair in enumerate(pairs) if pair[0] != pair[1]
        )
        raise WrongAnswerError(
            f"expected the class {_quote_value(expected)} of instance {row}; got "
            f"{_quote_value(got)}"
        )
    apart = np.abs(answer.numbers - right.numbers)
    beyond = apart - TOLERANCE * (1 + np.abs(right.numbers))
    if beyond.max() > 0:
        row, place = (int(at) for at in np.unravel_index(beyond.argmax(), beyond.shape))
        raise WrongAnswerError(
            f"expected {right.numbers[row, place]:.9g} for "
            f"{_describe_output(place, target)} in instance "
            f"{row}; got {answer.numbers[row, place]:.9g}, {apart[row, place]:.3g} apart"
        )


def _describe_output(place: int, target: LoadTarget) -> str:
    """What a number of a row is of."""
    if target.classes:
        return f"the probability of {target.classes[place]!r}"
    return f"the value of {target.targets[place]!r}"


def _quote_value(value: object) -> str:
    text = repr(value)
    return f"{text[:MAX_QUOTED_CHARACTERS]}{'…' * (len(text) > MAX_QUOTED_CHARACTERS)}"
