"""The same records in every body format give the same arrays, or are refused in every format.

Bodies are encoded with pyarrow, NumPy and the standard library, without code of the codec.
"""

import json
import math
from datetime import UTC, datetime, timedelta
from fractions import Fraction

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pytest
from hypothesis import given
from hypothesis import strategies as st

from serving.bundle import BooleanColumn, CategoryColumn, DateColumn, NumberColumn
from serving.codec.input_schema import InputSchema
from serving.codec.messages import EncodedRequest
from serving.codec.open_inference import decode_inference_request
from serving.codec.rows import decode_rows_request
from serving.codec.tensorflow import decode_tensorflow_request
from serving.errors import InvalidInstancesError
from tests.body_formats import (
    CSV,
    RAW,
    assert_same,
    json_records,
    json_rows,
    oip_binary,
    oip_json,
    tensorflow_columns,
    tensorflow_rows,
    write_arrow,
    write_csv,
    write_npy,
)
from tests.fuzzing import examples

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
FIRST, END = -62135596800, 253402300800


def category(name, *texts, unseen="unknown"):
    return CategoryColumn(
        name=name, type="category", missing="impute", unseen=unseen, categories=list(texts)
    )


def number(name):
    return NumberColumn(name=name, type="number", missing="impute", minimum=0, maximum=1)


COLUMNS = {
    "number": number("number"),
    "boolean": BooleanColumn(name="boolean", type="boolean", missing="impute"),
    "text": category("text", "private", "self-employed, not in a company", "é"),
    "whole": category("whole", "0", "1", "-3", "12345678901234567"),
    "truth": category("truth", "True", "False", unseen="refuse"),
    "date": DateColumn(
        name="date", type="date", missing="impute", minimum="2000-01-01", maximum="2024-01-01"
    ),
}
TABLE = InputSchema(list(COLUMNS.values()))
VECTOR = InputSchema(
    [number("x"), BooleanColumn(name="y", type="boolean", missing="impute"), number("z")]
)


def optional(values, count):
    return st.lists(st.none() | values, min_size=count, max_size=count)


SPACED = st.sampled_from(["", " ", "\t", "\u00a0 "])
TEXTS = st.builds(
    "".join,
    st.tuples(
        SPACED,
        st.text(st.characters(exclude_categories=("Cs",), exclude_characters="\r\n\0"), max_size=20)
        | st.sampled_from(["private", "self-employed, not in a company", "é", "NA", "NaN", "none"]),
        SPACED,
    ),
)
FLOATS = st.floats(-3.41e38, 3.41e38) | st.sampled_from(
    [-0.0, 1e-45, 1.4e-45, 7e-46, 3.4028235e38, 3.4028236e38, 1e39, 16777217.0, 0.1]
)
WHOLE = st.integers(-(2**63), 2**63 - 1) | st.sampled_from(
    [0, 1, -3, 12345678901234567, 2**53 + 1, 2**24 + 1, 1 + 2**30 + 2**54]
)
TRUTHS = st.booleans()
MOMENTS = st.datetimes(timezones=st.just(UTC)) | st.sampled_from(
    [EPOCH, datetime(1969, 12, 31, 23, 59, 59, 999999, UTC), datetime.max.replace(tzinfo=UTC)]
)


