"""HTTPS, with a certificate made for the occasion."""

import signal
import ssl
import subprocess
import sys
import time

import pytest
import requests

BODY = {"instances": [[0] * 64]}


def made_in(folder):
    """Files of a certificate for 127.0.0.1 that has signed itself, and of its key."""
    cert, key = folder / "cert.pem", folder / "key.pem"
    command = (
        f"openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 1 "
        f"-subj /CN=forwardpass -addext subjectAltName=IP:127.0.0.1 -keyout {key} -out {cert}"
    )
    subprocess.run(command.split(), check=True, capture_output=True)
    return cert, key


@pytest.fixture(scope="module")
def certificate(tmp_path_factory):
    return made_in(tmp_path_factory.mktemp("tls"))


def test_requests_are_answered_over_tls(serve, shipped, certificate):
    cert, key = certificate
    server = serve(shipped, "--workers", "1", "--tls-cert", str(cert), "--tls-key", str(key))
    assert server.url.startswith("https://")
    with requests.Session() as session:
        for path in ("/predict", "/predict?model=digits"):
            url = f"{server.url}{path}"
            # Not the session's own: an environment may name other authorities, which win.
            answer = session.post(url, json=BODY, timeout=10, verify=str(cert))
            assert answer.status_code == 200
            assert answer.headers["Strict-Transport-Security"] == "max-age=31536000"
    with pytest.raises(requests.exceptions.SSLError):
        requests.get(f"{server.url}/healthz", timeout=10)
    host, port = server.url.removeprefix("https://").split(":")
    for version, allowed in ((ssl.TLSVersion.TLSv1_1, False), (ssl.TLSVersion.TLSv1_2, True)):
        done = speak(host, port, version)
        assert (done.returncode == 0) == allowed, done.stdout


def test_a_new_certificate_is_taken_up_on_sighup(serve, shipped, tmp_path):
    cert, key = made_in(tmp_path)
    server = serve(shipped, "--workers", "1", "--tls-cert", str(cert), "--tls-key", str(key))
    host, port = server.url.removeprefix("https://").split(":")

    def shown():
        return ssl.get_server_certificate((host, int(port)), timeout=10)

    first = shown()
    made_in(tmp_path)
    second = cert.read_text()
    assert shown() == first != second
    server.process.send_signal(signal.SIGHUP)
    deadline = time.monotonic() + 15
    while shown() != second:
        assert time.monotonic() < deadline
        time.sleep(0.1)


def speak(host, port, version):
    name = version.name.removeprefix("TLSv")
    command = f"openssl s_client -connect {host}:{port} -tls{name} -cipher ALL:@SECLEVEL=0"
    return subprocess.run(command.split(), input=b"", capture_output=True, timeout=10, check=False)


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
        capture_output=True, text=True, timeout=30, check=False,
    )  # fmt: skip
    assert done.returncode != 0
    assert message in done.stderr
    assert "Traceback" not in done.stderr
