"""The call: one request on its way through, what it brings, may wait for, and has taken so far."""

from __future__ import annotations

from time import perf_counter
from typing import Any

from serving.errors import (
    DeadlineError,
    InvalidTimeoutError,
    RequestTimeoutError,
    ServingError,
)

CONTEXT_KEY = "forwardpass.call"  # where a WSGI environ keeps its call
MAX_TIMEOUT_SECONDS = 86_400.0  # seconds that a request may ask for


class CallContext:
    """One request.

    Attributes:
        deadline: when its answer is of no more use, on `perf_counter`'s clock, in seconds; None
            if ever.
        client_descriptor: descriptor of the client's socket; None where the server keeps it to itself.
        request_id: that logs and the client know it by.
        protocol: of whose routes it came by, one of a few words.
        model_label: that answers, `NAME/VERSION/VARIANT` apart; empty until it is found.
        key_name: of the key it was sent with, as the file of keys has it; empty without a known
            key, or where none was looked for.
        rows: instances it holds.
        error_code: of the error that answers it; empty if none does.
        batch_rows: of the run that answered it, those of others among them.
        began, decoded, started, ran, encoded: when its head was read, its body was arrays, its
            run began and ended, its answer was bytes; on `perf_counter`'s clock, in seconds; 0
            where it did not come so far.
    """

    __slots__ = (
        "batch_rows",
        "client_descriptor",
        "error_code",
        "deadline",
        "decoded_at",
        "encoded_at",
        "key_name",
        "model_label",
        "protocol",
        "request_id",
        "rows",
        "run_ended_at",
        "run_started_at",
        "started_at",
    )

    def __init__(self, deadline: float | None = None, client_descriptor: int | None = None) -> None:
        self.started_at = perf_counter()
        self.deadline, self.client_descriptor = deadline, client_descriptor
        self.request_id = self.protocol = self.error_code = self.key_name = ""
        self.model_label: tuple[str, str, str] = ("", "", "")
        self.rows = self.batch_rows = 0
        self.decoded_at = self.run_started_at = self.run_ended_at = self.encoded_at = 0.0

    def measure_stages(self) -> dict[str, int]:
        """What each stage took that it came through, and the whole until now."""
        times = {"whole": perf_counter() - self.started_at}
        if self.decoded_at:
            times["decode"] = self.decoded_at - self.started_at
            if self.run_ended_at:
                times["queue"] = self.run_started_at - self.decoded_at
                times["run"] = self.run_ended_at - self.run_started_at
                if self.encoded_at:
                    times["encode"] = self.encoded_at - self.run_ended_at
        return {stage: round(seconds * 1e6) for stage, seconds in times.items()}


def create_context(environ: dict[str, Any]) -> CallContext:
    """A new call, for the request of this environ."""
    client = environ.get("gunicorn.socket")
    call = environ[CONTEXT_KEY] = CallContext(
        client_descriptor=None if client is None else client.fileno()
    )
    return call


def get_context(environ: dict[str, Any]) -> CallContext:
    """The call of a request, made if no one has yet."""
    return environ.get(CONTEXT_KEY) or create_context(environ)


def set_deadline(environ: dict[str, Any], timeout: float | None = None) -> CallContext:
    """The call of a request, told how long it has.

    Args:
        environ: WSGI's.
        timeout: seconds that a request has which does not say so itself, by `X-Request-Timeout`.

    Raises:
        InvalidTimeoutError: it says something that is not understood.
    """
    call = get_context(environ)
    asked = environ.get("HTTP_X_REQUEST_TIMEOUT")
    if asked is not None:
        timeout = _parse_timeout(asked)
    if timeout is not None:
        call.deadline = call.started_at + timeout
    return call


def make_deadline_error(call: CallContext) -> DeadlineError:
    """What is said when a call's time is over."""
    waited = perf_counter() - call.started_at
    return DeadlineError(
        f"expected to answer within {(call.deadline or 0) - call.started_at:.3g} s; it took "
        f"{waited:.3g} s; ask again later, or allow more with X-Request-Timeout"
    )


def make_timeout_error(seconds: float, *, is_complete: bool) -> ServingError:
    """Return the error for a request that has taken longer than `--request-seconds`.

    Args:
        seconds: Longest time from a request's head to the end of its answer.
        is_complete: Whether all of its body has come.
    """
    if is_complete:
        return DeadlineError(
            f"expected to answer within {seconds:g} seconds, as --request-seconds says; it takes "
            f"longer; ask again later, or for less"
        )
    return RequestTimeoutError(
        f"expected a whole request within {seconds:g} seconds, as --request-seconds says; a "
        f"part of it has not come; send it again, faster or in smaller parts"
    )


def _parse_timeout(text: str) -> float:
    try:
        seconds = float(text)
    except ValueError:
        seconds = 0.0
    if not 0 < seconds <= MAX_TIMEOUT_SECONDS:  # NaN is not, either
        raise InvalidTimeoutError(
            f"expected X-Request-Timeout in seconds, above 0 and up to {MAX_TIMEOUT_SECONDS:g}; "
            f"got {text[:32]!r}"
        )
    return seconds
