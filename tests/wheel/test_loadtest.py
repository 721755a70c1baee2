"""`pip install 'forwardpass[loadtest]'`: the load test of a server."""

import json
import shutil

import pytest

from tests.wheel.environments import ROOT

pytestmark = pytest.mark.wheel


def test_loadtest_measures_a_server_and_writes_its_page(loadtest):
    shutil.copytree(ROOT / "models" / "digits" / "1", loadtest.home / "models" / "digits" / "1")
    with loadtest.serve() as server:
        done = loadtest.run(
            *("serving", "loadtest", server.url, "--users", 1, "--duration", 1),
            *("--warm-up", 0, "--json", "--html", "page.html"),
        )
    assert done.returncode == 0, done.stderr
    report = json.loads(done.stdout)
    assert report["requests"] > 0
    assert "<svg" in (loadtest.home / "page.html").read_text()
