"""The API's description: whole, true, and readable without another host."""

import io
import re
from types import SimpleNamespace

import numpy as np
import pytest
from flask import Flask

from serving import create_app, errors
from serving.bundle import BooleanColumn, Bundle, CategoryColumn, DateColumn
from serving.codec.column_validators import WrongValueError
from serving.codec.input_schema import InputSchema
from serving.http.handlers.docs import create_openapi_blueprint
from serving.http.key_file import generate_key
from serving.http.openapi.column_schemas import value_schema
from serving.http.trusted_proxies import TrustedProxies
from serving.settings.cloud_platforms import VertexSettings

METHODS = {"GET", "POST"}


def written(array):
    """As `numpy.save` writes it."""
    file = io.BytesIO()
    np.save(file, array)
    return file.getvalue()


@pytest.fixture
def table(adults):
    return create_app(models=adults).test_client()


def document(client):
    answer = client.get("/openapi.json")
    assert (answer.status_code, answer.content_type) == (200, "application/json")
    return answer.get_json()


def operations(described):
    return {
        (method.upper(), path) for path, methods in described["paths"].items() for method in methods
    }


def body(described, path):
    return described["paths"][path]["post"]["requestBody"]["content"]["application/json"]


def refs(part):
    """Every reference within a document."""
    if isinstance(part, dict):
        if isinstance(part.get("$ref"), str):
            yield part["$ref"]
        for inner in part.values():
            yield from refs(inner)
    elif isinstance(part, list):
        for inner in part:
            yield from refs(inner)


def test_every_route_is_described_and_every_description_is_a_route(shipped, monkeypatch):
    monkeypatch.setenv("AIP_HEALTH_ROUTE", "/health")
    monkeypatch.setenv("AIP_PREDICT_ROUTE", "/v1/endpoints/1:predict")
    app = create_app(models=shipped)
    routes = {
        (method, re.sub(r"<(?:\w+:)?(\w+)>", r"{\1}", rule.rule))
        for rule in app.url_map.iter_rules()
        for method in rule.methods & METHODS
    }
    assert operations(document(app.test_client())) == routes


def test_vertex_routes_are_described_where_they_are_asked_for(client):
    assert not any("endpoints" in path for path in document(client)["paths"])


def test_references_lead_somewhere(zoo):
    described = document(create_app(models=zoo).test_client())
    found = set(refs(described))
    assert len(found) > 20
    for reference in found:
        part = described
        for step in reference.removeprefix("#/").split("/"):
            part = part[step]


def test_operations_have_names_of_their_own(client):
    described = document(client)
    names = [
        operation["operationId"]
        for path in described["paths"].values()
        for operation in path.values()
    ]
    assert len(set(names)) == len(names)


def test_every_operation_is_explained(shipped, monkeypatch):
    monkeypatch.setenv("AIP_HEALTH_ROUTE", "/health")
    monkeypatch.setenv("AIP_PREDICT_ROUTE", "/v1/endpoints/1:predict")
    described = document(create_app(models=shipped).test_client())["paths"]
    for path, methods in described.items():
        for operation in methods.values():
            text = operation["description"]
            assert text == text.strip(), path
            assert len(text) > 30, path
            if "503" in operation["responses"] and operation["tags"] == ["administration"]:
                assert "READY" in text or "`503`" in text, path
            if "504" in operation["responses"] and operation["tags"] != ["administration"]:
                assert "`503`" in text, path
                assert "X-Request-Timeout" in text, path


SAID = {  # as the page says it, of one row of the digits
    "text/csv": (",".join(["0"] * 64)).encode(),
    "application/octet-stream": np.zeros(64, "<f4").tobytes(),
    "application/x-npy": written(np.zeros((1, 64), np.float16)),
}


@pytest.mark.parametrize("media", SAID)
def test_bodies_are_as_they_are_explained(media, client):
    text = document(client)["paths"]["/predict"]["post"]["description"]
    assert f"`{media}`" in text
    answer = client.post("/predict", data=SAID[media], content_type=media)
    assert (
        answer.get_json()["predictions"]
        == client.post("/predict", json={"instances": [[0] * 64]}).get_json()["predictions"]
    )


def test_a_records_schema_is_that_of_its_columns(table):
    schema = document(table)["components"]["schemas"]["adults.record"]
    assert schema["required"] == ["hours/week", "grade"]  # the model fills the other gaps
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


