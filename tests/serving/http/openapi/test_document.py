"""The OpenAPI document, compared with what the server does, and the page that shows it."""

import io
import json
import re
from types import SimpleNamespace

import numpy as np
import pytest

from serving import create_app, errors
from serving.bundle import BooleanColumn, Bundle, CategoryColumn, DateColumn
from serving.bundle.column_schema import WrongValueError
from serving.codec.input_schema import InputSchema
from serving.http.key_file import generate_key
from serving.http.openapi import OpenApiDocument
from serving.http.openapi.column_schemas import build_value_schema
from serving.http.route_table import build_route_table
from serving.settings.cloud_platforms import VertexSettings

METHODS = {"GET", "POST"}


def to_npy(array):
    """Return the bytes that `numpy.save` writes."""
    file = io.BytesIO()
    np.save(file, array)
    return file.getvalue()


@pytest.fixture
def mixed_client(adults):
    return create_app(models=adults).test_client()


def fetch_document(client):
    answer = client.get("/openapi.json")
    assert (answer.status_code, answer.content_type) == (200, "application/json")
    return answer.get_json()


def list_operations(document):
    return {
        (method.upper(), path) for path, methods in document["paths"].items() for method in methods
    }


def get_json_body(document, path):
    return document["paths"][path]["post"]["requestBody"]["content"]["application/json"]


def iter_references(part):
    """Yield every reference in a part of the document."""
    if isinstance(part, dict):
        if isinstance(part.get("$ref"), str):
            yield part["$ref"]
        for inner in part.values():
            yield from iter_references(inner)
    elif isinstance(part, list):
        for inner in part:
            yield from iter_references(inner)


def test_document_operations_equal_the_routes_of_the_app(shipped, monkeypatch):
    monkeypatch.setenv("AIP_HEALTH_ROUTE", "/health")
    monkeypatch.setenv("AIP_PREDICT_ROUTE", "/v1/endpoints/1:predict")
    app = create_app(models=shipped)
    routes = {
        (method, re.sub(r"<(?:\w+:)?(\w+)>", r"{\1}", rule.rule))
        for rule in app.url_map.iter_rules()
        for method in rule.methods & METHODS
    }
    assert list_operations(fetch_document(app.test_client())) == routes


def test_document_without_vertex_variables_has_no_vertex_routes(client):
    assert not any("endpoints" in path for path in fetch_document(client)["paths"])


def test_document_references_resolve(zoo):
    document = fetch_document(create_app(models=zoo).test_client())
    found = set(iter_references(document))
    assert len(found) > 20
    for reference in found:
        part = document
        for step in reference.removeprefix("#/").split("/"):
            part = part[step]


def test_document_operation_ids_are_unique(client):
    document = fetch_document(client)
    names = [
        operation["operationId"]
        for path in document["paths"].values()
        for operation in path.values()
    ]
    assert len(set(names)) == len(names)


def test_document_every_operation_has_a_description(shipped, monkeypatch):
    monkeypatch.setenv("AIP_HEALTH_ROUTE", "/health")
    monkeypatch.setenv("AIP_PREDICT_ROUTE", "/v1/endpoints/1:predict")
    document = fetch_document(create_app(models=shipped).test_client())["paths"]
    for path, methods in document.items():
        for operation in methods.values():
            text = operation["description"]
            assert text == text.strip(), path
            assert len(text) > 30, path
            if "503" in operation["responses"] and operation["tags"] == ["administration"]:
                assert "READY" in text or "`503`" in text, path
            if "504" in operation["responses"] and operation["tags"] != ["administration"]:
                assert "`503`" in text, path
                assert "X-Request-Timeout" in text, path


DESCRIBED_BODIES = {  # one row of the digits model, as the description says
    "text/csv": (",".join(["0"] * 64)).encode(),
    "application/octet-stream": np.zeros(64, "<f4").tobytes(),
    "application/x-npy": to_npy(np.zeros((1, 64), np.float16)),
}


@pytest.mark.parametrize("media", DESCRIBED_BODIES)
def test_document_described_bodies_are_accepted(media, client):
    text = fetch_document(client)["paths"]["/predict"]["post"]["description"]
    assert f"`{media}`" in text
    answer = client.post("/predict", data=DESCRIBED_BODIES[media], content_type=media)
    assert (
        answer.get_json()["predictions"]
        == client.post("/predict", json={"instances": [[0] * 64]}).get_json()["predictions"]
    )


