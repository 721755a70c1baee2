"""docs/troubleshooting.md quotes messages that a user gets: each mistake is made here."""

import csv
import io
import json
import os
import re
import shutil
import signal
import socket
from dataclasses import dataclass
from typing import Any

import gevent
import pytest
import requests
from click.testing import CliRunner

import serving.cli
import trainer.cli
from serving import create_app
from tests.bundle_versions import add_version, damage
from tests.pages.markdown import DOCS, ROOT, read_page
from tests.processes import HANG_SECONDS, wait_until
from trainer.estimators import MLPClassifier

PAGE = read_page("docs/troubleshooting.md")
CASES = {}  # function that provokes each message, by the heading of its section

RECORD = {
    "age": 47,
    "job": "nurse",
    "city": "Cork",
    "joined": "2024-11-03",
    "member": True,
    "visits": 9,
    "spent": 61.5,
}
QUICK = ("--preset", "fast", "--epochs", "1", "--skip-baselines")


@dataclass
class QuotedMessage:
    """A section of the page about one message.

    Attributes:
        heading: Message in the heading, or its beginning or a part of it.
        status: HTTP status in the heading; None without one.
        quote: Whole message; empty if it is the heading.
    """

    heading: str
    status: int | None
    quote: str


def list_sections():
    """Return the sections that quote a message; others have a heading without code."""
    found = {}
    for part in re.split(r"^### ", PAGE, flags=re.MULTILINE)[1:]:
        heading, _, text = part.partition("\n")
        if match := re.fullmatch(r"(?:(\d{3}): )?`(.*)`", heading):
            lines = re.findall(r"^> ?(.*)$", text, re.MULTILINE)
            quote = " ".join(lines).strip("`")
            found[match[2]] = QuotedMessage(match[2], int(match[1]) if match[1] else None, quote)
    return found


SECTIONS = list_sections()


def case(heading):
    """Register a function that makes a mistake and returns the message, and its status if any."""

    def register(function):
        CASES[heading] = function
        return function

    return register


@dataclass
class User:
    """Someone who makes mistakes, in a folder with people.csv.

    Attributes:
        folder: Working folder.
        monkeypatch: pytest's fixture.
        request: pytest's fixture, for those fixtures that only a few cases need.
    """

    folder: Any
    monkeypatch: Any
    request: Any

    def fail(self, *arguments, command=trainer.cli.main):
        """Run a command that fails and return its error."""
        done = CliRunner().invoke(command, [str(argument) for argument in arguments])
        assert done.exit_code == 1, done.output
        return done.stderr[done.stderr.index("Error: ") :].strip()

    def fit(self, *arguments):
        return self.fail("fit", "people.csv", *arguments, *QUICK)

    def warn(self, name, *arguments, drop="customer"):
        """Train and return the warning of a name."""
        done = CliRunner().invoke(
            trainer.cli.main, ["fit", "people.csv", "--drop", drop, *QUICK, *arguments]
        )
        assert done.exit_code == 0, done.output
        (warning,) = [x for x in done.stderr.splitlines() if x.startswith(f"warning: {name}")]
        return warning

    def serve(self, *arguments):
        return self.fail("run", *arguments, command=serving.cli.main)

    def ask(self, record, *, path="/predict?model=people", client=None, **options):
        """Send a record, or a body, and return the error and its status."""
        client = client or self.request.getfixturevalue("people_client")
        body = {"json": {"instances": [record]}} if isinstance(record, dict) else {"data": record}
        answer = client.post(path, **{**body, **options})
        return answer.get_json()["error"], answer.status_code

    def edit(self, column, change, **options):
        """Rewrite people.csv with a column changed by a function of its values and row numbers."""
        with (DOCS / "people.csv").open(newline="") as file:
            rows = list(csv.DictReader(file))
        for number, row in enumerate(rows):
            row[column] = change(row, number)
        text = io.StringIO()
        writer = csv.DictWriter(text, rows[0], **{"lineterminator": "\n"} | options)
        writer.writeheader()
        writer.writerows(rows)
        (self.folder / "people.csv").write_text(text.getvalue())


@pytest.fixture
def user(tmp_path, monkeypatch, request):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "people.csv").write_bytes((DOCS / "people.csv").read_bytes())
    return User(tmp_path, monkeypatch, request)


@pytest.fixture(scope="session")
def people(tmp_path_factory):
    """A folder of the models `people`, and `strict`, which refuses unseen categories."""
    folder = tmp_path_factory.mktemp("people") / "models"
    for name, options in (("people", ()), ("strict", ("--unseen", "refuse"))):
        done = CliRunner().invoke(
            trainer.cli.main,
            [
                *("fit", str(DOCS / "people.csv"), "--drop", "customer", "--name", name, *QUICK),
                *("--models", str(folder), "--runs", str(folder.parent / "runs"), *options),
            ],
        )
        assert done.exit_code == 0, done.output
    return folder


