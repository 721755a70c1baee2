"""The CPU time of a request grows linearly with its length, whatever body and headers contain."""

import io
import time

import numpy as np
import pytest

from benchmarks.robustness.stalls.hostile_bodies import BODIES, NUMBER_COLUMNS
from serving import create_app
from serving.bundle import BooleanColumn, CategoryColumn, DateColumn, NumberColumn
from serving.bundle.column_types import MAX_UNSEEN_CHARACTERS
from serving.bundle.quoting import suggest_similar_name
from serving.codec.binary import MAX_NPY_HEADER_BYTES, decode_npy
from serving.codec.csv import decode_csv
from serving.codec.input_schema import InputSchema
from serving.codec.messages import EncodedRequest
from serving.errors import InvalidInstancesError, MalformedBodyError, ServingError
from serving.http import compression
from serving.http.body_limits import BodyMemory, read_body
from serving.http.key_file import KeyFileError, generate_key, read_keys
from serving.http.route_table import build_route_table
from serving.inference.predictor import PROTOCOL_DECODERS
from serving.server.request_head import TARGET_PATTERN
from serving.settings.cloud_platforms import VertexSettings
from serving.telemetry.logs import MAX_LINE_BYTES, sanitize_text

SIZE = 20_000  # bytes of the shorter of two bodies
LIMIT = 10 * 2**20
NOISE = 0.005  # seconds by which the CPU time of two equal runs may differ
PER_BYTE = 20e-6  # seconds; a hundred times what the slowest body takes on a slow machine


def number(name, missing="impute"):
    return NumberColumn(name=name, type="number", missing=missing, minimum=0, maximum=1)


SCHEMAS = {
    "numbers": InputSchema([number(name, "refuse") for name in NUMBER_COLUMNS]),
    "table": InputSchema(
        [
            number("age"),
            BooleanColumn(name="member", type="boolean", missing="impute"),
            CategoryColumn(
                name="work",
                type="category",
                missing="impute",
                unseen="unknown",
                categories=["private", "self", "state"],
            ),
            DateColumn(
                name="since",
                type="date",
                missing="impute",
                minimum="2000-01-01",
                maximum="2024-01-01",
            ),
        ]
    ),
}


def cpu_seconds(prepare, size):
    """Return the shortest CPU time of three runs of `prepare(size)()`, of one run if it is long."""
    best = float("inf")
    for _ in range(3):
        run = prepare(size)
        start = time.thread_time()
        run()
        best = min(best, time.thread_time() - start)
        if best > 1:
            break
    return best


def assert_linear_time(prepare, size=SIZE):
    """Assert that the work `prepare(size)()` takes CPU time proportional to its size."""
    once, twice = cpu_seconds(prepare, size), cpu_seconds(prepare, 2 * size)
    assert twice <= 3 * once + NOISE, f"{once:.4f} s, and {twice:.4f} s for twice the length"
    assert twice <= 2 * size * PER_BYTE


def prepare_decoding(body, size):
    content = body.make(size)
    headers = body.make_headers(content)
    length = headers.get("Inference-Header-Content-Length")

    def decode():
        try:
            unpacked = content
            if body.encoding:
                unpacked = b"".join(compression.decompress(content, body.encoding, LIMIT))
            request = EncodedRequest(
                unpacked, body.media_type, body.accept, int(length) if length else None
            )
            PROTOCOL_DECODERS[body.protocol](request, SCHEMAS[body.model])
        except ServingError as error:
            assert 400 <= error.status < 500
            assert len(error.message) < 2000

    return decode


@pytest.mark.slow
@pytest.mark.parametrize("body", BODIES, ids=lambda body: body.name)
def test_decode_body_twice_as_long_takes_at_most_thrice_the_time(body):
    assert_linear_time(lambda size: prepare_decoding(body, size))


def test_stalls_bodies_have_unique_names():
    assert len({body.name for body in BODIES}) == len(BODIES)


