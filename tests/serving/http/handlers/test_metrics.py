"""`GET /metrics`, read with Prometheus' own parser."""

import errno
import re

import pytest
from prometheus_client.parser import text_string_to_metric_families

from serving import create_app, errors
from serving.http.handlers import metrics
from serving.server import acceptor, tls
from serving.telemetry.event_metrics import EventMetrics
from tests.bundle_versions import add_version, damage
from tests.processes import wait_until
from tests.variants import flip_bit, keep_unchanged, slow_down, write_variants


def scrape(client):
    """Return the variants' metrics: types by name, and values by name, variant and rows."""
    answer = client.get("/metrics")
    assert answer.status_code == 200
    assert answer.content_type == "text/plain; version=0.0.4; charset=utf-8"
    families = [f for f in text_string_to_metric_families(answer.text) if "_variant_" in f.name]
    values = {}
    for sample in (sample for family in families for sample in family.samples):
        labels = dict(sample.labels)
        assert (labels.pop("model"), labels.pop("version")) == ("digits", "1")
        name = sample.name.removeprefix("forwardpass_variant_")
        values[(name, labels.pop("variant"), *labels.values())] = sample.value
    return {family.name: family.type for family in families}, values


def test_metrics_variants_show_self_test_choice_and_time(only_digits):
    folder = write_variants(
        only_digits / "digits" / "1", fp32=slow_down, int8=keep_unchanged, pruned=keep_unchanged
    )
    flip_bit(folder, "pruned")
    client = create_app(models=only_digits).test_client()
    types, values = scrape(client)
    assert types == {
        "forwardpass_variant_selftest_passed": "gauge",
        "forwardpass_variant_served": "gauge",
        "forwardpass_variant_run_seconds": "gauge",
    }
    times = {key: values.pop(key) for key in list(values) if key[0] == "run_seconds"}
    assert values == {
        ("selftest_passed", "fp32"): 1,
        ("selftest_passed", "int8"): 1,
        ("selftest_passed", "pruned"): 0,
        ("served", "fp32"): 0,
        ("served", "int8"): 1,
        ("served", "pruned"): 0,
    }
    page = client.get("/models/digits").get_json()["variants"]
    assert times == {
        ("run_seconds", variant, rows): pytest.approx(page[variant]["microseconds"][rows] / 1e6)
        for variant in ("fp32", "int8")
        for rows in ("1", "8", "64")
    }


def test_metrics_no_model_counters_are_zero(tmp_path):
    answer = create_app(models=tmp_path).test_client().get("/metrics")
    assert answer.status_code == 200
    samples = [line for line in answer.text.splitlines() if not line.startswith("#")]
    counters = [line for line in samples if "_total{" in line]
    assert all(line.endswith(" 0.0") for line in counters)
    assert sorted({*samples} - {*counters}) == [
        "forwardpass_in_flight_requests 1.0",
        "forwardpass_queue_oldest_seconds 0.0",
        "forwardpass_queue_rows 0.0",
    ]


ORDER = ("stage", "protocol", "model", "version", "variant", "code", "outcome", "reason", "error")


def samples(client):
    """Return values by name and labels of all metrics except the variants'."""
    families = text_string_to_metric_families(client.get("/metrics").text)
    return {
        (s.name, *(s.labels[name] for name in ORDER if name in s.labels)): s.value
        for family in families
        for s in family.samples
        if "_variant_" not in s.name and not s.name.endswith("_bucket")
    }


ANSWERED = ("rows", "digits", "1", "fp32")
BODY = {"instances": [[0] * 64] * 3}


