"""Staged versions are listed by number, and promoted completely or not at all."""

import shutil

import pytest

from serving.bundle import (
    Bundle,
    BundleError,
    PromotionError,
    list_staged_versions,
    list_versions,
    promote,
)
from tests.bundle_versions import add_version, damage


@pytest.fixture
def stage(only_digits):
    """Return a function that stages copies of the shipped model under the given version numbers."""

    def add(*numbers):
        for number in numbers:
            version = add_version(only_digits, number)
            version.rename(version.with_name(f"staged-{number}"))
        return only_digits

    return add


def list_folders(models):
    return sorted(path.name for path in (models / "digits").iterdir())


def test_list_versions_staged_version_is_left_out_but_can_be_opened(stage):
    models = stage(2, 11)
    assert list_versions(models / "digits") == [1]
    assert list_staged_versions(models / "digits") == [2, 11]
    assert Bundle.open(models / "digits" / "staged-11").manifest.version == 11


def test_open_staged_folder_of_another_number_is_refused(stage):
    models = stage(2)
    shutil.move(models / "digits" / "staged-2", models / "digits" / "staged-3")
    message = r"manifest of digits/staged-3; got the manifest of digits/2"
    with pytest.raises(BundleError, match=message):
        Bundle.open(models / "digits" / "staged-3")


def test_promote_renames_the_only_staged_version(stage):
    models = stage(2)
    bundle = promote(models, "digits")
    assert (bundle.path, bundle.manifest.version) == (models / "digits" / "2", 2)
    assert list_folders(models) == ["1", "2"]
    assert Bundle.open(bundle.path).read_selftest()


def test_promote_several_staged_versions_requires_a_number(stage):
    models = stage(2, 3)
    with pytest.raises(PromotionError, match=r"out of 2, 3; got no number"):
        promote(models, "digits")
    with pytest.raises(PromotionError, match=r"out of 2, 3; got 1"):
        promote(models, "digits", 1)
    assert promote(models, "digits", 3).path.name == "3"
    assert list_folders(models) == ["1", "3", "staged-2"]


def test_promote_number_that_is_already_used_is_refused(stage):
    models = stage(2)
    for create in (
        lambda target: target.mkdir(),  # a rename would silently replace an empty folder
        lambda target: target.touch(),
        lambda target: target.symlink_to("missing"),
        lambda target: shutil.copytree(models / "digits" / "1", target),
    ):
        target = models / "digits" / "2"
        create(target)
        with pytest.raises(PromotionError, match=r"digits/2 not to exist yet; .*nothing was chan"):
            promote(models, "digits", 2)
        assert (models / "digits" / "staged-2" / "bundle.json").exists()
        if target.is_dir() and not target.is_symlink():
            shutil.rmtree(target)
        else:
            target.unlink()


def test_promote_damaged_version_is_refused(stage):
    models = stage(2)
    damage(models / "digits" / "staged-2")
    with pytest.raises(PromotionError, match=r"model.onnx was altered .*; nothing was changed"):
        promote(models, "digits", 2)
    (models / "digits" / "staged-2" / "bundle.json").unlink()
    with pytest.raises(PromotionError, match=r"expected a readable bundle.json"):
        promote(models, "digits", 2)
    assert list_folders(models) == ["1", "staged-2"]


def test_promote_missing_version_model_or_folder_is_refused(stage, only_digits, tmp_path):
    with pytest.raises(PromotionError, match=r"staged version of digits; got none .*fit --stage"):
        promote(only_digits, "digits")
    for name in ("letters", "../models/digits", ".", ""):
        with pytest.raises(PromotionError, match=r"\(models with versions: digits\); got '"):
            promote(only_digits, name)
    with pytest.raises(PromotionError, match=r"expected a folder of models; got .*absent"):
        promote(tmp_path / "absent", "digits")
