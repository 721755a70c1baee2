"""Answers that are right, and what is said of those that were tampered with."""

import json
import re
import struct

import numpy as np
import pytest

from serving.loadtest.answer_check import REQUEST_FORMATS, AnswerChecker, find_fault, parse_answer
from serving.loadtest.http_client import ServerAddress
from serving.loadtest.target import LoadTarget

CLASSES = ("no", "yes")
LABELS = ["no", "yes", "no"]
PROBABILITIES = [[0.75, 0.25], [0.125, 0.875], [0.5, 0.5]]
VALUES = [[1.5, -2.0], [0.0, 3.25], [1e6, 7.0]]


def target_of(classes=CLASSES, targets=("bought",)):
    return LoadTarget(
        ServerAddress("127.0.0.1", 1),
        "",
        "people",
        True,
        2,
        "binary",
        classes,
        targets,
        (),
        {},
        {},
        False,
    )


TARGET = target_of()
REGRESSION = target_of((), ("a", "b"))


def body_of(form, labels=LABELS, numbers=PROBABILITIES, *, version=2, model="people"):
    """An answer as the documentation of each protocol has it; a regression's has no labels."""
    if form == "json":
        said = {"model": model, "version": version}
        if labels is None:
            return json.dumps(said | {"predictions": numbers}).encode()
        return json.dumps(said | {"predictions": labels, "probabilities": numbers}).encode()
    outputs, parts = [], []
    if labels is not None:
        texts = isinstance(labels[0], str)
        raw = b"".join(
            struct.pack("<I", len(t.encode())) + t.encode() if texts else struct.pack("<q", t)
            for t in labels
        )
        outputs.append(
            {
                "name": "label",
                "datatype": "BYTES" if texts else "INT64",
                "shape": [len(labels)],
                "data": labels,
            }
        )
        parts.append(raw)
    name = "value" if labels is None else "probabilities"
    flat = [value for row in numbers for value in row]
    outputs.append(
        {"name": name, "datatype": "FP32", "shape": [len(numbers), len(numbers[0])], "data": flat}
    )
    said = {"model_name": model, "model_version": str(version), "outputs": outputs}
    if form == "oip":
        return json.dumps(said).encode()
    parts.append(b"".join(struct.pack("<f", np.nan if v is None else v) for v in flat))
    for output, part in zip(outputs, parts, strict=True):
        del output["data"]
        output["parameters"] = {"binary_data_size": len(part)}
    return json.dumps(said).encode() + b"\n" + b"".join(parts)


def changed(numbers, row, *values):
    """The same with another row; it takes away the row where there are no values."""
    return [*numbers[:row], *([list(values)] if values else []), *numbers[row + 1 :]]


def judged(form, body, *, target=TARGET, right=None):
    return find_fault(
        body, form, target, 3, None if right is None else parse_answer(right, form, target)
    )


@pytest.mark.parametrize("form", REQUEST_FORMATS)
def test_a_right_answer_is_read_and_has_no_fault(form):
    right = body_of(form)
    answer = parse_answer(right, form, TARGET)
    assert (answer.model, answer.version, answer.labels) == ("people", 2, LABELS)
    np.testing.assert_array_equal(answer.numbers, PROBABILITIES)
    assert judged(form, right) is None
    assert judged(form, right, right=right) is None


@pytest.mark.parametrize("form", REQUEST_FORMATS)
def test_numbers_as_classes_and_text_beyond_ascii_are_read(form):
    numbers = target_of((0, 1))
    assert judged(form, body_of(form, [0, 1, 0]), target=numbers) is None
    texts = target_of(("ñ", "ja\u2028"))
    right = body_of(form, ["ñ", "ja\u2028", "ñ"])
    assert judged(form, right, target=texts, right=right) is None
    if form == "json":
        for other in (True, 1.0, "1"):
            said = judged(form, body_of(form, [0, other, 0]), target=numbers)
            assert said == f"expected a class out of [0, 1]; got {other!r} in instance 1"


@pytest.mark.parametrize("form", REQUEST_FORMATS)
def test_values_of_a_regression_are_compared(form):
    right = body_of(form, None, VALUES)
    assert judged(form, right, target=REGRESSION, right=right) is None
    near = body_of(form, None, changed(VALUES, 2, 1e6 + 5, 7))
    assert judged(form, near, target=REGRESSION, right=right) is None
    far = body_of(form, None, changed(VALUES, 2, 1e6 + 50, 7))
    assert judged(form, far, target=REGRESSION, right=right) == (
        "expected 1000000 for the value of 'a' in instance 2; got 1000050, 50 apart"
    )
    wide = body_of(form, None, [[1.0], [2.0], [3.0]])
    assert judged(form, wide, target=REGRESSION) == "expected 2 values an instance; got 1"
    single = target_of((), ("a",))
    assert judged(form, wide, target=single, right=wide) is None
    if form == "json":
        assert judged(form, body_of(form, None, [1.0, 2, 3]), target=single, right=wide) is None