def test_metrics_requests_are_counted_by_protocol_model_and_status(client):
    for _ in range(2):
        assert client.post("/predict", json=BODY).status_code == 200
    assert client.post("/predict?model=digits", json=BODY).status_code == 200
    assert client.post("/predict", json={"instances": [[0]]}).status_code == 422
    assert client.post("/predict", data="x").status_code == 415
    assert client.get("/predict").status_code == 405
    assert client.get("/no/such").status_code == 404
    assert client.get("/\n%22").status_code == 404
    assert client.get("/healthz").status_code == 200
    found = samples(client)
    requests = {
        tuple(labels): value
        for (name, *labels), value in found.items()
        if name == "forwardpass_requests_total" and value
    }
    assert requests == {
        (*ANSWERED, "200"): 3,
        (*ANSWERED, "422"): 1,
        (*ANSWERED, "415"): 1,
        ("none", "", "", "", "405"): 1,
        ("none", "", "", "", "404"): 2,
        ("status", "", "", "", "200"): 1,
    }
    assert found["forwardpass_rows_total", *ANSWERED] == 9
    assert found["forwardpass_request_seconds_count", "rows", "digits"] == 5
    assert found["forwardpass_stage_seconds_count", "run", "rows", "digits"] == 3
    assert found["forwardpass_batch_rows_sum", "digits"] == 9
    assert found["forwardpass_in_flight_requests",] == 1


def test_metrics_histograms_without_events_are_left_out(client):
    client.get("/healthz")
    client.get("/no/such")
    client.post("/predict", json={"instances": [[0]]})  # is refused before it is decoded
    found = {key: value for key, value in samples(client).items() if "_seconds_" in key[0]}
    assert 0 not in found.values()
    assert not [key for key in found if key[0].startswith("forwardpass_stage")]
    client.post("/predict", json=BODY)
    found = samples(client)
    stages = {key[1:] for key in found if key[0] == "forwardpass_stage_seconds_count"}
    assert stages == {(s, "rows", "digits") for s in ("decode", "queue", "run", "encode")}
    rows = {key[1:]: value for key, value in found.items() if key[0] == "forwardpass_rows_total"}
    assert {key for key, value in rows.items() if value} == {ANSWERED}


def test_metrics_counters_of_known_labels_start_at_zero(client):
    found = samples(client)
    for protocol in ("rows", "inference_v2", "tensorflow"):
        served = (protocol, "digits", "1", "fp32")
        for status in ("200", "400", "422", "499", "500", "503", "504"):
            assert found["forwardpass_requests_total", *served, status] == 0
        assert found["forwardpass_requests_total", protocol, "", "", "", "401"] == 0
        assert found["forwardpass_rows_total", *served] == 0
    for reason in ("connections", "descriptors"):
        assert found["forwardpass_connections_evicted_total", reason] == 0
    for error in ("EMFILE", "ENFILE", "ECONNABORTED", "EPERM"):
        assert found["forwardpass_accept_errors_total", error] == 0
    reloaded = {key[1:]: value for key, value in found.items() if "_reloads_" in key[0]}
    assert reloaded == {
        ("digits", "served"): 1,
        ("digits", "held"): 0,
        ("digits", "refused"): 0,
        ("digits", "unloaded"): 0,
    }
    assert found["forwardpass_held_versions", "digits"] == 0


def test_initial_series_cover_every_error_and_cause_that_is_counted():
    numbers = (
        *acceptor.OUT_OF_RESOURCES_ERRNOS,
        *acceptor.CLIENT_GONE_ERRNOS,
        *acceptor.LISTENER_UNUSABLE_ERRNOS,
    )
    names = {errno.errorcode[number] for number in numbers} | {"EPERM"}
    # On Linux some errors have two names for one number.
    assert {errno.errorcode[getattr(errno, name)] for name in metrics.ACCEPT_ERROR_NAMES} == names
    listed = {
        *metrics.PREDICTION_STATUSES,
        *metrics.PREDICTION_STATUSES_WITHOUT_MODEL,
        *(s for each in metrics.STATUSES_WITHOUT_MODEL.values() for s in each),
    }
    assert {error.status for error in errors.ServingError.__subclasses__()} <= listed
    causes = {name for name, _ in tls.FAILURE_CAUSES.values()} | {tls.OTHER_CAUSE}
    assert causes == {*metrics.TLS_FAILURE_CAUSES}


