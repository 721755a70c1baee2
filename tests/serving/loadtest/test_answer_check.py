"""Answers as each protocol documents them, correct or changed, and the faults found in them."""

import json
import re
import struct

import numpy as np
import pytest

from serving.loadtest.answer_check import (
    REQUEST_FORMATS,
    AnswerChecker,
    find_fault,
    parse_answer,
)
from tests.load_requests import make_target

LABELS = ["no", "yes", "no"]
PROBABILITIES = [[0.75, 0.25], [0.125, 0.875], [0.5, 0.5]]
VALUES = [[1.5, -2.0], [0.0, 3.25], [1e6, 7.0]]
TARGET = make_target(version=2)
REGRESSION = make_target(version=2, classes=(), targets=("a", "b"))

every_format = pytest.mark.parametrize("request_format", REQUEST_FORMATS)


def make_body(request_format, labels=LABELS, values=PROBABILITIES, *, version=2, model="people"):
    """Return the body of an answer; `labels` is None for a regression."""
    if request_format == "json":
        content = {"model": model, "version": version}
        if labels is None:
            return json.dumps(content | {"predictions": values}).encode()
        return json.dumps(content | {"predictions": labels, "probabilities": values}).encode()
    outputs, parts = [], []
    if labels is not None:
        are_texts = isinstance(labels[0], str)
        raw = b"".join(
            struct.pack("<I", len(label.encode())) + label.encode()
            if are_texts
            else struct.pack("<q", label)
            for label in labels
        )
        outputs.append(
            {
                "name": "label",
                "datatype": "BYTES" if are_texts else "INT64",
                "shape": [len(labels)],
                "data": labels,
            }
        )
        parts.append(raw)
    name = "value" if labels is None else "probabilities"
    flat = [value for row in values for value in row]
    shape = [len(values), len(values[0])]
    outputs.append({"name": name, "datatype": "FP32", "shape": shape, "data": flat})
    content = {"model_name": model, "model_version": str(version), "outputs": outputs}
    if request_format == "oip":
        return json.dumps(content).encode()
    parts.append(b"".join(struct.pack("<f", np.nan if v is None else v) for v in flat))
    for output, part in zip(outputs, parts, strict=True):
        del output["data"]
        output["parameters"] = {"binary_data_size": len(part)}
    return json.dumps(content).encode() + b"\n" + b"".join(parts)


def replace_row(rows, index, *values):
    """Return the rows with one replaced by these values, or left out if there are none."""
    return [*rows[:index], *([list(values)] if values else []), *rows[index + 1 :]]


def check(request_format, body, *, target=TARGET, correct=None):
    """Return the fault of an answer to three instances; compare it with `correct` if given."""
    parsed = None if correct is None else parse_answer(correct, request_format, target)
    return find_fault(body, request_format, target, 3, parsed)


@every_format
def test_answer_correct_is_parsed_without_fault(request_format):
    correct = make_body(request_format)
    answer = parse_answer(correct, request_format, TARGET)
    assert (answer.model, answer.version, answer.labels) == ("people", 2, LABELS)
    np.testing.assert_array_equal(answer.values, PROBABILITIES)
    assert check(request_format, correct) is None
    assert check(request_format, correct, correct=correct) is None


@every_format
def test_answer_integer_and_non_ascii_classes_have_no_fault(request_format):
    integers = make_target(version=2, classes=(0, 1))
    assert check(request_format, make_body(request_format, [0, 1, 0]), target=integers) is None
    texts = make_target(version=2, classes=("ñ", "ja\u2028"))
    correct = make_body(request_format, ["ñ", "ja\u2028", "ñ"])
    assert check(request_format, correct, target=texts, correct=correct) is None
    if request_format == "json":
        for wrong in (True, 1.0, "1"):
            body = make_body(request_format, [0, wrong, 0])
            assert check(request_format, body, target=integers) == (
                f"expected a class out of [0, 1]; got {wrong!r} in instance 1"
            )


@every_format
def test_answer_of_regression_is_compared_within_tolerance(request_format):
    correct = make_body(request_format, None, VALUES)
    assert check(request_format, correct, target=REGRESSION, correct=correct) is None
    near = make_body(request_format, None, replace_row(VALUES, 2, 1e6 + 5, 7))
    assert check(request_format, near, target=REGRESSION, correct=correct) is None
    far = make_body(request_format, None, replace_row(VALUES, 2, 1e6 + 50, 7))
    assert check(request_format, far, target=REGRESSION, correct=correct) == (
        "expected 1000000 for the value of 'a' in instance 2; got 1000050, a difference of 50"
    )


@every_format
def test_answer_of_regression_with_wrong_width_has_fault(request_format):
    one_column = make_body(request_format, None, [[1.0], [2.0], [3.0]])
    assert check(request_format, one_column, target=REGRESSION) == (
        "expected 2 values per instance; got 1"
    )
    single = make_target(version=2, classes=(), targets=("a",))
    assert check(request_format, one_column, target=single, correct=one_column) is None
    if request_format == "json":
        flat = make_body(request_format, None, [1.0, 2, 3])
        assert check(request_format, flat, target=single, correct=one_column) is None


