"""A server whose paths have a prefix: from a proxy that removes it, or from SCRIPT_NAME."""

import pytest
import requests

from tests.processes import HANG_SECONDS

ROW = {"instances": [[0] * 64]}


def get_url(url, **headers):
    return requests.get(url, headers=headers, timeout=HANG_SECONDS)


def read_servers(url, **headers):
    return get_url(f"{url}/openapi.json", **headers).json()["servers"]


def test_openapi_trusted_proxy_prefix_is_in_servers(live):
    assert read_servers(live.url, **{"X-Forwarded-Prefix": "/team/api"}) == [{"url": "/team/api"}]
    assert read_servers(live.url, **{"X-Forwarded-Prefix": "//evil.example"}) == [{"url": "/"}]
    assert read_servers(live.url) == [{"url": "/"}]


def test_openapi_untrusted_proxy_prefix_is_ignored(shared_server, shipped):
    server = shared_server(shipped, "--workers", "1", "--forwarded-allow-ips", "192.0.2.0/24")
    assert read_servers(server.url, **{"X-Forwarded-Prefix": "/api"}) == [{"url": "/"}]
    # Its header for the scheme is ignored, too.
    answer = get_url(f"{server.url}/healthz", **{"X-Forwarded-Proto": "https"})
    assert "Strict-Transport-Security" not in answer.headers


@pytest.mark.parametrize("path", ["/predict", "/v1/models/digits:predict"])
def test_script_name_prefixes_all_paths(path, serve, shipped, monkeypatch):
    monkeypatch.setenv("SCRIPT_NAME", "/api")
    server = serve(shipped, "--workers", "1")
    below = f"{server.url}/api"
    assert requests.post(f"{below}{path}", json=ROW, timeout=HANG_SECONDS).status_code == 200
    assert read_servers(below) == [{"url": "/api"}]
    for answer in (
        requests.post(f"{server.url}{path}", json=ROW, timeout=HANG_SECONDS),
        get_url(f"{server.url}/openapi.json"),
        requests.post(f"{server.url}/api{path[1:]}", json=ROW, timeout=HANG_SECONDS),
        get_url(f"{server.url}/apimetrics"),
    ):
        assert (answer.status_code, answer.json()["code"]) == (404, "not_found")
        assert "its path does not begin with SCRIPT_NAME" in answer.json()["error"]


def test_script_name_header_path_without_it_answers_404(live):
    answer = get_url(f"{live.url}/healthz", SCRIPT_NAME="/api")
    assert (answer.status_code, answer.json()["code"]) == (404, "not_found")
    assert get_url(f"{live.url}/healthz").status_code == 200


def test_script_name_header_with_final_slash_counts_once(live):
    headers = {"SCRIPT_NAME": "/api/"}
    assert get_url(f"{live.url}/api/healthz", **headers).status_code == 200
    assert get_url(f"{live.url}/api//healthz", **headers).status_code == 404
    assert get_url(f"{live.url}/apihealthz", **headers).status_code == 404
    assert read_servers(f"{live.url}/api", **headers) == [{"url": "/api"}]


def test_script_name_equals_the_path_returns_the_index(live):
    answer = requests.get(
        f"{live.url}/api",
        headers={"SCRIPT_NAME": "/api"},
        allow_redirects=False,
        timeout=HANG_SECONDS,
    )
    assert (answer.status_code, answer.json()["predict"]) == (200, "/api/predict")
