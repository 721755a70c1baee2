"""`serving loadtest`, as it is typed, against real servers."""

import json
import sys
from functools import partial

import pytest
from click.testing import CliRunner

import serving.cli
from serving.loadtest import connection, generator, generator_health, progress, runner
from serving.loadtest.capacity import CapacitySearch
from serving.loadtest.report import content
from serving.loadtest.run_record import WRONG_ANSWER

SHORT = ("--duration", "0.3", "--warm-up", "0.05")


@pytest.fixture(scope="module")
def url(live):
    return live.url


@pytest.fixture(scope="module")
def known():
    """What the generator can send, by rows of a request: measured once."""
    return {}


@pytest.fixture(autouse=True)
def _the_generator_is_measured_briefly(monkeypatch, known):
    def most(calls):
        rows = max(call.rows for call in calls)
        if rows not in known:
            known[rows] = generator_health.measure_max_rate(calls)
        return known[rows]

    monkeypatch.setattr(generator_health, "CALIBRATION_SECONDS", 0.05)
    monkeypatch.setattr(generator, "measure_max_rate", most)


def loadtest(*arguments):
    return CliRunner().invoke(serving.cli.main, ["loadtest", *map(str, arguments)])


def document(*arguments):
    found = loadtest(*arguments, "--json")
    assert found.exception is None or isinstance(found.exception, SystemExit), found.output
    return json.loads(found.stdout), found.exit_code


@pytest.mark.slow
def test_an_open_loop_of_a_rate_is_reported(url):
    found, status = document(url, "--rate", 300, "--rows", "1,32", "--seed", 5, *SHORT)
    assert status == 0
    assert {"p50", "p90", "p99", "p99.9", "p99.99"} <= found["latency_ms"].keys()
    assert found["offered"] == 300
    assert found["requests"] == pytest.approx(90, rel=0.4)
    assert found["errors"]["count"] == 0
    assert found["answered"] == found["requests"]
    assert 1 < found["rows_per_second"] / found["rate"] < 32
    assert found["server"]["requests"] == found["requests"]
    assert found["generator"]["most"] > 1000
    assert found["machine"].keys() == {"processor", "cores", "system", "Python"}


@pytest.mark.slow
def test_the_same_seed_is_the_same_load(url):
    both = [document(url, "--rate", 200, "--seed", 3, *SHORT)[0]["requests"] for _ in range(2)]
    assert both[0] == both[1]
    assert document(url, "--rate", 200, "--seed", 4, *SHORT)[0]["requests"] != both[0]


@pytest.mark.slow
@pytest.mark.parametrize("form", ["json", "oip", "binary"])
def test_every_format_is_answered_rightly(url, form):
    found, status = document(url, "--users", 2, "--format", form, *SHORT)
    assert status == 0
    assert not found["open_loop"]
    assert found["offered"] is None
    assert found["errors"]["count"] == 0
    assert found["answered"] > 0


@pytest.mark.slow
def test_tables_and_a_page_tell_the_same(url, tmp_path):
    page = tmp_path / "report.html"
    found = loadtest(url, "--rate", 200, "--slo", "p50=5s", "--html", page, *SHORT)
    assert found.exit_code == 0, found.output
    assert "digits/1 at" in found.output
    assert "open loop, 200 requests/s, poisson arrivals, 0.3 s, 1 row a request, json" in " ".join(
        found.output.split()
    )
    assert "met" in found.output
    text = page.read_text()
    assert text.startswith("<!doctype html>")
    assert "digits/1 at" in text


@pytest.mark.slow
def test_an_objective_that_is_missed_is_the_exit_status(url):
    # A p99 is told of a thousand requests or more.
    found, status = document(url, "--rate", 2100, "--slo", "p99=1us", *SHORT, "--duration", 0.5)
    assert found["met"] is False
    assert status in (1, 3)  # 3 where this machine did not let the generator keep up
    assert found["warnings"] if status == 3 else not found["generator"]["verdict"]


@pytest.mark.slow
def test_a_miss_that_is_the_generators_is_told_from_the_servers(url, monkeypatch):
    monkeypatch.setattr(generator_health, "MAX_BUSY_SHARE", 0.0)
    found, status = document(url, "--rate", 300, "--slo", "p50=1us", *SHORT)
    assert status == 3
    assert found["warnings"][0].startswith("The generator was the bottleneck: ")
    _, status = document(url, "--rate", 300, "--slo", "p50=10s", *SHORT)
    assert status == 0


@pytest.mark.slow
def test_capacity_is_a_rate_that_was_held_and_what_was_tried(url):
    # Of many rows, so that little of the load is the generator's.
    found, status = document(
        url, "--find-capacity", "--rows", 512, "--slo", "p50=100ms,errors=50%", "--duration", 0.2
    )
    assert status == 0
    assert found["capacity"] >= 1
    assert found["offered"] == found["capacity"]
    assert found["met"]
    assert len(found["probes"]) >= 2
    assert any(not probe["held"] for probe in found["probes"])


