"""Every error that is promised to a client: raised over a whole application, which then goes on."""

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

import serving.http.app  # noqa: F401 - imports every module that could declare an error
from serving import create_app
from serving.call_context import make_timeout_error
from serving.errors import ServingError
from serving.repository import rollout as plan
from serving.repository.rollout import Refusal
from serving.repository.rollout_store import RolloutStore
from serving.repository.shared_state import SharedState
from serving.runtime import GraphSession
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
    """An application, and what it serves."""

    models: Any
    client: Any
    monkeypatch: Any

    def post(self, path="/predict", data=GOOD, headers=ADMIN, **options):
        """Return the answer to one request."""
        return self.client.post(path, data=data, headers=JSON | headers, **options)

    def state(self):
        """What an error must leave as it was: the answer, what is served; nothing waits."""
        answer = self.post("/predict?model=digits")
        ready = self.client.get("/readyz", headers=ADMIN).get_json()
        index = self.post("/v2/repository/index", b'{"ready": true}').get_json()
        samples = {name: value for name, labels, value in self.samples() if not labels}
        assert samples["forwardpass_in_flight_requests"] == 1  # that for the metrics
        assert samples["forwardpass_queue_rows"] == samples["forwardpass_queue_oldest_seconds"] == 0
        return (answer.status_code, answer.data), ready["models"], index

    def count(self, status):
        """Return how many requests were answered with a status."""
        return sum(
            value
            for name, labels, value in self.samples()
            if (name, labels.get("code")) == ("forwardpass_requests_total", str(status))
        )

    def samples(self):
        """Return name, labels and value of every number of the metrics."""
        text = self.client.get("/metrics", headers=ADMIN).text
        families = text_string_to_metric_families(text)
        return [sample[:3] for family in families for sample in family.samples]


@dataclass
class Promise:
    """What is promised of an error.

    Attributes:
        raise_it: Asks so that it is raised. Returns the answer.
        details: Names of its details.
        headers: Headers of the answer that belong to the error.
        prepare: Changes the repository before the server starts.
        settings: Settings of the server.
        path: Route of the request, as OpenAPI names it.
    """

    status: int
    code: str
    raise_it: Callable[[Server], Any]
    details: set[str] = field(default_factory=set)
    headers: dict[str, str] = field(default_factory=dict)
    prepare: Callable[[Any], Any] = lambda _: None
    settings: dict[str, Any] = field(default_factory=dict)
    path: str = "/predict"


def asking(*arguments, **options):
    return lambda server: server.post(*arguments, **options)


def administer(action, data=b""):
    return lambda server: server.post(ADMINISTER + action, data)


def break_the_runtime(server):
    def explode(self, inputs):
        raise KeyError("not for clients")

    with server.monkeypatch.context() as patch:
        patch.setattr(GraphSession, "run", explode)
        return server.post()


def crowd(server):
    """Two requests in the same turn of the loop, where one row may wait."""
    gevent.sleep(1e-9)  # the loop knows what time it is
    greenlets = [gevent.spawn(server.post) for _ in range(2)]
    gevent.joinall(greenlets, timeout=HANG_SECONDS)
    first, second = (greenlet.value for greenlet in greenlets)
    assert first.status_code == 200
    return second


def hang_up(server):
    """A request whose client closes its connection before the turn of the loop ends."""
    ours, theirs = socket.socketpair()
    with ours:
        theirs.close()
        options = {"environ_overrides": {"gunicorn.socket": ours}}
        greenlet = gevent.spawn(server.post, **options)
        return greenlet.get(timeout=HANG_SECONDS)


class HalfABody:
    """A body of which no more comes."""

    def __init__(self):
        self.is_read = gevent.event.Event()

    def read(self, _size=-1):
        self.is_read.set()
        gevent.event.Event().wait(HANG_SECONDS)


def send_half_a_body(server):
    """A request that the worker ends while its body is read, as it does after --request-seconds."""
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
def another_worker(act):
    """Another member of the ledger, a process that is never ready and does this."""
    joined, join = os.pipe()

    def live():
        agenda = RolloutStore(SharedState.inherited)
        agenda.join()
        os.write(join, b"!")
        act(agenda)
        signal.pause()
        return ""

    pid, read = forked(live)
    try:
        assert os.read(joined, 1) == b"!"
        yield
    finally:
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
        for end in (joined, join, read):
            os.close(end)


