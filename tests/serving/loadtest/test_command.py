"""The command `serving loadtest`, against real servers."""

import json
import sys
from functools import partial

import pytest
from click.testing import CliRunner

import serving.cli
from serving.loadtest import generator, generator_health, progress, run, runner
from serving.loadtest.capacity import CapacitySearch
from serving.loadtest.run_record import WRONG_ANSWER

SHORT = ("--duration", "0.3", "--warm-up", "0.05")


@pytest.fixture(scope="module")
def url(live):
    return live.url


@pytest.fixture(scope="module")
def max_rates():
    """Return the generator's highest rate by rows per request, measured once."""
    return {}


@pytest.fixture(autouse=True)
def _short_calibration(monkeypatch, max_rates):
    def measure_once(requests):
        rows = max(request.rows for request in requests)
        if rows not in max_rates:
            max_rates[rows] = generator_health.measure_max_rate(requests)
        return max_rates[rows]

    monkeypatch.setattr(generator_health, "CALIBRATION_SECONDS", 0.05)
    monkeypatch.setattr(generator, "measure_max_rate", measure_once)


def invoke(*arguments):
    return CliRunner().invoke(serving.cli.main, ["loadtest", *map(str, arguments)])


def invoke_json(*arguments):
    """Return the parsed output of --json, and the exit status."""
    result = invoke(*arguments, "--json")
    assert result.exception is None or isinstance(result.exception, SystemExit), result.output
    return json.loads(result.stdout), result.exit_code


@pytest.mark.slow
def test_open_loop_json_reports_load_server_and_generator(url):
    report, status = invoke_json(url, "--rate", 300, "--rows", "1,32", "--seed", 5, *SHORT)
    assert status == 0
    assert {"p50", "p90", "p99", "p99.9", "p99.99"} <= report["latency_ms"].keys()
    assert report["offered"] == 300
    assert report["requests"] == pytest.approx(90, rel=0.4)
    assert report["errors"]["count"] == 0
    assert report["answered"] == report["requests"]
    assert 1 < report["rows_per_second"] / report["rate"] < 32
    assert report["server"]["requests"] == report["requests"]
    assert report["generator"]["most"] > 1000
    assert report["machine"].keys() == {"processor", "cores", "system", "Python"}


@pytest.mark.slow
def test_open_loop_same_seed_sends_the_same_number_of_requests(url):
    def count_requests(seed):
        return invoke_json(url, "--rate", 200, "--seed", seed, *SHORT)[0]["requests"]

    first = count_requests(3)
    assert count_requests(3) == first
    assert count_requests(4) != first


@pytest.mark.slow
@pytest.mark.parametrize("request_format", ["json", "oip", "binary"])
def test_closed_loop_every_format_is_answered_correctly(url, request_format):
    report, status = invoke_json(url, "--users", 2, "--format", request_format, *SHORT)
    assert status == 0
    assert not report["open_loop"]
    assert report["offered"] is None
    assert report["errors"]["count"] == 0
    assert report["answered"] > 0


@pytest.mark.slow
def test_terminal_and_page_report_the_same_load(url, tmp_path):
    page = tmp_path / "report.html"
    result = invoke(url, "--rate", 200, "--slo", "p50=5s", "--html", page, *SHORT)
    assert result.exit_code == 0, result.output
    assert "digits/1 at" in result.output
    load = "200 requests/s at random intervals (open loop), 0.3 s, 1 row per request, json"
    assert load in " ".join(result.output.split())
    assert "met" in result.output
    text = page.read_text()
    assert text.startswith("<!doctype html>")
    assert "digits/1 at" in text


@pytest.mark.slow
def test_exit_status_objective_missed_is_1(url):
    # A p99 needs a thousand requests.
    report, status = invoke_json(url, "--rate", 2100, "--slo", "p99=1us", *SHORT, "--duration", 0.5)
    assert report["met"] is False
    assert status in (1, 3)  # 3 if this machine did not let the generator keep up
    assert report["warnings"] if status == 3 else not report["generator"]["verdict"]


@pytest.mark.slow
def test_exit_status_latency_missed_with_overloaded_generator_is_3(url, monkeypatch):
    monkeypatch.setattr(generator_health, "MAX_BUSY_SHARE", 0.0)
    report, status = invoke_json(url, "--rate", 300, "--slo", "p50=1us", *SHORT)
    assert status == 3
    assert report["warnings"][0].startswith("The load generator was the bottleneck: ")
    _, status = invoke_json(url, "--rate", 300, "--slo", "p50=10s", *SHORT)
    assert status == 0


@pytest.mark.slow
def test_find_capacity_reports_sustained_rate_and_probes(url):
    # With many rows per request, the generator needs little of the processor time.
    report, status = invoke_json(
        url, "--find-capacity", "--rows", 512, "--slo", "p50=100ms,errors=50%", "--duration", 0.2
    )
    assert status == 0
    assert report["capacity"] >= 1
    assert report["offered"] == report["capacity"]
    assert report["met"]
    assert len(report["probes"]) >= 2
    assert any(not probe["held"] for probe in report["probes"])


