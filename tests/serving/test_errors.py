"""Every error that a client can receive: a request causes it, and the server stays as it was."""

import gzip
import hashlib
import json
import os
import shutil
import signal
import socket
import time
from collections.abc import Callable
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import gevent
import gevent.event
import pytest
from prometheus_client.parser import text_string_to_metric_families

import serving.http.app  # noqa: F401 - imports every module that may declare an error
from serving import create_app
from serving.call_context import make_timeout_error
from serving.errors import ServingError
from serving.http.components import SharedResources
from serving.repository import rollout_store
from serving.repository.rollout import Refusal
from serving.repository.rollout_store import RolloutStore
from serving.repository.shared_state import SharedState
from serving.runtime import GraphSession
from serving.telemetry.shared_counters import SharedCounters
from tests.bundle_versions import add_version, damage
from tests.harmful_graphs import loop_as_often_as_asked
from tests.processes import HANG_SECONDS
from tests.serving.repository.test_shared_state import forked
from tests.variants import write_variants

GOOD = json.dumps({"instances": [[0] * 64]}).encode()
ADMIN, READER = {"X-API-Key": "an administrator"}, {"X-API-Key": "a client"}
JSON = {"Content-Type": "application/json"}
ADMINISTER = "/v2/repository/models/digits/"


@dataclass
class Server:
    """An application, with helpers to ask it.

    Attributes:
        models: Folder of its models.
        client: Flask's test client.
        state: State that its workers would share.
        monkeypatch: pytest's fixture.
    """

    models: Any
    client: Any
    state: Any
    monkeypatch: Any

    def post(self, path="/predict", data=GOOD, headers=ADMIN, **options):
        """Return the answer to one request."""
        return self.client.post(path, data=data, headers=JSON | headers, **options)

    def read_state(self):
        """Return what an error must not change: an answer, the served models, the index.

        Also check that no request is in progress and no row is queued.
        """
        answer = self.post("/predict?model=digits")
        ready = self.client.get("/readyz", headers=ADMIN).get_json()
        index = self.post("/v2/repository/index", b'{"ready": true}').get_json()
        samples = {name: value for name, labels, value in self.samples() if not labels}
        assert samples["forwardpass_in_flight_requests"] == 1  # the request for the metrics
        assert samples["forwardpass_queue_rows"] == samples["forwardpass_queue_oldest_seconds"] == 0
        return (answer.status_code, answer.data), ready["models"], index

    def count(self, status):
        """Return the number of requests that were answered with a status."""
        return sum(
            value
            for name, labels, value in self.samples()
            if (name, labels.get("code")) == ("forwardpass_requests_total", str(status))
        )

    def samples(self):
        """Return name, labels and value of every sample of the metrics."""
        text = self.client.get("/metrics", headers=ADMIN).text
        families = text_string_to_metric_families(text)
        return [sample[:3] for family in families for sample in family.samples]


@dataclass
class ErrorCase:
    """How to cause an error, and what its answer must be.

    Attributes:
        status: HTTP status of the answer.
        code: Code of the error.
        cause: Function that sends a request which causes the error and returns the answer.
        details: Names of its details.
        headers: Headers of the answer that belong to the error.
        prepare: Function that changes the repository before the server starts.
        settings: Settings of the server.
        path: Path of the request.
    """

    status: int
    code: str
    cause: Callable[[Server], Any]
    details: set[str] = field(default_factory=set)
    headers: dict[str, str] = field(default_factory=dict)
    prepare: Callable[[Any], Any] = lambda _: None
    settings: dict[str, Any] = field(default_factory=dict)
    path: str = "/predict"


def sending(*arguments, **options):
    return lambda server: server.post(*arguments, **options)


def administer(action, data=b""):
    return lambda server: server.post(ADMINISTER + action, data)


def break_the_runtime(server):
    def explode(self, inputs):
        raise KeyError("not for clients")

    with server.monkeypatch.context() as patch:
        patch.setattr(GraphSession, "run", explode)
        return server.post()


def overload_the_queue(server):
    """Send two requests in the same iteration of the event loop, where one row may wait."""
    gevent.sleep(1e-9)  # the event loop updates its clock
    greenlets = [gevent.spawn(server.post) for _ in range(2)]
    gevent.joinall(greenlets, timeout=HANG_SECONDS)
    first, second = (greenlet.value for greenlet in greenlets)
    assert first.status_code == 200
    return second


def hang_up(server):
    """Send a request whose client closes its connection before the loop iteration ends."""
    ours, theirs = socket.socketpair()
    with ours:
        theirs.close()
        options = {"environ_overrides": {"gunicorn.socket": ours}}
        greenlet = gevent.spawn(server.post, **options)
        return greenlet.get(timeout=HANG_SECONDS)


class HalfABody:
    """A body whose reads wait for bytes that never arrive."""

    def __init__(self):
        self.is_read = gevent.event.Event()

    def read(self, _size=-1):
        self.is_read.set()
        gevent.event.Event().wait(HANG_SECONDS)


