"""Flat lists found by counting brackets, against the standard library's parser."""

import json

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from serving.codec.json_flatness import (
    SPARSE_BYTES_PER_CHARACTER,
    count_brackets,
    count_character,
    has_flat_instances,
    is_flat_list,
    is_flat_matrix,
)
from serving.codec.json_values import read_document, serialize_value
from tests.fuzzing import examples

strings = st.text(st.sampled_from('[]{}",:a\\ é'), max_size=4)
scalars = st.none() | st.booleans() | st.integers(-9, 9) | strings
values = st.recursive(
    scalars,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(strings, inner, max_size=3),
    max_leaves=6,
)
# Mostly scalars, so that many of the lists are flat.
members = st.one_of(scalars, scalars, scalars, values)
rows = st.lists(members, max_size=3)
records = st.dictionaries(strings, members, max_size=3)
spaces = st.text(st.sampled_from(" \n\t\r"), max_size=2)


def is_scalar(value):
    return not isinstance(value, list | dict)


@st.composite
def texts_of(draw, document):
    """Draw a JSON text of a document: white space anywhere, characters of strings escaped."""

    def write(value):
        before, after = draw(spaces), draw(spaces)
        return before + write_value(value) + after

    def write_value(value):
        match value:
            case str():
                return f'"{"".join(map(write_character, value))}"'
            case list():
                return f"[{','.join(map(write, value))}]"
            case dict():
                pairs = (f"{write(key)}:{write(member)}" for key, member in value.items())
                return "{" + ",".join(pairs) + "}"
            case _:
                return json.dumps(value)

    def write_character(character):
        if character in '"\\':
            return f"\\{character}"
        return f"\\u{ord(character):04x}" if should_escape and draw(st.booleans()) else character

    should_escape = draw(st.booleans())
    text = write(document)
    assert json.loads(text) == document
    return text.encode()


@st.composite
def bodies(draw, instances):
    """Draw `(text, document)` of a body of instances, options before or after them."""
    document = {"instances": draw(instances)}
    if draw(st.booleans()):
        options = {"id": draw(strings), "parameters": draw(values)}
        document = options | document if draw(st.booleans()) else document | options
    return draw(texts_of(document)), document


def count_other_brackets(text):
    """Return the brackets in all values but the instances, counted as the decoders do."""

    def read(document):
        others = [document[key] for key in document if key != "instances"]
        return count_brackets(map(serialize_value, others), text)

    return read_document(text, read)


def has_brackets_in_strings(value):
    match value:
        case str():
            return any(bracket in value for bracket in "[{")
        case list():
            return any(map(has_brackets_in_strings, value))
        case dict():
            return any(has_brackets_in_strings([*pair]) for pair in value.items())
        case _:
            return False


@examples(300)
@given(bodies(st.lists(rows, max_size=4)))
def test_is_flat_matrix_any_body_is_true_only_for_rows_without_lists(body):
    text, document = body
    other_brackets = count_other_brackets(text)
    assume(other_brackets is not None)
    instances = document["instances"]
    has_no_list = not any("[" in json.dumps(v) for row in instances for v in row)
    found = is_flat_matrix(text, len(instances), other_brackets)
    # A bracket in a string of a row is the only reason to find a flat matrix not flat.
    assert found == has_no_list
    if found:
        assert not any(isinstance(value, list) for row in instances for value in row)


@examples(300)
@given(bodies(st.lists(rows, max_size=4)))
def test_is_flat_matrix_uncounted_options_is_true_only_for_rows_without_lists(body):
    text, document = body
    if is_flat_matrix(text, len(document["instances"])):
        assert not any(isinstance(value, list) for row in document["instances"] for value in row)


@examples(300)
@given(bodies(rows))
def test_is_flat_list_any_body_is_true_only_for_a_list_without_lists(body):
    text, document = body
    other_brackets = count_other_brackets(text)
    assume(other_brackets is not None)
    instances = document["instances"]
    found = is_flat_list(text, other_brackets)
    assert found == (not any("[" in json.dumps(value) for value in instances))
    if found:
        assert not any(isinstance(value, list) for value in instances)