def test_record_schema_equals_its_columns(mixed_client):
    schema = fetch_document(mixed_client)["components"]["schemas"]["adults.record"]
    assert schema["required"] == ["hours/week", "grade"]  # the others accept gaps
    assert schema["additionalProperties"] is False
    found = schema["properties"]
    assert list(found) == ["age", "hours/week", "member", "work", "grade", "since"]
    assert found["age"]["type"] == ["number", "null"]
    assert found["hours/week"]["type"] == "number"
    assert found["member"]["enum"] == [True, False, 1, 0, None]
    assert found["work"]["type"] == ["string", "null"]
    assert found["work"]["examples"] == ["Private", "Self-employed", "State"]
    assert found["grade"]["enum"] == ["1", "2", "3", 1, 2, 3]
    assert {"type": "null"} in found["since"]["anyOf"]


def test_value_schema_missing_refuse_excludes_gap_texts():
    column = CategoryColumn(
        name="city", type="category", missing="refuse", unseen="unknown", categories=["Hull"]
    )
    gap = re.compile(build_value_schema(column)["not"]["pattern"])
    for text in ("", " ", "NA", "n/A", "\x85", "\x1e", "\u2003?\n", "nUll", "#N/A", "<na>"):
        assert gap.search(text), text
        with pytest.raises(WrongValueError):
            InputSchema([column]).columns[0].validate(text)
    for text in ("Hull", "nap", "Tirana", "\ufeff", "n a", "??"):
        assert not gap.search(text), text
        assert InputSchema([column]).columns[0].validate(text)


def test_value_schema_date_bounds_equal_those_of_the_codec():
    column = DateColumn(
        name="since", type="date", missing="refuse", minimum="2000-01-01", maximum="2024-01-01"
    )
    (validator,) = InputSchema([column]).columns
    (numbers,) = [kind for kind in build_value_schema(column)["anyOf"] if kind["type"] == "number"]
    low, end = numbers["minimum"], numbers["exclusiveMaximum"]
    assert validator.validate(low) == low == validator.validate("0001-01-01")
    assert validator.validate(end - 1) == end - 1 == validator.validate("9999-12-31T23:59:59")
    for outside in (low - 1, end):
        with pytest.raises(WrongValueError):
            validator.validate(outside)


def test_row_schema_has_one_value_per_column(client, mixed_client):
    row = fetch_document(client)["components"]["schemas"]["digits.row"]
    assert (row["minItems"], row["maxItems"]) == (64, 64)
    assert row["items"]["type"] == "number"
    row = fetch_document(mixed_client)["components"]["schemas"]["adults.row"]
    assert len(row["prefixItems"]) == 6
    assert row["items"] is False


def test_document_several_models_have_a_schema_each(zoo):
    document = fetch_document(create_app(models=zoo).test_client())
    choices = get_json_body(document, "/predict")["schema"]["anyOf"]
    assert {"$ref": "#/components/schemas/flowers.rows"} in choices
    assert len(choices) == 5
    model = document["components"]["parameters"]["model"]
    assert model["required"]
    assert "flowers" in model["schema"]["enum"]


def test_document_several_models_have_an_example_each_that_is_accepted(zoo):
    client = create_app(models=zoo).test_client()
    document = fetch_document(client)
    names = document["components"]["parameters"]["name"]["schema"]["enum"]
    assert len(names) == 5
    for path in ("/v1/models/{name}:predict", "/v2/models/{name}/infer"):
        examples = get_json_body(document, path)["examples"]
        assert sorted(examples) == sorted(names)
        for name, example in examples.items():
            assert name in example["summary"]
            answer = client.post(path.replace("{name}", name), json=example["value"])
            assert answer.status_code == 200, answer.text
    assert sorted(get_json_body(document, "/predict")["examples"]) == sorted(names)


def test_document_default_model_has_the_first_example(zoo):
    for name in ("flowers", "digits"):
        document = fetch_document(create_app(models=zoo, default_model=name).test_client())
        assert next(iter(get_json_body(document, "/predict")["examples"])) == name
        introduction = document["info"]["description"]
        (line,) = [line for line in introduction.splitlines() if "the default model" in line]
        assert line.startswith(f"- `{name}`, version 1: predicts")


def test_document_introduction_lists_models_with_target_classes_and_columns(client):
    introduction = fetch_document(client)["info"]["description"]
    assert "- `digits`, version 1: predicts `target` (`0`, `1`, " in introduction
    assert "from 64 columns" in introduction
    assert introduction.index("Served models") < introduction.index("`POST /predict`")


def test_document_without_models_says_so_in_the_introduction(tmp_path):
    (tmp_path / "digits" / "1").mkdir(parents=True)
    document = fetch_document(create_app(models=tmp_path).test_client())
    assert "No model is served at the moment" in document["info"]["description"]


