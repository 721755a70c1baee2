"""What the server says of each model."""

import pytest

from serving import create_app


@pytest.fixture
def table(adults):
    return create_app(models=adults).test_client()


def test_a_model_says_what_it_takes_and_gives(table, mixed):
    answer = table.get("/models/adults").get_json()
    assert list(answer) == [
        "name", "version", "variant", "task", "classes", "targets", "threshold", "aim", "inputs",
        "example", "metrics", "intervals", "selftest",
    ]  # fmt: skip
    assert (answer["name"], answer["version"], answer["variant"]) == ("adults", 1, "fp32")
    assert (answer["task"], answer["classes"]) == ("binary", ["<=50K", ">50K"])
    assert (answer["threshold"], answer["aim"]) == (0.5, "f1 of >50K")
    assert answer["targets"] == ["income"]
    assert answer["inputs"] == mixed.columns
    assert answer["metrics"] == {"accuracy": 0.85}
    assert answer["intervals"] == {"accuracy": [0.8, 0.9]}
    assert answer["selftest"]["rows"] == 32
    assert answer["selftest"]["label_agreement"] == 1


def test_the_list_stays_short(table):
    (model,) = table.get("/models").get_json()["models"]
    assert model["features"] == ["age", "hours/week", "member", "work", "grade", "since"]
    assert "inputs" not in model


def test_the_example_is_answered(table, mixed):
    example = table.get("/models/adults").get_json()["example"]
    assert example == mixed.record
    answer = table.post("/predict", json={"instances": [example]})
    assert answer.get_json()["predictions"] == mixed.answers([example])[1].tolist()


def test_a_bundle_without_an_example_gives_one_of_its_columns_middle_values(tmp_path, mixed):
    mixed.write(tmp_path, example={})
    client = create_app(models=tmp_path).test_client()
    example = client.get("/models/adults").get_json()["example"]
    assert example == {
        "age": 53.5, "hours/week": 50, "member": True, "work": "Private", "grade": "1",
        "since": "2000-01-01",
    }  # fmt: skip
    assert client.post("/predict", json={"instances": [example]}).status_code == 200


def test_so_does_the_embedded_default(client):
    answer = client.get("/models/digits").get_json()
    assert len(answer["inputs"]) == len(answer["example"]) == 64
    response = client.post("/predict", json={"instances": [answer["example"]]})
    assert response.status_code == 200


def test_an_unknown_model_is_answered_with_the_known_ones(client):
    answer = client.get("/models/letters")
    assert answer.status_code == 404
    assert answer.get_json()["code"] == "model_not_found"
    assert answer.get_json()["details"] == {"models": ["digits"]}
    assert client.post("/models/digits").status_code == 405
