"""HTTPS, with a certificate made for the test."""

import signal
import socket
import ssl
import subprocess
import sys
from contextlib import suppress

import pytest
import requests

from tests.processes import wait_until
from tests.serving.conftest import make_certificate

BODY = {"instances": [[0] * 64]}


def test_tls_requests_are_answered(shared_server, shipped, certificate):
    cert, key = certificate
    server = shared_server(
        shipped, "--workers", "1", "--tls-cert", str(cert), "--tls-key", str(key)
    )
    assert server.url.startswith("https://")
    with requests.Session() as session:
        for path in ("/predict", "/predict?model=digits"):
            url = f"{server.url}{path}"
            # For each request, since environment variables override the session's `verify`.
            answer = session.post(url, json=BODY, timeout=120, verify=str(cert))
            assert answer.status_code == 200
            assert answer.headers["Strict-Transport-Security"] == "max-age=31536000"
    with pytest.raises(requests.exceptions.SSLError):
        requests.get(f"{server.url}/healthz", timeout=120)
    host, port = server.url.removeprefix("https://").split(":")
    for version, allowed in ((ssl.TLSVersion.TLSv1_1, False), (ssl.TLSVersion.TLSv1_2, True)):
        done = run_openssl_client(host, port, version)
        assert (done.returncode == 0) == allowed, done.stdout


def test_tls_sighup_loads_new_certificate(serve, shipped, tmp_path):
    cert, key = make_certificate(tmp_path)
    server = serve(shipped, "--workers", "1", "--tls-cert", str(cert), "--tls-key", str(key))
    host, port = server.url.removeprefix("https://").split(":")

    def shown():
        return ssl.get_server_certificate((host, int(port)), timeout=120)

    first = shown()
    make_certificate(tmp_path)
    second = cert.read_text()
    assert shown() == first != second
    server.process.send_signal(signal.SIGHUP)
    wait_until(lambda: shown() == second)


def run_openssl_client(host, port, version):
    name = version.name.removeprefix("TLSv")
    command = f"openssl s_client -connect {host}:{port} -tls{name} -cipher ALL:@SECLEVEL=0"
    return subprocess.run(command.split(), input=b"", capture_output=True, timeout=120, check=False)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--tls-cert", "{cert}"], "expected --tls-cert and --tls-key together"),
        (["--tls-key", "{key}"], "expected --tls-cert and --tls-key together"),
        (["--tls-cert", "{cert}", "--tls-key", "/no/such"], "No such file"),
        (["--tls-cert", "{key}", "--tls-key", "{cert}"], "expected a certificate and its key"),
    ],
)
def test_tls_certificate_unusable_ends_start(options, message, certificate):
    cert, key = certificate
    arguments = [option.format(cert=cert, key=key) for option in options]
    done = subprocess.run(
        [sys.executable, "-m", "serving", "run", "--port", "0", *arguments],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode != 0
    assert message in done.stderr
    assert "Traceback" not in done.stderr


def read_handshake_events(server):
    return [r["event"] for r in server.records() if "TLS handshake failed" in r["event"]]


def test_tls_handshake_failures_are_counted_and_logged_once_by_cause(serve, shipped, certificate):
    cert, key = certificate
    server = serve(shipped, "--workers", "1", "--tls-cert", str(cert), "--tls-key", str(key))
    host, port = server.url.removeprefix("https://").split(":")

    def meet(sent):
        with socket.create_connection((host, int(port)), timeout=120) as client:
            client.sendall(sent)
            with suppress(ConnectionResetError):
                while client.recv(2**16):
                    pass

    for _ in range(5):
        meet(b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n")
        meet(b"POST /predict HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n")
        with pytest.raises(requests.exceptions.SSLError):  # the client does not trust it
            requests.get(f"{server.url}/healthz", timeout=120)
        with socket.create_connection((host, int(port)), timeout=120):
            pass  # a load balancer that checks whether the port is open
    run_openssl_client(host, port, ssl.TLSVersion.TLSv1_1)
    text = requests.get(f"{server.url}/metrics", timeout=120, verify=str(cert)).text
    lines = read_handshake_events(server)
    assert sum("plain HTTP on the TLS port" in line for line in lines) == 1
    assert sum("to trust the server's certificate" in line for line in lines) == 1
    assert sum("expected TLS 1.2 or 1.3" in line for line in lines) == 1
    assert len(lines) == 3
    for cause, times in (("plain_http", 10), ("certificate", 5), ("protocol", 1)):
        assert f'forwardpass_tls_handshake_failures_total{{cause="{cause}"}} {times}.0' in text


@pytest.mark.parametrize("path", ["/nowhere", "/nowhere?unusual=%20"])
def test_tls_early_answer_client_still_sending_receives_it(
    path, shared_server, shipped, certificate
):
    cert, key = certificate
    server = shared_server(
        shipped, "--workers", "1", "--tls-cert", str(cert), "--tls-key", str(key)
    )
    for _ in range(5):
        answer = requests.post(
            f"{server.url}{path}", data=bytes(9 * 10**6), timeout=120, verify=str(cert)
        )
        assert (answer.status_code, answer.headers["Connection"]) == (404, "close")
