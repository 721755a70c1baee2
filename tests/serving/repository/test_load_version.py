"""Loading a version refuses content that differs from the snapshot that workers agreed on."""

import pytest

from serving.bundle import BundleError, TransientBundleError
from serving.repository import RepositoryOptions, loading
from serving.repository.folder_scan import compute_fingerprint
from serving.repository.rollout import VersionSnapshot
from serving.runtime import GraphError, RunTimeoutError


@pytest.fixture
def snapshot(only_digits):
    return VersionSnapshot(version=1, fingerprint=compute_fingerprint(only_digits / "digits" / "1"))


def load(models, snapshot):
    return loading.load_version(models, "digits", snapshot, RepositoryOptions(), {})


def test_load_version_content_unchanged_returns_model(snapshot, only_digits):
    model, decision = load(only_digits, snapshot)
    assert model.metric_labels == ("digits", "1", "fp32")
    assert decision.variant == "fp32"


def test_load_version_content_changed_before_is_refused(snapshot, only_digits):
    path = only_digits / "digits" / "1" / "reference.json"
    path.write_bytes(path.read_bytes() + b" ")
    with pytest.raises(BundleError, match="a complete version; got one that is being written"):
        load(only_digits, snapshot)


def test_load_version_content_changes_meanwhile_is_refused(snapshot, only_digits, monkeypatch):
    choose, path = loading.select_variant, only_digits / "digits" / "1" / "reference.json"

    def change(*arguments):
        found = choose(*arguments)
        path.write_bytes(path.read_bytes() + b" ")
        return found

    monkeypatch.setattr(loading, "select_variant", change)
    with pytest.raises(BundleError, match="a complete version; got one that is being written"):
        load(only_digits, snapshot)


@pytest.mark.parametrize(
    ("error", "is_transient"), [(GraphError("no"), False), (RunTimeoutError("too long"), True)]
)
def test_load_version_timing_fails_is_refused(
    error, is_transient, snapshot, only_digits, monkeypatch
):
    def fail(*_):
        raise error

    monkeypatch.setattr(loading.LatencyProfile, "measure", fail)
    with pytest.raises(BundleError, match=f"digits/1: {error}$") as refused:
        load(only_digits, snapshot)
    assert isinstance(refused.value, TransientBundleError) == is_transient