def test_no_schema_allows_a_gap_where_the_model_fills_none():
    column = CategoryColumn(
        name="city", type="category", missing="refuse", unseen="unknown", categories=["Hull"]
    )
    gap = re.compile(value_schema(column)["not"]["pattern"])
    for text in ("", " ", "NA", "n/A", "\x85", "\x1e", "\u2003?\n", "nUll", "#N/A", "<na>"):
        assert gap.search(text), text
        with pytest.raises(WrongValueError):
            InputSchema([column]).columns[0].validate(text)
    for text in ("Hull", "nap", "Tirana", "\ufeff", "n a", "??"):
        assert not gap.search(text), text
        assert InputSchema([column]).columns[0].check(text)


def test_value_schema_date_bounds_are_those_of_the_codec():
    column = DateColumn(
        name="since", type="date", missing="refuse", minimum="2000-01-01", maximum="2024-01-01"
    )
    (field,) = InputSchema([column]).columns
    (numbers,) = [kind for kind in value_schema(column)["anyOf"] if kind["type"] == "number"]
    low, end = numbers["minimum"], numbers["exclusiveMaximum"]
    assert field.validate(low) == low == field.validate("0001-01-01")
    assert field.validate(end - 1) == end - 1 == field.validate("9999-12-31T23:59:59")
    for outside in (low - 1, end):
        with pytest.raises(WrongValueError):
            field.validate(outside)


def test_a_row_has_as_many_values_as_there_are_columns(client, table):
    row = document(client)["components"]["schemas"]["digits.row"]
    assert (row["minItems"], row["maxItems"]) == (64, 64)
    assert row["items"]["type"] == "number"
    row = document(table)["components"]["schemas"]["adults.row"]
    assert len(row["prefixItems"]) == 6
    assert row["items"] is False


def test_several_models_have_a_schema_each(zoo):
    described = document(create_app(models=zoo).test_client())
    choices = body(described, "/predict")["schema"]["anyOf"]
    assert {"$ref": "#/components/schemas/flowers.rows"} in choices
    assert len(choices) == 5
    model = described["components"]["parameters"]["model"]
    assert model["required"]
    assert "flowers" in model["schema"]["enum"]


def test_nothing_served_is_described_too(tmp_path):
    (tmp_path / "digits" / "1").mkdir(parents=True)
    described = document(create_app(models=tmp_path).test_client())
    assert "/predict" in described["paths"]


@pytest.mark.parametrize(
    "path", ["/predict", "/v1/models/{name}:predict", "/v2/models/{name}/infer", "/invocations"]
)
@pytest.mark.parametrize("repository", ["shipped", "adults"])
def test_examples_are_answered(path, repository, request):
    client = create_app(models=request.getfixturevalue(repository)).test_client()
    described = document(client)
    (name,) = described["components"]["parameters"]["name"]["schema"]["enum"]
    answer = client.post(path.replace("{name}", name), json=body(described, path)["example"])
    assert answer.status_code == 200, answer.text


def test_every_error_a_prediction_can_meet_is_described(client):
    responses = document(client)["paths"]["/predict"]["post"]["responses"]
    for thing in vars(errors).values():
        if isinstance(thing, type) and issubclass(thing, errors.ServingError):
            assert thing.code in responses[str(thing.status)]["description"] or thing.code == (
                "internal"
            )


def test_errors_have_the_form_of_their_protocol(client):
    described = document(client)["paths"]

    def schema(path, status):
        content = described[path]["post"]["responses"][status]["content"]
        return content["application/json"]["schema"]["$ref"].split("/")[-1]

    assert schema("/predict", "422") == "Fault"
    assert schema("/v2/models/{name}/infer", "422") == "TerseFault"
    assert schema("/v1/models/{name}:predict", "400") == "TerseFault"
    assert "422" not in described["/v1/models/{name}:predict"]["post"]["responses"]


def test_administration_always_needs_a_key_and_health_never(client):
    described = document(client)["paths"]
    for path, methods in described.items():
        for operation in methods.values():
            if "/repository/models/" in path:
                assert {} not in operation["security"]
    assert described["/healthz"]["get"]["security"] == []
    assert {} in described["/predict"]["post"]["security"]


def test_it_is_made_anew_when_other_models_are_served(shipped, adults):
    class Model:
        def __init__(self, path):
            self.manifest = Bundle.open(path).manifest

    repository = SimpleNamespace(
        served={"digits": Model(shipped / "digits" / "1")}, default_model=None
    )
    app = Flask("description")
    app.register_blueprint(
        create_openapi_blueprint(repository, VertexSettings(), TrustedProxies(""))
    )

    def schemas():
        return app.test_client().get("/openapi.json").get_json()["components"]["schemas"]

    assert "digits.record" in schemas()
    repository.live_models["adults"] = Model(adults / "adults" / "1")
    assert {"digits.record", "adults.record"} <= set(schemas())
    del repository.live_models["digits"]
    assert "digits.record" not in schemas()


