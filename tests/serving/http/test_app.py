"""The whole application through Flask's test client: answers, errors, malformed bodies."""

import json
import logging

import pytest
from pydantic import ValidationError

from serving import create_app
from serving.runtime import GraphSession
from tests.bundle_versions import add_version
from tests.growth import assert_linear
from tests.variants import expect_other_answers, flip_bit, keep_unchanged, slow_down, write_variants


@pytest.fixture
def digit(digits):
    return digits[0][3].tolist()


def post(client, body, content_type="application/json", query=""):
    return client.post(f"/predict{query}", data=body, content_type=content_type)


def test_predict_valid_rows_are_answered(client, digits):
    rows, labels = digits[0][:5].tolist(), digits[1][:5].tolist()
    response = client.post("/predict", json={"instances": rows})
    assert response.status_code == 200
    assert response.content_type == "application/json"
    body = response.get_json()
    assert list(body) == ["model", "version", "predictions", "probabilities"]
    assert (body["model"], body["version"], body["predictions"]) == ("digits", 1, labels)
    assert [max(range(10), key=p.__getitem__) for p in body["probabilities"]] == labels


def test_predict_no_instances_gives_no_predictions(client):
    body = client.post("/predict", json={"instances": []}).get_json()
    assert body == {"model": "digits", "version": 1, "predictions": [], "probabilities": []}


def test_predict_model_query_selects_the_model(zoo):
    client = create_app(models=zoo).test_client()
    flower = json.dumps({"instances": [[5.1, 3.5, 1.4, 0.2]]})
    assert post(client, flower, query="?model=flowers").get_json()["predictions"] == ["setosa"]
    assert post(client, flower, query="?model=roses").status_code == 404
    unnamed = post(client, flower)
    assert unnamed.status_code == 400
    assert unnamed.get_json()["code"] == "model_required"


BAD_QUERIES = [
    "?modle=digits",
    "?model=digits&versoin=1",
    "?model=a&model=b",
    "?version=1&version=1",
    "?model=",
    "?version=",
    "?version",
    "?model=digits&version=",
    "?version=0",
    "?version=01",
    "?version=-1",
    "?version=1.0",
    "?version=one",
    "?version=%D9%A1",
    "?version=1234567890",
]


@pytest.mark.parametrize("path", ["/predict", "/invocations"])
@pytest.mark.parametrize(
    "query", ["?version=1", "?model=digits&version=1", "?version=1&model=digits"]
)
def test_predict_version_query_selects_the_version(path, query, only_digits):
    add_version(only_digits, 2)
    client = create_app(models=only_digits, keep=2).test_client()

    def ask(query):
        return client.post(path + query, data=GOOD, content_type="application/json")

    assert ask("").get_json()["version"] == 2
    assert ask(query).get_json()["version"] == 1
    unknown = ask(query.replace("=1", "=7"))
    assert (unknown.status_code, unknown.get_json()["code"]) == (404, "model_not_found")
    assert unknown.get_json()["details"] == {"versions": [1, 2]}
    described = client.get("/models/digits?version=1").get_json()
    assert (described["version"], client.get("/models/digits").get_json()["version"]) == (1, 2)
    for wrong in ("?version=x", "?model=digits", "?version="):
        assert client.get(f"/models/digits{wrong}").get_json()["code"] == "invalid_query"
    assert client.get("/models/digits?version=7").status_code == 404


@pytest.mark.parametrize("query", BAD_QUERIES)
def test_predict_unknown_or_malformed_query_is_refused(query, client):
    response = post(client, GOOD, query=query)
    assert response.status_code == 400
    assert response.get_json()["code"] == "invalid_query"


def test_predict_unsupported_content_encoding_error_names_it(client):
    headers = {"Content-Type": "application/json", "Content-Encoding": "br"}
    response = client.post("/predict", data=b"\x1f\x8b", headers=headers)
    assert response.status_code == 415
    assert "got 'br'" in response.get_json()["error"]


def test_healthz_and_readyz_loaded_model_answer_200(client):
    assert client.get("/healthz").get_json() == {"alive": True}
    ready = client.get("/readyz")
    assert ready.status_code == 200
    assert ready.get_json() == {"ready": True, "models": {"digits": 1}, "refused": {}, "held": {}}