def wait_for_a_worker_that_hangs(server):
    server.monkeypatch.setattr(plan, "ROLLOUT_TIMEOUT_SECONDS", 0.2)
    with another_worker(lambda _: None):
        return server.post(ADMINISTER + "unload", b"")


def refuse_what_is_proposed(agenda):
    while not any(rollout.versions for rollout in agenda.read().rollouts.values()):
        time.sleep(0.01)
    ((name, rollout),) = agenda.read().rollouts.items()
    agenda.refuse(name, rollout.versions[0], Refusal(reason="it crashes there"))


def loop_for_ever(folder):
    write_variants(folder / "digits" / "1", fp32=loop_as_often_as_asked)


PROMISES = {
    "InternalError": Promise(500, "internal", break_the_runtime, {"request_id"}),
    "IncompleteBodyError": Promise(
        400, "incomplete_body", asking(environ_overrides={"CONTENT_LENGTH": "9999"})
    ),
    "NotJsonError": Promise(400, "not_json", asking(data=b"{"), {"line", "column"}),
    "MalformedBodyError": Promise(
        400,
        "malformed_body",
        asking(data=gzip.compress(GOOD)[:-9], headers=ADMIN | {"Content-Encoding": "gzip"}),
    ),
    "InvalidQueryError": Promise(400, "invalid_query", asking("/predict?modle=digits")),
    "InvalidHeaderError": Promise(
        400, "invalid_header", asking(headers=ADMIN | {"Inference-Header-Content-Length": "x"})
    ),
    "InvalidTimeoutError": Promise(
        400, "invalid_timeout", asking(headers=ADMIN | {"X-Request-Timeout": "soon"})
    ),
    "ModelRequiredError": Promise(400, "model_required", asking(), {"models"}),
    "ModelNotFoundError": Promise(
        404, "model_not_found", asking("/predict?model=letters"), {"models"}
    ),
    "UnauthorizedError": Promise(
        401,
        "unauthorized",
        asking(headers={}),
        headers={"WWW-Authenticate": 'Bearer realm="forwardpass"'},
    ),
    "ForbiddenError": Promise(
        403, "forbidden", asking(ADMINISTER + "unload", b"", READER), path=ADMINISTER + "unload"
    ),
    "AdministrationOffError": Promise(
        403,
        "administration_off",
        administer("unload"),
        settings={"keys": None},
        path=ADMINISTER + "unload",
    ),
    "BodyTooLargeError": Promise(
        413, "body_too_large", asking(data=GOOD + b" "), {"limit"}, settings={"max_body": len(GOOD)}
    ),
    "UnsupportedMediaTypeError": Promise(
        415, "unsupported_media_type", asking(headers=ADMIN | {"Content-Type": "image/png"})
    ),
    "InvalidInstancesError": Promise(
        422,
        "invalid_instances",
        asking(data=b'{"instances": [[0, 1]]}'),
        {"instance", "expected", "got"},
    ),
    "NotFiniteAnswerError": Promise(
        422,
        "answer_not_finite",
        asking(data=json.dumps({"instances": [[0] * 64, [3e38] * 64]})),
        {"instance"},
    ),
    "OverloadedError": Promise(
        503, "overloaded", crowd, headers={"Retry-After": "1"}, settings={"queue_rows": 1}
    ),
    "DeadlineError": Promise(
        504, "deadline_exceeded", asking(headers=ADMIN | {"X-Request-Timeout": "0.000001"})
    ),
    "RunTooLongError": Promise(
        504,
        "run_too_long",
        asking(data=json.dumps({"instances": [[1e15] + [0] * 63]})),
        prepare=loop_for_ever,
        settings={"allow_loops": True, "run_seconds": 0.2},
    ),
    "ClientGoneError": Promise(499, "client_gone", hang_up),
    "NotReadyError": Promise(
        503, "not_ready", asking(), prepare=lambda models: damage(models / "digits" / "1")
    ),
    "InvalidOptionsError": Promise(
        400, "invalid_options", administer("unload", b'{"force": true}'), path=ADMINISTER + "unload"
    ),
    "UnsupportedExtensionError": Promise(
        400,
        "unsupported_extension",
        asking("/v2/logging", b'{"log_verbose_level": 3}'),
        path="/v2/logging",
    ),
    "NoEarlierVersionError": Promise(
        409,
        "no_earlier_version",
        administer("rollback"),
        {"model", "versions"},
        path=ADMINISTER + "rollback",
    ),
    "VersionRefusedError": Promise(
        409,
        "version_refused",
        load_a_damaged_version,
        {"model", "version"},
        path=ADMINISTER + "load",
    ),
    "RequestTimeoutError": Promise(408, "request_timeout", send_half_a_body),
    "StateNotKeptError": Promise(409, "state_not_kept", keep_no_state, path=ADMINISTER + "unload"),
    "NoAgreementError": Promise(
        503,
        "no_agreement",
        wait_for_a_worker_that_hangs,
        headers={"Retry-After": "10"},
        path=ADMINISTER + "unload",
    ),
}


