"""Loading one edition of a version: it is the one that was agreed on, or it is refused."""

import pytest

from serving.bundle import BundleError, TransientBundleError
from serving.repository import loading as served
from serving.repository.folder_scan import compute_fingerprint
from serving.repository.rollout import VersionSnapshot
from serving.runtime import GraphError, ProofLimits, RunTimeoutError


@pytest.fixture
def edition(only_digits):
    return VersionSnapshot(version=1, fingerprint=compute_fingerprint(only_digits / "digits" / "1"))


def prove(models, edition):
    return served.load_version(models, "digits", edition, "auto", ProofLimits(), {})


def test_prove_edition_as_it_was_agreed_on_is_loaded(edition, only_digits):
    model, verdict = prove(only_digits, edition)
    assert model.metric_labels == ("digits", "1", "fp32")
    assert verdict.variant == "fp32"


def test_prove_edition_that_was_changed_since_is_refused(edition, only_digits):
    path = only_digits / "digits" / "1" / "reference.json"
    path.write_bytes(path.read_bytes() + b" ")
    with pytest.raises(BundleError, match="a version that is complete; got one being written"):
        prove(only_digits, edition)


def test_prove_edition_that_changes_while_it_is_loaded_is_refused(
    edition, only_digits, monkeypatch
):
    choose, path = served.select_variant, only_digits / "digits" / "1" / "reference.json"

    def change(*arguments):
        found = choose(*arguments)
        path.write_bytes(path.read_bytes() + b" ")
        return found

    monkeypatch.setattr(served, "select_variant", change)
    with pytest.raises(BundleError, match="a version that is complete; got one being written"):
        prove(only_digits, edition)


@pytest.mark.parametrize(
    ("error", "is_transient"), [(GraphError("no"), False), (RunTimeoutError("too long"), True)]
)
def test_prove_edition_that_fails_while_it_is_timed_is_refused(
    error, is_transient, edition, only_digits, monkeypatch
):
    def fail(*_):
        raise error

    monkeypatch.setattr(served.LatencyProfile, "measure", fail)
    with pytest.raises(BundleError, match=f"digits/1: {error}$") as refused:
        prove(only_digits, edition)
    assert isinstance(refused.value, TransientBundleError) == is_transient
