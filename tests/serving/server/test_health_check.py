"""The health check of the image, run like in the image."""

import socket
import sys
from pathlib import Path

import pytest

from serving.server.health_check import read_server_address

ROOT = Path(__file__).parents[3]
HEALTH = [sys.executable, "-IS", str(ROOT / "serving/server/health_check.py")]


def find_free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


def run_health_check(processes, **variables):
    return processes.run(HEALTH, env=variables).returncode


def test_health_check_is_run_by_the_image():
    text = (ROOT / "Dockerfile").read_text()
    assert 'CMD ["python", "-IS", "/opt/forwardpass/app/serving/server/health_check.py"]' in text


def test_health_check_uses_host_and_port_of_the_server(processes, live, monkeypatch):
    port = live.url.rpartition(":")[2]
    for host in ("", "0.0.0.0", "127.0.0.1", " ", "localhost"):  # noqa: S104
        variables = {"FORWARDPASS_HOST": host, "FORWARDPASS_PORT": port, "http_proxy": "http://a"}
        assert run_health_check(processes, **variables, FORWARDPASS_TLS_CERT="") == 0
    assert run_health_check(processes, FORWARDPASS_PORT=str(find_free_port())) == 1


@pytest.mark.parametrize("port", ["tcp://10.0.0.1:9000", "", " ", None])
def test_health_check_port_unset_uses_default(port):
    environ = {} if port is None else {"FORWARDPASS_PORT": port}
    assert read_server_address(environ) == ("127.0.0.1", 8000)
    assert read_server_address(environ | {"FORWARDPASS_HOST": "::"}) == ("::1", 8000)


def test_health_check_not_ready_fails_and_tls_succeeds(
    processes, serve, shipped, certificate, tmp_path
):
    (tmp_path / "digits" / "1").mkdir(parents=True)
    unready = serve(tmp_path, "--workers", "1")
    assert run_health_check(processes, FORWARDPASS_PORT=unready.url.rpartition(":")[2]) == 1
    cert, key = map(str, certificate)
    secure = serve(shipped, "--workers", "1", "--tls-cert", cert, "--tls-key", key)
    port = secure.url.rpartition(":")[2]
    assert run_health_check(processes, FORWARDPASS_PORT=port, FORWARDPASS_TLS_CERT=cert) == 0
    assert run_health_check(processes, FORWARDPASS_PORT=port) == 1
