"""HTTPS, with a certificate made for the occasion."""

import signal
import ssl
import subprocess
import sys

import pytest
import requests

from tests.processes import wait_until
from tests.serving.conftest import make_certificate

BODY = {"instances": [[0] * 64]}


def test_requests_are_answered_over_tls(shared_server, shipped, certificate):
    cert, key = certificate
    server = shared_server(
        shipped, "--workers", "1", "--tls-cert", str(cert), "--tls-key", str(key)
    )
    assert server.url.startswith("https://")
    with requests.Session() as session:
        for path in ("/predict", "/predict?model=digits"):
            url = f"{server.url}{path}"
            # Not the session's own: an environment may name other authorities, which win.
            answer = session.post(url, json=BODY, timeout=120, verify=str(cert))
            assert answer.status_code == 200
            assert answer.headers["Strict-Transport-Security"] == "max-age=31536000"
    with pytest.raises(requests.exceptions.SSLError):
        requests.get(f"{server.url}/healthz", timeout=120)
    host, port = server.url.removeprefix("https://").split(":")
    for version, allowed in ((ssl.TLSVersion.TLSv1_1, False), (ssl.TLSVersion.TLSv1_2, True)):
        done = speak(host, port, version)
        assert (done.returncode == 0) == allowed, done.stdout


def test_a_new_certificate_is_taken_up_on_sighup(serve, shipped, tmp_path):
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


def speak(host, port, version):
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
def test_what_is_no_certificate_is_said_at_once(options, message, certificate):
    cert, key = certificate
    arguments = [option.format(cert=cert, key=key) for option in options]
    done = subprocess.run(
        [sys.executable, "-m", "serving", "run", "--port", "0", *arguments],
        capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip
    assert done.returncode != 0
    assert message in done.stderr
    assert "Traceback" not in done.stderr
