import pytest

from tests.manifests import make_manifest
from trainer.evaluate.cautions import list_cautions

METRICS = {"accuracy": 0.9, "roc_auc": 0.7}


def list_names(cautions):
    return [caution.name for caution in cautions]


def test_cautions_every_class_predicted_are_none():
    assert list_cautions(make_manifest(METRICS, variants={"fp32": []})) == []
    assert list_cautions(make_manifest(METRICS, variants={"fp32": None})) == []  # an old bundle
    assert list_cautions(make_manifest({"r2": 0.1}, classes=None)) == []


@pytest.mark.parametrize(
    ("classes", "manifest_options", "remedy"),
    [
        ((0, 1), {}, "train with --class-weight balanced or --aim f1"),
        ((0, 1), {"aim": "cost=1:5"}, "train with --class-weight balanced"),
        ((0, 1), {"config": {"class_weight": "balanced"}}, "train with --aim f1"),
        ((0, 1, 2), {}, "train with --class-weight balanced"),
        (
            (0, 1, 2),
            {"config": {"class_weight": "balanced"}},
            "collect more rows of the rare class, or merge it with another",
        ),
    ],
)
def test_cautions_class_never_predicted_suggests_options_not_yet_used(
    classes, manifest_options, remedy
):
    (caution,) = list_cautions(
        make_manifest(METRICS, classes=classes, variants={"fp32": [1]}, **manifest_options)
    )
    assert caution.name == "class_never_answered"
    assert caution.detail.startswith("none of 20 test rows is predicted as 1, ")
    assert caution.remedy == remedy


def test_cautions_very_many_classes_names_ten():
    classes = [f"c{i:03}" for i in range(1000)]
    shares = [0.001] * 1000
    manifest = make_manifest(
        METRICS, classes=classes, class_shares=shares, variants={"fp32": classes[1:]}
    )
    (caution,) = list_cautions(manifest)
    assert "c010 and 989 more, although" in caution.detail


def test_cautions_variant_loses_a_class_suggests_how_to_compress():
    manifest = make_manifest(METRICS, variants={"fp32": [], "int8": [1]})
    assert list_cautions(manifest) == []
    (caution,) = list_cautions(manifest, "int8")
    assert caution.detail.startswith("by int8, none of 20 test rows is predicted as 1")
    assert "--max-drop" in caution.remedy


def test_cautions_class_without_test_rows_is_reported():
    assert list_names(list_cautions(make_manifest({"accuracy": 0.9}))) == ["class_not_tested"]