def test_document_every_group_has_a_description(shipped, monkeypatch):
    monkeypatch.setenv("AIP_PREDICT_ROUTE", "/vertex")
    document = fetch_document(create_app(models=shipped).test_client())
    described = {tag["name"]: tag["description"] for tag in document["tags"]}
    used = {
        tag
        for methods in document["paths"].values()
        for operation in methods.values()
        for tag in operation["tags"]
    }
    assert set(described) == used
    assert all(described.values())


def test_document_summaries_of_different_operations_differ(client):
    by_summary = {}
    for methods in fetch_document(client)["paths"].values():
        for operation in methods.values():
            by_summary.setdefault(operation["summary"], set()).add(operation["description"])
    assert [summary for summary, texts in by_summary.items() if len(texts) > 1] == []


def test_document_errors_of_one_status_are_a_list(client):
    operation = fetch_document(client)["paths"]["/predict"]["post"]
    lines = operation["responses"]["400"]["description"].splitlines()
    assert len(lines) > 3
    assert all(line.startswith("- `") for line in lines)


def test_document_without_models_has_all_paths(tmp_path):
    (tmp_path / "digits" / "1").mkdir(parents=True)
    document = fetch_document(create_app(models=tmp_path).test_client())
    assert "/predict" in document["paths"]


@pytest.mark.parametrize(
    "path", ["/predict", "/v1/models/{name}:predict", "/v2/models/{name}/infer", "/invocations"]
)
@pytest.mark.parametrize("repository", ["shipped", "adults"])
def test_document_examples_are_accepted(path, repository, request):
    client = create_app(models=request.getfixturevalue(repository)).test_client()
    document = fetch_document(client)
    (name,) = document["components"]["parameters"]["name"]["schema"]["enum"]
    answer = client.post(
        path.replace("{name}", name), json=get_json_body(document, path)["example"]
    )
    assert answer.status_code == 200, answer.text


def test_document_prediction_lists_every_error_code(client):
    responses = fetch_document(client)["paths"]["/predict"]["post"]["responses"]
    for thing in vars(errors).values():
        if isinstance(thing, type) and issubclass(thing, errors.ServingError):
            assert thing.code in responses[str(thing.status)]["description"] or thing.code == (
                "internal"
            )


def test_document_errors_have_the_schema_of_their_protocol(client):
    document = fetch_document(client)["paths"]

    def schema(path, status):
        content = document[path]["post"]["responses"][status]["content"]
        return content["application/json"]["schema"]["$ref"].split("/")[-1]

    assert schema("/predict", "422") == "Fault"
    assert schema("/v2/models/{name}/infer", "422") == "TerseFault"
    assert schema("/v1/models/{name}:predict", "400") == "TerseFault"
    assert "422" not in document["/v1/models/{name}:predict"]["post"]["responses"]


def test_document_administration_needs_a_key_and_health_does_not(client):
    document = fetch_document(client)["paths"]
    for path, methods in document.items():
        for operation in methods.values():
            if "/repository/models/" in path:
                assert {} not in operation["security"]
    assert document["/healthz"]["get"]["security"] == []
    assert {} in document["/predict"]["post"]["security"]


def test_document_served_models_change_rebuilds_it(shipped, adults):
    class Model:
        def __init__(self, path):
            self.manifest = Bundle.open(path).manifest

    repository = SimpleNamespace(
        live_models={"digits": Model(shipped / "digits" / "1")}, default_model=None
    )
    document = OpenApiDocument(build_route_table(VertexSettings()), repository, ignores_extra=False)

    def render_schemas():
        return json.loads(document.render(""))["components"]["schemas"]

    assert "digits.record" in render_schemas()
    repository.live_models["adults"] = Model(adults / "adults" / "1")
    assert {"digits.record", "adults.record"} <= set(render_schemas())
    del repository.live_models["digits"]
    assert "digits.record" not in render_schemas()


def test_page_has_neither_other_hosts_nor_inline_scripts(client):
    page = client.get("/docs")
    assert page.content_type == "text/html; charset=utf-8"
    assert "//" not in page.text.replace("<!doctype", "")
    assert re.findall(r"<script(?! src=)", page.text) == []
    assert "style=" not in page.text
    policy = page.headers["Content-Security-Policy"]
    assert "default-src 'none'" in policy
    assert "script-src 'self';" in policy
    for path in re.findall(r'(?:src|href)="(docs/[^"]+)"', page.text):
        part = client.get(f"/{path}")
        assert part.status_code == 200
        assert part.headers["Content-Security-Policy"] == policy
        assert len(part.data) > 50


