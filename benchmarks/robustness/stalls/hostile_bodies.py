"""Hostile bodies: small to send, and as expensive to decode as their format allows.

`BODIES` is used by the benchmark (`python -m benchmarks.robustness.stalls`), which sends each of
them to a real server, and by `tests/serving/codec/test_linear_time.py`, which compares the CPU time
of two sizes. Add an entry to cover another body; nothing else has to change.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Literal

import numpy as np

from benchmarks.robustness.stalls.body_makers import (
    MakeBody,
    compress_with_gzip,
    compress_with_zstd,
    make_binary_tensor,
    make_gzip_blocks,
    make_gzip_members,
    make_json_column,
    make_json_length_header,
    make_late_fault,
    make_long_shape,
    make_many_outputs,
    make_many_tensors,
    make_npy_header,
    make_npy_rows,
    make_unknown_columns,
    make_unknown_fields,
    make_zstd_empty_blocks,
    make_zstd_skippable_frames,
    make_zstd_small_blocks,
    repeat_long_values,
    repeat_part,
)

Protocol = Literal["rows", "tensorflow", "inference_v2"]

JSON = "application/json"
CSV = "text/csv"
NPY = "application/x-npy"
BINARY = "application/octet-stream"

# Columns of the models that the bodies are sent to. `numbers` is the shipped `digits`; `table` is
# trained on random people (`models.py`), and each of its columns accepts missing values.
NUMBER_COLUMNS = [f"pixel_{row}_{column}" for row in range(8) for column in range(8)]
TABLE_COLUMNS = ["age", "member", "work", "since"]
ROW = ",".join(["1"] * len(NUMBER_COLUMNS))


@dataclass(frozen=True)
class Body:
    """A hostile body of any size.

    Attributes:
        name: Unique name, as the benchmark prints it.
        make: Function of a length in bytes; returns a body of about that length, once decompressed.
        model: Model that the body is sent to, `numbers` or `table`.
        protocol: Protocol whose decoder reads it.
        media_type: Media type of the body.
        accept: Media type that the answer should have; "" for any.
        encoding: Content-Encoding of the body; "" for none.
        make_headers: Function that returns further headers for the body's bytes.
    """

    name: str
    make: MakeBody
    model: Literal["numbers", "table"] = "numbers"
    protocol: Protocol = "rows"
    media_type: str = JSON
    accept: str = ""
    encoding: str = ""
    make_headers: Callable[[bytes], dict[str, str]] = field(default=lambda _: {})


NUMBER_HEADER = ",".join(NUMBER_COLUMNS)
TABLE_HEADER = ",".join(TABLE_COLUMNS)

BODIES: list[Body] = [
    # JSON of the server's own protocol.
    Body("json: opening brackets", repeat_part("", "[")),
    Body("json: opening brackets in instances", repeat_part('{"instances":', "[")),
    Body("json: opening braces", repeat_part('{"instances":[', '{"age":'), model="table"),
    Body("json: flat numbers", repeat_part('{"instances":[', "1,", "1]}")),
    Body("json: one long row", repeat_part('{"instances":[[', "1,", "1]]}")),
    Body("json: empty rows", repeat_part('{"instances":[', "[],", "[]]}")),
    Body("json: rows of one value", repeat_part('{"instances":[', "[1],", "[1]]}")),
    Body("json: rows of a row", repeat_part('{"instances":[', f"[{ROW}],", f"[[{ROW}]]]}}")),
    Body("json: empty records, numbers", repeat_part('{"instances":[', "{},", "{}]}")),
    Body("json: empty records, table", repeat_part('{"instances":[', "{},", "{}]}"), model="table"),
    Body("json: nulls, table", repeat_part('{"instances":[', "null,", "null]}"), model="table"),
    Body("json: keys twice", repeat_part("{", '"a":1,', '"a":1}')),
    Body("json: known keys twice", repeat_part("{", '"instances":1,', '"instances":1}')),
    Body(
        "json: field twice", repeat_part('{"instances":[{', '"age":1,', '"age":1}]}'), model="table"
    ),
    Body("json: unknown fields", make_unknown_fields, model="table"),
    Body("json: long unknown field", repeat_part('{"instances":[{"', "a", '":1}]}'), model="table"),
    Body("json: long escaped key", repeat_part('{"', "\\u0041", '":1}')),
    Body("json: long text", repeat_part('{"instances":[{"work":"', "a", '"}]}'), model="table"),
    Body(
        "json: long escaped text",
        repeat_part('{"instances":[{"work":"', "\\n", '"}]}'),
        model="table",
    ),
    Body("json: long spaces", repeat_part('{"instances":[{"work":"', " ", '"}]}'), model="table"),
    Body(
        "json: long date",
        repeat_part('{"instances":[{"since":"2020-01-01T00:00:00.', "1", 'x"}]}'),
        model="table",
    ),
    Body("json: long digits", repeat_part('{"instances":[[', "1", "]]}")),
    Body("json: long fraction", repeat_part('{"instances":[[0.', "1", "]]}")),
    Body("json: long exponent", repeat_part('{"instances":[[1e', "9", "]]}")),
    Body("json: long negative exponent", repeat_part('{"instances":[[1e-', "9", "]]}")),
    Body("json: long minus", repeat_part('{"instances":[[', "-", "]]}")),
    Body("json: spaces", repeat_part('{"instances":', " ", "[]}")),
    Body("json: only spaces", repeat_part("", " ")),
    Body("json: only line ends", repeat_part("", "\n")),
    Body("json: instances null", repeat_part('{"instances":null,"parameters":[', "1,", "1]}")),
    Body(
        "json: parameters of objects", repeat_part('{"instances":[],"parameters":[', "{},", "{}]}")
    ),
    Body(
        "json: many outputs",
        repeat_part('{"instances":[],"parameters":{"outputs":[', '"a",', '"a"]}}'),
    ),
    Body(
        "json: large integers",
        repeat_part('{"instances":[', f"[{','.join([str(2**70)] * 64)}],", f"[{ROW}]]}}"),
    ),
    Body("json: fault at the end", make_late_fault(f"[{ROW}]", "[1]")),
    Body(
        "json: fault at the end, table",
        make_late_fault('{"work":"a"}', '{"work":{}}'),
        model="table",
    ),
    Body("json: syntax error at the end", make_late_fault(f"[{ROW}]", "[1,,]")),
    Body(
        "json: rows, table",
        repeat_part('{"instances":[', "[1,0,null,null],", "[1,0,null,null]]}"),
        model="table",
    ),
    Body("json: good rows", repeat_part('{"instances":[', f"[{ROW}],", f"[{ROW}]]}}")),
    Body(
        "json: good rows, answer in CSV",
        repeat_part('{"instances":[', f"[{ROW}],", f"[{ROW}]]}}"),
        accept=CSV,
    ),
    Body("json: byte that is not UTF-8", lambda size: b'{"instances":["' + b"a" * size + b"\xff"),
    # CSV.
    Body("csv: digits and a letter", repeat_part("", "1", "x"), media_type=CSV),
    Body(
        "csv: fields of digits and a letter", repeat_part("", "1" * 100_000 + "x,"), media_type=CSV
    ),
    Body(
        "csv: value of digits and a letter",
        repeat_long_values("", "1", "x" + ",1" * 63),
        media_type=CSV,
    ),
    Body(
        "csv: value of digits and a letter, table",
        repeat_long_values("", "1", "x,,,"),
        model="table",
        media_type=CSV,
    ),
    Body(
        "csv: exponent and a letter, table",
        repeat_long_values("1e", "1", "x,,,"),
        model="table",
        media_type=CSV,
    ),
    Body(
        "csv: fraction and a letter, table",
        repeat_long_values(".", "1", "x,,,"),
        model="table",
        media_type=CSV,
    ),
    Body(
        "csv: both and a letter, table",
        repeat_long_values("1.1", "1", "e1x,,,"),
        model="table",
        media_type=CSV,
    ),
    Body(
        "csv: value of spaces, table",
        repeat_long_values("", " ", "x,,,"),
        model="table",
        media_type=CSV,
    ),
    Body(
        "csv: fraction of zeros, table",
        repeat_long_values(",,1.", "0", "x,"),
        model="table",
        media_type=CSV,
    ),
    Body(
        "csv: long number, table",
        repeat_long_values("1.", "1", ",,,"),
        model="table",
        media_type=CSV,
    ),
    Body(
        "csv: date, table",
        repeat_long_values(",,,2020-01-01T00:00:00.", "1", ""),
        model="table",
        media_type=CSV,
    ),
    Body(
        "csv: date and a letter, table",
        repeat_long_values(",,,2020-01-01T00:00:00.", "1", "x"),
        model="table",
        media_type=CSV,
    ),
    Body("csv: commas", repeat_part("", ","), media_type=CSV),
    Body("csv: commas below names", repeat_part(f"{NUMBER_HEADER}\n", ","), media_type=CSV),
    Body("csv: commas behind names", repeat_part(NUMBER_HEADER, ","), media_type=CSV),
    Body("csv: quoted commas", repeat_part('""', ","), media_type=CSV),
    Body("csv: quote and commas", repeat_part('a"', ","), media_type=CSV),
    Body(
        "csv: quoted names and commas",
        repeat_part('"' + NUMBER_HEADER.replace(",", '","') + '"', ","),
        media_type=CSV,
    ),
    Body("csv: quoted lines of commas", repeat_part("", '"\n"' + "," * 100), media_type=CSV),
    Body("csv: line ends", repeat_part("", "\n"), media_type=CSV),
    Body("csv: line ends below names", repeat_part(f"{NUMBER_HEADER}\n", "\n"), media_type=CSV),
    Body("csv: carriage returns and line ends", repeat_part("", "\r\n"), media_type=CSV),
    Body("csv: quote and line ends", repeat_part('"', "\n"), media_type=CSV),
    Body("csv: quoted value and line ends", repeat_part('"1"' + ",1" * 63, "\n"), media_type=CSV),
    Body("csv: line ends, table", repeat_part("", "\n"), model="table", media_type=CSV),
    Body(
        "csv: quoted value and line ends, table",
        repeat_part('"1",,,\n', "\n"),
        model="table",
        media_type=CSV,
    ),
    Body(
        "csv: every other line empty, table",
        repeat_part("", ",,,\n\n"),
        model="table",
        media_type=CSV,
    ),
    Body("csv: quotes", repeat_part("", '"'), media_type=CSV),
    Body("csv: doubled quotes", repeat_part('"', '""', '"'), media_type=CSV),
    Body("csv: quoted empties", repeat_part("", '"",'), media_type=CSV),
    Body(
        "csv: quoted empties, table",
        repeat_part("", '"","","",""\n'),
        model="table",
        media_type=CSV,
    ),
    Body("csv: rows of one value", repeat_part("", "1\n"), media_type=CSV),
    Body("csv: rows of one value, table", repeat_part("", "1\n"), model="table", media_type=CSV),
    Body("csv: gaps", repeat_part("", "," * 63 + "\n"), media_type=CSV),
    Body("csv: gaps, table", repeat_part("", ",,,\n"), model="table", media_type=CSV),
    Body(
        "csv: gaps, table, answer in CSV",
        repeat_part("", ",,,\n"),
        model="table",
        media_type=CSV,
        accept=CSV,
    ),
    Body("csv: good rows", repeat_part("", ROW + "\n"), media_type=CSV),
    Body("csv: good rows, answer in CSV", repeat_part("", ROW + "\n"), media_type=CSV, accept=CSV),
    Body(
        "csv: good rows, table",
        repeat_part(f"{TABLE_HEADER}\n", "39,true,state,2012-06-01\n"),
        model="table",
        media_type=CSV,
    ),
    Body("csv: fault at the end", repeat_part("", ROW + "\n", "1\n"), media_type=CSV),
    Body("csv: brackets", repeat_part("", "["), media_type=CSV),
    Body("csv: spaces", repeat_part("", " "), media_type=CSV),
    Body("csv: values of spaces", repeat_part("", " " * 100_000 + ","), media_type=CSV),
    Body(
        "csv: unknown names",
        lambda size: ",".join(f"c{i}" for i in range(size // 8)).encode(),
        media_type=CSV,
    ),
    # NumPy files and raw numbers.
    Body(
        "npy: spaces",
        make_npy_header(repeat_part("{'descr':'<f4','fortran_order':False,'shape':(", " ", "x")),
        media_type=NPY,
    ),
    Body("npy: spaces first", make_npy_header(repeat_part("", " ", "x")), media_type=NPY),
    Body(
        "npy: spaces in front of the type",
        make_npy_header(repeat_part("{'descr':", " ", "x")),
        media_type=NPY,
    ),
    Body(
        "npy: commas and spaces",
        make_npy_header(repeat_part("{'descr':'<f4','fortran_order':False,'shape':(", "1 , ", "x")),
        media_type=NPY,
    ),
    Body(
        "npy: dimensions",
        make_npy_header(repeat_part("{'descr':'<f4','fortran_order':False,'shape':(", "1,", ")}")),
        media_type=NPY,
    ),
    Body(
        "npy: digits",
        make_npy_header(repeat_part("{'descr':'<f4','fortran_order':False,'shape':(", "1", ",)}")),
        media_type=NPY,
    ),
    Body("npy: brackets", make_npy_header(repeat_part("", "(")), media_type=NPY),
    Body("npy: quotes", make_npy_header(repeat_part("{'descr':'", "a")), media_type=NPY),
    Body("npy: booleans", make_npy_rows("?"), media_type=NPY),
    Body("npy: float16 with gaps", make_npy_rows("<f2", np.nan), media_type=NPY),
    Body("npy: float32 with a NaN at the end", make_npy_rows("<f4", 1, np.nan), media_type=NPY),
    Body("npy: big-endian float64", make_npy_rows(">f8"), media_type=NPY),
    Body("raw: numbers", lambda size: bytes(size // 256 * 256), media_type=BINARY),
    Body("raw: NaN", lambda size: b"\0\0\xc0\x7f" * (size // 256 * 64), media_type=BINARY),
    # TensorFlow Serving's protocol.
    Body(
        "tensorflow: inputs null",
        repeat_part('{"inputs":null,"parameters":[', "1,", "1]}"),
        protocol="tensorflow",
    ),
    Body("tensorflow: unknown columns", make_unknown_columns, model="table", protocol="tensorflow"),
    Body(
        "tensorflow: column twice",
        repeat_part('{"inputs":{', '"age":[1],', '"age":[1]}}'),
        model="table",
        protocol="tensorflow",
    ),
    Body(
        "tensorflow: nested column",
        repeat_part('{"inputs":{"age":[', "[1],", "[1]]}}"),
        model="table",
        protocol="tensorflow",
    ),
    Body(
        "tensorflow: empty rows",
        repeat_part('{"inputs":{"age":[', "[],", "[]]}}"),
        model="table",
        protocol="tensorflow",
    ),
    Body(
        "tensorflow: column of texts",
        repeat_part('{"inputs":{"work":[', '"",', '""]}}'),
        model="table",
        protocol="tensorflow",
    ),
    Body(
        "tensorflow: column of numbers",
        repeat_part('{"inputs":{"age":[', "1,", "1]}}"),
        model="table",
        protocol="tensorflow",
    ),
    Body(
        "tensorflow: column of objects",
        repeat_part('{"inputs":{"age":[', "{},", "{}]}}"),
        model="table",
        protocol="tensorflow",
    ),
    Body(
        "tensorflow: matrix",
        repeat_part('{"inputs":[', f"[{ROW}],", f"[{ROW}]]}}"),
        protocol="tensorflow",
    ),
    Body(
        "tensorflow: named rows",
        repeat_part('{"instances":[', f'{{"features":[{ROW}]}},', f'{{"features":[{ROW}]}}]}}'),
        protocol="tensorflow",
    ),
    Body(
        "tensorflow: named row of many keys",
        repeat_part('{"instances":[{"features":[1],', '"a":1,', '"a":1}]}'),
        protocol="tensorflow",
    ),
    Body("tensorflow: spaces", repeat_part('{"signature_name"', " ", ""), protocol="tensorflow"),
    Body(
        "tensorflow: long signature",
        repeat_part('{"signature_name":"', "a", '","instances":[]}'),
        protocol="tensorflow",
    ),
    Body(
        "tensorflow: many instances keys",
        repeat_part("{", '"instances" ', ":1}"),
        protocol="tensorflow",
    ),
    Body(
        "tensorflow: records, table",
        repeat_part('{"instances":[', "{},", "{}]}"),
        model="table",
        protocol="tensorflow",
    ),
    # The Open Inference Protocol.
    Body("oip: many tensors", make_many_tensors, model="table", protocol="inference_v2"),
    Body(
        "oip: objects as inputs", repeat_part('{"inputs":[', "{},", "{}]}"), protocol="inference_v2"
    ),
    Body("oip: many outputs", make_many_outputs, protocol="inference_v2"),
    Body("oip: long shape", make_long_shape, protocol="inference_v2"),
    Body(
        "oip: long parameters",
        repeat_part('{"inputs":[],"parameters":{"a":[', "1,", "1]}}"),
        protocol="inference_v2",
    ),
    Body(
        "oip: unknown keys",
        repeat_part('{"inputs":[{', '"a":1,', '"a":1}]}'),
        protocol="inference_v2",
    ),
    Body("oip: texts", make_json_column("BYTES", '"a"'), model="table", protocol="inference_v2"),
    Body(
        "oip: empty texts", make_json_column("BYTES", '""'), model="table", protocol="inference_v2"
    ),
    Body(
        "oip: gaps as numbers",
        make_json_column("FP32", "null", "age"),
        model="table",
        protocol="inference_v2",
    ),
    Body(
        "oip: integers",
        make_json_column("INT64", "1", "age"),
        model="table",
        protocol="inference_v2",
    ),
    Body(
        "oip: dates",
        make_json_column("BYTES", '"2020-01-01"', "since"),
        model="table",
        protocol="inference_v2",
    ),
    Body(
        "oip: numbers as categories",
        make_json_column("FP32", "1", "work"),
        model="table",
        protocol="inference_v2",
    ),
    Body(
        "oip: too few numbers",
        repeat_part(
            '{"inputs":[{"name":"features","datatype":"FP32","shape":[1099511627775,64],"data":[',
            "1,",
            "1]}]}",
        ),
        protocol="inference_v2",
    ),
    Body(
        "oip: rows of one value",
        repeat_part(
            '{"inputs":[{"name":"features","datatype":"FP32","shape":[9,64],"data":[',
            "[1],",
            "[1]]}]}",
        ),
        protocol="inference_v2",
    ),
    Body(
        "oip: binary texts",
        make_binary_tensor("BYTES", b"\1\0\0\0a"),
        model="table",
        protocol="inference_v2",
        media_type=BINARY,
        make_headers=make_json_length_header,
    ),
    Body(
        "oip: binary empty texts",
        make_binary_tensor("BYTES", bytes(4)),
        model="table",
        protocol="inference_v2",
        media_type=BINARY,
        make_headers=make_json_length_header,
    ),
    Body(
        "oip: more binary texts than rows",
        make_binary_tensor("BYTES", bytes(4), 1),
        model="table",
        protocol="inference_v2",
        media_type=BINARY,
        make_headers=make_json_length_header,
    ),
    Body(
        "oip: binary booleans",
        make_binary_tensor("BOOL", b"\1", name="member"),
        model="table",
        protocol="inference_v2",
        media_type=BINARY,
        make_headers=make_json_length_header,
    ),
    Body(
        "oip: binary gaps",
        make_binary_tensor("FP32", b"\0\0\xc0\x7f", name="age"),
        model="table",
        protocol="inference_v2",
        media_type=BINARY,
        make_headers=make_json_length_header,
    ),
    # Compressed bodies.
    Body("gzip: empty members", make_gzip_members(b""), encoding="gzip"),
    Body("gzip: members of a byte", make_gzip_members(b" "), encoding="gzip"),
    Body("gzip: empty blocks", make_gzip_blocks, encoding="gzip"),
    Body("gzip: zeros", compress_with_gzip(bytes), encoding="gzip"),
    Body(
        "gzip: more than the limit",
        compress_with_gzip(lambda size: bytes(4 * size)),
        encoding="gzip",
    ),
    Body(
        "gzip: bad content",
        compress_with_gzip(repeat_part('{"instances":[', "[],", "[]]}")),
        encoding="gzip",
    ),
    Body("zstd: zeros", compress_with_zstd(bytes), encoding="zstd"),
    Body(
        "zstd: more than the limit",
        compress_with_zstd(lambda size: bytes(4 * size)),
        encoding="zstd",
    ),
    Body("zstd: empty blocks", make_zstd_empty_blocks, encoding="zstd"),
    Body(
        "zstd: empty blocks of a known size",
        lambda size: make_zstd_empty_blocks(size, b"\1"),
        encoding="zstd",
    ),
    Body("zstd: small blocks", make_zstd_small_blocks, encoding="zstd"),
    Body("zstd: skippable frames", make_zstd_skippable_frames, encoding="zstd"),
]