@pytest.mark.parametrize("damage_variant", [flip_bit, expect_other_answers])
def test_readyz_failed_variant_is_listed_and_another_serves(damage_variant, only_digits):
    damage_variant(
        write_variants(only_digits / "digits" / "1", fp32=keep_unchanged, int8=keep_unchanged),
        "int8",
    )
    client = create_app(models=only_digits).test_client()
    ready = client.get("/readyz")
    assert ready.status_code == 200
    refused = ready.get_json()["refused"]
    assert ready.get_json() == {
        "ready": True,
        "models": {"digits": 1},
        "refused": refused,
        "held": {},
    }
    assert list(refused) == ["digits/1/int8"]
    assert refused["digits/1/int8"].startswith("digits/1: ")
    assert client.get("/models").get_json()["models"][0]["variant"] == "fp32"
    assert post(client, GOOD).status_code == 200


def test_create_app_variant_option_selects_the_variant(only_digits, monkeypatch):
    write_variants(only_digits / "digits" / "1", fp32=keep_unchanged, int8=slow_down)
    client = create_app(models=only_digits, variant="int8").test_client()
    assert client.get("/models/digits").get_json()["why"] == "int8 was requested"
    monkeypatch.setenv("FORWARDPASS_VARIANT", "fp32")
    client = create_app(models=only_digits).test_client()
    assert client.get("/models/digits").get_json()["why"] == "fp32 was requested"


def test_readyz_no_model_passed_its_self_test_answers_503(only_digits):
    (only_digits / "digits" / "1" / "model.onnx").write_bytes(b"no graph")
    client = create_app(models=only_digits).test_client()
    assert client.get("/healthz").status_code == 200
    ready = client.get("/readyz")
    assert ready.status_code == 503
    assert "model.onnx was altered" in ready.get_json()["refused"]["digits/1"]
    answer = post(client, b'{"instances":[]}')
    assert answer.status_code == 503
    assert answer.get_json()["code"] == "not_ready"
    assert client.get("/models").get_json() == {"models": []}


def test_models_lists_the_served_model(client):
    (model,) = client.get("/models").get_json()["models"]
    assert (model["name"], model["version"], model["variant"]) == ("digits", 1, "fp32")
    assert model["task"] == "multiclass"
    assert model["classes"] == list(range(10))
    assert len(model["features"]) == 64
    assert model["selftest"]["label_agreement"] == 1


ROW = ",".join(["0"] * 64)
GOOD = f'{{"instances":[[{ROW}]]}}'


def row(**cells):
    """Return a body with one instance of zeros, except for the given values.

    Args:
        cells: JSON texts by position, `_3="01"` for instance.
    """
    values = ["0"] * 64
    for position, value in cells.items():
        values[int(position[1:])] = value
    return f'{{"instances":[[{",".join(values)}]]}}'


