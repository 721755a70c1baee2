"""The pool of simdjson's parsers: a parser is reused, but never while a document of it is alive."""

import threading

import pytest

from serving.codec.json_values import MAX_FREE_PARSERS, MAX_POOLED_BODY_BYTES, ParserPool


@pytest.fixture
def pool():
    return ParserPool()


def read(pool, body):
    return pool.read_document(body, lambda document: document["a"].as_list())


def read_nested(pool, depth):
    """Read a document while `depth - 1` others are being read."""

    def read_inner(document):
        if depth > 1:
            read_nested(pool, depth - 1)
        return document["a"].as_list()

    assert pool.read_document(b'{"a":[%d]}' % depth, read_inner) == [depth]


def test_parser_pool_next_body_reuses_the_parser(pool):
    assert read(pool, b'{"a":[1]}') == [1]
    (first,) = pool.free_parsers
    assert read(pool, b'{"a":[2]}') == [2]
    assert pool.free_parsers == [first]


def test_parser_pool_longest_pooled_body_keeps_its_parser(pool):
    body = b'{"a":[1]}'
    assert read(pool, body.ljust(MAX_POOLED_BODY_BYTES)) == [1]
    assert len(pool.free_parsers) == 1


def test_parser_pool_longer_body_frees_its_parser(pool):
    body = b'{"a":[1]}'
    assert read(pool, body) == [1]  # also a parser that was in the pool before
    assert read(pool, body.ljust(MAX_POOLED_BODY_BYTES + 1)) == [1]
    assert pool.free_parsers == []


def test_parser_pool_nested_read_uses_another_parser(pool):
    read_nested(pool, 2)
    assert len(pool.free_parsers) == 2


def test_parser_pool_many_reads_at_once_keeps_at_most_the_limit(pool):
    read_nested(pool, MAX_FREE_PARSERS)
    assert len(pool.free_parsers) == MAX_FREE_PARSERS
    read_nested(pool, MAX_FREE_PARSERS + 3)
    assert len(pool.free_parsers) == MAX_FREE_PARSERS


def test_parser_pool_kept_part_raises_instead_of_being_overwritten(pool):
    kept = []
    for _ in range(3):
        pool.read_document(b'{"a":[1]}', lambda document: kept.append(document["a"]))
        with pytest.raises(RuntimeError, match="re-use"):
            read(pool, b'{"a":[2]}')
        assert read(pool, b'{"a":[2]}') == [2]
        pool.free_parsers.clear()
    assert [array.as_list() for array in kept] == [[1]] * 3


@pytest.mark.parametrize(
    ("body", "error"), [(b"{", ValueError), (b'"\xff"', ValueError), (b"{}", KeyError)]
)
def test_parser_pool_failed_read_does_not_return_its_parser(pool, body, error):
    read(pool, b'{"a":[1]}')
    with pytest.raises(error):
        read(pool, body)
    assert pool.free_parsers == []


def test_parser_pool_in_threads_never_shares_a_parser(pool):
    wrong = []

    def work(number):
        for _ in range(300):
            if read(pool, f'{{"a":[{number}]}}'.encode()) != [number]:
                wrong.append(number)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong
    assert len(pool.free_parsers) <= MAX_FREE_PARSERS + 8
