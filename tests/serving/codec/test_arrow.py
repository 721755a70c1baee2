"""Arrow streams that no library writes: their bytes bound the time and memory they take."""

import io
import random
import struct
import sys
import time
import tracemalloc

import gevent
import numpy as np
import pyarrow as pa
import pytest

from serving.bundle import CategoryColumn, DateColumn, NumberColumn
from serving.codec import arrow_arrays
from serving.codec import arrow_stream as reader
from serving.codec import validation as columns
from serving.codec.arrow_stream import decode_arrow
from serving.codec.input_schema import InputSchema
from serving.errors import InvalidInstancesError, MalformedBodyError, ServingError
from tests.serving.codec.arrow_messages import (
    BOOL,
    INT,
    NULL,
    TIMESTAMP,
    UTF8,
    VIEW,
    dictionary,
    field,
    records,
    schema,
)

INT8 = {0: ("<i", 8), 1: ("<B", 1)}
INT64 = {0: ("<i", 64), 1: ("<B", 1)}
NANOSECONDS = {0: ("<h", 3)}
WIDTH = 200


def number(name):
    return NumberColumn(name=name, type="number", missing="impute", minimum=0, maximum=1)


def category(name):
    return CategoryColumn(
        name=name, type="category", missing="impute", unseen="unknown", categories=["red", "green"]
    )


NUMBER, CATEGORY = InputSchema([number("x")]), InputSchema([category("x")])
DATE = InputSchema(
    [
        DateColumn(
            name="x", type="date", missing="impute", minimum="2000-01-01", maximum="2024-01-01"
        )
    ]
)
NUMBERS = InputSchema([number(f"c{place}") for place in range(WIDTH)])
CATEGORIES = InputSchema([category(f"c{place}") for place in range(WIDTH)])


def wide(kind, type_fields=None):
    return schema(*(field(f"c{place}", kind, type_fields) for place in range(WIDTH)))