@pytest.mark.slow
@examples(30)
@given(st.data())
def test_decode_table_every_format_gives_the_same_arrays(data):
    count = data.draw(st.integers(1, 9))
    columns = {
        name: data.draw(optional(values, count))
        for name, values in {
            "number": FLOATS,
            "boolean": TRUTHS,
            "text": TEXTS,
            "whole": WHOLE,
            "truth": TRUTHS,
        }.items()
    }
    moments = data.draw(optional(MOMENTS, count))
    columns["date"] = [moment and moment.isoformat() for moment in moments]
    typed = {
        "number": pa.array(columns["number"], pa.float64()),
        "boolean": pa.array(columns["boolean"], pa.bool_()),
        "text": pa.array(columns["text"], pa.string()),
        "whole": pa.array(columns["whole"], pa.int64()),
        "truth": pa.array(columns["truth"], pa.bool_()),
        "date": pa.array(moments, pa.timestamp("us", "Europe/Berlin")),
    }
    texts = {name: pa.array(values) for name, values in columns.items()} | {
        "date": pa.array(columns["date"], pa.large_string()),
        "text": pa.array(columns["text"], pa.string_view()),
        "truth": pa.array([v if v is None else str(v) for v in columns["truth"]], pa.string()),
        "whole": pa.array([v if v is None else str(v) for v in columns["whole"]], pa.string_view()),
        "number": pa.array(columns["number"], pa.float64()),
        "boolean": pa.array(columns["boolean"], pa.bool_()),
    }
    encoded = {
        name: pa.DictionaryArray.from_arrays(
            pa.array(
                [None if value is None else place for place, value in enumerate(values)],
                data.draw(st.sampled_from([pa.int8(), pa.uint16(), pa.int64()])),
            ),
            typed[name] if name != "text" else texts[name],
        )
        for name, values in columns.items()
    }
    # In a binary tensor of BYTES an empty text is a gap; booleans and integers have no gaps.
    spelled = {
        "number": ("FP64", columns["number"]),
        "boolean": ("FP32", [v if v is None else float(v) for v in columns["boolean"]]),
        "text": ("BYTES", columns["text"]),
        "whole": ("BYTES", [v if v is None else str(v) for v in columns["whole"]]),
        "truth": ("BYTES", [v if v is None else str(v) for v in columns["truth"]]),
        "date": ("BYTES", columns["date"]),
    }
    tensors = spelled | {
        "whole": ("INT64", columns["whole"]),
        "truth": ("BOOL", columns["truth"]),
        "boolean": ("BOOL", columns["boolean"]),
    }
    found = assert_same(
        {
            "json rows": json_rows(columns),
            "json records": json_records(columns),
            "tensorflow rows": tensorflow_rows(columns),
            "tensorflow columns": tensorflow_columns(columns),
            "csv": write_csv(columns, header=False),
            "csv, names": write_csv(columns, header=True),
            "arrow": write_arrow(typed),
            "arrow, legacy": write_arrow(typed, use_legacy_format=True),
            "arrow texts": write_arrow(texts),
            "arrow dictionaries": write_arrow(encoded),
            "oip flat": oip_json(tensors, nested=False),
            "oip nested": oip_json(spelled, nested=True),
            "oip binary": oip_binary(spelled),
            **(
                {}
                if any(None in columns[name] for name in ("whole", "truth", "boolean"))
                else {"oip binary, typed": oip_binary(tensors)}
            ),
        },
        TABLE,
    )
    if found is None:
        limit = 2.0**128 - 2.0**103
        assert any(value is not None and abs(value) >= limit for value in columns["number"])
        return
    expected = [
        math.nan if m is None else (m - EPOCH) / timedelta(microseconds=1) / 1e6 for m in moments
    ]
    whole = [math.nan if m is None else (m - EPOCH) // timedelta(seconds=1) for m in moments]
    seconds = found["date"].ravel()
    np.testing.assert_array_equal(np.floor(seconds), whole)
    np.testing.assert_allclose(seconds, expected, rtol=1e-15, atol=0)


@examples(30)
@given(st.data())
def test_decode_matrix_every_format_gives_the_same_rows(data):
    count = data.draw(st.integers(1, 9))
    values, (kind, datatype) = data.draw(
        st.sampled_from(
            [
                (FLOATS, ("f8", "FP64")),
                (st.floats(allow_nan=False, allow_infinity=False, width=32), ("f4", "FP32")),
                (st.integers(-(2**31), 2**31 - 1), ("i4", "INT32")),
                (WHOLE, ("i8", "INT64")),
                (st.integers(0, 2**64 - 1), ("u8", "UINT64")),
            ]
        )
    )
    of = st.lists(values, min_size=count, max_size=count)
    near = st.sampled_from([0, 1]) if kind != "f8" else st.sampled_from([0, 1, 1 + 2**-40, 0.5, 2])
    truths = data.draw(st.lists(near, min_size=count, max_size=count))
    columns = {"x": data.draw(of), "y": truths, "z": data.draw(of)}
    array = np.array(list(columns.values()), kind).T
    rows = array.tolist()
    shape, features = list(array.shape), {"name": "features", "datatype": datatype}
    as_list = {"inputs": [{**features, "shape": shape, "data": rows}]}
    flat = {"inputs": [{**features, "shape": shape, "data": array.ravel().tolist()}]}
    head = {**features, "shape": shape, "parameters": {"binary_data_size": array.nbytes}}
    head = json.dumps({"inputs": [head]}).encode()
    columns = dict(zip(columns, array.T.tolist(), strict=True))
    typed = {
        name: pa.array(list(of), pa.from_numpy_dtype(array.dtype)) for name, of in columns.items()
    }
    bodies = {
        "json rows": json_rows(columns),
        "json records": json_records(columns),
        "tensorflow rows": tensorflow_rows(columns),
        "tensorflow columns": (
            decode_tensorflow_request,
            EncodedRequest(json.dumps({"inputs": rows}).encode()),
        ),
        "tensorflow named": (
            decode_tensorflow_request,
            EncodedRequest(json.dumps({"instances": [{"features": row} for row in rows]}).encode()),
        ),
        "csv": write_csv(columns, header=False),
        "csv, names": write_csv(columns, header=True),
        "csv, quoted": (
            decode_rows_request,
            EncodedRequest(
                "\n".join(",".join(f'"{v}"' for v in row) for row in rows).encode(), CSV
            ),
        ),
        "npy": write_npy(array),
        "npy, big-endian": write_npy(np.asfortranarray(array.astype(f">{kind}"))),
        "arrow": write_arrow(typed),
        "arrow dictionaries": write_arrow({n: a.dictionary_encode() for n, a in typed.items()}),
        "oip nested": (decode_inference_request, EncodedRequest(json.dumps(as_list).encode())),
        "oip flat": (decode_inference_request, EncodedRequest(json.dumps(flat).encode())),
        "oip binary": (
            decode_inference_request,
            EncodedRequest(head + array.tobytes(), json_length=len(head)),
        ),
    }
    if kind == "f4":
        bodies["raw"] = (decode_rows_request, EncodedRequest(array.tobytes(), RAW))
        bodies["oip raw"] = (
            decode_inference_request,
            EncodedRequest(array.tobytes(), json_length=0),
        )
    if kind == "f8":
        bodies["arrow of float32"] = None
        with np.errstate(over="ignore"):
            single = array.astype("f4")
        bodies["arrow of float32"] = write_arrow(
            {n: pa.array(c) for n, c in zip("xyz", single.T, strict=True)}
        )
    found = assert_same(bodies, VECTOR)
    if found is not None:
        exact = np.array([[float(value) for value in row] for row in rows])
        assert found["features"].tobytes() == exact.astype("f4").tobytes()


UNITS = {"s": 1, "ms": 10**3, "us": 10**6, "ns": 10**9}
DATE = InputSchema([COLUMNS["date"]])


def to_seconds(ticks, unit):
    """Return the nearest float64 within the same second, computed with exact fractions."""
    exact = Fraction(ticks, UNITS[unit])
    nearest = exact.numerator / exact.denominator
    return min(nearest, math.nextafter(math.floor(exact) + 1, -math.inf))


@pytest.mark.parametrize("unit", UNITS)
@examples(30)
@given(data=st.data())
def test_decode_date_every_time_unit_gives_the_same_seconds(unit, data):
    low, high = FIRST * UNITS[unit], END * UNITS[unit] - 1
    edge = st.sampled_from([-1, 0, 1, low, high, -(UNITS[unit] * 86400) - 1])
    ticks = [
        max(min(tick, 2**63 - 1), -(2**63) + 1)
        for tick in data.draw(st.lists(st.integers(low, high) | edge, min_size=1, max_size=9))
    ]
    times = pa.array(ticks, pa.timestamp(unit, data.draw(st.sampled_from(["UTC", "Asia/Tokyo"]))))
    naive = times.cast(pa.timestamp(unit, "UTC")).cast(pa.timestamp(unit))
    texts = pc.cast(naive, pa.string()).to_pylist()
    expected = [to_seconds(tick, unit) for tick in ticks]
    columns, numbers = {"date": texts}, {"date": expected}
    found = assert_same(
        {
            "arrow": write_arrow({"date": times}),
            "arrow, no zone": write_arrow({"date": naive}),
            "arrow dictionary": write_arrow({"date": times.dictionary_encode()}),
            "arrow text": write_arrow({"date": pa.array(texts)}),
            "json rows": json_rows(columns),
            "json records": json_records(columns),
            "csv": write_csv(columns, header=True),
            "zone": json_rows({"date": [f"{text}+00:00" for text in texts]}),
            "oip text": oip_json({"date": ("BYTES", texts)}, nested=True),
            "oip binary text": oip_binary({"date": ("BYTES", texts)}),
            "seconds in rows": json_rows(numbers),
            "seconds in records": json_records(numbers),
            "seconds in tensorflow": tensorflow_columns(numbers),
            "seconds in csv": write_csv(numbers, header=False),
            "seconds in oip": oip_json({"date": ("FP64", expected)}, nested=False),
            "seconds in binary": oip_binary({"date": ("FP64", expected)}),
            "seconds alone": (
                decode_inference_request,
                EncodedRequest(np.array(expected).tobytes(), json_length=0),
            ),
            "seconds in arrow": write_arrow({"date": pa.array(expected, pa.float64())}),
            "seconds in a dictionary": write_arrow(
                {"date": pa.array(expected, pa.float64()).dictionary_encode()}
            ),
        },
        DATE,
    )
    assert found["date"].ravel().tolist() == expected


@pytest.mark.parametrize("kind", [pa.timestamp("ns"), pa.timestamp("us"), pa.date32(), pa.date64()])
def test_decode_date_midnight_of_every_day_is_exact(kind):
    days = np.arange(-30_000, 30_000)
    ticks = days.astype("datetime64[D]").astype("datetime64[ns]")
    column = pa.array(ticks).cast(pa.timestamp("s")).cast(kind)
    found = (
        decode_rows_request(write_arrow({"date": column}, rows_of_a_batch=10_000)[1], DATE)
        .inputs["date"]
        .ravel()
    )
    np.testing.assert_array_equal(found, days * 86400.0)


VALUES = [  # values that a column of dates accepts in no format
    END,
    FIRST - 1,
    1.7e12,
    -1.7e12,
    1.7e18,
    1e300,
    True,
    False,
]


@pytest.mark.parametrize("value", VALUES)
def test_decode_date_out_of_range_is_refused_in_every_format(value):
    columns = {"date": [0, value]}
    kind = "BOOL" if isinstance(value, bool) else "FP64"
    columns = {"date": [False, value]} if kind == "BOOL" else columns
    bodies = {
        "rows": json_rows(columns),
        "records": json_records(columns),
        "tensorflow": tensorflow_columns(columns),
        "csv": write_csv(columns, header=False),
        "arrow": write_arrow({"date": pa.array(columns["date"], None if kind == "BOOL" else "f8")}),
        "dictionary": write_arrow(
            {
                "date": pa.array(
                    columns["date"], None if kind == "BOOL" else "f8"
                ).dictionary_encode()
            }
        ),
        "oip": oip_json({"date": (kind, columns["date"])}, nested=False),
        "binary": oip_binary({"date": (kind, columns["date"])}),
    }
    if abs(value) < 2**63 and kind != "BOOL" and value == int(value):
        ticks = {"date": [0, int(value)]}
        bodies["integers"] = write_arrow(ticks)
        bodies["timestamps"] = write_arrow({"date": pa.array(ticks["date"], pa.timestamp("s"))})
        bodies["oip integers"] = oip_json({"date": ("INT64", ticks["date"])}, nested=True)
        bodies["binary integers"] = oip_binary({"date": ("INT64", ticks["date"])})
    assert assert_same(bodies, DATE) is None


@pytest.mark.parametrize(("factor", "unit"), [(1e3, "milli"), (1e6, "micro"), (1e9, "nano")])
def test_decode_date_in_a_finer_unit_error_names_the_unit(factor, unit):
    ticks = {"date": [1715904000 * factor]}
    for decoder, request in (
        json_rows(ticks),
        write_csv(ticks, header=False),
        write_arrow({"date": pa.array(ticks["date"])}),
        oip_binary({"date": ("FP64", ticks["date"])}),
    ):
        with pytest.raises(InvalidInstancesError, match=f"were {unit}seconds meant"):
            decoder(request, DATE)


@pytest.mark.parametrize("value", [math.inf, -math.inf])
def test_decode_date_infinity_is_refused_in_every_format(value):
    for decoder, request in (
        (decode_rows_request, EncodedRequest(b'{"instances": [[1e999]]}')),
        (decode_rows_request, EncodedRequest(b"inf\n", CSV)),
        write_arrow({"date": pa.array([value])}),
        oip_binary({"date": ("FP64", [value])}),
    ):
        with pytest.raises(InvalidInstancesError):
            decoder(request, DATE)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("20240517", None),
        ("20240517.0", 20240517.0),
        ("2024", None),
        ("2024.0", 2024.0),
        ("20241399", 20241399.0),
        ("86400", 86400.0),
        ("1715904000", 1715904000.0),
    ],
)
def test_decode_csv_digits_that_may_be_a_date_or_seconds_are_refused(text, expected):
    request = EncodedRequest(f"{text}\n".encode(), CSV)
    if expected is None:
        with pytest.raises(InvalidInstancesError, match="write 2024-0.* for the day"):
            decode_rows_request(request, DATE)
    else:
        assert decode_rows_request(request, DATE).inputs["date"].tolist() == [[expected]]


