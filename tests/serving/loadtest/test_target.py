"""What a client learns of a server, and what it says of one that it cannot ask."""

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
SHORT = {"name": "m", "version": 1, "task": "binary"}


@pytest.fixture
def stub():
    """A server that answers each path as it is told to; told so by `(status, type, text)`."""
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


def test_a_server_of_one_model_is_read_as_its_manifest_has_it(live, shipped):
    target = read_target(live.url)
    manifest = json.loads((shipped / "digits" / "1" / "bundle.json").read_text())
    assert (target.model, target.version, target.task) == ("digits", 1, "multiclass")
    assert target.alone
    assert target.classes == tuple(range(10))
    assert target.targets == ("target",)
    assert [c.name for c in target.columns] == [c["name"] for c in manifest["inputs"]]
    assert target.columns[1] == SchemaColumn("pixel_0_1", "number", False, True, 0, 8)
    assert target.example == manifest["example"]
    assert target.all_numbers
    assert target.metrics
    assert target.headers == {}


def test_of_several_models_one_is_named_and_its_columns_told(serve, shipped, adults, tmp_path):
    for models in (shipped, adults):
        shutil.copytree(models, tmp_path, dirs_exist_ok=True)
    url = serve(tmp_path, "--workers", "1").url + "/"
    with pytest.raises(
        UnusableServerError, match="expected --model out of adults, digits, which .* none"
    ):
        read_target(url)
    with pytest.raises(
        UnusableServerError, match="expected a model out of adults, digits.*got 'digit'"
    ):
        read_target(url, model="digit")
    target = read_target(url, model="adults")
    assert target.model == "adults"
    assert not target.alone
    assert target.columns == (
        SchemaColumn("age", "number", True, True, 17, 90),
        SchemaColumn("hours/week", "number", False, False, 1, 99),
        SchemaColumn("member", "boolean", True),
        SchemaColumn(
            "work",
            "category",
            True,
            categories=("Private", "Self-employed", "State"),
            takes_unseen=True,
        ),
        SchemaColumn("grade", "category", False, categories=("1", "2", "3")),
        SchemaColumn("since", "date", True, False, "2000-01-01", "2024-12-31"),
    )
    assert not target.all_numbers
    assert target.get("/healthz")[0] == 200
    assert target.get("/nowhere")[0] == 404
    body = json.dumps({"instances": [dict(target.example)]}).encode()
    status, answer = target.post("/predict?model=adults", {"Content-Type": JSON}, body)
    assert status == 200
    assert json.loads(answer)["model"] == "adults"


@pytest.mark.usefixtures("processes")
def test_a_server_behind_tls_and_keys_is_asked_with_both(serve, shipped, tmp_path):
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
    target = read_target(server.url, key=key, ca=str(cert))
    assert target.model == "digits"
    assert target.metrics
    assert target.address.tls
    assert target.get("/models")[0] == 200
    assert key not in repr(target)
    with pytest.raises(UnusableServerError, match="expected a key .*; got none.*give --key"):
        read_target(server.url, ca=str(cert))
    with pytest.raises(
        UnusableServerError, match="expected a key .*; got one that does not open it"
    ):
        read_target(server.url, key="another", ca=str(cert))
    with pytest.raises(
        UnusableServerError, match="expected a certificate that is trusted.*give --ca"
    ):
        read_target(server.url, key=key)
    with pytest.raises(UnusableServerError, match="expected a file of certificates in PEM as --ca"):
        read_target(server.url, key=key, ca=str(keys))
    with pytest.raises(UnusableServerError, match="try https://"):
        read_target(server.url.replace("https", "http"), key=key)


def test_tls_where_there_is_none_is_named(live):
    with pytest.raises(UnusableServerError, match="expected TLS at https://.*try http://"):
        read_target(live.url.replace("http:", "https:"))


def test_nothing_that_listens_is_named():
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{bound.getsockname()[1]}"
        with pytest.raises(
            UnusableServerError, match=r"that listens at http://127.*refused; start one"
        ):
            read_target(url)


def test_a_server_that_says_nothing_is_not_waited_for_for_ever():
    with socket.create_server(("127.0.0.1", 0)) as silent:
        address = ServerAddress(*silent.getsockname())
        with pytest.raises(UnusableServerError, match=r"within 0\.05 s; got none"):
            fetch(address, "/models", {}, timeout=0.05)


@pytest.mark.parametrize(
    ("paths", "message"),
    [
        ({}, "a server of this project.*got 404; check"),
        ({"models": (200, "text/html", "<h1>hi</h1>")}, "of this project.*got text/html"),
        ({"models": (200, JSON, "[]")}, "of this project.*got JSON of another form"),
        ({"models": (200, JSON, '{"models": [1]}')}, "of this project.*JSON of another form"),
        ({"models": (301, "text/html", "")}, "got 301 to https://elsewhere/"),
        ({"models": (503, JSON, '{"error": "not yet"}')}, "is ready.*got 503: not yet; wait"),
        (
            {"models": (200, JSON, '{"models": []}'), "readyz": (503, JSON, '{"ready": false}')},
            'is ready.*without a model: {"ready": false}; wait',
        ),
        (
            {
                "models": (200, JSON, '{"models": [{"name": "m"}]}'),
                "models/m": (200, JSON, json.dumps(SHORT)),
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
                        SHORT
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
def test_a_server_of_another_kind_is_named(stub, paths, message):
    with pytest.raises(UnusableServerError, match=message):
        read_target(stub(**paths))


def test_a_path_before_the_servers_own_is_kept(stub):
    said = SHORT | {"classes": None, "targets": ["t"], "example": {"x": 1.5}}
    column = {"name": "x", "type": "number", "missing": "refuse", "minimum": 0, "maximum": 1}
    said["inputs"] = [column]
    paths = {
        "a/b/models": (200, JSON, '{"models": [{"name": "m"}]}'),
        "a/b/models/m": (200, JSON, json.dumps(said)),
    }
    target = read_target(stub(**paths) + "/a/b/")
    assert target.base == "/a/b"
    assert target.classes == ()
    assert not target.metrics
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
def test_what_is_no_url_is_refused(url):
    with pytest.raises(
        UnusableServerError, match="expected a URL such as http://127.0.0.1:8000; got"
    ):
        read_target(url)


def test_what_cannot_be_a_key_or_needs_tls_is_refused():
    with pytest.raises(UnusableServerError, match="expected a key of printable ASCII"):
        read_target("http://127.0.0.1:1", key="a\r\nb")
    with pytest.raises(UnusableServerError, match="expected a URL with https:// beside --ca"):
        read_target("http://127.0.0.1:1", ca="ca.pem")


def test_what_a_server_says_moves_no_terminal():
    assert quote_error_body(b"\x1b]0;title\x07 full") == "�]0;title� full"
    assert quote_error_body(b'{"error": "no \\u001b[31mred"}') == "no �[31mred"
