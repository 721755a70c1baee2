"""`GET /models` and `GET /models/NAME`."""

import json
import shutil

import numpy as np
import onnx
import pytest
from onnx import numpy_helper

from serving import create_app
from tests.variants import flip_bit, keep_unchanged, slow_down, write_variants


@pytest.fixture
def adults_client(adults):
    return create_app(models=adults).test_client()


def test_model_mixed_table_is_described_in_full(adults_client, mixed):
    answer = adults_client.get("/models/adults").get_json()
    assert list(answer) == [
        "name",
        "version",
        "variant",
        "task",
        "classes",
        "targets",
        "positive",
        "threshold",
        "aim",
        "aim_unmet",
        "inputs",
        "example",
        "metrics",
        "macro_averages",
        "intervals",
        "class_shares",
        "selftest",
        "why",
        "variants",
    ]
    assert (answer["name"], answer["version"], answer["variant"]) == ("adults", 1, "fp32")
    assert (answer["task"], answer["classes"]) == ("binary", ["<=50K", ">50K"])
    assert (answer["threshold"], answer["aim"]) == (0.5, "f1 of >50K")
    assert answer["targets"] == ["income"]
    # A date column also has the meaning of its numbers, which is not in the manifest.
    *others, since = answer["inputs"]
    assert since.pop("numbers") == "seconds since 1970-01-01 UTC, years 1 to 9999"
    assert [*others, since] == mixed.columns
    assert answer["metrics"] == {"accuracy": 0.85}
    assert answer["intervals"] == {"accuracy": [0.8, 0.9]}
    assert answer["selftest"]["rows"] == 32
    assert answer["selftest"]["label_agreement"] == 1
    assert answer["why"] == "fp32 is the only variant"
    (variant,) = answer["variants"].items()
    assert variant == (
        "fp32",
        {
            "served": True,
            "passed": True,
            "reason": None,
            "size_bytes": len(mixed.graph()),
            "microseconds": None,
            "metrics": {"accuracy": 0.85},
            "never_answered": None,
            "selftest": answer["selftest"],
        },
    )


def test_model_rare_class_shows_its_share_and_that_it_is_never_predicted(adults, tmp_path):
    models = shutil.copytree(adults, tmp_path / "models")
    path = models / "adults" / "1" / "bundle.json"
    manifest = json.loads(path.read_text())
    manifest["class_shares"] = [0.94, 0.06]
    manifest["variants"]["fp32"]["never_answered"] = [">50K"]
    manifest["variants"]["fp32"]["metrics"]["positive_recall"] = 0.0
    path.write_text(json.dumps(manifest))
    answer = create_app(models=models).test_client().get("/models/adults").get_json()
    assert answer["class_shares"] == [0.94, 0.06]
    assert answer["metrics"]["positive_recall"] == 0
    assert answer["positive"] == ">50K"
    assert answer["macro_averages"] == ["precision", "recall", "f1"]
    assert answer["variants"]["fp32"]["never_answered"] == [">50K"]


def test_model_variants_show_self_test_and_time_on_this_machine(only_digits):
    folder = write_variants(
        only_digits / "digits" / "1", fp32=slow_down, int8=keep_unchanged, pruned=keep_unchanged
    )
    flip_bit(folder, "pruned")
    answer = create_app(models=only_digits).test_client().get("/models/digits").get_json()
    assert answer["variant"] == "int8"
    assert answer["why"].startswith("int8 is ")
    found = answer["variants"]
    assert {name: variant["served"] for name, variant in found.items()} == {
        "fp32": False,
        "int8": True,
        "pruned": False,
    }
    assert [variant["passed"] for variant in found.values()] == [True, True, False]
    assert [variant["reason"] is None for variant in found.values()] == [True, True, False]
    assert found["pruned"]["reason"].startswith("digits/1: model.pruned.onnx was altered")
    assert found["pruned"]["selftest"] is found["pruned"]["microseconds"] is None
    assert list(found["int8"]["microseconds"]) == ["1", "8", "64"]
    assert found["int8"]["selftest"] == answer["selftest"]
    assert found["int8"]["size_bytes"] < found["fp32"]["size_bytes"]


def test_model_variant_outputs_nan_shows_max_abs_null(only_digits):
    def nan(graph):
        model = onnx.load_from_string(graph)
        bias = next(t for t in model.graph.initializer if len(t.dims) == 1)
        bias.CopyFrom(numpy_helper.from_array(np.full(bias.dims, np.nan, np.float32), bias.name))
        return model.SerializeToString()

    write_variants(only_digits / "digits" / "1", fp32=keep_unchanged, int8=nan)
    answer = create_app(models=only_digits).test_client().get("/models/digits")
    found = json.loads(answer.text, parse_constant=pytest.fail)["variants"]["int8"]
    assert "does not reproduce" in found["reason"]
    assert found["selftest"]["max_abs"] is None


def test_models_list_is_short(adults_client):
    (model,) = adults_client.get("/models").get_json()["models"]
    assert model["features"] == ["age", "hours/week", "member", "work", "grade", "since"]
    assert "inputs" not in model


def test_model_example_is_accepted_by_predict(adults_client, mixed):
    example = adults_client.get("/models/adults").get_json()["example"]
    assert example == mixed.record
    answer = adults_client.post("/predict", json={"instances": [example]})
    assert answer.get_json()["predictions"] == mixed.answers([example])[1].tolist()


def test_model_without_example_shows_typical_values(tmp_path, mixed):
    mixed.write(tmp_path, example={})
    client = create_app(models=tmp_path).test_client()
    example = client.get("/models/adults").get_json()["example"]
    assert example == {
        "age": 53.5,
        "hours/week": 50,
        "member": True,
        "work": "Private",
        "grade": "1",
        "since": "2000-01-01",
    }
    assert client.post("/predict", json={"instances": [example]}).status_code == 200


def test_model_numeric_without_example_returns_valid_generated_example(client):
    answer = client.get("/models/digits").get_json()
    assert len(answer["inputs"]) == len(answer["example"]) == 64
    response = client.post("/predict", json={"instances": [answer["example"]]})
    assert response.status_code == 200


def test_model_unknown_name_is_answered_with_the_served_names(client):
    answer = client.get("/models/letters")
    assert answer.status_code == 404
    assert answer.get_json()["code"] == "model_not_found"
    assert answer.get_json()["details"] == {"models": ["digits"]}
    assert client.post("/models/digits").status_code == 405
