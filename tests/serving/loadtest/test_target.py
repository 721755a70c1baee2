"""Targets read from real servers, and servers that cannot be tested."""

import json
import shutil
import socket
import subprocess
import sys
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest

from serving.loadtest.http_client import ServerAddress, UnusableServerError, fetch, quote_error_body
from serving.loadtest.target import SchemaColumn, read_target

JSON = "application/json"
DETAILS = {"name": "m", "version": 1, "task": "binary"}


@pytest.fixture
def stub():
    """Start servers that answer paths with `(status, media type, text)`, and returns the URL."""
    servers = []

    def start(**paths):
        class Handler(BaseHTTPRequestHandler):
            def do_GET(self):
                status, media, text = paths.get(self.path[1:], (404, "text/html", "<h1>no</h1>"))
                self.send_response(status)
                self.send_header("Content-Type", media)
                self.send_header("Content-Length", str(len(text)))
                if status == 301:
                    self.send_header("Location", "https://elsewhere/")
                self.end_headers()
                self.wfile.write(text.encode())

            def log_message(self, *_):
                pass

        server = HTTPServer(("127.0.0.1", 0), Handler)
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        servers.append((server, thread))
        return f"http://127.0.0.1:{server.server_port}"

    yield start
    for server, thread in servers:
        server.shutdown()
        thread.join()
        server.server_close()


def test_read_target_single_model_equals_its_manifest(live, shipped):
    target = read_target(live.url)
    manifest = json.loads((shipped / "digits" / "1" / "bundle.json").read_text())
    assert (target.model, target.version, target.task) == ("digits", 1, "multiclass")
    assert target.is_only_model
    assert target.classes == tuple(range(10))
    assert target.targets == ("target",)
    assert [c.name for c in target.columns] == [c["name"] for c in manifest["inputs"]]
    assert target.columns[1] == SchemaColumn("pixel_0_1", "number", False, True, 0, 8)
    assert target.example == manifest["example"]
    assert target.has_single_input
    assert target.has_metrics
    assert target.headers == {}


def test_read_target_several_models_requires_a_name(serve, shipped, adults, tmp_path):
    for models in (shipped, adults):
        shutil.copytree(models, tmp_path, dirs_exist_ok=True)
    url = serve(tmp_path, "--workers", "1").url + "/"
    with pytest.raises(
        UnusableServerError, match="expected --model, one of adults, digits at .*; got none"
    ):
        read_target(url)
    with pytest.raises(
        UnusableServerError, match="expected a model out of adults, digits.*got 'digit'"
    ):
        read_target(url, model="digit")
    target = read_target(url, model="adults")
    assert target.model == "adults"
    assert not target.is_only_model
    assert target.columns == (
        SchemaColumn("age", "number", True, True, 17, 90),
        SchemaColumn("hours/week", "number", False, False, 1, 99),
        SchemaColumn("member", "boolean", True),
        SchemaColumn(
            "work",
            "category",
            True,
            categories=("Private", "Self-employed", "State"),
            accepts_unseen=True,
        ),
        SchemaColumn("grade", "category", False, categories=("1", "2", "3")),
        SchemaColumn("since", "date", True, False, "2000-01-01", "2024-12-31"),
    )
    assert not target.has_single_input
    assert target.get("/healthz")[0] == 200
    assert target.get("/nowhere")[0] == 404
    body = json.dumps({"instances": [dict(target.example)]}).encode()
    status, answer = target.post("/predict?model=adults", {"Content-Type": JSON}, body)
    assert status == 200
    assert json.loads(answer)["model"] == "adults"


@pytest.mark.usefixtures("processes")
def test_read_target_with_tls_and_keys_requires_both(serve, shipped, tmp_path):
    cert, secret, keys = (tmp_path / name for name in ("cert.pem", "key.pem", "keys.txt"))
    subprocess.run(
        f"openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 1 -subj "
        f"/CN=forwardpass -addext subjectAltName=IP:127.0.0.1 -keyout {secret} -out {cert}".split(),
        check=True,
        capture_output=True,
    )
    made = subprocess.run(
        [sys.executable, "-m", "serving", "key", "me", "--scope", "predict"],
        check=True,
        capture_output=True,
        text=True,
    )
    keys.write_text(made.stdout)
    key = made.stderr.split()[-1]
    server = serve(
        shipped,
        "--workers",
        "1",
        "--keys",
        str(keys),
        "--tls-cert",
        str(cert),
        "--tls-key",
        str(secret),
    )
    target = read_target(server.url, key=key, ca_file=str(cert))
    assert target.model == "digits"
    assert target.has_metrics
    assert target.address.use_tls
    assert target.get("/models")[0] == 200
    assert key not in repr(target)
    with pytest.raises(UnusableServerError, match="expected a key .*; got none.*with --key KEY"):
        read_target(server.url, ca_file=str(cert))
    with pytest.raises(
        UnusableServerError, match="expected a key .*; got one that is not accepted"
    ):
        read_target(server.url, key="another", ca_file=str(cert))
    with pytest.raises(UnusableServerError, match="expected a trusted certificate.*with --ca FILE"):
        read_target(server.url, key=key)
    with pytest.raises(UnusableServerError, match="expected a PEM file of certificates as --ca"):
        read_target(server.url, key=key, ca_file=str(keys))
    with pytest.raises(UnusableServerError, match="try https://"):
        read_target(server.url.replace("https", "http"), key=key)


