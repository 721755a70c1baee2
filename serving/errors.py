"""The errors that a client can receive: each class has one code and one HTTP status.

A message has three parts: what was expected, what was received, what to do. The body of an error
response is `{"error": message, "code": code, "details": {…}}`.
"""

from __future__ import annotations

import logging
import uuid
from typing import Any, ClassVar

log = logging.getLogger(__name__)


class ServingError(Exception):
    """An error that the client receives: the request is invalid, or cannot be answered now.

    Attributes:
        status: HTTP status of the answer.
        code: Name of the error, for programs; part of the public API.
        headers: Headers that the response to this error has.
        message: Sentence for people that says what was expected, what was received and, where it is
            not obvious, what to do.
        details: Values for programs, for instance `{"limit": 1024}`.
    """

    status = 500
    code = "internal"
    headers: ClassVar[dict[str, str]] = {}

    def __init__(self, message: str, **details: Any) -> None:
        super().__init__(message)
        self.message = message
        self.details = details

    def to_dict(self) -> dict[str, Any]:
        """Return the body of the error response."""
        return {"error": self.message, "code": self.code, "details": self.details}


class InternalError(ServingError):
    """An error in the server's own code.

    The client receives a request ID to report. The traceback is logged under the same ID and never
    sent.

    Args:
        error: Exception that was raised.
        request_id: Identifier of the request; empty to generate one.
    """

    def __init__(self, error: Exception, request_id: str = "") -> None:
        request_id = request_id or uuid.uuid4().hex
        super().__init__(
            f"expected to answer; got an internal error; report request {request_id}",
            request_id=request_id,
        )
        fields = {"request_id": request_id}
        log.error("request %s failed", request_id, exc_info=error, extra={"fields": fields})


class IncompleteBodyError(ServingError):
    """The body ends too early, or its chunks are malformed."""

    status, code = 400, "incomplete_body"


class NotJsonError(ServingError):
    """The body is not JSON."""

    status, code = 400, "not_json"


class MalformedBodyError(ServingError):
    """The body does not match its Content-Type or Content-Encoding."""

    status, code = 400, "malformed_body"


class InvalidQueryError(ServingError):
    """The URL's query string holds an unknown parameter or an invalid value."""

    status, code = 400, "invalid_query"


class InvalidHeaderError(ServingError):
    """A header that describes the body has an invalid value."""

    status, code = 400, "invalid_header"


class InvalidTimeoutError(ServingError):
    """The header X-Request-Timeout has an invalid value."""

    status, code = 400, "invalid_timeout"


class ModelRequiredError(ServingError):
    """Several models are served, and the request names none."""

    status, code = 400, "model_required"


class ModelNotFoundError(ServingError):
    """The model is not served, or not in the requested version."""

    status, code = 404, "model_not_found"


class RequestTimeoutError(ServingError):
    """The client did not send all of its request in time."""

    status, code = 408, "request_timeout"


class UnauthorizedError(ServingError):
    """The request has no API key, or an unknown one."""

    status, code = 401, "unauthorized"
    headers: ClassVar[dict[str, str]] = {"WWW-Authenticate": 'Bearer realm="forwardpass"'}


class ForbiddenError(ServingError):
    """The scope of the API key does not allow the request."""

    status, code = 403, "forbidden"


class AdministrationOffError(ServingError):
    """The request needs an administrator's API key, and the server has no keys."""

    status, code = 403, "administration_off"


class BodyTooLargeError(ServingError):
    """The body has more bytes than the server accepts."""

    status, code = 413, "body_too_large"


class UnsupportedMediaTypeError(ServingError):
    """The Content-Type or Content-Encoding of the body is not supported."""

    status, code = 415, "unsupported_media_type"


class InvalidInstancesError(ServingError):
    """The body is well formed, but the model does not accept its instances."""

    status, code = 422, "invalid_instances"


class NotFiniteAnswerError(ServingError):
    """The instance is so large that the model's float32 arithmetic overflows."""

    status, code = 422, "answer_not_finite"


class OverloadedError(ServingError):
    """The server has more requests at the same time than it accepts."""

    status, code = 503, "overloaded"
    headers: ClassVar[dict[str, str]] = {"Retry-After": "1"}


class DeadlineError(ServingError):
    """The deadline of the request has passed."""

    status, code = 504, "deadline_exceeded"


class RunTooLongError(ServingError):
    """A run of the model's graph exceeded its time limit and was stopped."""

    status, code = 504, "run_too_long"


class ClientGoneError(ServingError):
    """The client closed its connection before its rows were run."""

    status, code = 499, "client_gone"


class NotReadyError(ServingError):
    """No model has been loaded and passed its self-test."""

    status, code = 503, "not_ready"


class InvalidOptionsError(ServingError):
    """The JSON body with the options of a request holds an unknown option or an invalid value."""

    status, code = 400, "invalid_options"


class UnsupportedExtensionError(ServingError):
    """The request uses a part of Triton's protocol that this server does not support."""

    status, code = 400, "unsupported_extension"


class NoEarlierVersionError(ServingError):
    """A rollback is impossible, since there is no version before the live one."""

    status, code = 409, "no_earlier_version"


class VersionRefusedError(ServingError):
    """The requested version failed its self-test; the previous one stays live."""

    status, code = 409, "version_refused"


class StateNotKeptError(ServingError):
    """The file of pinned versions and unloaded models cannot be read or written."""

    status, code = 409, "state_not_kept"


class NoAgreementError(ServingError):
    """A worker neither accepted nor refused the version in time; nothing has changed."""

    status, code = 503, "no_agreement"
    headers: ClassVar[dict[str, str]] = {"Retry-After": "10"}
