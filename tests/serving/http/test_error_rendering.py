"""Errors in the format of the protocol that the requested URL belongs to."""

import pytest

from serving.http.error_rendering import (
    NATIVE_FORMAT,
    OPEN_INFERENCE_FORMAT,
    TENSORFLOW_FORMAT,
    select_error_format,
)

BODY = {"error": "expected a, got b", "code": "c", "details": {"d": 1}}


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("/predict", NATIVE_FORMAT),
        ("/invocations", NATIVE_FORMAT),
        ("/v2x", NATIVE_FORMAT),
        ("/v2/repository/index", NATIVE_FORMAT),
        ("/v1", NATIVE_FORMAT),
        ("/", NATIVE_FORMAT),
        ("/v2", OPEN_INFERENCE_FORMAT),
        ("/v2/", OPEN_INFERENCE_FORMAT),
        ("/v2/models/a/infer", OPEN_INFERENCE_FORMAT),
        ("/v2/no/such", OPEN_INFERENCE_FORMAT),
        ("/v1/models/a:predict", TENSORFLOW_FORMAT),
        ("/v1/no", TENSORFLOW_FORMAT),
    ],
)
def test_select_error_format_path_gives_the_format_of_its_protocol(path, expected):
    assert select_error_format(path) is expected


def test_error_format_body_and_status_are_those_of_the_protocol():
    assert NATIVE_FORMAT.format_body(BODY) == BODY
    assert (
        OPEN_INFERENCE_FORMAT.format_body(BODY)
        == TENSORFLOW_FORMAT.format_body(BODY)
        == {"error": "expected a, got b"}
    )
    assert NATIVE_FORMAT.map_status(422) == OPEN_INFERENCE_FORMAT.map_status(422) == 422
    assert TENSORFLOW_FORMAT.map_status(422) == 400
    assert [TENSORFLOW_FORMAT.map_status(status) for status in (400, 404, 503, 504)] == [
        400,
        404,
        503,
        504,
    ]