@pytest.fixture
def people_client(people):
    return create_app(models=people, poll=0).test_client()


@case("trainer: command not found")
def forget_to_activate_the_environment(user):
    processes = user.request.getfixturevalue("processes")
    bash = shutil.which("bash")
    done = processes.run([bash, "-c", "trainer fit iris"], env={"PATH": str(user.folder)})
    return done.stderr.replace(f"{bash}: ", "bash: ")


@case("expected the libraries for training")
def train_without_the_extra(user):
    hidden = "import sys; sys.modules['pyarrow'] = None; "
    processes = user.request.getfixturevalue("processes")
    done = processes.python(
        "-c",
        f"{hidden}from trainer.__main__ import main; main()",
        env=os.environ | {"PYTHONPATH": str(ROOT)},
    )
    return done.stderr


@case("cannot import name 'Sequential' from 'trainer' (…)")
def import_a_folder_of_the_same_name(user):
    (user.folder / "trainer").mkdir()
    (user.folder / "trainer" / "__init__.py").touch()
    (user.folder / "train.py").write_text("from trainer import Sequential\n")
    processes = user.request.getfixturevalue("processes")
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    done = processes.python("train.py", env=environment)
    assert done.returncode == 1
    shown = re.search(r"`python (-c) \"(.*?)\"`", PAGE)
    located = processes.python(shown[1], shown[2], env=environment)
    assert located.stdout.strip() == str(user.folder / "trainer" / "__init__.py")
    return done.stderr.splitlines()[-1]


@case("expected a file or a built-in name")
def misspell_the_file(user):
    return user.fail("fit", "peple.csv")


@case("expected a target out of")
def misspell_the_target(user):
    return user.fit("--target", "bougth")


@case("expected columns beside the target, separated by commas")
def separate_by_semicolons(user):
    user.edit("age", lambda row, _: row["age"], delimiter=";")
    return user.fit()


@case("expected a comma-separated file with a header and as many columns in every row")
def add_a_cell_to_a_row(user):
    user.edit("city", lambda row, number: row["city"] + ",x" * (number == 5), quotechar="'")
    text = (user.folder / "people.csv").read_text().replace("'", "")
    (user.folder / "people.csv").write_text(text)
    return user.fit()


@case("expected text in UTF-8")
def save_in_latin_1(user):
    user.edit("city", lambda *_: "Zürich")
    text = (user.folder / "people.csv").read_text()
    (user.folder / "people.csv").write_text(text, encoding="latin-1")
    return user.fit()


@case("warning: numbers_as_text")
def write_decimal_commas(user):
    user.edit("spent", lambda row, _: row["spent"].replace(".", ","))
    return user.warn("numbers_as_text")


@case("warning: dates_as_text")
def write_dates_with_two_readings(user):
    def change(row, _):
        year, month, day = row["joined"].split("-")
        return f"{min(int(day), 12):02}/{month}/{year}"

    user.edit("joined", change)
    return user.warn("dates_as_text")


@case("warning: identifier_column")
def keep_the_identifier(user):
    return user.warn("identifier_column", drop="member")


@case("warning: leaking_column")
def add_a_column_that_is_known_only_afterwards(user):
    user.edit("shipped_in", lambda row, _: 5 if row["bought"] == "yes" else 7)
    return user.warn("leaking_column", "--target", "bought")


@case("expected at least 5 rows of every class")
def have_three_rows_of_a_class(user):
    user.edit("bought", lambda row, number: "maybe" if number < 3 else row["bought"])
    return user.fit("--drop", "customer")


@case("expected values, or empty cells for gaps, in")
def write_na_into_the_target(user):
    user.edit("bought", lambda row, number: "NA" if number in (4, 8) else row["bought"])
    return user.fit()


@case("expected a value in every row of")
def leave_cells_of_the_target_empty(user):
    user.edit("bought", lambda row, number: "" if number in (4, 8) else row["bought"])
    return user.fit()


@case("warning: flat_loss")
def train_with_a_tiny_learning_rate(user):
    return user.warn("flat_loss", "--learning-rate", "1e-9", "--epochs", "30")


@case("expected a finite training loss")
def train_with_a_huge_learning_rate(user):
    return user.fit("--learning-rate", "1000", "--optimizer", "sgd", "--drop", "customer")


@case("expected enough memory for this command")
def ask_for_layers_that_no_machine_holds(user):
    return user.fit("--hidden", "20000000,20000000", "--drop", "customer")


