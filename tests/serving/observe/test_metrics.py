"""What Prometheus reads, by Prometheus' own parser."""

import pytest
from prometheus_client.parser import text_string_to_metric_families

from serving import create_app
from tests.variants import flip_a_bit, same, slow, with_variants


def scrape(client):
    """Type by metric, and value by sample: its name, variant, and rows where it has some."""
    answer = client.get("/metrics")
    assert answer.status_code == 200
    assert answer.content_type == "text/plain; version=0.0.4; charset=utf-8"
    families = list(text_string_to_metric_families(answer.text))
    values = {}
    for sample in (sample for family in families for sample in family.samples):
        labels = dict(sample.labels)
        assert (labels.pop("model"), labels.pop("version")) == ("digits", "1")
        name = sample.name.removeprefix("forwardpass_variant_")
        values[(name, labels.pop("variant"), *labels.values())] = sample.value
    return {family.name: family.type for family in families}, values


def test_every_variant_is_counted(only_digits):
    folder = with_variants(only_digits / "digits" / "1", fp32=slow, int8=same, pruned=same)
    flip_a_bit(folder, "pruned")
    client = create_app(models=only_digits).test_client()
    types, values = scrape(client)
    assert types == {
        "forwardpass_variant_selftest_passed": "gauge",
        "forwardpass_variant_served": "gauge",
        "forwardpass_variant_run_seconds": "gauge",
    }
    times = {key: values.pop(key) for key in list(values) if key[0] == "run_seconds"}
    assert values == {
        ("selftest_passed", "fp32"): 1, ("selftest_passed", "int8"): 1,
        ("selftest_passed", "pruned"): 0, ("served", "fp32"): 0, ("served", "int8"): 1,
        ("served", "pruned"): 0,
    }  # fmt: skip
    page = client.get("/models/digits").get_json()["variants"]
    assert times == {
        ("run_seconds", variant, rows): pytest.approx(page[variant]["microseconds"][rows] / 1e6)
        for variant in ("fp32", "int8")
        for rows in ("1", "8", "64")
    }


def test_without_a_model_there_is_nothing_to_tell(tmp_path):
    answer = create_app(models=tmp_path).test_client().get("/metrics")
    assert answer.status_code == 200
    assert not [line for line in answer.text.splitlines() if not line.startswith("#")]
