"""Parsers are used again, and never while a document of theirs is alive."""

import threading

import pytest

from serving.codec import json_values as json_documents
from serving.codec.json_values import MAX_POOLED_BODY_BYTES, read_document


@pytest.fixture(autouse=True)
def free(monkeypatch):
    parsers = []
    monkeypatch.setattr(json_documents, "_free_parsers", parsers)
    return parsers


def read(body):
    return read_document(body, lambda document: document["a"].as_list())


def test_a_parser_is_used_again(free):
    assert read(b'{"a":[1]}') == [1]
    (first,) = free
    assert read(b'{"a":[2]}') == [2]
    assert free == [first]


def test_the_memory_of_a_large_body_is_given_back(free):
    assert read(b'{"a":[1]}' + b" " * MAX_POOLED_BODY_BYTES) == [1]
    assert free == []


def test_documents_may_be_open_at_the_same_time(free):
    def outer(document):
        assert read(b'{"a":[3]}') == [3]
        return document["a"].as_list()

    assert read_document(b'{"a":[1,2]}', outer) == [1, 2]
    assert len(free) == 2


def test_a_document_that_outlives_its_reading_is_left_alone():
    kept = []
    for _ in range(3):
        read_document(b'{"a":[1]}', lambda document: kept.append(document["a"]))
        with pytest.raises(RuntimeError, match="re-use"):
            read(b'{"a":[2]}')
        assert read(b'{"a":[2]}') == [2]
        json_documents._free_parsers.clear()
    assert [array.as_list() for array in kept] == [[1]] * 3


def test_a_refused_body_takes_its_parser_with_it(free):
    with pytest.raises(ValueError, match="JSON"):
        read(b"{")
    with pytest.raises(KeyError):
        read(b"{}")
    assert free == []


def test_threads_never_share_one():
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
    assert len(json_documents._free_parsers) <= json_documents.MAX_FREE_PARSERS + 8