@case("expected a bundle, models/NAME or models/NAME/VERSION")
def name_the_folder_of_all_models(user):
    return user.fail("report", user.request.getfixturevalue("people"))


@case("expected an address to listen on")
def use_a_port_that_is_taken(user):
    with socket.create_server(("127.0.0.1", 0)) as other:
        models = user.request.getfixturevalue("people")
        return user.serve("--models", models, "--port", other.getsockname()[1])


@case("expected a folder of models, NAME/VERSION")
def serve_the_folder_of_one_model(user):
    (user.folder / "models").symlink_to(user.request.getfixturevalue("people"))
    return user.serve("--models", "models/people")


@case("waiting for models")
def serve_an_empty_folder(user):
    (user.folder / "models").mkdir()
    caplog = user.request.getfixturevalue("caplog")
    create_app(models=user.folder / "models", poll=1)
    (message,) = {m for m in caplog.messages if m.startswith("waiting for models")}
    return message


NOT_READY = (
    "expected a model that is loaded and passed its self-test; none is; "
    "POST /v2/repository/index says why"
)


@case(NOT_READY)
def ask_before_a_model_is_served(user):
    (user.folder / "models").mkdir()
    client = create_app(models=user.folder / "models", poll=0).test_client()
    assert client.get("/readyz").status_code == 503
    return user.ask(RECORD, path="/predict", client=client)


@case("model.onnx was altered after export")
def serve_a_damaged_version(user):
    models = user.request.getfixturevalue("only_digits")
    damage(add_version(models, 2))
    ready = create_app(models=models, poll=0).test_client().get("/readyz")
    return ready.get_json()["refused"]["digits/2"]


@case("held: it does not accept all requests that version 1, which is live, accepts")
def rename_a_column_of_a_new_version(user):
    models = user.request.getfixturevalue("only_digits")
    server = user.request.getfixturevalue("serve")(models, "--workers", "1", "--poll", "0.1")
    add_version(models, 2, prefix="x_")
    server.wait_for_log("digits/2 is held")
    held = wait_until(lambda: requests.get(f"{server.url}/readyz", timeout=120).json()["held"])
    return held["digits/2"]


@case("was sent SIGKILL! Perhaps out of memory?")
def kill_a_worker(user):
    server = user.request.getfixturevalue("serve")(
        user.request.getfixturevalue("only_digits"), "--workers", "1"
    )
    os.kill(server.workers()[0], signal.SIGKILL)
    server.wait_for_log("SIGKILL")
    (message,) = [r["event"] for r in server.records() if "SIGKILL" in r["event"]]
    return message


@case("expected Content-Type: application/json; got application/x-www-form-urlencoded")
def post_as_curl_does(user):
    body = json.dumps({"instances": [RECORD]})
    return user.ask(body, headers={"Content-Type": "application/x-www-form-urlencoded"})


JSON = {"Content-Type": "application/json"}


@case("expected a JSON body; got invalid JSON at line 1, column 2: …")
def send_a_python_dictionary(user):
    return user.ask(str({"instances": [RECORD]}), headers=JSON)


@case(
    "expected a finite number in instance 0, field 'age'; got the number NaN; for a missing value "
    "send null (NaN in binary, an empty value in CSV)"
)
def send_nan(user):
    body = json.dumps({"instances": [RECORD | {"age": float("nan")}]})
    return user.ask(body, headers=JSON)


@case('expected no other fields than the model\'s in instance 0; got "ages"; did you mean "age"?')
def misspell_a_column(user):
    return user.ask(RECORD | {"ages": 47})


@case("expected a finite number in instance 0, field 'age'; got the text \"47\"")
def send_a_number_as_text(user):
    return user.ask(RECORD | {"age": "47"})


@case(
    "expected a text in instance 0, field 'city'; got no such key, and this column accepts no "
    "missing value"
)
def leave_a_column_out(user):
    return user.ask({name: value for name, value in RECORD.items() if name != "city"})


@case('expected one of "clerk", … and 2 more in instance 0, field \'job\'; got the text "pilot"')
def send_an_unseen_category(user):
    return user.ask(RECORD | {"job": "pilot"}, path="/predict?model=strict")


@case(
    "expected ?model=NAME, since several models are served; got none; choose one of …, or start "
    "the server with --default-model NAME"
)
def name_no_model(user):
    return user.ask(RECORD, path="/predict")


@case("expected a model out of …; got 'peple'")
def misspell_the_model(user):
    return user.ask(RECORD, path="/predict?model=peple")


@case("expected a body of at most …; got … bytes; send fewer instances at a time")
def send_a_large_body(user):
    models = user.request.getfixturevalue("people")
    client = create_app(models=models, poll=0, max_body=1024).test_client()
    return user.ask(json.dumps({"instances": [RECORD] * 100}), client=client, headers=JSON)