MALFORMED = [  # body, status, part of the message, part of the details
    ("", 400, "got an empty one", {}),
    ("   \n", 400, "got an empty one", {}),
    ("hello", 400, "line 1, column 1", {"line": 1, "column": 1}),
    ("{\n   hello", 400, "line 2, column 4", {"line": 2, "column": 4}),
    (GOOD[:-1], 400, "expected a JSON body; got one that breaks off at line 1", {"line": 1}),
    (GOOD[:70], 400, "expected a JSON body; got one that breaks off", {}),
    (GOOD + "]", 400, "Extra data", {}),
    (GOOD + GOOD, 400, "Extra data", {}),
    ("{'instances': [[1]]}", 400, "line 1, column 2", {}),
    (b"\xff\xfe{}", 400, "UTF-8; got an invalid byte at position 0", {"position": 0}),
    (GOOD.encode("utf-16"), 400, "UTF-8", {}),
    (b"\xef\xbb\xbf{", 400, "expected a JSON body", {}),
    ("[" * 100_000, 422, "expected an object", {}),
    ('{"a":' * 100_000, 422, 'got the text "a"', {"key": "a"}),
    ('{"instances":' + "[" * 100_000, 422, "position 0); got a list", {"instance": 0}),
    ('{"instances":[[0,' + '{"a":' * 100_000, 422, "position 1); got an object", {}),
    ('{"instances":[[0,', 400, "got one that breaks off", {}),
    ('{"instances":[[0],', 422, "instance 0, one per feature; got 1", {}),
    ('{"instances":[],}', 400, "line 1, column 17", {}),
    ('{"instances":[[],]}', 422, "instance 0, one per feature; got 0", {}),
    (f'{{"instances":[[{ROW}],]}}', 400, "expected a JSON body; got invalid JSON", {}),
    (f'{{"instances":[[{ROW},]]}}', 400, "expected a JSON body; got invalid JSON", {}),
    (f'{{"instances":[[{ROW}] [{ROW}]]}}', 400, "Expecting ',' delimiter", {}),
    (f'{{"instances" [[{ROW}]]}}', 400, "Expecting ':' delimiter", {}),
    (f'{{"instances":[["a",{ROW}]]}}', 422, "position 0); got the text", {}),
    (f'{{"instances":[[{ROW},"a"]]}}', 422, "one per feature; got more", {"got": "more"}),
    (row(_3="01"), 400, "expected a JSON body", {}),
    (row(_3="1."), 400, "expected a JSON body", {}),
    ("[" * 900 + "]" * 900, 422, "expected an object", {}),
    (row(_1="[" * 900 + "]" * 900), 422, "(position 1); got a list", {}),
    ('{"\\ud800":1}', 422, 'and no other; got the text "\\ud800"', {}),
    (row(_1='"\\ud800"'), 422, 'got the text "\\ud800"', {}),
    ("null", 422, 'expected an object {"instances"', {}),
    ("3", 422, "got the number 3", {}),
    ('"instances"', 422, 'got the text "instances"', {}),
    (f"[[{ROW}]]", 422, "expected an object", {}),
    ("{}", 422, 'the key "instances"', {}),
    ('{"inputs":[[1]]}', 422, 'and no other; got the text "inputs"', {"key": "inputs"}),
    (
        GOOD[:-1] + ',"parameters":' + "[" * 3000 + "]" * 1000 + "}",
        422,
        'expected "parameters" to be a short value; got one nested too deep',
        {"key": "parameters"},
    ),
    (
        GOOD[:-1] + ',"parameters":"' + "x" * 5000 + '"}',
        422,
        'expected "parameters" of fewer than 4096 characters; got more',
        {"key": "parameters"},
    ),
    (GOOD[:-1] + ',"extra":1}', 422, 'got the text "extra"', {"key": "extra"}),
    (
        GOOD[:-1] + "," + GOOD[1:],
        422,
        'every key once; got the text "instances" twice',
        {"key": "instances"},
    ),
    ('{"instances":null}', 422, "a list of instances; got null", {}),
    ('{"instances":{"a":1}}', 422, "a list of instances; got an object", {}),
    ('{"instances":"[[1]]"}', 422, 'got the text "[[1]]"', {}),
    (
        f'{{"instances":[{ROW}]}}',
        422,
        "instance 0 to be an object of named values or a list of 64 numbers; got the number 0",
        {"instance": 0},
    ),
    (
        f'{{"instances":[[{ROW}],null]}}',
        422,
        "instance 1 to be an object of named values or a list of 64 numbers; got null",
        {"instance": 1},
    ),
    (f'{{"instances":[[[{ROW}]]]}}', 422, "field 'pixel_0_0' (position 0); got a list", {}),
    ('{"instances":[[]]}', 422, "expected 64 numbers in instance 0, one per feature; got 0", {}),
    (
        f'{{"instances":[[{ROW}],[{ROW},0]]}}',
        422,
        "instance 1, one per feature; got 65",
        {"instance": 1, "expected": 64, "got": 65},
    ),
    (f'{{"instances":[[{ROW}],[1,2]]}}', 422, "instance 1, one per feature; got 2", {}),
    (
        row(_9='"7"'),
        422,
        "instance 0, field 'pixel_1_1' (position 9); got the text \"7\"",
        {"instance": 0, "field": "pixel_1_1", "position": 9},
    ),
    (row(_0="null"), 422, "field 'pixel_0_0' (position 0); got null", {}),
    (row(_63="true"), 422, "field 'pixel_7_7' (position 63); got true", {}),
    (row(_1="[1]"), 422, "field 'pixel_0_1' (position 1); got a list", {}),
    (row(_1="{}"), 422, "field 'pixel_0_1' (position 1); got an object", {}),
    (row(_2="NaN"), 422, "field 'pixel_0_2' (position 2); got the number NaN", {}),
    (row(_2="Infinity"), 422, "got a number that float32 cannot hold", {"position": 2}),
    (row(_2="-Infinity"), 422, "got a number that float32 cannot hold", {}),
    (row(_2="1e400"), 422, "got a number that float32 cannot hold", {}),
    (row(_2="-1e39"), 422, "got a number that float32 cannot hold", {}),
    (row(_2="9" * 5000), 422, "got a number that float32 cannot hold", {}),
    (
        '{"instances":[{"pixel_0_0":0}]}',
        422,
        "field 'pixel_0_1'; got no such key, and this column accepts no missing value",
        {"instance": 0, "field": "pixel_0_1"},
    ),
    ('{"instances":[{"pixel_00":0}]}', 422, 'got "pixel_00"; did you mean "pixel_', {}),
    (row(_2='"' + "x" * 5000 + '"'), 422, 'xxx"...', {}),
]


def shorten_id(case):
    text = case if isinstance(case, str) else repr(case)
    return text if len(text) < 30 else f"{text[:18]}…{text[-10:]}"


