"""Errors in the format of the protocol that the requested URL belongs to."""

from serving.http.error_rendering import NATIVE_FORMAT, OPEN_INFERENCE_FORMAT, TENSORFLOW_FORMAT

BODY = {"error": "expected a, got b", "code": "c", "details": {"d": 1}}


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
