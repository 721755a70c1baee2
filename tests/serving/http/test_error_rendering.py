"""Errors in the form of the protocol that was asked."""

import pytest

from serving.http.error_rendering import OPEN_INFERENCE, OWN, TENSORFLOW, form_of

BODY = {"error": "expected a, got b", "code": "c", "details": {"d": 1}}


@pytest.mark.parametrize(
    ("path", "form"),
    [
        ("/predict", OWN),
        ("/invocations", OWN),
        ("/v2x", OWN),
        ("/v2/repository/index", OWN),
        ("/v1", OWN),
        ("/", OWN),
        ("/v2", OPEN_INFERENCE),
        ("/v2/", OPEN_INFERENCE),
        ("/v2/models/a/infer", OPEN_INFERENCE),
        ("/v2/no/such", OPEN_INFERENCE),
        ("/v1/models/a:predict", TENSORFLOW),
        ("/v1/no", TENSORFLOW),
    ],
)
def test_a_path_tells_its_form(path, form):
    assert form_of(path) is form


def test_the_forms():
    assert OWN.body(BODY) == BODY
    assert OPEN_INFERENCE.body(BODY) == TENSORFLOW.body(BODY) == {"error": "expected a, got b"}
    assert OWN.status(422) == OPEN_INFERENCE.status(422) == 422
    assert TENSORFLOW.status(422) == 400
    assert [TENSORFLOW.status(status) for status in (400, 404, 503, 504)] == [400, 404, 503, 504]
