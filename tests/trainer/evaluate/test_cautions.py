import pytest

from tests.manifests import make_manifest
from trainer.evaluate.cautions import list_cautions

WHOLE = {"accuracy": 0.9, "roc_auc": 0.7}


def names(found):
    return [caution.name for caution in found]


def test_cautions_of_a_model_that_answers_every_class_are_none():
    assert list_cautions(make_manifest(WHOLE, variants={"fp32": []})) == []
    assert list_cautions(make_manifest(WHOLE, variants={"fp32": None})) == []  # of a bundle before
    assert list_cautions(make_manifest({"r2": 0.1}, classes=None)) == []


@pytest.mark.parametrize(
    ("classes", "choices", "remedy"),
    [
        ((0, 1), {}, "train with --class-weight balanced or --aim f1"),
        ((0, 1), {"aim": "cost=1:5"}, "train with --class-weight balanced"),
        ((0, 1), {"config": {"class_weight": "balanced"}}, "train with --aim f1"),
        ((0, 1, 2), {}, "train with --class-weight balanced"),
        (
            (0, 1, 2),
            {"config": {"class_weight": "balanced"}},
            "find more rows of what is rare, or merge it with another class",
        ),
    ],
)
def test_cautions_class_never_answered_names_it_and_a_remedy_not_yet_tried(
    classes, choices, remedy
):
    (found,) = list_cautions(
        make_manifest(WHOLE, classes=classes, variants={"fp32": [1]}, **choices)
    )
    assert found.name == "class_never_answered"
    assert found.detail.startswith("none of 20 test rows is answered 1, ")
    assert found.remedy == remedy


def test_cautions_of_very_many_classes_names_ten():
    many = [f"c{i:03}" for i in range(1000)]
    shares = [0.001] * 1000
    made = make_manifest(WHOLE, classes=many, class_shares=shares, variants={"fp32": many[1:]})
    (found,) = list_cautions(made)
    assert "c010 and 989 more, though" in found.detail


def test_cautions_of_a_variant_that_lost_a_class_say_how_to_compress():
    made = make_manifest(WHOLE, variants={"fp32": [], "int8": [1]})
    assert list_cautions(made) == []
    (found,) = list_cautions(made, "int8")
    assert found.detail.startswith("by int8, none of 20 test rows is answered 1")
    assert "--max-drop" in found.remedy


def test_cautions_class_without_test_rows_is_said():
    assert names(list_cautions(make_manifest({"accuracy": 0.9}))) == ["class_not_tested"]