def start_with_keys(user):
    done = CliRunner().invoke(serving.cli.main, ["key", "me"])
    (user.folder / "keys.txt").write_text(done.stdout)
    models = user.request.getfixturevalue("people")
    app = create_app(models=models, poll=0, keys=user.folder / "keys.txt")
    return app.test_client(), done.stderr.split()[-1]


@case(
    "expected a key, as Authorization: Bearer KEY or as X-API-Key: KEY; got none; ask the server's "
    "operator for one"
)
def send_no_key(user):
    client, _ = start_with_keys(user)
    unknown, _ = user.ask(RECORD, client=client, headers={"X-API-Key": "other"})
    assert "got an unknown one" in unknown
    return user.ask(RECORD, client=client)


@case("expected a key with the scope admin; got one with the scope predict; ask for another")
def administer_with_a_key_for_predictions(user):
    client, key = start_with_keys(user)
    path = "/v2/repository/models/people/load"
    return user.ask(b"", path=path, client=client, headers={"X-API-Key": key})


@case(
    "expected at most … in the queue; got … while … queued; try again in a second, or send fewer "
    "rows"
)
def send_more_rows_than_may_wait(user):
    models = user.request.getfixturevalue("people")
    client = create_app(models=models, poll=0, queue_rows=1).test_client()
    answers = []

    def ask():
        path = "/predict?model=people"
        answers.append(client.post(path, json={"instances": [RECORD]}))

    gevent.sleep(1e-9)  # the event loop updates its clock
    gevent.joinall([gevent.spawn(ask) for _ in range(2)], timeout=HANG_SECONDS)
    (refused,) = [answer for answer in answers if answer.status_code != 200]
    assert refused.headers["Retry-After"] == "1"
    return refused.get_json()["error"], refused.status_code


@case(
    "expected to answer within … s; it took … s; ask again later, or allow more with "
    "X-Request-Timeout"
)
def allow_too_little_time(user):
    return user.ask(RECORD, headers={"X-Request-Timeout": "0.000001"})


NO_VARIANT = (
    "no variant is within the budget and smaller than the model; no version was written; "
    "raise --max-drop, or lower --prune"
)


@case(NO_VARIANT)
def compress_without_any_loss(user):
    user.monkeypatch.setattr("serving.runtime.latency_profile.MAX_TIMED_RUNS", 3)
    fit = CliRunner().invoke(trainer.cli.main, ["fit", "digits", *QUICK[:-3], "--epochs", "20"])
    assert fit.exit_code == 0, fit.output
    done = CliRunner().invoke(
        trainer.cli.main,
        ["compress", "models/digits", "--no-int8", "--prune", "0.99", "--max-drop", "0"],
    )
    assert done.exit_code == 0, done.output
    return done.stdout.splitlines()[-1]


@case("The load generator was the bottleneck")
def send_more_than_the_generator_can(user):
    server = user.request.getfixturevalue("live")
    done = CliRunner().invoke(
        serving.cli.main,
        [
            *("loadtest", server.url, "--rate", "1000000", "--duration", "0.1", "--warm-up", "0"),
            *("--json", "--timeout", "1"),
        ],
    )
    (warning,) = [text for text in json.loads(done.stdout)["warnings"] if "bottleneck" in text]
    return warning


@case("expected a solver out of sgd, rmsprop, adam, adamw, nadam; got 'lbfgs'")
def train_with_lbfgs(user):
    with pytest.raises(ValueError, match="lbfgs") as caught:
        MLPClassifier(solver="lbfgs").fit([[0.0], [1.0]], [0, 1])
    return f"ValueError: {caught.value}"


def to_pattern(quoted):
    """Return the regular expression of a quoted message, in which … stands for any text."""
    return r"\S.*?".join(re.escape(part) for part in quoted.split("…"))


def test_troubleshooting_page_has_a_case_for_every_message_and_no_other():
    assert list(CASES) == list(SECTIONS)


def test_troubleshooting_page_has_all_messages_of_a_heading_once():
    headings = re.findall(r"^### .*$", PAGE, re.MULTILINE)
    assert len(set(headings)) == len(headings)


@pytest.mark.slow
@pytest.mark.usefixtures("processes")
@pytest.mark.parametrize("heading", CASES)
def test_troubleshooting_page_quotes_the_message_of_the_mistake(heading, user):
    section = SECTIONS[heading]
    message = CASES[heading](user)
    status = None
    if isinstance(message, tuple):
        message, status = message
    assert status == section.status
    message = " ".join(message.split())
    assert re.search(to_pattern(section.heading), message), message
    assert re.fullmatch(to_pattern(section.quote or section.heading), message), message