def test_predict_many_keys_or_digits_are_refused_in_linear_time(client):
    def keys(count):
        return f'{{{",".join(f"{chr(34)}{i:x}{chr(34)}:0" for i in range(count))},"7":0}}'

    for make_body in (
        keys,
        lambda n: row(_1=10 * n * "9"),
        lambda n: row(_1=f"0.{10 * n * '9'}e400"),
    ):

        def refuse(size, make_body=make_body):
            body = make_body(size)
            return lambda: post(client, body)

        assert refuse(100_000)().status_code == 422
        assert_linear(refuse, 20_000)


def test_malformed_bodies_table_is_large_and_without_duplicates():
    assert len(MALFORMED) >= 25
    assert len({case[0] for case in MALFORMED}) == len(MALFORMED)


@pytest.mark.parametrize(
    ("body", "status", "message", "details"), MALFORMED, ids=[shorten_id(c[0]) for c in MALFORMED]
)
def test_predict_malformed_body_is_answered_with_its_error(body, status, message, details, client):
    response = post(client, body)
    answer = response.get_json()
    assert response.status_code == status
    assert set(answer) == {"error", "code", "details"}
    assert answer["code"] == {400: "not_json", 422: "invalid_instances"}[status]
    assert message in answer["error"]
    assert len(answer["error"]) < 300
    assert details.items() <= answer["details"].items()
    assert post(client, GOOD).status_code == 200


@pytest.mark.parametrize(
    "content_type", [None, "text/plain", "application/x-www-form-urlencoded", "application/jsonp"]
)
def test_predict_other_content_type_error_names_json(content_type, client):
    response = post(client, GOOD, content_type)
    assert response.status_code == 415
    assert response.get_json()["code"] == "unsupported_media_type"
    assert "expected Content-Type: application/json; got" in response.get_json()["error"]


def test_predict_content_type_with_charset_is_accepted(client):
    assert post(client, GOOD, "application/json; charset=utf-8").status_code == 200


def test_predict_body_over_the_limit_error_names_the_limit(shipped):
    client = create_app(models=shipped, max_body=200).test_client()
    assert post(client, GOOD).status_code == 200
    response = post(client, GOOD + " " * 200)
    assert response.status_code == 413
    body = response.get_json()
    assert body["code"] == "body_too_large"
    assert body["error"] == (
        f"expected a body of at most 200 bytes; got {len(GOOD) + 200} bytes; "
        "send fewer instances at a time"
    )


def test_predict_default_body_limit_is_10_mib(client):
    assert post(client, GOOD + " " * (10 * 2**20 - len(GOOD))).status_code == 200
    assert post(client, GOOD + " " * (10 * 2**20 - len(GOOD) + 1)).status_code == 413


def test_app_wrong_method_error_names_the_allowed_method(client):
    response = client.get("/predict")
    assert response.status_code == 405
    assert "POST" in response.headers["Allow"]
    assert response.get_json()["code"] == "method_not_allowed"
    assert "expected POST for '/predict'; got GET" in response.get_json()["error"]
    assert client.delete("/models").status_code == 405


def test_app_unknown_path_is_answered_with_the_routes(client):
    response = client.get("/predictions")
    assert response.status_code == 404
    assert response.content_type == "application/json"
    assert "POST /predict" in response.get_json()["error"]
    assert response.get_json()["error"].endswith("got '/predictions'")


@pytest.mark.parametrize("path", ["//predict", "/v2//models", "/predict/"])
def test_app_path_with_extra_slash_is_not_redirected(path, client):
    answer = client.post(path)
    assert answer.status_code == 404
    assert answer.content_type == "application/json"


def test_app_internal_error_shows_request_id_and_no_traceback(client, monkeypatch, caplog):
    def explode(self, inputs):
        raise KeyError("secret detail")

    monkeypatch.setattr(GraphSession, "run", explode)
    response = post(client, GOOD)
    assert response.status_code == 500
    answer = response.get_json()
    assert answer["code"] == "internal"
    request_id = answer["details"]["request_id"]
    assert response.headers["X-Request-Id"] == request_id
    assert "secret" not in response.text
    assert "Traceback" not in response.text
    (record, request) = [r for r in caplog.records if r.levelno == logging.ERROR]
    assert request_id in record.getMessage()
    assert record.fields["request_id"] == request.fields["request_id"] == request_id
    assert "secret detail" in caplog.text


def test_predict_overflow_is_answered_with_422(client):
    response = post(client, json.dumps({"instances": [[3e38] * 64]}))
    assert response.status_code == 422
    assert response.get_json()["code"] == "answer_not_finite"


def test_create_app_unknown_option_is_refused():
    with pytest.raises(ValidationError, match="modles"):
        create_app(modles="models")
