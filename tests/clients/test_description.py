"""The API's description, read by a validator and tried by a machine."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import requests
from openapi_spec_validator import OpenAPIV31SpecValidator

pytestmark = pytest.mark.clients

HERE = Path(__file__).parent


@pytest.fixture(params=["digits", "people"])
def server(request):
    return request.getfixturevalue(request.param)


def test_it_is_valid(server):
    OpenAPIV31SpecValidator(
        requests.get(f"{server.url}/openapi.json", timeout=120).json()
    ).validate()


def test_no_route_fails_what_it_promises(server, tmp_path):
    """Good and bad requests of every route: no 5xx, only described statuses, types and bodies."""
    hooks = {"SCHEMATHESIS_HOOKS": "tests.clients.hooks", "PYTHONPATH": str(HERE.parent.parent)}
    done = subprocess.run(
        [
            Path(sys.executable).parent / "schemathesis",
            "--config-file",
            HERE / "schemathesis.toml",
            "run",
            f"{server.url}/openapi.json",
            "--max-examples",
            "15",
            "--seed",
            "7",
            "--max-time",
            "30",
            "--phases",
            "examples,coverage,fuzzing",
            "--no-color",
        ],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
        cwd=tmp_path,
        env=os.environ | hooks,
    )
    assert done.returncode == 0, done.stdout[-8000:] + done.stderr[-2000:]
    assert server.process.poll() is None
    assert requests.get(f"{server.url}/readyz", timeout=120).status_code == 200