def test_the_page_needs_no_other_host_and_no_script_within(client):
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


def test_where_there_are_keys_the_page_is_open_and_the_description_is_not(shipped, tmp_path):
    secret, line = generate_key("someone", "predict")
    (tmp_path / "keys").write_text(line)
    client = create_app(models=shipped, keys=tmp_path / "keys").test_client()
    assert client.get("/docs").status_code == client.get("/docs/start.js").status_code == 200
    assert client.get("/openapi.json").status_code == 401
    assert client.get("/openapi.json", headers={"X-API-Key": secret}).status_code == 200


@pytest.mark.parametrize("path", ["/v2/models/digits/infer", "/v1/models/digits:predict", "/v2"])
def test_a_missing_key_is_told_in_the_protocols_form(path, shipped, tmp_path):
    (tmp_path / "keys").write_text(generate_key("someone", "predict")[1])
    client = create_app(models=shipped, keys=tmp_path / "keys").test_client()
    answer = client.open(path, method="GET" if path == "/v2" else "POST")
    assert answer.status_code == 401
    assert set(answer.get_json()) == {"error"}


@pytest.mark.parametrize("name", ["index.html", "swagger-ui.js", "..%2findex.html", "%2fetc"])
def test_nothing_else_of_the_package_is_shown(name, client):
    assert client.get(f"/docs/{name}").status_code == 404


def servers(client, **headers):
    described = client.get("/openapi.json", headers=headers).get_json()
    return [server["url"] for server in described["servers"]]


def test_the_servers_entry_is_the_prefix_that_a_trusted_proxy_has_removed(client):
    assert servers(client) == ["/"]
    assert servers(client, **{"X-Forwarded-Prefix": "/team/api"}) == ["/team/api"]
    assert servers(client) == ["/"]  # the document of another client is not given
    hostile = '/"><script>alert(1)</script>'
    assert servers(client, **{"X-Forwarded-Prefix": hostile}) == ["/"]


def test_the_servers_entry_heeds_no_prefix_of_a_proxy_that_is_not_trusted(shipped):
    client = create_app(models=shipped, forwarded_allow_ips="192.0.2.0/24").test_client()
    headers = {"X-Forwarded-Prefix": "/api"}
    assert servers(client, **headers) == ["/"]
    client.environ_base["REMOTE_ADDR"] = "192.0.2.7"
    assert servers(client, **headers) == ["/api"]


def test_the_servers_entry_is_the_script_name_of_wsgi(client):
    described = client.get("/openapi.json", base_url="http://localhost/api").get_json()
    assert described["servers"] == [{"url": "/api"}]


def test_the_page_and_its_parts_lead_to_each_other_below_any_prefix(client):
    """Its addresses are relative to /docs, and so to the prefix before it."""
    page = client.get("/docs").get_data(as_text=True)
    script = client.get("/docs/start.js").get_data(as_text=True)
    found = re.findall(r'(?:src|href)="([^"]+)"', page) + re.findall(r'fetch\("([^"]+)"', script)
    assert found
    assert not [address for address in found if address.startswith("/") or ":" in address]


def test_value_schema_has_the_spellings_of_the_training_data():
    truths = BooleanColumn(
        name="b", type="boolean", missing="impute", texts={"yes": True, "no": False}
    )
    words, pattern = value_schema(truths)["anyOf"]
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
    described = value_schema(dates)
    assert described["description"].startswith("Written %d/%m/%Y, ISO 8601, UTC")
    assert any(re.search(kind.get("pattern", "^$"), "22/06/2025") for kind in described["anyOf"])


@pytest.mark.parametrize("normalized", [False, True])
def test_value_schema_leaves_out_numbers_that_json_parsers_cannot_read(normalized):
    texts = ["7", str(2**63 - 1025), str(2**64), "1" * 5000]
    column = CategoryColumn(
        name="c",
        type="category",
        missing="refuse",
        unseen="refuse",
        categories=texts,
        normalized=normalized,
    )
    assert value_schema(column) == {"enum": [*texts, 7, 2**63 - 1025]}
    InputSchema([column]).columns[0].validate(2**63 - 1025)
