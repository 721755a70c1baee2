"""Hostile bodies: small to send, and as expensive to decode as their format allows.

`BODIES` is used by the benchmark (`python -m benchmarks.robustness.stalls`), which sends each of them to a
real server, and by `tests/serving/codec/test_linear_time.py`, which compares the CPU time of two
sizes.
Add an entry to cover another body; nothing else has to change.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Literal

import numpy as np

from benchmarks.robustness.stalls.body_makers import (
    Make,
    array_file,
    binary,
    column_data,
    filled,
    gzip_blocks,
    gzip_members,
    gzip_of,
    head_length,
    late_fault,
    long_shape,
    long_values,
    many_outputs,
    many_tensors,
    npy,
    unknown_columns,
    unknown_fields,
    zstd_empty_blocks,
    zstd_of,
    zstd_skippable,
    zstd_small_blocks,
)

Protocol = Literal["rows", "tensorflow", "inference_v2"]

JSON = "application/json"
CSV = "text/csv"
NPY = "application/x-npy"
BINARY = "application/octet-stream"

# The models that the bodies are for. `numbers` is the shipped `digits`; `table` is trained on
# random people (`benchmarks.robustness.stalls.models`), and all of its columns may be gaps.
NUMBERS = [f"pixel_{row}_{column}" for row in range(8) for column in range(8)]
TABLE = ["age", "member", "work", "since"]
ROW = ",".join(["1"] * len(NUMBERS))


@dataclass(frozen=True)
class Body:
    """A hostile body of any size.

    Attributes:
        name: Unique name, as the benchmark prints it.
        make: Function of a number of bytes; returns a body of about that length, once decompressed.
        model: Model that the body is sent to, `numbers` or `table`.
        protocol: Protocol whose decoder reads it.
        media: Media type of the body.
        accept: Media type that the answer should have; "" for any.
        encoding: Content-Encoding of the body; "" for none.
        headers: Further headers, of the body's bytes.
    """

    name: str
    make: Make
    model: Literal["numbers", "table"] = "numbers"
    protocol: Protocol = "rows"
    media: str = JSON
    accept: str = ""
    encoding: str = ""
    headers: Callable[[bytes], dict[str, str]] = field(default=lambda _: {})


NAMES = ",".join(NUMBERS)
PEOPLE = ",".join(TABLE)

BODIES: list[Body] = [
    # JSON of the server's own protocol.
    Body("json: opening brackets", filled("", "[")),
    Body("json: opening brackets in instances", filled('{"instances":', "[")),
    Body("json: opening braces", filled('{"instances":[', '{"age":'), model="table"),
    Body("json: flat numbers", filled('{"instances":[', "1,", "1]}")),
    Body("json: one long row", filled('{"instances":[[', "1,", "1]]}")),
    Body("json: empty rows", filled('{"instances":[', "[],", "[]]}")),
    Body("json: rows of one value", filled('{"instances":[', "[1],", "[1]]}")),
    Body("json: rows of a row", filled('{"instances":[', f"[{ROW}],", f"[[{ROW}]]]}}")),
    Body("json: empty records, numbers", filled('{"instances":[', "{},", "{}]}")),
    Body("json: empty records, table", filled('{"instances":[', "{},", "{}]}"), model="table"),
    Body("json: nulls, table", filled('{"instances":[', "null,", "null]}"), model="table"),
    Body("json: keys twice", filled("{", '"a":1,', '"a":1}')),
    Body("json: known keys twice", filled("{", '"instances":1,', '"instances":1}')),
    Body("json: field twice", filled('{"instances":[{', '"age":1,', '"age":1}]}'), model="table"),
    Body("json: unknown fields", unknown_fields, model="table"),
    Body("json: long unknown field", filled('{"instances":[{"', "a", '":1}]}'), model="table"),
    Body("json: long escaped key", filled('{"', "\\u0041", '":1}')),
    Body("json: long text", filled('{"instances":[{"work":"', "a", '"}]}'), model="table"),
    Body(
        "json: long escaped text", filled('{"instances":[{"work":"', "\\n", '"}]}'), model="table"
    ),
    Body("json: long spaces", filled('{"instances":[{"work":"', " ", '"}]}'), model="table"),
    Body(
        "json: long date",
        filled('{"instances":[{"since":"2020-01-01T00:00:00.', "1", 'x"}]}'),
        model="table",
    ),
    Body("json: long digits", filled('{"instances":[[', "1", "]]}")),
    Body("json: long fraction", filled('{"instances":[[0.', "1", "]]}")),
    Body("json: long exponent", filled('{"instances":[[1e', "9", "]]}")),
    Body("json: long negative exponent", filled('{"instances":[[1e-', "9", "]]}")),
    Body("json: long minus", filled('{"instances":[[', "-", "]]}")),
    Body("json: spaces", filled('{"instances":', " ", "[]}")),
    Body("json: only spaces", filled("", " ")),
    Body("json: only line ends", filled("", "\n")),
    Body("json: instances null", filled('{"instances":null,"parameters":[', "1,", "1]}")),
    Body("json: parameters of objects", filled('{"instances":[],"parameters":[', "{},", "{}]}")),
    Body(
        "json: many outputs", filled('{"instances":[],"parameters":{"outputs":[', '"a",', '"a"]}}')
    ),
    Body(
        "json: large integers",
        filled('{"instances":[', f"[{','.join([str(2**70)] * 64)}],", f"[{ROW}]]}}"),
    ),
    Body("json: fault at the end", late_fault(f"[{ROW}]", "[1]")),
    Body("json: fault at the end, table", late_fault('{"work":"a"}', '{"work":{}}'), model="table"),
    Body("json: syntax error at the end", late_fault(f"[{ROW}]", "[1,,]")),
    Body(
        "json: rows, table",
        filled('{"instances":[', "[1,0,null,null],", "[1,0,null,null]]}"),
        model="table",
    ),
    Body("json: good rows", filled('{"instances":[', f"[{ROW}],", f"[{ROW}]]}}")),
    Body(
        "json: good rows, answer in CSV",
        filled('{"instances":[', f"[{ROW}],", f"[{ROW}]]}}"),
        accept=CSV,
    ),
    Body("json: byte that is not UTF-8", lambda size: b'{"instances":["' + b"a" * size + b"\xff"),
    # CSV.
    Body("csv: digits and a letter", filled("", "1", "x"), media=CSV),
    Body("csv: fields of digits and a letter", filled("", "1" * 100_000 + "x,"), media=CSV),
    Body("csv: value of digits and a letter", long_values("", "1", "x" + ",1" * 63), media=CSV),
    Body(
        "csv: value of digits and a letter, table",
        long_values("", "1", "x,,,"),
        model="table",
        media=CSV,
    ),
    Body(
        "csv: exponent and a letter, table",
        long_values("1e", "1", "x,,,"),
        model="table",
        media=CSV,
    ),
    Body(
        "csv: fraction and a letter, table", long_values(".", "1", "x,,,"), model="table", media=CSV
    ),
    Body(
        "csv: both and a letter, table", long_values("1.1", "1", "e1x,,,"), model="table", media=CSV
    ),
    Body("csv: value of spaces, table", long_values("", " ", "x,,,"), model="table", media=CSV),
    Body("csv: fraction of zeros, table", long_values(",,1.", "0", "x,"), model="table", media=CSV),
    Body("csv: long number, table", long_values("1.", "1", ",,,"), model="table", media=CSV),
    Body(
        "csv: date, table",
        long_values(",,,2020-01-01T00:00:00.", "1", ""),
        model="table",
        media=CSV,
    ),
    Body(
        "csv: date and a letter, table",
        long_values(",,,2020-01-01T00:00:00.", "1", "x"),
        model="table",
        media=CSV,
    ),
    Body("csv: commas", filled("", ","), media=CSV),
    Body("csv: commas below names", filled(f"{NAMES}\n", ","), media=CSV),
    Body("csv: commas behind names", filled(NAMES, ","), media=CSV),
    Body("csv: quoted commas", filled('""', ","), media=CSV),
    Body("csv: quote and commas", filled('a"', ","), media=CSV),
    Body(
        "csv: quoted names and commas",
        filled('"' + NAMES.replace(",", '","') + '"', ","),
        media=CSV,
    ),
    Body("csv: quoted lines of commas", filled("", '"\n"' + "," * 100), media=CSV),
    Body("csv: line ends", filled("", "\n"), media=CSV),
    Body("csv: line ends below names", filled(f"{NAMES}\n", "\n"), media=CSV),
    Body("csv: carriage returns and line ends", filled("", "\r\n"), media=CSV),
    Body("csv: quote and line ends", filled('"', "\n"), media=CSV),
    Body("csv: quoted value and line ends", filled('"1"' + ",1" * 63, "\n"), media=CSV),
    Body("csv: line ends, table", filled("", "\n"), model="table", media=CSV),
    Body(
        "csv: quoted value and line ends, table", filled('"1",,,\n', "\n"), model="table", media=CSV
    ),
    Body("csv: every other line empty, table", filled("", ",,,\n\n"), model="table", media=CSV),
    Body("csv: quotes", filled("", '"'), media=CSV),
    Body("csv: doubled quotes", filled('"', '""', '"'), media=CSV),
    Body("csv: quoted empties", filled("", '"",'), media=CSV),
    Body("csv: quoted empties, table", filled("", '"","","",""\n'), model="table", media=CSV),
    Body("csv: rows of one value", filled("", "1\n"), media=CSV),
    Body("csv: rows of one value, table", filled("", "1\n"), model="table", media=CSV),
    Body("csv: gaps", filled("", "," * 63 + "\n"), media=CSV),
    Body("csv: gaps, table", filled("", ",,,\n"), model="table", media=CSV),
    Body(
        "csv: gaps, table, answer in CSV", filled("", ",,,\n"), model="table", media=CSV, accept=CSV
    ),
    Body("csv: good rows", filled("", ROW + "\n"), media=CSV),
    Body("csv: good rows, answer in CSV", filled("", ROW + "\n"), media=CSV, accept=CSV),
    Body(
        "csv: good rows, table",
        filled(f"{PEOPLE}\n", "39,true,state,2012-06-01\n"),
        model="table",
        media=CSV,
    ),
    Body("csv: fault at the end", filled("", ROW + "\n", "1\n"), media=CSV),
    Body("csv: brackets", filled("", "["), media=CSV),
    Body("csv: spaces", filled("", " "), media=CSV),
    Body("csv: values of spaces", filled("", " " * 100_000 + ","), media=CSV),
    Body(
        "csv: unknown names",
        lambda size: ",".join(f"c{i}" for i in range(size // 8)).encode(),
        media=CSV,
    ),
    # NumPy files and raw numbers.
    Body(
        "npy: spaces",
        npy(filled("{'descr':'<f4','fortran_order':False,'shape':(", " ", "x")),
        media=NPY,
    ),
    Body("npy: spaces first", npy(filled("", " ", "x")), media=NPY),
    Body("npy: spaces in front of the type", npy(filled("{'descr':", " ", "x")), media=NPY),
    Body(
        "npy: commas and spaces",
        npy(filled("{'descr':'<f4','fortran_order':False,'shape':(", "1 , ", "x")),
        media=NPY,
    ),
    Body(
        "npy: dimensions",
        npy(filled("{'descr':'<f4','fortran_order':False,'shape':(", "1,", ")}")),
        media=NPY,
    ),
    Body(
        "npy: digits",
        npy(filled("{'descr':'<f4','fortran_order':False,'shape':(", "1", ",)}")),
        media=NPY,
    ),
    Body("npy: brackets", npy(filled("", "(")), media=NPY),
    Body("npy: quotes", npy(filled("{'descr':'", "a")), media=NPY),
    Body("npy: booleans", array_file("?"), media=NPY),
    Body("npy: float16 with gaps", array_file("<f2", np.nan), media=NPY),
    Body("npy: float32 with a NaN at the end", array_file("<f4", 1, np.nan), media=NPY),
    Body("npy: big-endian float64", array_file(">f8"), media=NPY),
    Body("raw: numbers", lambda size: bytes(size // 256 * 256), media=BINARY),
    Body("raw: NaN", lambda size: b"\0\0\xc0\x7f" * (size // 256 * 64), media=BINARY),
    # TensorFlow Serving's protocol.
    Body(
        "tensorflow: inputs null",
        filled('{"inputs":null,"parameters":[', "1,", "1]}"),
        protocol="tensorflow",
    ),
    Body("tensorflow: unknown columns", unknown_columns, model="table", protocol="tensorflow"),
    Body(
        "tensorflow: column twice",
        filled('{"inputs":{', '"age":[1],', '"age":[1]}}'),
        model="table",
        protocol="tensorflow",
    ),
    Body(
        "tensorflow: nested column",
        filled('{"inputs":{"age":[', "[1],", "[1]]}}"),
        model="table",
        protocol="tensorflow",
    ),
    Body(
        "tensorflow: empty rows",
        filled('{"inputs":{"age":[', "[],", "[]]}}"),
        model="table",
        protocol="tensorflow",
    ),
    Body(
        "tensorflow: column of texts",
        filled('{"inputs":{"work":[', '"",', '""]}}'),
        model="table",
        protocol="tensorflow",
    ),
    Body(
        "tensorflow: column of numbers",
        filled('{"inputs":{"age":[', "1,", "1]}}"),
        model="table",
        protocol="tensorflow",
    ),
    Body(
        "tensorflow: column of objects",
        filled('{"inputs":{"age":[', "{},", "{}]}}"),
        model="table",
        protocol="tensorflow",
    ),
    Body(
        "tensorflow: matrix",
        filled('{"inputs":[', f"[{ROW}],", f"[{ROW}]]}}"),
        protocol="tensorflow",
    ),
    Body(
        "tensorflow: named rows",
        filled('{"instances":[', f'{{"features":[{ROW}]}},', f'{{"features":[{ROW}]}}]}}'),
        protocol="tensorflow",
    ),
    Body(
        "tensorflow: named row of many keys",
        filled('{"instances":[{"features":[1],', '"a":1,', '"a":1}]}'),
        protocol="tensorflow",
    ),
    Body("tensorflow: spaces", filled('{"signature_name"', " ", ""), protocol="tensorflow"),
    Body(
        "tensorflow: long signature",
        filled('{"signature_name":"', "a", '","instances":[]}'),
        protocol="tensorflow",
    ),
    Body(
        "tensorflow: many instances keys", filled("{", '"instances" ', ":1}"), protocol="tensorflow"
    ),
    Body(
        "tensorflow: records, table",
        filled('{"instances":[', "{},", "{}]}"),
        model="table",
        protocol="tensorflow",
    ),
    # The Open Inference Protocol.
    Body("oip: many tensors", many_tensors, model="table", protocol="inference_v2"),
    Body("oip: objects as inputs", filled('{"inputs":[', "{},", "{}]}"), protocol="inference_v2"),
    Body("oip: many outputs", many_outputs, protocol="inference_v2"),
    Body("oip: long shape", long_shape, protocol="inference_v2"),
    Body(
        "oip: long parameters",
        filled('{"inputs":[],"parameters":{"a":[', "1,", "1]}}"),
        protocol="inference_v2",
    ),
    Body(
        "oip: unknown keys", filled('{"inputs":[{', '"a":1,', '"a":1}]}'), protocol="inference_v2"
    ),
    Body("oip: texts", column_data("BYTES", '"a"'), model="table", protocol="inference_v2"),
    Body("oip: empty texts", column_data("BYTES", '""'), model="table", protocol="inference_v2"),
    Body(
        "oip: gaps as numbers",
        column_data("FP32", "null", "age"),
        model="table",
        protocol="inference_v2",
    ),
    Body("oip: integers", column_data("INT64", "1", "age"), model="table", protocol="inference_v2"),
    Body(
        "oip: dates",
        column_data("BYTES", '"2020-01-01"', "since"),
        model="table",
        protocol="inference_v2",
    ),
    Body(
        "oip: numbers as categories",
        column_data("FP32", "1", "work"),
        model="table",
        protocol="inference_v2",
    ),
    Body(
        "oip: too few numbers",
        filled(
            '{"inputs":[{"name":"features","datatype":"FP32","shape":[1099511627775,64],"data":[',
            "1,",
            "1]}]}",
        ),
        protocol="inference_v2",
    ),
    Body(
        "oip: rows of one value",
        filled(
            '{"inputs":[{"name":"features","datatype":"FP32","shape":[9,64],"data":[',
            "[1],",
            "[1]]}]}",
        ),
        protocol="inference_v2",
    ),
    Body(
        "oip: binary texts",
        binary("BYTES", b"\1\0\0\0a"),
        model="table",
        protocol="inference_v2",
        media=BINARY,
        headers=head_length,
    ),
    Body(
        "oip: binary empty texts",
        binary("BYTES", bytes(4)),
        model="table",
        protocol="inference_v2",
        media=BINARY,
        headers=head_length,
    ),
    Body(
        "oip: more binary texts than rows",
        binary("BYTES", bytes(4), 1),
        model="table",
        protocol="inference_v2",
        media=BINARY,
        headers=head_length,
    ),
    Body(
        "oip: binary booleans",
        binary("BOOL", b"\1", name="member"),
        model="table",
        protocol="inference_v2",
        media=BINARY,
        headers=head_length,
    ),
    Body(
        "oip: binary gaps",
        binary("FP32", b"\0\0\xc0\x7f", name="age"),
        model="table",
        protocol="inference_v2",
        media=BINARY,
        headers=head_length,
    ),
    # Compressed bodies.
    Body("gzip: empty members", gzip_members(b""), encoding="gzip"),
    Body("gzip: members of a byte", gzip_members(b" "), encoding="gzip"),
    Body("gzip: empty blocks", gzip_blocks, encoding="gzip"),
    Body("gzip: zeros", gzip_of(bytes), encoding="gzip"),
    Body("gzip: more than the limit", gzip_of(lambda size: bytes(4 * size)), encoding="gzip"),
    Body("gzip: bad content", gzip_of(filled('{"instances":[', "[],", "[]]}")), encoding="gzip"),
    Body("zstd: zeros", zstd_of(bytes), encoding="zstd"),
    Body("zstd: more than the limit", zstd_of(lambda size: bytes(4 * size)), encoding="zstd"),
    Body("zstd: empty blocks", zstd_empty_blocks, encoding="zstd"),
    Body(
        "zstd: empty blocks of a known size",
        lambda size: zstd_empty_blocks(size, b"\1"),
        encoding="zstd",
    ),
    Body("zstd: small blocks", zstd_small_blocks, encoding="zstd"),
    Body("zstd: skippable frames", zstd_skippable, encoding="zstd"),
]