# Contents of a header or of a part of a URL, by their size.
FILLINGS = {
    "digits": lambda size: "1" * size,
    "digits and a letter": lambda size: "1" * size + "x",
    "zeros": lambda size: "0" * size + "1",
    "fraction": lambda size: "1." + "1" * size + "x",
    "exponent": lambda size: "1e" + "9" * size,
    "underscores": lambda size: "1_" * (size // 2) + "1",
    "spaces": lambda size: " " * size + "x",
    "commas": lambda size: "," * size,
    "gzip, ": lambda size: "gzip, " * (size // 6),
    "semicolons": lambda size: "a/b" + ";" * size,
    "parameters": lambda size: "a/b" + "; q=1" * (size // 5),
    "open quote": lambda size: 'a/b; c="' + "\\" * size,
    "letters": lambda size: "a" * size + "!",
    "dots": lambda size: "." * size + "!",
    "slashes": lambda size: "/" * size,
    "ampersands": lambda size: "&" * size,
    "pairs": lambda size: "a=b&" * (size // 4),
    "percent": lambda size: "%" * size,
    "bearer": lambda size: "Bearer " + " " * size,
    "colons": lambda size: ":" * size,
}
KEYS = [
    "CONTENT_TYPE",
    "CONTENT_LENGTH",
    "QUERY_STRING",
    "HTTP_ACCEPT",
    "HTTP_ACCEPT_ENCODING",
    "HTTP_CONTENT_ENCODING",
    "HTTP_X_REQUEST_TIMEOUT",
    "HTTP_X_REQUEST_ID",
    "HTTP_AUTHORIZATION",
    "HTTP_X_API_KEY",
    "HTTP_INFERENCE_HEADER_CONTENT_LENGTH",
    "HTTP_COOKIE",
]
PREFIXES = ["/", "/v1/models/", "/v1/models/digits/versions/", "/v2/models/digits/versions/"]


@pytest.fixture(scope="module")
def app(shipped, tmp_path_factory):
    key, line = generate_key("me", "predict")
    path = tmp_path_factory.mktemp("keys") / "keys"
    path.write_text(line)
    return create_app(models=shipped, keys=path), key


def prepare_request(app, key, changes):
    body = b'{"instances":[]}'
    environ = {
        "REQUEST_METHOD": "POST",
        "PATH_INFO": "/predict",
        "QUERY_STRING": "",
        "SERVER_NAME": "localhost",
        "SERVER_PORT": "80",
        "SERVER_PROTOCOL": "HTTP/1.1",
        "wsgi.url_scheme": "http",
        "wsgi.input": io.BytesIO(body),
        "wsgi.errors": io.StringIO(),
        "CONTENT_TYPE": "application/json",
        "CONTENT_LENGTH": str(len(body)),
        "HTTP_X_API_KEY": key,
        **changes,
    }
    statuses = []

    def answer():
        environ["wsgi.input"].seek(0)
        parts = app(environ, lambda status, headers, _=None: statuses.append(int(status[:3])))
        assert len(b"".join(parts)) < 5000
        assert statuses[-1] < 500

    return answer


@pytest.mark.parametrize("filling", FILLINGS)
@pytest.mark.parametrize("key", KEYS)
def test_header_twice_as_long_takes_at_most_thrice_the_time(app, key, filling):
    assert_linear_time(lambda size: prepare_request(*app, {key: FILLINGS[filling](size)}), 8000)


@pytest.mark.parametrize("filling", FILLINGS)
@pytest.mark.parametrize("prefix", PREFIXES)
def test_path_twice_as_long_takes_at_most_thrice_the_time(app, prefix, filling):
    path = prefix + "{}:predict"
    assert_linear_time(
        lambda size: prepare_request(*app, {"PATH_INFO": path.format(FILLINGS[filling](size))}),
        8000,
    )


@pytest.mark.parametrize("filling", FILLINGS)
def test_text_patterns_twice_as_long_take_at_most_thrice_the_time(filling, tmp_path):
    path = tmp_path / "keys"
    routes = build_route_table(VertexSettings())

    def read(size):
        text = FILLINGS[filling](size)
        path.write_text(f"{text} predict sha256:{text}\n")

        def match_all():
            TARGET_PATTERN.fullmatch(f"/{text}".encode())
            routes.match_prediction(f"/v1/models/{text}:predict")
            routes.find_error_format(f"/v1/models/{text}:predict")
            sanitize_text(text, MAX_LINE_BYTES)
            suggest_similar_name(text, SCHEMAS["numbers"].column_positions)
            with pytest.raises(KeyFileError):
                read_keys(path)

        return match_all

    assert_linear_time(read)


@pytest.mark.parametrize("digits", [19, 4300, 5000, 100_000])
def test_read_body_content_length_of_very_many_digits_is_too_large(app, digits):
    environ = {"CONTENT_LENGTH": "9" * digits, "wsgi.input": io.BytesIO(b"x")}
    with pytest.raises(ServingError) as error_info:
        read_body(environ, LIMIT, BodyMemory())
    assert (error_info.value.status, error_info.value.code) == (413, "body_too_large")
    prepare_request(*app, {"CONTENT_LENGTH": "9" * digits})()


def test_read_body_content_length_with_leading_zeros_is_read():
    environ = {"CONTENT_LENGTH": "0" * 5000 + "2", "wsgi.input": io.BytesIO(b"ab")}
    assert read_body(environ, 9, BodyMemory()) == b"ab"


def test_repository_index_very_long_options_are_refused(app):
    application, key = app
    answer = application.test_client().post(
        "/v2/repository/index", data=b"[" + b"[]," * 100_000 + b"[]]", headers={"X-API-Key": key}
    )
    assert (answer.status_code, answer.json["code"]) == (413, "body_too_large")
    assert answer.json["details"] == {"limit": 128 * 2**10}


def columns(body):
    return {name: a[:, 0].tolist() for name, a in decode_csv(body, SCHEMAS["table"]).items()}


def test_decode_csv_quoted_commas_and_line_ends_separate_no_values():
    text = "a,b\n" * 1000 + ',"",' * 100
    body = f'1,true,"{text.replace(chr(34), 2 * chr(34))}",\n2,,"{"," * 50}",\n'.encode()
    found = columns(body)
    # A text that is no category is cut.
    assert found["work"] == [text.strip()[:MAX_UNSEEN_CHARACTERS], "," * 50]
    assert found["age"] == [1, 2]


def test_decode_csv_empty_lines_within_quotes_are_kept():
    body = b'\n\r\n1,,"a\n\nb",\r\n\n\n\n2,,c,\n\n\n'
    assert columns(body)["work"] == ["a\n\nb", "c"]


@pytest.mark.parametrize(
    "line", ["," * 100, '""' + "," * 100, '"a\n"' + "," * 7 + '"\n"' + "," * 7, 'a"' + "," * 100]
)
def test_decode_csv_row_of_far_too_many_values_error_names_its_number(line):
    with pytest.raises(
        InvalidInstancesError, match="expected 4 values in instance 1"
    ) as error_info:
        columns(f'1,,"x",\n{line}\n'.encode())
    assert error_info.value.details["expected"] == 4


@pytest.mark.slow
def test_decode_csv_long_body_in_pieces_gives_all_rows():
    rows = np.arange(64 * 20_000, dtype=np.float32).reshape(-1, 64)
    lines = "\r\n".join(",".join(map(str, row)) for row in rows.astype(int).tolist())
    assert len(lines) > 5 * 2**20
    found = decode_csv(f"{','.join(NUMBER_COLUMNS)}\r\n{lines}\r\n".encode(), SCHEMAS["numbers"])
    np.testing.assert_array_equal(found["features"], rows)


def test_decode_npy_header_longer_than_numpy_reads_is_refused():
    file = io.BytesIO()
    np.save(file, np.zeros((2, 64), np.float32))
    content = file.getvalue()
    header, numbers = content[10:128], content[128:]

    def padded(length):
        head = header.rstrip() + b" " * (length - len(header.rstrip()))
        return b"\x93NUMPY\x01\0" + length.to_bytes(2, "little") + head + numbers

    assert decode_npy(padded(MAX_NPY_HEADER_BYTES), SCHEMAS["numbers"])["features"].shape == (2, 64)
    with pytest.raises(MalformedBodyError, match="expected a file of NumPy's format"):
        decode_npy(padded(MAX_NPY_HEADER_BYTES + 1), SCHEMAS["numbers"])


@pytest.mark.parametrize("count", [64, 1000, 20_000])
def test_suggest_similar_name_among_very_many_names_finds_the_similar_one(count):
    known = [f"column {place} of the table" for place in range(count)]
    assert suggest_similar_name(f"column {count - 1} of the tabel", known) == (
        f'; did you mean "column {count - 1} of the table"?'
    )
    assert suggest_similar_name("zzz", known) == ""
