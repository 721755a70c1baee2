"""Staged versions: found by number, promoted whole or not at all."""

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
    """Stages versions of the embedded default."""

    def add(*numbers):
        for number in numbers:
            version = add_version(only_digits, number)
            version.rename(version.with_name(f"staged-{number}"))
        return only_digits

    return add


def folders(models):
    return sorted(path.name for path in (models / "digits").iterdir())


def test_staged_versions_are_no_versions_and_can_be_opened(stage):
    models = stage(2, 11)
    assert list_versions(models / "digits") == [1]
    assert list_staged_versions(models / "digits") == [2, 11]
    assert Bundle.open(models / "digits" / "staged-11").manifest.version == 11


def test_open_staged_folder_of_another_number_is_refused(stage):
    models = stage(2)
    shutil.move(models / "digits" / "staged-2", models / "digits" / "staged-3")
    with pytest.raises(BundleError, match=r"manifest of digits/staged-3; got that of digits/2"):
        Bundle.open(models / "digits" / "staged-3")


def test_promote_renames_the_only_staged_version(stage):
    models = stage(2)
    bundle = promote(models, "digits")
    assert (bundle.path, bundle.manifest.version) == (models / "digits" / "2", 2)
    assert folders(models) == ["1", "2"]
    assert Bundle.open(bundle.path).read_selftest()


def test_promote_several_staged_needs_a_number(stage):
    models = stage(2, 3)
    with pytest.raises(PromotionError, match=r"out of 2, 3; got no number"):
        promote(models, "digits")
    with pytest.raises(PromotionError, match=r"out of 2, 3; got 1"):
        promote(models, "digits", 1)
    assert promote(models, "digits", 3).path.name == "3"
    assert folders(models) == ["1", "3", "staged-2"]


def test_promote_number_that_is_taken_is_refused(stage):
    models = stage(2)
    for occupy in (
        lambda place: place.mkdir(),  # which a rename would replace without a word
        lambda place: place.touch(),
        lambda place: place.symlink_to("nowhere"),
        lambda place: shutil.copytree(models / "digits" / "1", place),
    ):
        place = models / "digits" / "2"
        occupy(place)
        with pytest.raises(PromotionError, match=r"digits/2 not to exist yet; .*nothing was chan"):
            promote(models, "digits", 2)
        assert (models / "digits" / "staged-2" / "bundle.json").exists()
        if place.is_dir() and not place.is_symlink():
            shutil.rmtree(place)
        else:
            place.unlink()


def test_promote_damaged_version_is_refused(stage):
    models = stage(2)
    damage(models / "digits" / "staged-2")
    with pytest.raises(PromotionError, match=r"model.onnx was altered .*; nothing was changed"):
        promote(models, "digits", 2)
    (models / "digits" / "staged-2" / "bundle.json").unlink()
    with pytest.raises(PromotionError, match=r"expected a readable bundle.json"):
        promote(models, "digits", 2)
    assert folders(models) == ["1", "staged-2"]


def test_promote_what_is_not_there_is_refused_with_what_is(stage, only_digits, tmp_path):
    with pytest.raises(PromotionError, match=r"staged version of digits; got none .*fit --stage"):
        promote(only_digits, "digits")
    for name in ("letters", "../models/digits", ".", ""):
        with pytest.raises(PromotionError, match=r"\(those with versions: digits\); got '"):
            promote(only_digits, name)
    with pytest.raises(PromotionError, match=r"expected a folder of models; got .*absent"):
        promote(tmp_path / "absent", "digits")
