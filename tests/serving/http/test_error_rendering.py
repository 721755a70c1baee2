"""Errors in the form of the protocol that was asked."""

import pytest

from serving.http.error_rendering import (
    NATIVE_FORMAT,
    OPEN_INFERENCE_FORMAT,
    TENSORFLOW_FORMAT,
    select_error_format,
)

BODY = {"error": "expected a, got b", "code": "c", "details": {"d": 1}}


@pytest.mark.parametrize(
    ("path", "form"),
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
def test_a_path_tells_its_form(path, form):
    assert select_error_format(path) is form


def test_the_forms():
    assert NATIVE_FORMAT.format_body(BODY) == BODY
    assert (
        OPEN_INFERENCE_FORMAT.body(BODY)
        == TENSORFLOW_FORMAT.body(BODY)
        == {"error": "expected a, got b"}
    )
    assert NATIVE_FORMAT.status(422) == OPEN_INFERENCE_FORMAT.status(422) == 422
    assert TENSORFLOW_FORMAT.status(422) == 400
    assert [TENSORFLOW_FORMAT.status(status) for status in (400, 404, 503, 504)] == [
        400,
        404,
        503,
        504,
    ]
