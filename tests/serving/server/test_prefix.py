"""A server behind a proxy that removes a path prefix, or that is told of one by SCRIPT_NAME."""

import pytest
import requests

from tests.processes import HANG_SECONDS

ROW = {"instances": [[0] * 64]}


def get(url, **headers):
    return requests.get(url, headers=headers, timeout=HANG_SECONDS)


def servers(url, **headers):
    return get(f"{url}/openapi.json", **headers).json()["servers"]


def test_the_description_has_the_prefix_of_a_trusted_proxy(live):
    assert servers(live.url, **{"X-Forwarded-Prefix": "/team/api"}) == [{"url": "/team/api"}]
    assert servers(live.url, **{"X-Forwarded-Prefix": "//evil.example"}) == [{"url": "/"}]
    assert servers(live.url) == [{"url": "/"}]


def test_a_prefix_of_a_proxy_that_is_not_named_is_ignored(shared_server, shipped):
    server = shared_server(shipped, "--workers", "1", "--forwarded-allow-ips", "192.0.2.0/24")
    assert servers(server.url, **{"X-Forwarded-Prefix": "/api"}) == [{"url": "/"}]
    # And neither is what it says of the scheme.
    answer = get(f"{server.url}/healthz", **{"X-Forwarded-Proto": "https"})
    assert "Strict-Transport-Security" not in answer.headers


@pytest.mark.parametrize("path", ["/predict", "/v1/models/digits:predict"])
def test_script_name_is_the_prefix_of_all_paths(path, serve, shipped, monkeypatch):
    monkeypatch.setenv("SCRIPT_NAME", "/api")
    server = serve(shipped, "--workers", "1")
    below = f"{server.url}/api"
    assert requests.post(f"{below}{path}", json=ROW, timeout=HANG_SECONDS).status_code == 200
    assert servers(below) == [{"url": "/api"}]
    for answer in (
        requests.post(f"{server.url}{path}", json=ROW, timeout=HANG_SECONDS),
        get(f"{server.url}/openapi.json"),
        requests.post(f"{server.url}/api{path[1:]}", json=ROW, timeout=HANG_SECONDS),
        get(f"{server.url}/apimetrics"),
    ):
        assert (answer.status_code, answer.json()["code"]) == (404, "not_found")
        assert "its path does not begin with SCRIPT_NAME" in answer.json()["error"]


def test_a_script_name_header_that_the_path_lacks_is_no_fault_of_the_server(live):
    answer = get(f"{live.url}/healthz", SCRIPT_NAME="/api")
    assert (answer.status_code, answer.json()["code"]) == (404, "not_found")
    assert get(f"{live.url}/healthz").status_code == 200


def test_a_script_name_may_end_with_a_slash_which_counts_once(live):
    headers = {"SCRIPT_NAME": "/api/"}
    assert get(f"{live.url}/api/healthz", **headers).status_code == 200
    assert get(f"{live.url}/api//healthz", **headers).status_code == 404
    assert get(f"{live.url}/apihealthz", **headers).status_code == 404
    assert servers(f"{live.url}/api", **headers) == [{"url": "/api"}]


def test_the_script_name_alone_is_the_index(live):
    answer = requests.get(
        f"{live.url}/api",
        headers={"SCRIPT_NAME": "/api"},
        allow_redirects=False,
        timeout=HANG_SECONDS,
    )
    assert (answer.status_code, answer.json()["predict"]) == (200, "/api/predict")
