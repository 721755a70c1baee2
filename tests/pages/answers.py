"""Comparing an answer with the one that a page shows, and reading its curl command."""

import argparse
import json
import shlex

import pytest


def is_same(got, shown):
    """Return whether two answers are equal, except for what another CPU may round differently."""
    if isinstance(shown, float):
        return got == pytest.approx(shown, rel=1e-3, abs=1e-6)
    if isinstance(shown, list):
        return len(got) == len(shown) and all(map(is_same, got, shown))
    if isinstance(shown, dict):
        return list(got) == list(shown) and all(is_same(got[k], shown[k]) for k in shown)
    return got == shown


def parse_curl(command):
    """Return method, URL, headers and JSON body of a curl command."""
    reader = argparse.ArgumentParser()
    reader.add_argument("-s", action="store_true")
    reader.add_argument("-X", dest="method")
    reader.add_argument("-H", dest="headers", action="append", default=[])
    reader.add_argument("-d", dest="body")
    reader.add_argument("url")
    shown = reader.parse_args(shlex.split(command)[1:])
    body = None if shown.body is None else json.loads(shown.body)
    method = shown.method or ("GET" if body is None else "POST")
    return method, shown.url, dict(header.split(": ", 1) for header in shown.headers), body