def repeated(head, part, size):
    return head + part * ((size - len(head)) // len(part))


def view(length, buffer, offset):
    return struct.pack("<i4sii", length, b"", buffer, offset)


def null_dictionaries(size):
    nulls = dictionary(0, 200_000, [(200_000, 0)], [])
    return repeated(schema(field("x", NULL, None, 0)), nulls, size)


def used_dictionaries(size):
    part = dictionary(0, 8, [(8, 0)], [(0, 0), (0, 36), (0, 0)], bytes(40))
    part += records(1, [(1, 0)], [(0, 0), (0, 1)], bytes(8))
    return repeated(schema(field("x", UTF8, None, 0)), part, size)


def small_batches(size):
    part = records(1, [(1, 0)], [(0, 0), (0, 8), (0, 0)], bytes(8))
    return repeated(schema(field("x", UTF8)), part, size)


def empty_batches(size):
    return repeated(schema(field("x", INT, INT8)), records(0, [(0, 0)], [(0, 0)] * 2), size)


def small_wide_batches(size):
    part = records(1, [(1, 0)] * WIDTH, [(0, 0), (0, 1)] * WIDTH, bytes(8))
    return repeated(wide(INT, INT8), part, size)


def null_categories(size):
    rows = size // 2
    return schema(field("x", NULL)) + records(rows, [(rows, 0)], [], bytes(size))


def packed_booleans(size):
    rows = size // 2
    buffers = [(0, rows), (0, rows)]
    return schema(field("x", BOOL)) + records(rows, [(rows, 1)], buffers, bytes(size))


def times(size):
    rows = size // 8
    ticks = np.full(rows, 1715904000123456789, "<i8").tobytes()
    buffers = [(0, rows), (0, size)]
    return schema(field("x", TIMESTAMP, NANOSECONDS)) + records(rows, [(rows, 1)], buffers, ticks)


def empty_texts(size):
    rows = size // 4 - 1
    buffers = [(0, 0), (0, 4 * rows + 4), (0, 0)]
    return schema(field("x", UTF8)) + records(rows, [(rows, 0)], buffers, bytes(size))


def inline_views(size):
    rows = size // 16
    views = b"".join(struct.pack("<i12s", 12, b"%012d" % place) for place in range(rows))
    part = records(rows, [(rows, 0)], [(0, 0), (0, 16 * rows)], views, [0])
    return schema(field("x", VIEW)) + part


def same_views(size):
    rows = size // 32
    body = view(size // 2, 0, 0) * rows + b"a" * (size // 2)
    buffers = [(0, 0), (0, 16 * rows), (16 * rows, size // 2)]
    return schema(field("x", VIEW)) + records(rows, [(rows, 0)], buffers, body, [1])


def shifted_views(size):
    rows = size // 32
    body = b"".join(view(size // 4, 0, place) for place in range(rows)) + b"a" * (size // 2)
    buffers = [(0, 0), (0, 16 * rows), (16 * rows, size // 2)]
    return schema(field("x", VIEW)) + records(rows, [(rows, 0)], buffers, body, [1])


def long_text_of_a_dictionary(size):
    long = struct.pack("<ii", 0, size // 2) + b"a" * (size // 2)
    known = dictionary(0, 1, [(1, 0)], [(0, 0), (0, 8), (8, size // 2)], long)
    rows = size // 4
    part = records(rows, [(rows, 0)], [(0, 0), (0, rows)], bytes(rows))
    return schema(field("x", UTF8, None, 0)) + known + part


def columns_of_one_text(size):
    body = struct.pack("<ii", 0, size) + b"a" * size
    return wide(UTF8) + records(1, [(1, 0)] * WIDTH, [(0, 0), (0, 8), (8, size)] * WIDTH, body)


def columns_of_one_buffer(size):
    rows = size // 2 // WIDTH
    buffers = [(0, 0), (0, rows)] * WIDTH
    return wide(INT, INT8) + records(rows, [(rows, 0)] * WIDTH, buffers, bytes(size))


def nodes_without_columns(size):
    many = size // 32
    part = records(1, [(1, 0)] * many, [(0, 0), (0, 1)] * (many // 2), bytes(8))
    return schema(field("x", INT, INT8)) + part


def unknown_columns(size):
    return schema(*[field("d" * 50, INT, INT8)] * (size // 140))


def repeated_columns(size):
    return schema(*[field("x", INT, INT8)] * (size // 100))


def long_name(size):
    return schema(field("d" * size, INT, INT8))


WORST = {
    null_dictionaries: CATEGORY,
    used_dictionaries: CATEGORY,
    small_batches: CATEGORY,
    empty_batches: NUMBER,
    small_wide_batches: NUMBERS,
    null_categories: CATEGORY,
    packed_booleans: CATEGORY,
    times: DATE,
    empty_texts: CATEGORY,
    inline_views: CATEGORY,
    same_views: CATEGORY,
    shifted_views: CATEGORY,
    long_text_of_a_dictionary: CATEGORY,
    columns_of_one_text: CATEGORIES,
    columns_of_one_buffer: NUMBERS,
    nodes_without_columns: NUMBER,
    unknown_columns: NUMBER,
    repeated_columns: NUMBER,
    long_name: NUMBER,
}


def outcome(body, fields):
    try:
        return decode_arrow(body, fields)
    except ServingError as error:
        return error


def seconds(body, fields):
    """CPU time of one decoding."""
    start = time.process_time()
    outcome(body, fields)
    return time.process_time() - start


@pytest.mark.slow
@pytest.mark.parametrize("worst", WORST, ids=lambda worst: worst.__name__)
def test_decode_arrow_time_grows_with_the_bytes_and_no_faster(worst):
    fields, size = WORST[worst], 2**16
    while seconds(worst(size), fields) < 0.01 and size < 2**20:
        size *= 2
    # Eight times the bytes: linear work takes 8 times as long, quadratic 64. Half way between them
    # no other process matters that has a share of the caches; such have made it 26 times.
    small, large = worst(size), worst(8 * size)
    first = second = float("inf")
    for _ in range(6):
        first, second = min(first, seconds(small, fields)), min(second, seconds(large, fields))
        if second < (most := max(36 * first, 0.1)):  # what takes no time at all has no ratio
            return
    raise AssertionError(f"expected less than {most:.3f} s; got {second:.3f} s")


@pytest.mark.slow
@pytest.mark.parametrize("worst", WORST, ids=lambda worst: worst.__name__)
def test_decode_arrow_worst_streams_take_memory_by_their_bytes(worst):
    body = worst(2**19)
    tracemalloc.start()
    try:
        outcome(body, WORST[worst])
        assert tracemalloc.get_traced_memory()[1] < 2**22 + 24 * len(body)
    finally:
        tracemalloc.stop()


@pytest.mark.slow
@pytest.mark.parametrize("worst", WORST, ids=lambda worst: worst.__name__)
def test_decode_arrow_gives_way_after_a_bounded_piece_of_work(worst, monkeypatch):
    # Calls and returns between two turns: unlike seconds they are the same on every machine.
    steps, most = 0, 0

    def give_way():
        nonlocal steps
        steps = 0

    def count(frame, event, argument):
        nonlocal steps, most
        del frame, event, argument
        steps += 1
        most = max(most, steps)

    for module in (reader, arrow_arrays, columns):
        monkeypatch.setattr(module, "give_way", give_way)
    body = worst(2**19)
    sys.setprofile(count)
    try:
        outcome(body, WORST[worst])
    finally:
        sys.setprofile(None)
    assert most < 300_000


@pytest.mark.slow
@pytest.mark.parametrize("worst", [small_batches, inline_views, times], ids=lambda w: w.__name__)
def test_decode_arrow_others_have_turns_meanwhile(worst):
    turns = 0

    def other():
        nonlocal turns
        while True:
            gevent.sleep(1e-9)
            turns += 1

    greenlet = gevent.spawn(other)
    try:
        gevent.spawn(decode_arrow, worst(2**21), WORST[worst]).get()
    finally:
        greenlet.kill()
    assert turns >= 2


def test_decode_arrow_rows_that_have_no_bytes_are_refused():
    for rows in (2**14, 2**40, 2**62):
        body = schema(field("x", NULL)) + records(rows, [(rows, 0)], [])
        with pytest.raises(InvalidInstancesError, match="more rows in a stream of this length"):
            decode_arrow(body, NUMBER)
    with pytest.raises(MalformedBodyError, match="a batch of -1 rows"):
        decode_arrow(schema(field("x", NULL)) + records(-1, [(-1, 0)], []), NUMBER)


def test_decode_arrow_rows_of_many_batches_are_counted_together():
    part = records(600, [(600, 0)], [])
    head = schema(field("x", NULL))
    assert decode_arrow(head + part, NUMBER)["features"].shape == (600, 1)
    with pytest.raises(InvalidInstancesError, match="more rows in a stream of this length"):
        decode_arrow(head + records(5000, [(5000, 0)], []) * 2, NUMBER)


def test_decode_arrow_dictionary_replaced_between_batches_keeps_earlier_rows():
    def words(*texts):
        content = b"".join(texts)
        starts = np.cumsum([0, *map(len, texts)]).astype("<i4").tobytes()
        buffers = [(0, 0), (0, len(starts)), (len(starts), len(content))]
        return dictionary(0, len(texts), [(len(texts), 0)], buffers, starts + content)

    rows = records(2, [(2, 0)], [(0, 0), (0, 2)], b"\0\1" + bytes(6))
    body = schema(field("x", UTF8, None, 0)) + words(b"red", b"x") + rows
    body += words(b"y", b"green") + rows
    found = decode_arrow(body, CATEGORY)["x"]
    assert found.ravel().tolist() == ["red", "x", "y", "green"]


VIEWS_OUTSIDE = [
    view(13, 0, 1),
    view(13, 1, 0),
    view(13, -1, 0),
    view(13, 0, -1),
    view(-1, 0, 0),
    view(2**31 - 1, 0, 0),
    view(13, 2**31 - 1, 0),
    view(13, 0, 2**31 - 1),
]


@pytest.mark.parametrize("outside", VIEWS_OUTSIDE)
@pytest.mark.parametrize("is_dictionary", [False, True])
def test_decode_arrow_view_outside_its_buffers_is_refused(outside, is_dictionary):
    def body(one):
        buffers, content = [(0, 0), (0, 16), (16, 13)], one + b"a" * 13 + bytes(3)
        if not is_dictionary:
            return schema(field("x", VIEW)) + records(1, [(1, 0)], buffers, content, [1])
        known = dictionary(0, 1, [(1, 0)], buffers, content, [1])
        rows = records(1, [(1, 0)], [(0, 0), (0, 1)], bytes(8))
        return schema(field("x", VIEW, None, 0)) + known + rows

    assert decode_arrow(body(view(13, 0, 0)), CATEGORY)["x"].tolist() == [["a" * 13]]
    with pytest.raises(MalformedBodyError, match="a view outside its buffers"):
        decode_arrow(body(outside), CATEGORY)


@pytest.mark.parametrize("counts", [[], [2], [-1], [2**62], None])
def test_decode_arrow_variadic_counts_that_are_not_there_are_refused(counts):
    part = records(1, [(1, 0)], [(0, 0), (0, 16), (16, 13)], view(13, 0, 0) + b"a" * 13, counts)
    with pytest.raises(MalformedBodyError, match=r"views into -?\d+ buffers"):
        decode_arrow(schema(field("x", VIEW)) + part, CATEGORY)


KINDS = [
    pa.string(),
    pa.large_string(),
    pa.string_view(),
    pa.binary(),
    pa.large_binary(),
    pa.binary_view(),
]


@pytest.mark.parametrize("kind", KINDS, ids=str)
@pytest.mark.parametrize("is_dictionary", [False, True])
def test_decode_arrow_texts_of_every_type_are_read(kind, is_dictionary):
    texts = ["red", None, "é" * 6, "a text that is longer than twelve", "", "green"] * 5
    array = pa.array([t if t is None else t.encode() for t in texts], pa.binary()).cast(kind)
    if is_dictionary:
        places = pa.array([None if text is None else at for at, text in enumerate(texts)])
        array = pa.DictionaryArray.from_arrays(places.cast(pa.int16()), array)
    stream = io.BytesIO()
    table = pa.table({"x": array})
    with pa.ipc.new_stream(stream, table.schema) as writer:
        writer.write_table(table.slice(1, 20), max_chunksize=7)
        writer.write_table(table.slice(0, 0))
    found = decode_arrow(stream.getvalue(), CATEGORY)["x"].ravel().tolist()
    assert found == [text or "" for text in texts[1:21]]


def valid_streams():
    texts = ["red", None, "a text that is longer than twelve", "x"]
    table = {
        "age": pa.array([1.5, None, 3, 4]),
        "work": pa.array(texts, pa.string_view()),
        "grade": pa.array(["1", "2", "1", None]).dictionary_encode(),
        "since": pa.array([1, None, 3, 4], pa.timestamp("ns")),
        "member": pa.array([True, None, False, True]),
        "word": pa.array(texts, pa.string_view()).cast(pa.string()),
        "whole": pa.DictionaryArray.from_arrays(
            pa.array([0, 1, None, 1], pa.int8()), pa.array(texts[2:], pa.string_view())
        ),
    }
    for options in ({}, {"use_legacy_format": True}):
        stream, batch = io.BytesIO(), pa.table(table)
        with pa.ipc.new_stream(
            stream, batch.schema, options=pa.ipc.IpcWriteOptions(**options)
        ) as writer:
            writer.write_table(batch, max_chunksize=3)
        yield stream.getvalue()


FUZZED = InputSchema(
    [
        number("age"),
        number("member"),
        DateColumn(
            name="since", type="date", missing="impute", minimum="2000-01-01", maximum="2024-01-01"
        ),
        *map(category, ("work", "grade", "word", "whole")),
    ]
)
EXTREMES = [
    b"\xff" * 4,
    b"\xff\xff\xff\x7f",
    bytes(4),
    b"\0\0\0\x80",
    b"\1\0\0\0",
    bytes(8),
    b"\xff" * 8,
    b"\xff" * 7 + b"\x7f",
]


def mutated(body, rng):
    found = bytearray(body)
    for _ in range(rng.randint(1, 4)):
        at = rng.randrange(len(found))
        match rng.randrange(5):
            case 0:
                found[at] = rng.randrange(256)
            case 1:
                extreme = rng.choice(EXTREMES)
                at &= ~3
                found[at : at + len(extreme)] = extreme
            case 2:
                del found[at : at + rng.choice([1, 4, 8, 64])]
            case 3:
                size = rng.choice([4, 8, 64])
                found[at:at] = found[at : at + size]
            case _:
                other, size = rng.randrange(len(found)), rng.choice([4, 8, 16])
                found[at : at + size] = found[other : other + size]
        if not found:
            break
    return bytes(found)


def assert_sound(body):
    """A mutated stream is rows of as many values in each column, or refused with a 4xx."""
    found = outcome(body, FUZZED)
    if isinstance(found, ServingError):
        assert found.status in (400, 422)
        return False
    assert len({array.shape for array in found.values()}) == 1
    for array in found.values():
        assert array.dtype.kind == "O" or not np.isinf(array).any()
    return True


@pytest.mark.slow
def test_decode_arrow_mutated_streams_are_rows_or_refused():
    rng, bodies = random.Random(15), list(valid_streams())
    assert all(assert_sound(body) for body in bodies)
    taken = sum(assert_sound(mutated(rng.choice(bodies), rng)) for _ in range(3000))
    assert 50 < taken < 2700  # some mutations change values alone, others the structure