@examples(300)
@given(bodies(st.lists(rows | records, max_size=4)))
def test_has_flat_instances_any_body_is_true_only_if_all_members_are_scalars(body):
    text, document = body
    found = has_flat_instances(text, len(document["instances"]))
    are_flat = all(
        is_scalar(member)
        for instance in document["instances"]
        for member in (instance.values() if isinstance(instance, dict) else instance)
    )
    if found:
        assert are_flat
    if len(document) == 1 and not has_brackets_in_strings(document):
        assert found == are_flat


@pytest.mark.parametrize(
    ("text", "row_count", "is_flat"),
    [
        ('{"instances":[]}', 0, True),
        ('{"instances":[[1,2],[3,4]]}', 2, True),
        (' {\n"instances" : [ [ 1 , 2 ] ] }\t', 1, True),
        ('{"instances":[[1,[2]],[3,4]]}', 2, False),
        ('{"instances":[[[1,2]]]}', 1, False),
        ('{"instances":[[],[[]]]}', 2, False),
        ('{"instances":[[1,{"a":[2]}]]}', 1, False),
        ('{"instances":[["["]]}', 1, False),
        (r'{"instances":[["\u005b"]]}', 1, True),
        (r'{"instances":[["\"["]]}', 1, False),
        ('{"[":0,"instances":[[1]]}', 1, False),
    ],
)
def test_is_flat_matrix_brackets_of_each_kind_gives_whether_they_are_the_rows(
    text, row_count, is_flat
):
    assert is_flat_matrix(text.encode(), row_count) == is_flat


@pytest.mark.parametrize(
    ("text", "count", "is_flat"),
    [
        ('{"instances":[]}', 0, True),
        ('{"instances":[{"a":1},[2]]}', 2, True),
        ('{"instances":[{"a":{}}]}', 1, False),
        ('{"instances":[{"a":[]}]}', 1, False),
        ('{"instances":[[{}]]}', 1, False),
        ('{"instances":[{"a":"{"}]}', 1, False),
        ('{"instances":[{"[":1}]}', 1, False),
        ('{"instances":[{"a":1}],"parameters":{}}', 1, False),
        (r'{"instances":[{"a":"\u007b\u005b"}]}', 1, True),
    ],
)
def test_has_flat_instances_brackets_of_each_kind_gives_whether_they_are_the_instances(
    text, count, is_flat
):
    assert has_flat_instances(text.encode(), count) == is_flat


def test_count_brackets_escape_in_body_gives_none_without_reading_the_parts():
    # The parsed id has a bracket that the text lacks. If it were counted, [2] would not be noticed.
    body = rb'{"id":"\u005b","instances":[[1,[2]]]}'
    assert is_flat_matrix(body, 1, other_brackets=1)

    def read_parts():
        raise AssertionError("expected the parts not to be read")
        yield b""

    assert count_brackets(read_parts(), body) is None


def test_count_brackets_parts_without_escapes_gives_their_sum():
    assert count_brackets([b'{"a":[1,[2]]}', b"[", b"7"], b"{}") == 3
    assert count_brackets([], b"{}") == 0


@pytest.mark.parametrize("padding", [0, 4 * SPARSE_BYTES_PER_CHARACTER])
@pytest.mark.parametrize(("row_count", "is_flat"), [(0, False), (1, False), (2, True), (3, False)])
def test_is_flat_matrix_few_or_many_bytes_per_bracket_gives_the_same(padding, row_count, is_flat):
    body = b'{"instances":[[1],' + b" " * padding + b"[2]]}"
    assert is_flat_matrix(body, row_count) == is_flat


@given(st.text(st.sampled_from("[]{}é"), max_size=50).map(str.encode))
def test_count_character_any_body_gives_the_number_of_occurrences(body):
    assert count_character(body, b"[") == body.count(b"[")
