"""The heap: freed memory goes back to the system when it is due, and once for several causes."""

import ctypes
import json
import math
import resource
from pathlib import Path

import pytest

from serving.errors import VersionRefusedError
from serving.inference.predictor import TRIM_DELAY_SECONDS
from serving.repository import Repository
from serving.runtime import heap
from tests.bundle_versions import add_version, damage


@pytest.fixture
def clock(monkeypatch):
    """The time that the module sees, in a list of one."""
    now = [1000.0]
    monkeypatch.setattr(heap, "monotonic", lambda: now[0])
    monkeypatch.setattr(heap, "_trim_at", math.inf)
    return now


def test_a_trim_is_due_after_the_shortest_delay_and_then_no_more(clock):
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


def test_a_large_body_requests_a_trim_whether_or_not_it_is_answered(clock, client):
    for width, status in ((64, 200), (63, 422)):
        small = {"instances": [[0] * width]}
        assert client.post("/predict", json=small).status_code == status
        assert heap._trim_at == math.inf
        body = json.dumps({"instances": [[0] * width] * 8000})
        answer = client.post("/predict", data=body, content_type="application/json")
        assert answer.status_code == status
        assert heap._trim_at == clock[0] + TRIM_DELAY_SECONDS
        heap.trim_heap()


def resident():
    """Bytes of this process's memory."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize()


@pytest.mark.skipif(not hasattr(ctypes.CDLL(None), "malloc_trim"), reason="it is glibc's")
def test_trim_heap_gives_freed_memory_back_to_the_system():
    size = 50 * 2**20
    blocks = [bytes(1000) for _ in range(size // 1000)]
    last = blocks[-1]  # above the others, which alone would not be given back
    blocks.clear()
    before = resident()
    heap.trim_heap()
    assert before - resident() > size // 2
    assert last == bytes(1000)


@pytest.fixture
def trims(monkeypatch):
    """The calls of the C library's function."""
    calls = []
    monkeypatch.setattr(heap, "_malloc_trim", calls.append)
    monkeypatch.setattr(heap, "_trim_at", math.inf)
    return calls


def test_a_version_that_was_loaded_and_refused_is_followed_by_one_trim(only_digits, trims):
    repository = Repository(only_digits, poll=0)
    repository.reconcile_once()
    trims.clear()
    damage(add_version(only_digits, 2))
    with pytest.raises(VersionRefusedError):
        repository.load_model("digits")
    for _ in range(3):
        repository.reconcile_once()
    assert trims == [0]


def test_a_model_that_was_replaced_is_followed_by_a_trim_once_no_request_holds_it(
    only_digits, trims
):
    repository = Repository(only_digits, poll=0)
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