def send_half_a_body(server):
    """Send a request and end it while its body is read, as workers do after --request-seconds."""
    body = HalfABody()
    overrides = {"wsgi.input": body, "CONTENT_LENGTH": "100"}
    greenlet = gevent.spawn(server.post, environ_overrides=overrides)
    assert body.is_read.wait(HANG_SECONDS)
    greenlet.kill(make_timeout_error(60, is_complete=False), block=False)
    return greenlet.get(timeout=HANG_SECONDS)


def load_a_damaged_version(server):
    damage(add_version(server.models, 2))
    return server.post(ADMINISTER + "load", b"")


def keep_no_state(server):
    (server.models / ".serving.json").write_text("{")
    try:
        return server.post(ADMINISTER + "unload", b"")
    finally:
        (server.models / ".serving.json").unlink()


@contextmanager
def another_worker(state, act):
    """Start another worker, a process that is never ready, and let it act.

    Args:
        state: State that the workers share.
        act: Function that the worker calls with its rollout store.
    """
    joined, join = os.pipe()

    def run_worker():
        store = RolloutStore(state)
        store.register_worker()
        os.write(join, b"!")
        act(store)
        signal.pause()
        return ""

    pid, read = forked(run_worker)
    try:
        assert os.read(joined, 1) == b"!"
        yield
    finally:
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
        for end in (joined, join, read):
            os.close(end)


def wait_for_a_worker_that_hangs(server):
    server.monkeypatch.setattr(rollout_store, "ROLLOUT_TIMEOUT_SECONDS", 0.2)
    with another_worker(server.state, lambda _: None):
        return server.post(ADMINISTER + "unload", b"")


def refuse_what_is_proposed(store):
    while not any(rollout.versions for rollout in store.read_plan().rollouts.values()):
        time.sleep(0.01)
    ((name, rollout),) = store.read_plan().rollouts.items()
    store.exclude_version(name, rollout.versions[0], Refusal(reason="it crashes there"))


def loop_for_ever(folder):
    write_variants(folder / "digits" / "1", fp32=loop_as_often_as_asked)


ERROR_CASES = {
    "InternalError": ErrorCase(500, "internal", break_the_runtime, {"request_id"}),
    "IncompleteBodyError": ErrorCase(
        400, "incomplete_body", sending(environ_overrides={"CONTENT_LENGTH": "9999"})
    ),
    "NotJsonError": ErrorCase(400, "not_json", sending(data=b"{"), {"line", "column"}),
    "MalformedBodyError": ErrorCase(
        400,
        "malformed_body",
        sending(data=gzip.compress(GOOD)[:-9], headers=ADMIN | {"Content-Encoding": "gzip"}),
    ),
    "InvalidQueryError": ErrorCase(400, "invalid_query", sending("/predict?modle=digits")),
    "InvalidHeaderError": ErrorCase(
        400, "invalid_header", sending(headers=ADMIN | {"Inference-Header-Content-Length": "x"})
    ),
    "InvalidTimeoutError": ErrorCase(
        400, "invalid_timeout", sending(headers=ADMIN | {"X-Request-Timeout": "soon"})
    ),
    "ModelRequiredError": ErrorCase(400, "model_required", sending(), {"models"}),
    "ModelNotFoundError": ErrorCase(
        404, "model_not_found", sending("/predict?model=letters"), {"models"}
    ),
    "UnauthorizedError": ErrorCase(
        401,
        "unauthorized",
        sending(headers={}),
        headers={"WWW-Authenticate": 'Bearer realm="forwardpass"'},
    ),
    "ForbiddenError": ErrorCase(
        403, "forbidden", sending(ADMINISTER + "unload", b"", READER), path=ADMINISTER + "unload"
    ),
    "AdministrationOffError": ErrorCase(
        403,
        "administration_off",
        administer("unload"),
        settings={"keys": None},
        path=ADMINISTER + "unload",
    ),
    "BodyTooLargeError": ErrorCase(
        413,
        "body_too_large",
        sending(data=GOOD + b" "),
        {"limit"},
        settings={"max_body": len(GOOD)},
    ),
    "UnsupportedMediaTypeError": ErrorCase(
        415, "unsupported_media_type", sending(headers=ADMIN | {"Content-Type": "image/png"})
    ),
    "InvalidInstancesError": ErrorCase(
        422,
        "invalid_instances",
        sending(data=b'{"instances": [[0, 1]]}'),
        {"instance", "expected", "got"},
    ),
    "NotFiniteAnswerError": ErrorCase(
        422,
        "answer_not_finite",
        sending(data=json.dumps({"instances": [[0] * 64, [3e38] * 64]})),
        {"instance"},
    ),
    "OverloadedError": ErrorCase(
        503,
        "overloaded",
        overload_the_queue,
        headers={"Retry-After": "1"},
        settings={"queue_rows": 1},
    ),
    "DeadlineError": ErrorCase(
        504, "deadline_exceeded", sending(headers=ADMIN | {"X-Request-Timeout": "0.000001"})
    ),
    "RunTooLongError": ErrorCase(
        504,
        "run_too_long",
        sending(data=json.dumps({"instances": [[1e15] + [0] * 63]})),
        prepare=loop_for_ever,
        settings={"allow_loops": True, "run_seconds": 0.2},
    ),
    "ClientGoneError": ErrorCase(499, "client_gone", hang_up),
    "NotReadyError": ErrorCase(
        503, "not_ready", sending(), prepare=lambda models: damage(models / "digits" / "1")
    ),
    "InvalidOptionsError": ErrorCase(
        400, "invalid_options", administer("unload", b'{"force": true}'), path=ADMINISTER + "unload"
    ),
    "UnsupportedExtensionError": ErrorCase(
        400,
        "unsupported_extension",
        sending("/v2/logging", b'{"log_verbose_level": 3}'),
        path="/v2/logging",
    ),
    "NoEarlierVersionError": ErrorCase(
        409,
        "no_earlier_version",
        administer("rollback"),
        {"model", "versions"},
        path=ADMINISTER + "rollback",
    ),
    "VersionRefusedError": ErrorCase(
        409,
        "version_refused",
        load_a_damaged_version,
        {"model", "version"},
        path=ADMINISTER + "load",
    ),
    "RequestTimeoutError": ErrorCase(408, "request_timeout", send_half_a_body),
    "StateNotKeptError": ErrorCase(
        409, "state_not_kept", keep_no_state, path=ADMINISTER + "unload"
    ),
    "NoAgreementError": ErrorCase(
        503,
        "no_agreement",
        wait_for_a_worker_that_hangs,
        headers={"Retry-After": "10"},
        path=ADMINISTER + "unload",
    ),
}