def test_read_target_https_url_of_http_server_hints_at_http(live):
    with pytest.raises(UnusableServerError, match="expected TLS at https://.*try http://"):
        read_target(live.url.replace("http:", "https:"))


def test_read_target_nothing_listens_raises():
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{bound.getsockname()[1]}"
        with pytest.raises(
            UnusableServerError, match=r"that listens at http://127.*refused; start one"
        ):
            read_target(url)


def test_fetch_silent_server_times_out():
    with socket.create_server(("127.0.0.1", 0)) as silent:
        address = ServerAddress(*silent.getsockname())
        with pytest.raises(UnusableServerError, match=r"within 0\.05 s; got none"):
            fetch(address, "/models", {}, timeout=0.05)


@pytest.mark.parametrize(
    ("paths", "message"),
    [
        ({}, "a forwardpass server.*got 404; check"),
        ({"models": (200, "text/html", "<h1>hi</h1>")}, "a forwardpass server.*got text/html"),
        ({"models": (200, JSON, "[]")}, "a forwardpass server.*got other JSON"),
        ({"models": (200, JSON, '{"models": [1]}')}, "a forwardpass server.*got other JSON"),
        ({"models": (301, "text/html", "")}, "got 301 with a redirect to https://elsewhere/"),
        ({"models": (503, JSON, '{"error": "not yet"}')}, "a ready server.*got 503: not yet; wait"),
        (
            {"models": (200, JSON, '{"models": []}'), "readyz": (503, JSON, '{"ready": false}')},
            'a ready server.*without a model: {"ready": false}; wait',
        ),
        (
            {
                "models": (200, JSON, '{"models": [{"name": "m"}]}'),
                "models/m": (200, JSON, json.dumps(DETAILS)),
            },
            "inputs and example.*KeyError",
        ),
        (
            {
                "models": (200, JSON, '{"models": [{"name": "m"}]}'),
                "models/m": (
                    200,
                    JSON,
                    json.dumps(
                        DETAILS
                        | {
                            "classes": ["a", "b"],
                            "targets": ["t"],
                            "example": {},
                            "inputs": [{"name": "x", "type": "image", "missing": "refuse"}],
                        }
                    ),
                ),
            },
            "an input of type 'image'",
        ),
    ],
)
def test_read_target_other_server_raises(stub, paths, message):
    with pytest.raises(UnusableServerError, match=message):
        read_target(stub(**paths))


def test_read_target_path_prefix_is_kept(stub):
    details = DETAILS | {"classes": None, "targets": ["t"], "example": {"x": 1.5}}
    column = {"name": "x", "type": "number", "missing": "refuse", "minimum": 0, "maximum": 1}
    details["inputs"] = [column]
    paths = {
        "a/b/models": (200, JSON, '{"models": [{"name": "m"}]}'),
        "a/b/models/m": (200, JSON, json.dumps(details)),
    }
    target = read_target(stub(**paths) + "/a/b/")
    assert target.base_path == "/a/b"
    assert target.classes == ()
    assert not target.has_metrics
    assert target.get("/models/m")[0] == 200


@pytest.mark.parametrize(
    "url",
    [
        "127.0.0.1:8000",
        "localhost",
        "ftp://host",
        "http://",
        "http://host:port",
        "http://h:99999",
        "http://h/?model=m",
        "http://me:secret@h",
        "http://h/a b",
        "http://[::1",
        "",
    ],
)
def test_read_target_invalid_url_raises(url):
    with pytest.raises(
        UnusableServerError, match="expected a URL such as http://127.0.0.1:8000; got"
    ):
        read_target(url)


def test_read_target_invalid_key_or_ca_without_tls_raises():
    with pytest.raises(UnusableServerError, match="expected a key of printable ASCII"):
        read_target("http://127.0.0.1:1", key="a\r\nb")
    with pytest.raises(
        UnusableServerError, match="expected a URL with https:// when --ca is given"
    ):
        read_target("http://127.0.0.1:1", ca_file="ca.pem")


def test_quote_error_body_replaces_control_characters():
    assert quote_error_body(b"\x1b]0;title\x07 full") == "�]0;title� full"
    assert quote_error_body(b'{"error": "no \\u001b[31mred"}') == "no �[31mred"
