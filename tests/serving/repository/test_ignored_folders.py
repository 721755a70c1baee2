"""The index lists folders that may have been meant as a version but are ignored."""

import shutil

import pytest

from serving import create_app
from tests.bundle_versions import add_version
from tests.repositories import load_repository

NAMED = "expected a version's folder to be named by a whole number of 1 to 9 digits"


def read_index(models):
    client = create_app(models=models, poll=0).test_client()
    answer = client.post("/v2/repository/index")
    assert answer.status_code == 200
    return {(e["name"], e["version"]): (e["state"], e["reason"]) for e in answer.get_json()}


@pytest.mark.parametrize(
    "name", ["01", "v3", "1.5", "latest", "1234567890", "3 ", "٣", "0", "-1", "1e3", "+3", "³"]
)
def test_index_folder_with_invalid_name_is_listed_with_reason(name, only_digits):
    add_version(only_digits, 2).rename(only_digits / "digits" / name)
    found = read_index(only_digits)
    assert list(found) == [("digits", "1"), ("digits", name)]
    state, reason = found["digits", name]
    assert state == "UNAVAILABLE"
    assert NAMED in reason


def test_index_file_named_like_a_version_is_listed(only_digits):
    (only_digits / "digits" / "3").write_text("")
    assert read_index(only_digits)["digits", "3"] == (
        "UNAVAILABLE",
        "ignored: expected a version's folder; got a file of that name",
    )


def test_index_link_with_invalid_name_is_listed(only_digits):
    (only_digits / "digits" / "latest").symlink_to("1")
    assert NAMED in read_index(only_digits)["digits", "latest"][1]


def test_index_staged_version_names_remedy(only_digits):
    add_version(only_digits, 2).rename(only_digits / "digits" / "staged-2")
    assert read_index(only_digits)["digits", "staged-2"] == (
        "UNAVAILABLE",
        "staged: it is served once `serving promote` has made it a version",
    )


def test_index_bundle_in_model_folder_is_listed(only_digits):
    shutil.copytree(only_digits / "digits" / "1", only_digits / "letters")
    _, reason = read_index(only_digits)["letters", "bundle.json"]
    assert "got it in the folder of the model; move its files" in reason


def test_index_model_without_version_lists_its_bundles(only_digits, caplog):
    (only_digits / "digits" / "1").rename(only_digits / "digits" / "v1")
    assert list(read_index(only_digits)) == [("digits", "v1")]
    assert "which holds no version; digits/v1 is ignored: expected" in caplog.text


def test_index_other_and_hidden_files_are_not_listed(only_digits):
    (only_digits / "digits" / "README.md").write_text("")
    (only_digits / "digits" / ".DS_Store").write_text("")
    (only_digits / "digits" / ".building").mkdir()
    (only_digits / "notes" / "old").mkdir(parents=True)  # It is not a model.
    assert list(read_index(only_digits)) == [("digits", "1")]


def test_index_ignored_folders_names_and_number_are_limited(only_digits):
    (only_digits / "digits" / "\udcff").mkdir()  # A byte that is not valid UTF-8.
    (only_digits / "digits" / ("x" * 200)).mkdir()
    found = read_index(only_digits)
    assert ("digits", "\ufffd") in found
    assert ("digits", "x" * 61 + "...") in found
    for number in range(200):
        (only_digits / "digits" / f"v{number}").mkdir()
    found = read_index(only_digits)
    assert len(found) == 102
    assert "more than 100 folders" in found["models", ""][1]


def test_index_only_ready_lists_no_ignored_folder(only_digits):
    add_version(only_digits, 2).rename(only_digits / "digits" / "v2")
    client = create_app(models=only_digits, poll=0).test_client()
    answer = client.post("/v2/repository/index", json={"ready": True})
    assert [entry["version"] for entry in answer.get_json()] == ["1"]


def test_index_folder_renamed_to_a_number_is_served(only_digits):
    repository = load_repository(only_digits, poll=1e-9)
    path = only_digits / "digits" / "v2"
    add_version(only_digits, 2).rename(path)
    repository.reconcile_once()
    assert repository.find_model("digits").manifest.version == 1
    path.rename(only_digits / "digits" / "2")
    repository.reconcile_once()
    repository.reconcile_once()
    assert repository.find_model("digits").manifest.version == 2