def test_metrics_reloads_are_counted_by_outcome(only_digits):
    client = create_app(models=only_digits, poll=0.01).test_client()

    def reloaded():
        return {key[2]: value for key, value in samples(client).items() if "_reloads_" in key[0]}

    add_version(only_digits, 2)
    wait_until(lambda: reloaded()["served"] == 2)
    damage(add_version(only_digits, 3))
    wait_until(lambda: reloaded()["refused"] == 1)
    add_version(only_digits, 4, "renamed_")
    wait_until(lambda: reloaded()["held"] == 1)
    wait_until(lambda: samples(client)["forwardpass_held_versions", "digits"] == 1)
    (only_digits / "digits").rename(only_digits.with_name("away"))
    wait_until(lambda: reloaded()["unloaded"] == 1)
    assert reloaded() == {"served": 2, "refused": 1, "held": 1, "unloaded": 1}


def test_metrics_reloads_of_a_refused_model_start_at_zero(only_digits):
    damage(only_digits / "digits" / "1")
    found = samples(create_app(models=only_digits).test_client())
    assert found["forwardpass_reloads_total", "digits", "refused"] == 1
    assert found["forwardpass_reloads_total", "digits", "served"] == 0


def test_metrics_paths_and_names_from_clients_are_no_labels(client):
    for number in range(50):
        client.get(f"/made/up/{number}")
        client.get(f"/models/made-up-{number}")
        client.post(f"/predict?model=made-up-{number}", json=BODY)
    text = client.get("/metrics").text
    assert "made" not in text
    assert len(text) < 40_000


def test_metrics_special_characters_in_labels_are_escaped(client):
    counters = client.application.wsgi_app._app._server.counters
    EventMetrics(counters.own_slot).count_reload('a"b\\c\nd{}', "served")
    assert samples(client)["forwardpass_reloads_total", 'a"b\\c\nd{}', "served"] == 1


def test_metrics_names_follow_prometheus_rules(client):
    # These are the rules of `promtool check metrics`.
    client.post("/predict", json=BODY)
    families = list(text_string_to_metric_families(client.get("/metrics").text))
    assert len(families) == len({family.name for family in families}) >= 12
    for family in families:
        assert re.fullmatch(r"forwardpass_[a-z_]+[a-z]", family.name)
        assert family.documentation
        assert family.type in ("counter", "gauge", "histogram")
        assert not family.name.endswith(("_count", "_sum", "_bucket", "_total"))
        for sample in family.samples:
            assert sample.name.endswith("_total") == (family.type == "counter")
            assert all(re.fullmatch("[a-z]+", label) for label in sample.labels)
            assert set(sample.labels).isdisjoint({"job", "instance"})
        assert not re.search("milli|micro|_ms|_us|percent", family.name)


def test_metrics_histograms_are_cumulative_and_end_with_the_count(client):
    for _ in range(20):
        client.post("/predict", json=BODY)
    families = text_string_to_metric_families(client.get("/metrics").text)
    for family in (f for f in families if f.type == "histogram"):
        series = {}
        for sample in family.samples:
            labels = {k: v for k, v in sample.labels.items() if k != "le"}
            kind = sample.name.removeprefix(family.name)
            key = tuple(sorted(labels.items()))
            series.setdefault(key, {}).setdefault(kind, []).append(
                (float(sample.labels.get("le", "nan")), sample.value)
            )
        for parts in series.values():
            bounds, counts = zip(*parts["_bucket"], strict=True)
            assert list(bounds) == sorted(bounds)
            assert bounds[-1] == float("inf")
            assert list(counts) == sorted(counts)
            assert counts[-1] == parts["_count"][0][1]
            assert 0 < parts["_sum"][0][1] / max(counts) < 10