@pytest.mark.slow
def test_capacity_that_the_generator_limits_is_not_the_servers(monkeypatch, url):
    monkeypatch.setattr(generator_health, "MAX_BUSY_SHARE", 0.0)
    monkeypatch.setattr(runner, "CapacitySearch", partial(CapacitySearch, most=4))
    found, _ = document(
        url, "--find-capacity", "--rows", 512, "--slo", "p50=1us", "--duration", 0.1
    )
    assert found["warnings"]
    assert any("may hold more" in warning for warning in found["warnings"])


@pytest.mark.slow
def test_a_percentile_that_cannot_be_told_here_is_said_so(url):
    found = loadtest(url, "--find-capacity", "--slo", "p99.999=1s", "--duration", "0.2")
    assert found.exit_code == 2
    assert "p99.999 cannot be told" in found.output


@pytest.mark.slow
def test_large_requests_are_fewer(url):
    found, status = document(url, "--users", 1, "--rows", 4000, "--timeout", 60, *SHORT)
    assert status == 0
    assert found["rows_per_second"] / found["rate"] == pytest.approx(4000)


@pytest.mark.slow
def test_a_file_of_instances_is_asked_about(url, tmp_path):
    data = tmp_path / "rows.json"
    data.write_text(json.dumps({"instances": [[0] * 64, [16] * 64]}))
    found, status = document(url, "--users", 1, "--data", data, *SHORT)
    assert status == 0
    assert found["errors"]["count"] == 0
    data.write_text("[[1, 2]]")
    failed = loadtest(url, "--data", data)
    assert failed.exit_code == 2
    assert "instance 0" in failed.output


def test_a_server_with_keys_is_asked_with_one_which_is_not_shown(
    serve, shipped, tmp_path, monkeypatch
):
    keys = tmp_path / "keys"
    secret, line = serving.cli.generate_key("load", "predict")
    keys.write_text(line + "\n")
    server = serve(shipped, "--workers", "1", "--keys", str(keys))
    denied = loadtest(server.url, *SHORT)
    assert denied.exit_code == 2
    assert "--key" in denied.output
    page = tmp_path / "page.html"
    arguments = [server.url, "--users", "1", *SHORT, "--key", secret, "--html", str(page)]
    monkeypatch.setattr(sys, "argv", ["serving", "loadtest", *arguments])
    done = loadtest(*arguments)
    assert done.exit_code == 0, done.output
    assert secret not in page.read_text() + done.stdout + done.stderr
    assert "--key KEY" in page.read_text()


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--rate", "1", "--users", "1"), "expected one of --rate, --users and --find-capacity"),
        (("--find-capacity",), "expected --slo with a latency"),
        (("--rows", "0"), "expected numbers of rows such as 1 or 1,32; got '0'"),
        (("--rows", "many"), "expected numbers of rows such as 1 or 1,32; got 'many'"),
        (("--slo", "fast"), "expected an objective such as p99=50ms"),
        (("--rate", "0"), "expected a number above 0, up to 1e+06; got '0'"),
        (("--rate", "nan"), "expected a number above 0, up to 1e+06; got 'nan'"),
        (("--duration", "soon"), "expected a number above 0, up to 86,400; got 'soon'"),
        (("--seed", "-1"), "-1 is not in the range x>=0"),
        (("--html", "/no/such/folder/page.html"), "expected a folder that is there"),
        (("--find-capacity", "--slo", "p99=9ms,rate=5"), "expected no rate in --slo"),
        (("ftp://127.0.0.1",), "expected a URL such as http://127.0.0.1:8000"),
        (("http://127.0.0.1:1",), "expected a server that listens at http://127.0.0.1:1"),
    ],
)
def test_what_cannot_be_done_is_said_with_status_2(arguments, said):
    found = loadtest(*arguments)
    assert found.exit_code == 2
    assert said in " ".join(found.output.split())


def test_without_its_libraries_the_command_says_what_to_install(monkeypatch):
    def missing(name):
        raise ModuleNotFoundError(f"No module named {name!r}", name="uvloop")

    monkeypatch.setattr(serving.cli, "import_module", missing)
    found = loadtest("http://127.0.0.1:1", "--rate", "5")
    assert found.exit_code == 1
    assert "uvloop is missing; run: pip install 'forwardpass[loadtest]'" in found.output
    assert "loadtest" in CliRunner().invoke(serving.cli.main, ["--help"]).output


def test_progress_is_drawn_on_a_terminal_alone(monkeypatch, capfd):
    assert progress.ProgressDisplay().tell is None
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True, raising=False)
    bar = progress.ProgressDisplay()
    with bar.over(1.0, "load"):
        for tenth in range(1, 11):
            bar.tell(tenth / 10, tenth)
    assert "load" in capfd.readouterr().err


@pytest.mark.slow
def test_warnings_are_none_where_there_is_nothing_to_warn_of(url):
    found, _ = document(url, "--rate", 50, *SHORT)
    assert not [w for w in found["warnings"] if "generator" not in w]
    assert content.FOREIGN_REQUESTS_SHARE > 0


@pytest.mark.slow
def test_a_wrong_answer_is_no_success_though_nothing_was_asked_for(url, monkeypatch):
    monkeypatch.setattr(connection.ClientConnection, "judge", lambda *_: WRONG_ANSWER)
    found, status = document(url, "--users", 1, *SHORT)
    assert status == 1
    assert found["errors"]["by_status"].keys() == {"wrong"}
