import pytest

from tests.manifests import make_manifest
from trainer.evaluate.baseline_comparison import (
    compare_with_baselines,
    find_constant_answer,
    suggest_preset,
)


def test_compare_with_baselines_compares_printed_values():
    manifest = make_manifest(
        {"roc_auc": 0.91234},
        baselines={
            "majority": {"roc_auc": 0.5},
            "logistic_regression": {"roc_auc": 0.91233},
            "gradient_boosting": {"roc_auc": 0.95},
        },
    )
    comparison = compare_with_baselines(manifest)
    assert (comparison.metric, comparison.network_value) == ("roc_auc", 0.91234)
    assert comparison.better_baselines == ["gradient_boosting"]
    assert comparison.equal_baselines == ["logistic_regression"]


def test_compare_with_baselines_baseline_without_metric_is_left_out():
    manifest = make_manifest({"r2": 0.5}, classes=None, baselines={"ridge": {"mae": 1.0}})
    assert compare_with_baselines(manifest).baseline_values == {}


def test_find_constant_answer_with_majority_baseline_is_exact():
    manifest = make_manifest({"accuracy": 1}, baselines={"majority": {"accuracy": 0.9}})
    answer = find_constant_answer(manifest)
    assert (answer.answer, answer.accuracy, answer.is_exact) == (0, 0.9, True)


def test_find_constant_answer_without_baselines_is_the_training_share():
    answer = find_constant_answer(make_manifest({"accuracy": 1}))
    assert (answer.answer, answer.is_exact) == (0, False)
    assert answer.accuracy == pytest.approx(0.95)


def test_find_constant_answer_regression_is_none():
    assert find_constant_answer(make_manifest({"r2": 0.5}, classes=None)) is None


@pytest.mark.parametrize(
    ("config", "preset"),
    [({}, "balanced"), ({"preset": "fast"}, "balanced"), ({"preset": "balanced"}, "best")],
)
def test_suggest_preset_is_the_next_better_one(config, preset):
    assert suggest_preset(make_manifest({"accuracy": 1}, config=config)) == preset


def test_suggest_preset_of_the_best_is_none():
    assert suggest_preset(make_manifest({"accuracy": 1}, config={"preset": "best"})) is None