@pytest.mark.parametrize("form", REQUEST_FORMATS)
@pytest.mark.parametrize(
    ("labels", "numbers", "message"),
    [
        (["no", "maybe", "no"], PROBABILITIES, "a class out of .*; got 'maybe' in instance 1"),
        (["no", "no", "no"], PROBABILITIES, "expected the class 'yes' of instance 1; got 'no'"),
        (LABELS[:2], PROBABILITIES, "expected a prediction of each instance, 3; got 2"),
        (LABELS, changed(PROBABILITIES, 1), "expected a prediction of each instance, 3; got 2"),
        (LABELS[:2], PROBABILITIES[:2], "expected a prediction of each instance, 3; got 2"),
        ([*LABELS, "no"], [*PROBABILITIES, [1, 0]], "expected a prediction .* 3; got 4"),
        (
            LABELS,
            changed(PROBABILITIES, 1, None, 0.875),
            "finite probabilities; got nan in instance 1",
        ),
        (LABELS, changed(PROBABILITIES, 0, 1.25, -0.25), "from 0 to 1; got 1.25 in instance 0"),
        (LABELS, changed(PROBABILITIES, 2, 0.5, 0.502), "sum to 1; got 1.002 in instance 2"),
        (
            LABELS,
            changed(PROBABILITIES, 1, 0.125244140625, 0.874755859375),
            r"0\.125 for the probability of 'no' in instance 1; got 0\.125244141, 0\.000244 apart",
        ),
        (LABELS, [[0.5, 0.25, 0.25]] * 3, "expected 2 probabilities an instance; got 3"),
    ],
)
def test_what_was_tampered_with_is_named(form, labels, numbers, message):
    said = judged(form, body_of(form, labels, numbers), right=body_of(form))
    assert re.search(message, said)


@pytest.mark.parametrize("form", REQUEST_FORMATS)
def test_values_within_the_tolerance_are_right(form):
    near = body_of(form, LABELS, changed(PROBABILITIES, 1, 0.125008, 0.874992))
    assert judged(form, near, right=body_of(form)) is None


@pytest.mark.parametrize("form", REQUEST_FORMATS)
def test_of_another_version_only_the_form_is_looked_at(form):
    right = body_of(form)
    for version in (1, 3):
        other = body_of(form, ["a", "b", "c"], [[0.25, 0.25, 0.5]] * 3, version=version)
        assert judged(form, other, right=right) is None
        broken = body_of(form, ["a", "b", "c"], [[0.25, 0.25, 0.25]] * 3, version=version)
        assert "sum to 1; got 0.75" in judged(form, broken, right=right)
    assert "expected a version, 1 or more; got 0" in judged(form, body_of(form, version=0))


@pytest.mark.parametrize("form", REQUEST_FORMATS)
def test_another_model_is_named(form):
    said = judged(form, body_of(form, model="digits"))
    assert said == "expected an answer of 'people'; got 'digits'"


@pytest.mark.parametrize("form", REQUEST_FORMATS)
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
def test_what_is_no_answer_is_named(form, body):
    assert judged(form, body).startswith("expected ")


@pytest.mark.parametrize("form", REQUEST_FORMATS)
def test_an_answer_that_is_cut_anywhere_is_named(form):
    right = body_of(form)
    for length in range(len(right)):
        assert judged(form, right[:length], right=right) is not None, length


def test_a_number_that_json_has_no_word_for_is_quoted():
    said = judged("json", body_of("json").replace(b"0.25", b"NaN"))
    assert said.startswith("expected JSON; got 'NaN], [0.125")


@pytest.mark.parametrize("wrong", [["0.75", 0.25], [True, False], [{}, 1], [[0.5], [0.5]]])
def test_what_is_no_number_is_named(wrong):
    said = judged("json", body_of("json", LABELS, [wrong] * 3))
    assert said.startswith(("expected numbers", "expected probabilities [3, …]"))


def test_a_good_answer_of_another_version_is_not_read_twice(monkeypatch):
    right, other = body_of("json"), body_of("json", version=3)
    judge = AnswerChecker("json", TARGET, 3, right)
    assert judge(other) is None
    monkeypatch.setattr("serving.loadtest.answer_check.find_fault", None)
    assert judge(other) is None


def test_a_judge_names_a_fault_each_time_it_comes():
    judge = AnswerChecker("json", TARGET, 3, body_of("json"))
    for _ in range(2):
        assert "instance 1" in judge(body_of("json", ["no"] * 3))
    assert judge(body_of("json")) is None
