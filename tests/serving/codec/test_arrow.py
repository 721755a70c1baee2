"""Arrow streams: hostile ones cost time and memory in proportion to their bytes, and no more.

No library could write most of these streams. Valid streams of every type are read as well.
"""

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
from serving.codec import arrow_arrays, arrow_stream, validation
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
NUMBERS = InputSchema([number(f"c{index}") for index in range(WIDTH)])
CATEGORIES = InputSchema([category(f"c{index}") for index in range(WIDTH)])


def wide_schema(kind, type_fields=None):
    return schema(*(field(f"c{index}", kind, type_fields) for index in range(WIDTH)))


def repeat_message(head, message, size):
    """Return a stream of about `size` bytes: `head`, then the message as often as it fits."""
    return head + message * ((size - len(head)) // len(message))


def view(length, buffer, offset):
    return struct.pack("<i4sii", length, b"", buffer, offset)


# Builders of hostile streams, each of about `size` bytes.


def null_dictionaries(size):
    nulls = dictionary(0, 200_000, [(200_000, 0)], [])
    return repeat_message(schema(field("x", NULL, None, 0)), nulls, size)


def used_dictionaries(size):
    part = dictionary(0, 8, [(8, 0)], [(0, 0), (0, 36), (0, 0)], bytes(40))
    part += records(1, [(1, 0)], [(0, 0), (0, 1)], bytes(8))
    return repeat_message(schema(field("x", UTF8, None, 0)), part, size)


def small_batches(size):
    part = records(1, [(1, 0)], [(0, 0), (0, 8), (0, 0)], bytes(8))
    return repeat_message(schema(field("x", UTF8)), part, size)


def empty_batches(size):
    return repeat_message(schema(field("x", INT, INT8)), records(0, [(0, 0)], [(0, 0)] * 2), size)


def small_wide_batches(size):
    part = records(1, [(1, 0)] * WIDTH, [(0, 0), (0, 1)] * WIDTH, bytes(8))
    return repeat_message(wide_schema(INT, INT8), part, size)


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
    views = b"".join(struct.pack("<i12s", 12, b"%012d" % row) for row in range(rows))
    part = records(rows, [(rows, 0)], [(0, 0), (0, 16 * rows)], views, [0])
    return schema(field("x", VIEW)) + part


def same_views(size):
    rows = size // 32
    body = view(size // 2, 0, 0) * rows + b"a" * (size // 2)
    buffers = [(0, 0), (0, 16 * rows), (16 * rows, size // 2)]
    return schema(field("x", VIEW)) + records(rows, [(rows, 0)], buffers, body, [1])


def shifted_views(size):
    rows = size // 32
    body = b"".join(view(size // 4, 0, row) for row in range(rows)) + b"a" * (size // 2)
    buffers = [(0, 0), (0, 16 * rows), (16 * rows, size // 2)]
    return schema(field("x", VIEW)) + records(rows, [(rows, 0)], buffers, body, [1])


def long_text_of_a_dictionary(size):
    long = struct.pack("<ii", 0, size // 2) + b"a" * (size // 2)
    values = dictionary(0, 1, [(1, 0)], [(0, 0), (0, 8), (8, size // 2)], long)
    rows = size // 4
    part = records(rows, [(rows, 0)], [(0, 0), (0, rows)], bytes(rows))
    return schema(field("x", UTF8, None, 0)) + values + part


def columns_of_one_text(size):
    body = struct.pack("<ii", 0, size) + b"a" * size
    return wide_schema(UTF8) + records(
        1, [(1, 0)] * WIDTH, [(0, 0), (0, 8), (8, size)] * WIDTH, body
    )


def columns_of_one_buffer(size):
    rows = size // 2 // WIDTH
    buffers = [(0, 0), (0, rows)] * WIDTH
    return wide_schema(INT, INT8) + records(rows, [(rows, 0)] * WIDTH, buffers, bytes(size))


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


# The model that each hostile stream is sent to.
HOSTILE = {
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


def decode_or_error(body, input_schema):
    """Return the decoded inputs, or the error that refused the body."""
    try:
        return decode_arrow(body, input_schema)
    except ServingError as error:
        return error


def measure_cpu_seconds(body, input_schema):
    start = time.process_time()
    decode_or_error(body, input_schema)
    return time.process_time() - start


@pytest.mark.slow
@pytest.mark.parametrize("build_stream", HOSTILE, ids=lambda build: build.__name__)
def test_decode_arrow_hostile_stream_takes_time_linear_in_its_bytes(build_stream):
    input_schema, size = HOSTILE[build_stream], 2**16
    while measure_cpu_seconds(build_stream(size), input_schema) < 0.01 and size < 2**20:
        size *= 2
    # Eight times the bytes: linear work takes 8 times as long, quadratic work 64 times. Other
    # processes that use the same caches have made linear work 26 times as long, so 36 is the limit.
    small, large = build_stream(size), build_stream(8 * size)
    small_seconds = large_seconds = float("inf")
    for _ in range(6):
        small_seconds = min(small_seconds, measure_cpu_seconds(small, input_schema))
        large_seconds = min(large_seconds, measure_cpu_seconds(large, input_schema))
        # Very short times are too noisy for a ratio, so 0.1 s is always accepted.
        if large_seconds < (limit := max(36 * small_seconds, 0.1)):
            return
    raise AssertionError(f"expected less than {limit:.3f} s; got {large_seconds:.3f} s")


@pytest.mark.slow
@pytest.mark.parametrize("build_stream", HOSTILE, ids=lambda build: build.__name__)
def test_decode_arrow_hostile_stream_takes_memory_linear_in_its_bytes(build_stream):
    body = build_stream(2**19)
    tracemalloc.start()
    try:
        decode_or_error(body, HOSTILE[build_stream])
        assert tracemalloc.get_traced_memory()[1] < 2**22 + 24 * len(body)
    finally:
        tracemalloc.stop()


@pytest.mark.slow
@pytest.mark.parametrize("build_stream", HOSTILE, ids=lambda build: build.__name__)
def test_decode_arrow_hostile_stream_yields_to_the_loop_after_bounded_work(
    build_stream, monkeypatch
):
    # Work is counted in calls and returns, which unlike seconds are the same on every machine.
    steps, max_steps = 0, 0

    def reset_steps():
        nonlocal steps
        steps = 0

    def count_step(frame, event, argument):
        nonlocal steps, max_steps
        del frame, event, argument
        steps += 1
        max_steps = max(max_steps, steps)

    for module in (arrow_stream, arrow_arrays, validation):
        monkeypatch.setattr(module, "yield_to_loop", reset_steps)
    body = build_stream(2**19)
    sys.setprofile(count_step)
    try:
        decode_or_error(body, HOSTILE[build_stream])
    finally:
        sys.setprofile(None)
    assert max_steps < 300_000


@pytest.mark.slow
@pytest.mark.parametrize(
    "build_stream", [small_batches, inline_views, times], ids=lambda build: build.__name__
)
def test_decode_arrow_long_stream_lets_other_greenlets_run(build_stream):
    runs = 0

    def count_runs():
        nonlocal runs
        while True:
            gevent.sleep(1e-9)
            runs += 1

    greenlet = gevent.spawn(count_runs)
    try:
        gevent.spawn(decode_arrow, build_stream(2**21), HOSTILE[build_stream]).get()
    finally:
        greenlet.kill()
    assert runs >= 2


def test_decode_arrow_too_many_rows_without_bytes_are_refused():
    for rows in (2**14, 2**40, 2**62):
        body = schema(field("x", NULL)) + records(rows, [(rows, 0)], [])
        with pytest.raises(InvalidInstancesError, match="more rows in a stream of this length"):
            decode_arrow(body, NUMBER)
    with pytest.raises(MalformedBodyError, match="a batch of -1 rows"):
        decode_arrow(schema(field("x", NULL)) + records(-1, [(-1, 0)], []), NUMBER)


def test_decode_arrow_too_many_rows_in_two_batches_are_refused():
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
    def build_stream(one_view):
        buffers, content = [(0, 0), (0, 16), (16, 13)], one_view + b"a" * 13 + bytes(3)
        if not is_dictionary:
            return schema(field("x", VIEW)) + records(1, [(1, 0)], buffers, content, [1])
        values = dictionary(0, 1, [(1, 0)], buffers, content, [1])
        rows = records(1, [(1, 0)], [(0, 0), (0, 1)], bytes(8))
        return schema(field("x", VIEW, None, 0)) + values + rows

    assert decode_arrow(build_stream(view(13, 0, 0)), CATEGORY)["x"].tolist() == [["a" * 13]]
    with pytest.raises(MalformedBodyError, match="a view outside its buffers"):
        decode_arrow(build_stream(outside), CATEGORY)


@pytest.mark.parametrize("counts", [[], [2], [-1], [2**62], None])
def test_decode_arrow_missing_or_wrong_variadic_counts_are_refused(counts):
    part = records(1, [(1, 0)], [(0, 0), (0, 16), (16, 13)], view(13, 0, 0) + b"a" * 13, counts)
    with pytest.raises(MalformedBodyError, match=r"views into -?\d+ buffers"):
        decode_arrow(schema(field("x", VIEW)) + part, CATEGORY)


TEXT_TYPES = [
    pa.string(),
    pa.large_string(),
    pa.string_view(),
    pa.binary(),
    pa.large_binary(),
    pa.binary_view(),
]


@pytest.mark.parametrize("text_type", TEXT_TYPES, ids=str)
@pytest.mark.parametrize("is_dictionary", [False, True])
def test_decode_arrow_texts_of_every_type_are_read(text_type, is_dictionary):
    texts = ["red", None, "é" * 6, "a text that is longer than twelve", "", "green"] * 5
    array = pa.array([t if t is None else t.encode() for t in texts], pa.binary()).cast(text_type)
    if is_dictionary:
        indices = pa.array([None if text is None else at for at, text in enumerate(texts)])
        array = pa.DictionaryArray.from_arrays(indices.cast(pa.int16()), array)
    stream = io.BytesIO()
    table = pa.table({"x": array})
    with pa.ipc.new_stream(stream, table.schema) as writer:
        writer.write_table(table.slice(1, 20), max_chunksize=7)
        writer.write_table(table.slice(0, 0))
    found = decode_arrow(stream.getvalue(), CATEGORY)["x"].ravel().tolist()
    assert found == [text or "" for text in texts[1:21]]


def write_valid_streams():
    """Yield a stream of columns of many types, in the current and in the legacy format."""
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


def mutate(body, rng):
    """Return the body after one to four random changes."""
    mutated = bytearray(body)
    for _ in range(rng.randint(1, 4)):
        at = rng.randrange(len(mutated))
        match rng.randrange(5):
            case 0:
                mutated[at] = rng.randrange(256)
            case 1:
                extreme = rng.choice(EXTREMES)
                at &= ~3
                mutated[at : at + len(extreme)] = extreme
            case 2:
                del mutated[at : at + rng.choice([1, 4, 8, 64])]
            case 3:
                size = rng.choice([4, 8, 64])
                mutated[at:at] = mutated[at : at + size]
            case _:
                other, size = rng.randrange(len(mutated)), rng.choice([4, 8, 16])
                mutated[at : at + size] = mutated[other : other + size]
        if not mutated:
            break
    return bytes(mutated)


def is_decoded(body):
    """Return whether a stream is decoded, and assert that it is otherwise refused properly."""
    inputs = decode_or_error(body, FUZZED)
    if isinstance(inputs, ServingError):
        assert inputs.status in (400, 422)
        return False
    assert len({array.shape for array in inputs.values()}) == 1
    for array in inputs.values():
        assert array.dtype.kind == "O" or not np.isinf(array).any()
    return True


@pytest.mark.slow
def test_decode_arrow_mutated_stream_is_decoded_or_refused():
    rng, bodies = random.Random(15), list(write_valid_streams())
    assert all(is_decoded(body) for body in bodies)
    decoded = sum(is_decoded(mutate(rng.choice(bodies), rng)) for _ in range(3000))
    assert 50 < decoded < 2700  # Some mutations only change values, others the structure.