def test_page_with_keys_is_open_and_the_document_is_not(shipped, tmp_path):
    secret, line = generate_key("someone", "predict")
    (tmp_path / "keys").write_text(line)
    client = create_app(models=shipped, keys=tmp_path / "keys").test_client()
    assert client.get("/docs").status_code == client.get("/docs/start.js").status_code == 200
    assert client.get("/openapi.json").status_code == 401
    assert client.get("/openapi.json", headers={"X-API-Key": secret}).status_code == 200


@pytest.mark.parametrize("path", ["/v2/models/digits/infer", "/v1/models/digits:predict", "/v2"])
def test_missing_key_is_answered_in_the_protocols_error_format(path, shipped, tmp_path):
    (tmp_path / "keys").write_text(generate_key("someone", "predict")[1])
    client = create_app(models=shipped, keys=tmp_path / "keys").test_client()
    answer = client.open(path, method="GET" if path == "/v2" else "POST")
    assert answer.status_code == 401
    assert set(answer.get_json()) == {"error"}


@pytest.mark.parametrize("name", ["index.html", "swagger-ui.js", "..%2findex.html", "%2fetc"])
def test_page_other_files_of_the_package_are_not_found(name, client):
    assert client.get(f"/docs/{name}").status_code == 404


def fetch_server_urls(client, **headers):
    document = client.get("/openapi.json", headers=headers).get_json()
    return [server["url"] for server in document["servers"]]


def test_servers_entry_trusted_proxy_sets_the_prefix(client):
    assert fetch_server_urls(client) == ["/"]
    assert fetch_server_urls(client, **{"X-Forwarded-Prefix": "/team/api"}) == ["/team/api"]
    assert fetch_server_urls(client) == ["/"]  # another client's prefix is not reused
    hostile = '/"><script>alert(1)</script>'
    assert fetch_server_urls(client, **{"X-Forwarded-Prefix": hostile}) == ["/"]


def test_servers_entry_untrusted_proxy_does_not_set_the_prefix(shipped):
    client = create_app(models=shipped, forwarded_allow_ips="192.0.2.0/24").test_client()
    headers = {"X-Forwarded-Prefix": "/api"}
    assert fetch_server_urls(client, **headers) == ["/"]
    client.environ_base["REMOTE_ADDR"] = "192.0.2.7"
    assert fetch_server_urls(client, **headers) == ["/api"]


def test_servers_entry_equals_script_name(client):
    document = client.get("/openapi.json", base_url="http://localhost/api").get_json()
    assert document["servers"] == [{"url": "/api"}]


def test_page_addresses_are_relative(client):
    """Addresses that are relative to /docs work below any prefix."""
    page = client.get("/docs").get_data(as_text=True)
    script = client.get("/docs/start.js").get_data(as_text=True)
    found = re.findall(r'(?:src|href)="([^"]+)"', page) + re.findall(r'fetch\("([^"]+)"', script)
    assert found
    assert not [address for address in found if address.startswith("/") or ":" in address]


def test_value_schema_has_the_formats_of_the_training_data():
    truths = BooleanColumn(
        name="b", type="boolean", missing="impute", texts={"yes": True, "no": False}
    )
    words, pattern = build_value_schema(truths)["anyOf"]
    assert words == {"enum": [True, False, 1, 0, None]}
    for text in ("yes", "No", "TRUE"):
        assert re.search(pattern["pattern"], text)
    assert not re.search(pattern["pattern"], "yesno")
    dates = DateColumn(
        name="d",
        type="date",
        missing="refuse",
        minimum="2000-01-01",
        maximum="2024-01-01",
        format="%d/%m/%Y",
    )
    document = build_value_schema(dates)
    assert document["description"].startswith("Written %d/%m/%Y, ISO 8601, in UTC")
    assert any(re.search(kind.get("pattern", "^$"), "22/06/2025") for kind in document["anyOf"])


@pytest.mark.parametrize("normalized", [False, True])
def test_value_schema_integers_beyond_json_parsers_are_texts_only(normalized):
    texts = ["7", str(2**63 - 1025), str(2**64), "1" * 5000]
    column = CategoryColumn(
        name="c",
        type="category",
        missing="refuse",
        unseen="refuse",
        categories=texts,
        normalized=normalized,
    )
    assert build_value_schema(column) == {"enum": [*texts, 7, 2**63 - 1025]}
    InputSchema([column]).columns[0].validate(2**63 - 1025)
