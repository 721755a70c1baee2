"""The image's health check, run as the image runs it."""

import socket
import sys
from pathlib import Path

import pytest

from serving.server.health_check import read_server_address

ROOT = Path(__file__).parents[3]
HEALTH = [sys.executable, "-IS", str(ROOT / "serving/server/health_check.py")]


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


def healthy(processes, **variables):
    return processes.run(HEALTH, env=variables).returncode


def test_health_check_is_the_one_of_the_image():
    text = (ROOT / "Dockerfile").read_text()
    assert 'CMD ["python", "-IS", "/opt/forwardpass/app/serving/server/health_check.py"]' in text


def test_health_check_asks_where_the_server_listens(processes, live, monkeypatch):
    port = live.url.rpartition(":")[2]
    for host in ("", "0.0.0.0", "127.0.0.1", " ", "localhost"):  # noqa: S104
        variables = {"FORWARDPASS_HOST": host, "FORWARDPASS_PORT": port, "http_proxy": "http://a"}
        assert healthy(processes, **variables, FORWARDPASS_TLS_CERT="") == 0
    assert healthy(processes, FORWARDPASS_PORT=str(free_port())) == 1


@pytest.mark.parametrize("port", ["tcp://10.0.0.1:9000", "", " ", None])
def test_health_check_without_a_port_asks_at_the_images(port):
    environ = {} if port is None else {"FORWARDPASS_PORT": port}
    assert read_server_address(environ) == ("127.0.0.1", 8000)
    assert read_server_address(environ | {"FORWARDPASS_HOST": "::"}) == ("::1", 8000)


def test_health_check_of_a_server_that_is_not_ready_or_speaks_tls(
    processes, serve, shipped, certificate, tmp_path
):
    (tmp_path / "digits" / "1").mkdir(parents=True)
    unready = serve(tmp_path, "--workers", "1")
    assert healthy(processes, FORWARDPASS_PORT=unready.url.rpartition(":")[2]) == 1
    cert, key = map(str, certificate)
    secure = serve(shipped, "--workers", "1", "--tls-cert", cert, "--tls-key", key)
    port = secure.url.rpartition(":")[2]
    assert healthy(processes, FORWARDPASS_PORT=port, FORWARDPASS_TLS_CERT=cert) == 0
    assert healthy(processes, FORWARDPASS_PORT=port) == 1