def promised():
    """Every class of an error for clients that the server declares, in any of its modules."""
    waiting, found = [ServingError], {}
    while waiting:
        below = waiting.pop().__subclasses__()
        waiting += below
        found |= {error.__name__: error for error in below if error.__module__[:8] == "serving."}
    return found


def test_every_error_that_is_promised_is_raised_here():
    assert set(PROMISES) == set(promised())


def test_errors_of_different_names_have_different_codes():
    codes = [error.code for error in promised().values()]
    assert len(set(codes)) == len(codes)


@pytest.fixture
def start(only_digits, adults, tmp_path, monkeypatch):
    """Start a server that keeps a promise."""

    def begin(name):
        promise = PROMISES[name]
        lines = [
            f"{who} {scope} sha256:{hashlib.sha256(key['X-API-Key'].encode()).hexdigest()}"
            for who, scope, key in (("a", "admin", ADMIN), ("b", "predict", READER))
        ]
        (tmp_path / "keys").write_text("\n".join(lines))
        if name == "ModelRequiredError":
            shutil.copytree(adults / "adults", only_digits / "adults")
        promise.prepare(only_digits)
        monkeypatch.setattr(SharedState, "shared", SharedState())
        settings = {"models": only_digits, "poll": 0, "keys": tmp_path / "keys"} | promise.settings
        return Server(only_digits, create_app(**settings).test_client(), monkeypatch)

    return begin


def assert_kept(name, server, caplog):
    promise = PROMISES[name]
    before, counted = server.state(), server.count(promise.status)
    caplog.clear()
    response = promise.raise_it(server)
    logged = [r.fields["code"] for r in caplog.records if r.msg == "request"]
    assert (response.status_code, logged) == (promise.status, [promise.code])
    assert server.count(promise.status) == counted + 1
    answer = response.get_json()
    assert answer["error"].startswith("expected ")
    if promise.path.startswith("/v2/") and not promise.path.startswith("/v2/repository/"):
        assert set(answer) == {"error"}  # as the protocol has it
    else:
        assert set(answer) == {"error", "code", "details"}
        assert answer["code"] == promise.code
        assert set(answer["details"]) == promise.details
    assert promise.headers.items() <= dict(response.headers).items()
    assert server.state() == before
    document = server.client.get("/openapi.json", headers=ADMIN).get_json()
    path = promise.path.replace("digits", "{name}")
    assert str(promise.status) in document["paths"][path]["post"]["responses"]


@pytest.mark.parametrize("name", sorted({*PROMISES} - {"NoAgreementError"}))
def test_error_is_answered_as_promised_and_leaves_all_as_it_was(name, start, caplog):
    assert_kept(name, start(name), caplog)


@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
@pytest.mark.usefixtures("processes")
def test_so_is_that_of_a_worker_that_hangs(start, caplog):
    assert_kept("NoAgreementError", start("NoAgreementError"), caplog)


@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
@pytest.mark.usefixtures("processes")
def test_version_that_another_worker_refuses_is_refused_for_its_reason(start):
    server = start("VersionRefusedError")
    add_version(server.models, 2)
    before = server.state()
    with another_worker(refuse_what_is_proposed):
        response = server.post(ADMINISTER + "load", b"")
    answer = response.get_json()
    assert (response.status_code, answer["code"]) == (409, "version_refused")
    assert "to pass its self-test; it crashes there; nothing was changed" in answer["error"]
    assert answer["details"] == {"model": "digits", "version": 2}
    assert server.state() == before
