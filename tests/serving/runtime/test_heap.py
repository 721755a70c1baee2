"""Freed memory is returned to the operating system when it is due, once for several requests."""

import ctypes
import json
import math
import resource
from pathlib import Path

import pytest

from serving.errors import VersionRefusedError
from serving.inference.predictor import TRIM_DELAY_SECONDS
from serving.runtime import heap
from tests.bundle_versions import add_version, damage
from tests.repositories import load_repository


@pytest.fixture
def clock(monkeypatch):
    """Time of the monotonic clock that the module reads, in a list of one element."""
    now = [1000.0]
    monkeypatch.setattr(heap, "monotonic", lambda: now[0])
    monkeypatch.setattr(heap, "_trim_at", math.inf)
    return now


def test_is_trim_due_after_the_shortest_delay_and_only_once(clock):
    assert not heap.is_trim_due()
    heap.request_trim(10)
    heap.request_trim(20)
    clock[0] += 9
    assert not heap.is_trim_due()
    clock[0] += 1
    assert heap.is_trim_due()
    heap.trim_heap()
    assert not heap.is_trim_due()
    heap.request_trim()
    assert heap.is_trim_due()


def test_request_trim_large_body_accepted_or_refused_requests_one(clock, client):
    for width, status in ((64, 200), (63, 422)):
        small = {"instances": [[0] * width]}
        assert client.post("/predict", json=small).status_code == status
        assert heap._trim_at == math.inf
        body = json.dumps({"instances": [[0] * width] * 8000})
        answer = client.post("/predict", data=body, content_type="application/json")
        assert answer.status_code == status
        assert heap._trim_at == clock[0] + TRIM_DELAY_SECONDS
        heap.trim_heap()


def read_resident_bytes():
    """Return the resident memory of this process, in bytes."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize()


@pytest.mark.skipif(not hasattr(ctypes.CDLL(None), "malloc_trim"), reason="only glibc has it")
def test_trim_heap_freed_memory_returns_to_the_operating_system():
    size = 50 * 2**20
    blocks = [bytes(1000) for _ in range(size // 1000)]
    # The last block lies above the others, so that the C library does not return them by itself.
    last = blocks[-1]
    blocks.clear()
    before = read_resident_bytes()
    heap.trim_heap()
    assert before - read_resident_bytes() > size // 2
    assert last == bytes(1000)


@pytest.fixture
def trims(monkeypatch):
    """Arguments of all calls of the C library's `malloc_trim`."""
    calls = []
    monkeypatch.setattr(heap, "_malloc_trim", calls.append)
    monkeypatch.setattr(heap, "_trim_at", math.inf)
    return calls


def test_trim_heap_refused_version_is_followed_by_one_trim(only_digits, trims):
    repository = load_repository(only_digits, poll=0)
    repository.reconcile_once()
    trims.clear()
    damage(add_version(only_digits, 2))
    with pytest.raises(VersionRefusedError):
        repository.load_model("digits")
    for _ in range(3):
        repository.reconcile_once()
    assert trims == [0]


def test_trim_heap_replaced_model_is_followed_by_a_trim_once_no_request_holds_it(
    only_digits, trims
):
    repository = load_repository(only_digits, poll=0)
    held = repository.find_model("digits")
    add_version(only_digits, 2)
    assert repository.load_model("digits")["version"] == 2
    repository.reconcile_once()
    trims.clear()
    repository.reconcile_once()
    assert (held.manifest.version, trims) == (1, [])
    del held
    for _ in range(3):
        repository.reconcile_once()
    assert trims == [0]
