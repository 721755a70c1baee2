"""The API's OpenAPI description: it is valid, and every route keeps to it."""

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


def test_openapi_description_is_valid(server):
    OpenAPIV31SpecValidator(
        requests.get(f"{server.url}/openapi.json", timeout=120).json()
    ).validate()


def test_routes_valid_and_invalid_requests_are_answered_as_described(server, tmp_path):
    """No route answers 5xx, or a status, media type or body that is not described."""
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