def find_error_classes():
    """Return all subclasses of `ServingError` in any module of the server, by name."""
    pending, found = [ServingError], {}
    while pending:
        children = pending.pop().__subclasses__()
        pending += children
        found |= {error.__name__: error for error in children if error.__module__[:8] == "serving."}
    return found


def test_error_cases_cover_every_error_class():
    assert set(ERROR_CASES) == set(find_error_classes())


def test_error_codes_are_unique():
    codes = [error.code for error in find_error_classes().values()]
    assert len(set(codes)) == len(codes)


@pytest.fixture
def start(only_digits, adults, tmp_path, monkeypatch):
    """Return a function that starts the server for an error case, given its name."""

    def begin(name):
        case = ERROR_CASES[name]
        lines = [
            f"{who} {scope} sha256:{hashlib.sha256(key['X-API-Key'].encode()).hexdigest()}"
            for who, scope, key in (("a", "admin", ADMIN), ("b", "predict", READER))
        ]
        (tmp_path / "keys").write_text("\n".join(lines))
        if name == "ModelRequiredError":
            shutil.copytree(adults / "adults", only_digits / "adults")
        case.prepare(only_digits)
        shared = SharedResources(SharedCounters(), SharedState())
        settings = {"models": only_digits, "poll": 0, "keys": tmp_path / "keys"} | case.settings
        client = create_app(shared, **settings).test_client()
        return Server(only_digits, client, shared.state, monkeypatch)

    return begin


def check_error(name, server, caplog):
    case = ERROR_CASES[name]
    before, counted = server.read_state(), server.count(case.status)
    caplog.clear()
    response = case.cause(server)
    logged = [r.fields["code"] for r in caplog.records if r.msg == "request"]
    assert (response.status_code, logged) == (case.status, [case.code])
    assert server.count(case.status) == counted + 1
    answer = response.get_json()
    assert answer["error"].startswith("expected ")
    if case.path.startswith("/v2/") and not case.path.startswith("/v2/repository/"):
        assert set(answer) == {"error"}  # the protocol's format
    else:
        assert set(answer) == {"error", "code", "details"}
        assert answer["code"] == case.code
        assert set(answer["details"]) == case.details
    assert case.headers.items() <= dict(response.headers).items()
    assert server.read_state() == before
    document = server.client.get("/openapi.json", headers=ADMIN).get_json()
    path = case.path.replace("digits", "{name}")
    assert str(case.status) in document["paths"][path]["post"]["responses"]


@pytest.mark.parametrize("name", sorted({*ERROR_CASES} - {"NoAgreementError"}))
def test_error_answer_log_metrics_and_openapi_agree_and_state_is_unchanged(name, start, caplog):
    check_error(name, start(name), caplog)


@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
@pytest.mark.usefixtures("processes")
def test_error_other_worker_hangs_answer_agrees_and_state_is_unchanged(start, caplog):
    check_error("NoAgreementError", start("NoAgreementError"), caplog)


@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
@pytest.mark.usefixtures("processes")
def test_load_other_worker_refuses_version_its_reason_is_answered(start):
    server = start("VersionRefusedError")
    add_version(server.models, 2)
    before = server.read_state()
    with another_worker(server.state, refuse_what_is_proposed):
        response = server.post(ADMINISTER + "load", b"")
    answer = response.get_json()
    assert (response.status_code, answer["code"]) == (409, "version_refused")
    assert "to pass its self-test; it crashes there; nothing was changed" in answer["error"]
    assert answer["details"] == {"model": "digits", "version": 2}
    assert server.read_state() == before