@every_format
@pytest.mark.parametrize(
    ("labels", "values", "message"),
    [
        (["no", "maybe", "no"], PROBABILITIES, "a class out of .*; got 'maybe' in instance 1"),
        (["no", "no", "no"], PROBABILITIES, "expected the class 'yes' for instance 1; got 'no'"),
        (LABELS[:2], PROBABILITIES, "expected a prediction for each instance, 3; got 2"),
        (
            LABELS,
            replace_row(PROBABILITIES, 1),
            "expected a prediction for each instance, 3; got 2",
        ),
        (LABELS[:2], PROBABILITIES[:2], "expected a prediction for each instance, 3; got 2"),
        ([*LABELS, "no"], [*PROBABILITIES, [1, 0]], "expected a prediction .* 3; got 4"),
        (
            LABELS,
            replace_row(PROBABILITIES, 1, None, 0.875),
            "finite probabilities; got nan in instance 1",
        ),
        (LABELS, replace_row(PROBABILITIES, 0, 1.25, -0.25), "from 0 to 1; got 1.25 in instance 0"),
        (LABELS, replace_row(PROBABILITIES, 2, 0.5, 0.502), "the sum 1; got 1.002 in instance 2"),
        (
            LABELS,
            replace_row(PROBABILITIES, 1, 0.125244140625, 0.874755859375),
            r"0\.125 for the probability of 'no' in instance 1; got 0\.125244141, a difference of "
            r"0\.000244",
        ),
        (LABELS, [[0.5, 0.25, 0.25]] * 3, "expected 2 probabilities per instance; got 3"),
    ],
)
def test_answer_changed_has_fault_that_names_the_change(request_format, labels, values, message):
    body = make_body(request_format, labels, values)
    assert re.search(message, check(request_format, body, correct=make_body(request_format)))


@every_format
def test_answer_values_within_tolerance_have_no_fault(request_format):
    near = make_body(request_format, LABELS, replace_row(PROBABILITIES, 1, 0.125008, 0.874992))
    assert check(request_format, near, correct=make_body(request_format)) is None


@every_format
def test_answer_of_another_version_is_checked_for_shape_only(request_format):
    correct = make_body(request_format)
    labels = ["a", "b", "c"]
    for version in (1, 3):
        other = make_body(request_format, labels, [[0.25, 0.25, 0.5]] * 3, version=version)
        assert check(request_format, other, correct=correct) is None
        broken = make_body(request_format, labels, [[0.25, 0.25, 0.25]] * 3, version=version)
        assert "the sum 1; got 0.75" in check(request_format, broken, correct=correct)
    without_version = make_body(request_format, version=0)
    assert "expected a version of 1 or more; got 0" in check(request_format, without_version)


@every_format
def test_answer_of_another_model_has_fault(request_format):
    assert check(request_format, make_body(request_format, model="digits")) == (
        "expected an answer of the model 'people'; got 'digits'"
    )


@every_format
@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"<html>",
        b"null",
        b"[]",
        b"{}",
        b"\xff\xfe",
        b'{"predictions": 1}',
        b'{"outputs": [1]}',
        b'{"outputs": [{"parameters": {"binary_data_size": 99}}]}',
        b'{"model": "people", "version": 2, "predictions": [], "probabilities": [[1], 2]}',
    ],
)
def test_answer_in_no_known_format_has_fault(request_format, body):
    assert check(request_format, body).startswith("expected ")


@every_format
def test_answer_cut_off_anywhere_has_fault(request_format):
    correct = make_body(request_format)
    for length in range(len(correct)):
        assert check(request_format, correct[:length], correct=correct) is not None, length


def test_answer_with_nan_literal_has_fault_that_quotes_it():
    fault = check("json", make_body("json").replace(b"0.25", b"NaN"))
    assert fault.startswith("expected JSON; got 'NaN], [0.125")


@pytest.mark.parametrize("wrong", [["0.75", 0.25], [True, False], [{}, 1], [[0.5], [0.5]]])
def test_answer_with_values_that_are_no_numbers_has_fault(wrong):
    fault = check("json", make_body("json", LABELS, [wrong] * 3))
    assert fault.startswith(("expected numbers", "expected probabilities [3, …]"))


def test_checker_same_correct_bytes_are_parsed_once(monkeypatch):
    correct, other = make_body("json"), make_body("json", version=3)
    checker = AnswerChecker("json", TARGET, 3, correct)
    assert checker(other) is None
    monkeypatch.setattr("serving.loadtest.answer_check.find_fault", None)
    assert checker(other) is None


def test_checker_same_fault_twice_is_found_twice():
    checker = AnswerChecker("json", TARGET, 3, make_body("json"))
    for _ in range(2):
        assert "instance 1" in checker(make_body("json", ["no"] * 3))
    assert checker(make_body("json")) is None
