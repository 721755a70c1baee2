"""Environment variables as settings: blank ones and Kubernetes service links are ignored."""

import json
import os
import re
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest
import requests

from serving.settings.cloud_platforms import VertexSettings
from serving.settings.environment import find_service_links, is_service_link, remove_blank_variables
from serving.settings.options import Settings
from tests.processes import wait_until

ROOT = Path(__file__).parents[3]

# Variables that Kubernetes sets for a service `forwardpass` with a named port, and for services
# whose names begin with one of our prefixes.
LINKS = {
    "FORWARDPASS_SERVICE_HOST": "10.0.0.1",
    "FORWARDPASS_SERVICE_PORT": "8000",
    "FORWARDPASS_SERVICE_PORT_HTTP": "8000",
    "FORWARDPASS_PORT": "tcp://10.0.0.1:8000",
    "FORWARDPASS_PORT_8000_TCP": "tcp://10.0.0.1:8000",
    "FORWARDPASS_PORT_8000_TCP_PROTO": "tcp",
    "FORWARDPASS_PORT_8000_TCP_PORT": "8000",
    "FORWARDPASS_PORT_8000_TCP_ADDR": "10.0.0.1",
    "FORWARDPASS_CANARY_SERVICE_HOST": "10.0.0.2",
    "FORWARDPASS_CANARY_PORT": "udp://[fd00::2]:8000",
    "AIP_HTTP_PORT": "tcp://10.0.0.3:80",
}


@pytest.mark.parametrize("name", sorted(LINKS))
def test_is_service_link_kubernetes_variable_returns_true(name):
    assert is_service_link(name, LINKS[name])


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("FORWARDPASS_PORT", "8000"),
        ("FORWARDPASS_PORT", "tcp"),
        ("AIP_HTTP_PORT", "8080"),
        ("FORWARDPASS_HOST", "10.0.0.1"),
        ("FORWARDPASS_REPORT", "tcp://10.0.0.1:1"),
        ("OTHER_SERVICE_HOST", "10.0.0.1"),
        ("FORWARDPASS_MODELS", "tcp://a"),
    ],
)
def test_is_service_link_setting_returns_false(name, value):
    assert not is_service_link(name, value)
    assert find_service_links({name: value}) == []


def test_settings_service_links_are_ignored(monkeypatch):
    default = Settings(), VertexSettings()
    for name, value in LINKS.items():
        monkeypatch.setenv(name, value)
    assert (Settings(), VertexSettings()) == default
    assert Settings(port=9).port == 9


def test_remove_blank_variables_keeps_others(monkeypatch):
    names = ["FORWARDPASS_HOST", "AIP_HTTP_PORT", "MALLOC_ARENA_MAX", "LISTEN_FDS", "OTHER"]
    monkeypatch.setattr(os, "environ", dict.fromkeys(names, " ") | {"FORWARDPASS_PORT": "1"})
    remove_blank_variables()
    assert os.environ == {"OTHER": " ", "FORWARDPASS_PORT": "1"}


@pytest.fixture
def run(processes):
    """Return a function that starts `serving run` with additional environment variables."""

    def start(variables, *arguments):
        command = [sys.executable, "-m", "serving", "run", "--workers", "1", *arguments]
        environment = {k: v for k, v in os.environ.items() if k != "CI"} | variables
        return processes.start(
            command, env=environment, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
        )

    return start


def read_lines_until(process, phrase):
    """Return the JSON log lines of a process, up to the first one that contains a phrase."""
    lines = []
    for line in process.stdout:
        lines.append(json.loads(line))
        if phrase in line:
            return lines
    raise AssertionError(f"ended before {phrase!r}: {lines}")


def find_free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


BLANK = dict.fromkeys(
    [
        "FORWARDPASS_HOST",
        "FORWARDPASS_STATE",
        "FORWARDPASS_KEYS",
        "FORWARDPASS_TIMEOUT",
        "FORWARDPASS_TLS_CERT",
        "FORWARDPASS_UNKNOWN",
        "AIP_HTTP_PORT",
        "AIP_STORAGE_URI",
        "PORT",
        "WEB_CONCURRENCY",
        "GUNICORN_CMD_ARGS",
        "GUNICORN_PID",
        "LISTEN_FDS",
        "LISTEN_PID",
        "NOTIFY_SOCKET",
        "MALLOC_ARENA_MAX",
        "ORT_DISABLE_TELEMETRY",
        "SCRIPT_NAME",
        "FORWARDED_ALLOW_IPS",
        "GEVENT_LOOP",
    ],
    "",
)


@pytest.mark.parametrize("blank", ["", " "])
def test_server_blank_variables_count_as_unset(blank, run):
    variables = dict.fromkeys(BLANK, blank) | {"HOST": "0.0.0.0"}  # noqa: S104
    if blank:
        variables["WEB_CONCURRENCY"] = "auto"
    server = run(variables, "--models", "models", "--port", "0")
    lines = read_lines_until(server, "worker ready")
    (listening,) = (line["event"] for line in lines if "Listening at" in line["event"])
    assert "http://127.0.0.1:" in listening
    (url,) = re.findall(r"http://[\d.:]+", listening)
    assert requests.get(f"{url}/readyz", timeout=120).status_code == 200
    assert {line["level"] for line in lines} == {"info"}
    worker = lines[-1]["process"]
    environment = Path(f"/proc/{server.pid}/environ").read_bytes().split(b"\0")
    assert b"MALLOC_ARENA_MAX=1" in environment
    assert is_alive(worker)


def is_alive(pid):
    os.kill(pid, 0)
    return True


def test_server_service_links_are_ignored_with_one_warning(run):
    port = str(find_free_port())
    server = run(LINKS | {"FORWARDPASS_MODELS": "models"}, "--port", port)
    lines = read_lines_until(server, "worker ready")
    (warning,) = (line["event"] for line in lines if line["level"] == "warning")
    assert "enableServiceLinks: false" in warning
    assert [name for name in LINKS if name not in warning] == []
    assert requests.get(f"http://127.0.0.1:{port}/readyz", timeout=120).status_code == 200
    server.send_signal(signal.SIGTERM)
    wait_until(lambda: server.poll() is not None)
