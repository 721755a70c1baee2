"""README.md: its first request gets the answer that it shows, and it stays short."""

import json
import re

import requests

from tests.pages.answers import is_same, parse_curl
from tests.pages.markdown import ROOT, list_blocks, read_page

README = read_page("README.md")


def test_readme_curl_gets_the_answer_shown(live):
    command = next(b for b in list_blocks(README, "bash") if b.startswith("curl"))
    method, url, headers, body = parse_curl(command)
    url = url.replace("http://127.0.0.1:8000", live.url)
    answer = requests.request(method, url, json=body, headers=headers, timeout=120)
    assert is_same(answer.json(), json.loads(list_blocks(README, "json")[0]))


def test_readme_has_about_120_lines():
    assert len(README.splitlines()) <= 140


def test_readme_largest_compression_equals_the_results():
    (factor,) = re.findall(r"(\d+) times\s+smaller", README)
    results = json.loads((ROOT / "benchmarks/results/compress.json").read_text())["results"]
    factors = [
        found["variants"]["fp32"]["bytes"] / variant["bytes"]
        for found in results.values()
        for variant in found["variants"].values()
    ]
    assert int(factor) == int(max(factors))