MIXED = InputSchema([COLUMNS["boolean"], COLUMNS["whole"], COLUMNS["date"]])
NUMBERS = [  # column, number, whether the column accepts it
    ("boolean", 2, False),
    ("boolean", 0.5, False),
    ("boolean", -1, False),
    ("boolean", 1.0, True),
    ("boolean", 1 + 2**-40, True),
    ("whole", 3.0, True),
    ("whole", 3.5, False),
    ("whole", 2**53 + 2, False),
    ("whole", -0.0, True),
    ("date", 0.5, True),
]


@pytest.mark.parametrize(("name", "value", "is_accepted"), NUMBERS)
def test_decode_number_is_accepted_or_refused_alike_in_every_typed_format(name, value, is_accepted):
    value = float(value)
    columns = {column: [value if column == name else None] for column in MIXED.column_positions}
    tensors = {name: ("FP64", [value])}
    found = assert_same(
        {
            "rows": json_rows(columns),
            "records": json_records(columns),
            "tensorflow": tensorflow_columns({name: [value]}),
            "arrow": write_arrow({name: pa.array([value])}),
            "dictionary": write_arrow({name: pa.array([value]).dictionary_encode()}),
            "oip": oip_json(tensors, nested=False),
            "binary": oip_binary(tensors),
        },
        MIXED,
    )
    assert (found is not None) == is_accepted


SPELLINGS = ["3", "3.0", " 3 "]


def test_decode_whole_number_category_is_the_same_however_it_is_written():
    bodies = {f"text {text}": json_rows({"whole": [text]}) for text in SPELLINGS}
    bodies |= {f"csv {text}": write_csv({"whole": [text]}, header=True) for text in SPELLINGS}
    bodies |= {
        f"{kind}": write_arrow({"whole": pa.array([3], kind)})
        for kind in (
            "int8",
            "int16",
            "int32",
            "int64",
            "uint8",
            "uint16",
            "uint32",
            "uint64",
            "float",
            "double",
        )
    }
    bodies["half"] = write_arrow({"whole": pa.array(np.array([3], "f2"))})
    bodies["json"], bodies["json float"] = json_rows({"whole": [3]}), json_rows({"whole": [3.0]})
    found = assert_same(bodies, InputSchema([COLUMNS["whole"]]))
    assert found["whole"].tolist() == [["3"]]
