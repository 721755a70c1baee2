"""The context of a request: the values that the stages of its processing record.

Each request has a `CallContext` in its WSGI environ. This server's connections create it when they
have read the head; under another WSGI server, the outermost middleware does. Every stage sets its
attributes: deadline, route, protocol, model, times. The request log and the metrics read them when
the request ends.
"""

from __future__ import annotations

from collections.abc import Callable
from time import perf_counter
from typing import Any

from serving.errors import (
    DeadlineError,
    InvalidTimeoutError,
    RequestTimeoutError,
    ServingError,
)

CONTEXT_KEY = "forwardpass.call"  # key of the WSGI environ under which the context is kept
MAX_TIMEOUT_SECONDS = 86_400.0  # largest X-Request-Timeout: a day


class CallContext:
    """The state of one request.

    All times are in seconds on the clock of `perf_counter`. A time is 0 until its stage is reached.

    Attributes:
        deadline: Time after which the client no longer waits for the answer; None if there is no
            limit.
        client_descriptor: File descriptor of the client's socket; None if the WSGI server does not
            provide it.
        request_id: Identifier of the request in logs and in the answer's `X-Request-Id`.
        route: Path of the requested route, with placeholders; None if no route was found.
        protocol: Protocol of that route, for instance `rows`; empty if no route was found.
        model_label: Name, version and variant of the requested model; three empty texts until the
            model is found.
        key_name: Name of the API key that the request was sent with, from the key file; empty
            without a valid key, and where no key is needed.
        rows: Number of instances in the request.
        error_code: Code of the error that answers the request; empty if it succeeds.
        batch_rows: Number of rows in the batch that the request was run in, including those of
            other requests.
        started_at: Time at which the head of the request had been read.
        decoded_at: Time at which its body had been decoded to arrays.
        run_started_at: Time at which the run of its batch began.
        run_ended_at: Time at which that run ended.
        encoded_at: Time at which its answer had been encoded to bytes.
        is_recorded_by_server: Whether the WSGI server calls `record` just before it sends the
            answer, so that if the process is killed, its counters agree with the answers that
            clients received. Otherwise the middleware records the request when the application
            returns.
        record: Function that counts and logs the request, set by the middleware and called by the
            connection; None before and after, and always under another WSGI server.
    """

    __slots__ = (
        "batch_rows",
        "client_descriptor",
        "deadline",
        "decoded_at",
        "encoded_at",
        "error_code",
        "is_recorded_by_server",
        "key_name",
        "model_label",
        "protocol",
        "record",
        "request_id",
        "route",
        "rows",
        "run_ended_at",
        "run_started_at",
        "started_at",
    )

    def __init__(
        self,
        deadline: float | None = None,
        client_descriptor: int | None = None,
        *,
        is_recorded_by_server: bool = False,
    ) -> None:
        self.started_at = perf_counter()
        self.deadline, self.client_descriptor = deadline, client_descriptor
        self.is_recorded_by_server = is_recorded_by_server
        self.record: Callable[[], None] | None = None
        self.route: str | None = None
        self.request_id = self.protocol = self.error_code = self.key_name = ""
        self.model_label: tuple[str, str, str] = ("", "", "")
        self.rows = self.batch_rows = 0
        self.decoded_at = self.run_started_at = self.run_ended_at = self.encoded_at = 0.0

    def measure_stages(self) -> dict[str, int]:
        """Return the duration of each stage, in microseconds.

        Returns:
            Durations by stage: `whole` (from `started_at` until now), and `decode`, `queue`, `run`
            and `encode` as far as the request has come.
        """
        times = {"whole": perf_counter() - self.started_at}
        if self.decoded_at:
            times["decode"] = self.decoded_at - self.started_at
            if self.run_ended_at:
                times["queue"] = self.run_started_at - self.decoded_at
                times["run"] = self.run_ended_at - self.run_started_at
                if self.encoded_at:
                    times["encode"] = self.encoded_at - self.run_ended_at
        return {stage: round(seconds * 1e6) for stage, seconds in times.items()}


def get_context(environ: dict[str, Any]) -> CallContext:
    """Return the context of a request; create it and store it in the environ if there is none."""
    return environ.get(CONTEXT_KEY) or _create_context(environ)


def _create_context(environ: dict[str, Any]) -> CallContext:
    client = environ.get("gunicorn.socket")
    context = environ[CONTEXT_KEY] = CallContext(
        client_descriptor=None if client is None else client.fileno()
    )
    return context


def set_deadline(environ: dict[str, Any], timeout: float | None = None) -> CallContext:
    """Set the deadline of a request and return its context.

    Args:
        environ: WSGI environ of the request.
        timeout: Time limit in seconds for a request without the header `X-Request-Timeout`; None
            for no limit.

    Raises:
        InvalidTimeoutError: If `X-Request-Timeout` is not a number of seconds in the allowed range.
    """
    context = get_context(environ)
    header = environ.get("HTTP_X_REQUEST_TIMEOUT")
    if header is not None:
        timeout = _parse_timeout(header)
    if timeout is not None:
        context.deadline = context.started_at + timeout
    return context


def make_deadline_error(context: CallContext) -> DeadlineError:
    """Return the error for a request whose deadline has passed."""
    waited = perf_counter() - context.started_at
    return DeadlineError(
        f"expected to answer within {(context.deadline or 0) - context.started_at:.3g} s; it took "
        f"{waited:.3g} s; ask again later, or allow more with X-Request-Timeout"
    )


def make_timeout_error(seconds: float, *, is_complete: bool) -> ServingError:
    """Return the error for a request that has taken longer than `--request-seconds`.

    Args:
        seconds: Longest time from a request's head to the end of its answer, in seconds.
        is_complete: Whether the whole body of the request has been received.
    """
    if is_complete:
        return DeadlineError(
            f"expected to answer within {seconds:g} seconds, the limit set by --request-seconds; "
            f"it takes longer; ask again later, or send fewer instances"
        )
    return RequestTimeoutError(
        f"expected to receive a whole request within {seconds:g} seconds, the limit set by "
        f"--request-seconds; got only a part of it; send it again, faster or in smaller parts"
    )


def _parse_timeout(text: str) -> float:
    try:
        seconds = float(text)
    except ValueError:
        seconds = 0.0
    if not 0 < seconds <= MAX_TIMEOUT_SECONDS:  # NaN fails this comparison, too
        raise InvalidTimeoutError(
            f"expected X-Request-Timeout in seconds, above 0 and up to {MAX_TIMEOUT_SECONDS:g}; "
            f"got {text[:32]!r}"
        )
    return seconds