@pytest.mark.slow
def test_find_capacity_with_overloaded_generator_warns(monkeypatch, url):
    monkeypatch.setattr(generator_health, "MAX_BUSY_SHARE", 0.0)
    monkeypatch.setattr(runner, "CapacitySearch", partial(CapacitySearch, max_probes=4))
    report, _ = invoke_json(
        url, "--find-capacity", "--rows", 512, "--slo", "p50=1us", "--duration", 0.1
    )
    assert any("capacity may be higher" in warning for warning in report["warnings"])


@pytest.mark.slow
def test_find_capacity_percentile_not_measurable_is_refused(url):
    result = invoke(url, "--find-capacity", "--slo", "p99.999=1s", "--duration", "0.2")
    assert result.exit_code == 2
    assert "p99.999 cannot be measured" in result.output


@pytest.mark.slow
def test_rows_large_requests_are_answered(url):
    report, status = invoke_json(url, "--users", 1, "--rows", 4000, "--timeout", 60, *SHORT)
    assert status == 0
    assert report["rows_per_second"] / report["rate"] == pytest.approx(4000)


@pytest.mark.slow
def test_data_file_of_instances_is_sent_or_refused(url, tmp_path):
    data = tmp_path / "rows.json"
    data.write_text(json.dumps({"instances": [[0] * 64, [16] * 64]}))
    report, status = invoke_json(url, "--users", 1, "--data", data, *SHORT)
    assert status == 0
    assert report["errors"]["count"] == 0
    data.write_text("[[1, 2]]")
    refused = invoke(url, "--data", data)
    assert refused.exit_code == 2
    assert "instance 0" in refused.output


def test_key_is_sent_and_never_shown(serve, shipped, tmp_path, monkeypatch):
    keys = tmp_path / "keys"
    secret, line = serving.cli.generate_key("load", "predict")
    keys.write_text(line + "\n")
    server = serve(shipped, "--workers", "1", "--keys", str(keys))
    denied = invoke(server.url, *SHORT)
    assert denied.exit_code == 2
    assert "--key" in denied.output
    page = tmp_path / "page.html"
    arguments = [server.url, "--users", "1", *SHORT, "--key", secret, "--html", str(page)]
    monkeypatch.setattr(sys, "argv", ["serving", "loadtest", *arguments])
    done = invoke(*arguments)
    assert done.exit_code == 0, done.output
    assert secret not in page.read_text() + done.stdout + done.stderr
    assert "--key KEY" in page.read_text()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--rate", "1", "--users", "1"), "expected one of --rate, --users and --find-capacity"),
        (("--find-capacity",), "expected --slo with a latency"),
        (("--rows", "0"), "expected numbers of rows such as 1 or 1,32; got '0'"),
        (("--rows", "many"), "expected numbers of rows such as 1 or 1,32; got 'many'"),
        (("--slo", "fast"), "expected an objective such as p99=50ms"),
        (("--rate", "0"), "expected a number above 0 up to 1e+06; got '0'"),
        (("--rate", "nan"), "expected a number above 0 up to 1e+06; got 'nan'"),
        (("--duration", "soon"), "expected a number above 0 up to 86,400; got 'soon'"),
        (("--seed", "-1"), "-1 is not in the range x>=0"),
        (("--html", "/no/such/folder/page.html"), "expected an existing folder"),
        (("--find-capacity", "--slo", "p99=9ms,rate=5"), "expected no rate in --slo"),
        (("ftp://127.0.0.1",), "expected a URL such as http://127.0.0.1:8000"),
        (("http://127.0.0.1:1",), "expected a server that listens at http://127.0.0.1:1"),
    ],
)
def test_invalid_arguments_are_refused_with_status_2(arguments, message):
    result = invoke(*arguments)
    assert result.exit_code == 2
    assert message in " ".join(result.output.split())


@pytest.mark.parametrize("library", ["hdrh", "httptools", "matplotlib", "rich", "uvloop"])
def test_missing_library_command_says_what_to_install(monkeypatch, library):
    # matplotlib is imported only for --html, after the load.
    monkeypatch.setitem(sys.modules, library, None)
    result = invoke("http://127.0.0.1:1", "--rate", "5")
    assert result.exit_code == 1
    assert f"installed: {library}; run: pip install 'forwardpass[loadtest]'" in result.output
    assert "loadtest" in CliRunner().invoke(serving.cli.main, ["--help"]).output


def test_progress_is_shown_on_a_terminal_only(monkeypatch, capfd):
    assert progress.ProgressDisplay().on_progress is None
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True, raising=False)
    display = progress.ProgressDisplay()
    with display.show(1.0, "load"):
        for tenth in range(1, 11):
            display.on_progress(tenth / 10, tenth)
    assert "load" in capfd.readouterr().err


@pytest.mark.slow
def test_warnings_moderate_load_has_none_about_the_server(url):
    report, _ = invoke_json(url, "--rate", 50, *SHORT)
    assert not [warning for warning in report["warnings"] if "generator" not in warning]


@pytest.mark.slow
def test_exit_status_wrong_answer_without_objectives_is_1(url, monkeypatch):
    monkeypatch.setattr(run.LoadRun, "check_answer", lambda *_: WRONG_ANSWER)
    report, status = invoke_json(url, "--users", 1, *SHORT)
    assert status == 1
    assert report["errors"]["by_status"].keys() == {"wrong"}
