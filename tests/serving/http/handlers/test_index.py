"""`GET /` redirects browsers to `/docs` and answers programs with links; `/favicon.ico`."""

import http.client
from urllib.parse import urljoin, urlsplit

import pytest
from werkzeug.test import Client

from serving import create_app
from serving.http.key_file import generate_key

FIREFOX = "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8"
CHROMIUM = f"{FIREFOX.partition(';')[0]};q=0.9,image/avif,image/webp,*/*;q=0.8"


@pytest.mark.parametrize("method", ["GET", "HEAD"])
@pytest.mark.parametrize("accept", [FIREFOX, CHROMIUM, "text/html"])
def test_index_browser_is_redirected_to_docs(accept, method, client):
    answer = client.open("/", method=method, headers={"Accept": accept})
    assert answer.status_code == 303
    # The redirect is relative, so that it works behind a proxy that removes a path prefix.
    assert answer.headers["Location"] == "docs"
    assert answer.headers["Vary"] == "Accept"
    assert client.get("/docs").status_code == 200


@pytest.mark.parametrize("accept", [None, "*/*", "application/json", "text/plain", "application/*"])
def test_index_program_gets_links_that_work(accept, client):
    answer = client.get("/", headers={"Accept": accept} if accept else {})
    assert (answer.status_code, answer.content_type) == (200, "application/json")
    assert answer.headers["Vary"] == "Accept"
    links = answer.get_json()
    assert links["docs"] == "/docs"
    assert links["openapi"] == "/openapi.json"
    assert links["predict"] == "/predict"
    for name, path in links.items():
        assert client.get(path).status_code == (405 if name == "predict" else 200), path
    assert "digits" not in answer.text  # names of models need a key
    assert client.head("/").data == b""


def test_index_other_method_is_refused(client):
    answer = client.post("/")
    assert answer.status_code == 405
    assert answer.get_json()["error"].startswith("expected GET for '/'")


def test_index_under_a_prefix_links_have_the_prefix(shipped):
    client = Client(create_app(models=shipped))
    answer = client.get("/", base_url="http://localhost/models/one/")
    assert answer.get_json()["docs"] == "/models/one/docs"


def test_index_and_icon_need_no_key_while_other_urls_do(shipped, tmp_path):
    (tmp_path / "keys").write_text(generate_key("someone", "predict")[1])
    client = create_app(models=shipped, keys=tmp_path / "keys").test_client()
    assert client.get("/").status_code == 200
    assert client.get("/", headers={"Accept": FIREFOX}).status_code == 303
    assert client.get("/favicon.ico").status_code == 200
    assert client.get("/openapi.json").status_code == 401
    assert client.get("/nothing.ico").status_code == 401


def test_icon_same_bytes_as_in_docs(client):
    answer = client.get("/favicon.ico")
    assert answer.content_type == "image/png"
    assert answer.data.startswith(b"\x89PNG")
    assert answer.data == client.get("/docs/favicon-32x32.png").data


@pytest.mark.parametrize(
    ("variable", "method"), [("AIP_HEALTH_ROUTE", "GET"), ("AIP_PREDICT_ROUTE", "POST")]
)
def test_index_path_chosen_by_vertex_ai_answers_vertex_ai(variable, method, shipped, monkeypatch):
    monkeypatch.setenv(variable, "/")
    client = create_app(models=shipped).test_client()
    answer = client.open("/", method=method, json={"instances": [[0] * 64]})
    assert answer.status_code == 200
    assert "docs" not in answer.text
    assert (method == "POST") == ("predictions" in answer.text)


def test_index_running_server_redirects_to_docs(live):
    address = urlsplit(live.url)
    connection = http.client.HTTPConnection(address.hostname, address.port, timeout=60)
    try:
        connection.request("GET", "/", headers={"Accept": FIREFOX})
        answer = connection.getresponse()
        answer.read()
        assert answer.status == 303
        target = urljoin(f"{live.url}/", answer.headers["Location"])
        assert target == f"{live.url}/docs"
        connection.request("HEAD", "/")
        answer = connection.getresponse()
        assert (answer.status, answer.read()) == (200, b"")
        connection.request("GET", "/docs")
        assert connection.getresponse().read().startswith(b"<!doctype html>")
    finally:
        connection.close()
