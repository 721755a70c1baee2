"""Every fault a client can meet: one class, one code, one HTTP status.

A message says what was expected, what came and what to do. The body of an error answer is
`{"error": message, "code": code, "details": {…}}`.
"""

from __future__ import annotations

import logging
import uuid
from typing import Any, ClassVar

log = logging.getLogger(__name__)


class ServingError(Exception):
    """A request that cannot be answered, or not now."""

    status = 500
    code = "internal"
    headers: ClassVar[dict[str, str]] = {}

    def __init__(self, message: str, **details: Any) -> None:
        super().__init__(message)
        self.message = message
        self.details = details

    def to_dict(self) -> dict[str, Any]:
        """The error answer."""
        return {"error": self.message, "code": self.code, "details": self.details}


class InternalError(ServingError):
    """A fault of ours: the client gets a number to quote, the log the traceback beside it.

    Args:
        error: what happened.
        request_id: the number; a new one if there is none yet.
    """

    def __init__(self, error: Exception, request_id: str = "") -> None:
        request_id = request_id or uuid.uuid4().hex
        super().__init__(
            f"expected to answer; an internal error came instead; report request {request_id}",
            request_id=request_id,
        )
        fields = {"request_id": request_id}
        log.error("request %s failed", request_id, exc_info=error, extra={"fields": fields})


class IncompleteBodyError(ServingError):
    """The body breaks off, or its chunks are malformed."""

    status, code = 400, "incomplete_body"


class NotJsonError(ServingError):
    """The body is not JSON."""

    status, code = 400, "not_json"


class MalformedBodyError(ServingError):
    """The body is not of the form that its media type or encoding names."""

    status, code = 400, "malformed_body"


class InvalidQueryError(ServingError):
    """The URL's query says something that is not understood."""

    status, code = 400, "invalid_query"


class InvalidHeaderError(ServingError):
    """A header that says how to read the body says nothing that can be."""

    status, code = 400, "invalid_header"


class InvalidTimeoutError(ServingError):
    """The time that the client gives its request is none."""

    status, code = 400, "invalid_timeout"


class ModelRequiredError(ServingError):
    """Several models are served, and the request names none."""

    status, code = 400, "model_required"


class ModelNotFoundError(ServingError):
    """No model of that name is served."""

    status, code = 404, "model_not_found"


class RequestTimeoutError(ServingError):
    """The client did not send all of its request in time."""

    status, code = 408, "request_timeout"


class UnauthorizedError(ServingError):
    """The request brings no key, or one that is not known."""

    status, code = 401, "unauthorized"
    headers: ClassVar[dict[str, str]] = {"WWW-Authenticate": 'Bearer realm="forwardpass"'}


class ForbiddenError(ServingError):
    """The key does not go so far."""

    status, code = 403, "forbidden"


class AdministrationOffError(ServingError):
    """No one may administer a server that has no keys."""

    status, code = 403, "administration_off"


class BodyTooLargeError(ServingError):
    """The body has more bytes than the server takes."""

    status, code = 413, "body_too_large"


class UnsupportedMediaTypeError(ServingError):
    """The body is declared to be of a type that is not taken."""

    status, code = 415, "unsupported_media_type"


class InvalidInstancesError(ServingError):
    """The body is well formed, but not of instances the model can take."""

    status, code = 422, "invalid_instances"


class NotFiniteAnswerError(ServingError):
    """The instance is so large that the model's float32 arithmetic overflows."""

    status, code = 422, "answer_not_finite"


class OverloadedError(ServingError):
    """More is asked at the same time than the server takes on."""

    status, code = 503, "overloaded"
    headers: ClassVar[dict[str, str]] = {"Retry-After": "1"}


class DeadlineError(ServingError):
    """The time that the request had is over."""

    status, code = 504, "deadline_exceeded"


class RunTooLongError(ServingError):
    """The run of the model's graph took longer than a run may, and was ended."""

    status, code = 504, "run_too_long"


class ClientGoneError(ServingError):
    """The client has hung up before its rows were run; no one reads the answer."""

    status, code = 499, "client_gone"


class NotReadyError(ServingError):
    """No model has been loaded and passed its self-test."""

    status, code = 503, "not_ready"


class InvalidOptionsError(ServingError):
    """A request to the repository asks for something that there is no such thing as here."""

    status, code = 400, "invalid_options"


class UnsupportedExtensionError(ServingError):
    """The request is for a part of Triton's protocol that this server does not have."""

    status, code = 400, "unsupported_extension"


class NoEarlierVersionError(ServingError):
    """There is no version before the one that answers."""

    status, code = 409, "no_earlier_version"


class VersionRefusedError(ServingError):
    """The version that was asked for does not prove itself; what was served before still is."""

    status, code = 409, "version_refused"


class StateNotKeptError(ServingError):
    """The file of pinned versions and unloaded models cannot be read or written."""

    status, code = 409, "state_not_kept"


class NoAgreementError(ServingError):
    """A worker neither proved the version nor refused it in time; nothing has changed."""

    status, code = 503, "no_agreement"
    headers: ClassVar[dict[str, str]] = {"Retry-After": "10"}
