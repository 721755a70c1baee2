"""The pool of simdjson's parsers: a parser is reused, but never while a document of it is alive."""

import threading

import pytest

from serving.codec import json_values
from serving.codec.json_values import MAX_POOLED_BODY_BYTES, read_document


@pytest.fixture(autouse=True)
def free_parsers(monkeypatch):
    parsers = []
    monkeypatch.setattr(json_values, "_free_parsers", parsers)
    return parsers


def read(body):
    return read_document(body, lambda document: document["a"].as_list())


def test_read_document_parser_is_reused(free_parsers):
    assert read(b'{"a":[1]}') == [1]
    (first,) = free_parsers
    assert read(b'{"a":[2]}') == [2]
    assert free_parsers == [first]


def test_read_document_large_body_frees_its_parser(free_parsers):
    assert read(b'{"a":[1]}' + b" " * MAX_POOLED_BODY_BYTES) == [1]
    assert free_parsers == []


def test_read_document_nested_call_uses_another_parser(free_parsers):
    def outer(document):
        assert read(b'{"a":[3]}') == [3]
        return document["a"].as_list()

    assert read_document(b'{"a":[1,2]}', outer) == [1, 2]
    assert len(free_parsers) == 2


def test_read_document_kept_part_raises_instead_of_being_overwritten():
    kept = []
    for _ in range(3):
        read_document(b'{"a":[1]}', lambda document: kept.append(document["a"]))
        with pytest.raises(RuntimeError, match="re-use"):
            read(b'{"a":[2]}')
        assert read(b'{"a":[2]}') == [2]
        json_values._free_parsers.clear()
    assert [array.as_list() for array in kept] == [[1]] * 3


def test_read_document_error_frees_the_parser(free_parsers):
    with pytest.raises(ValueError, match="JSON"):
        read(b"{")
    with pytest.raises(KeyError):
        read(b"{}")
    assert free_parsers == []


def test_read_document_in_threads_never_shares_a_parser():
    wrong = []

    def work(number):
        for _ in range(300):
            if read(f'{{"a":[{number}]}}'.encode()) != [number]:
                wrong.append(number)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong
    assert len(json_values._free_parsers) <= json_values.MAX_FREE_PARSERS + 8
