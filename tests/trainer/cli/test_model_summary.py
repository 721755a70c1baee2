"""The lines in which commands describe a trained model."""

from types import SimpleNamespace

import pytest

from tests.manifests import make_manifest
from trainer.cli.model_summary import (
    format_positive_class,
    summarize_baselines,
    summarize_classes,
    summarize_constant_answer,
    summarize_interval,
)

OWN = {"accuracy": 0.95, "roc_auc": 0.7}


def test_classes_line_two_classes_has_their_shares():
    line = summarize_classes(make_manifest(OWN))["classes"]
    assert line == "0 95.0%, 1 5.0% of the training rows"


def test_classes_line_thousand_classes_has_the_most_common_and_the_rarest():
    shares = [0.5, 0.3, 0.1, 0.05] + [0.05 / 996] * 996
    manifest = make_manifest({"accuracy": 1}, classes=range(1000), class_shares=shares)
    assert summarize_classes(manifest)["classes"] == (
        "0 50.0%, 1 30.0%, 2 10.0%, 3 5.0% and 996 more, the rarest 999 0.01% of the training rows"
    )


def test_classes_line_bundle_without_shares_is_absent():
    assert summarize_classes(make_manifest(OWN, class_shares=None)) == {}


@pytest.mark.parametrize(("accuracy", "end"), [(0.96, ""), (0.95, ", not better")])
def test_constant_line_compares_with_the_most_common_class(accuracy, end):
    own = {"accuracy": accuracy, "roc_auc": 0.7}
    majority = {"majority": {"accuracy": 0.95, "roc_auc": 0.5}}
    line = summarize_constant_answer(make_manifest(own, baselines=majority))["constant"]
    assert (
        line == f"always predicting 0: accuracy 0.9500; this network: accuracy {accuracy:.4f}{end}"
    )


def test_constant_line_without_baselines_uses_the_share_of_the_training_rows():
    line = summarize_constant_answer(make_manifest(OWN))["constant"]
    assert line.startswith(
        "always predicting 0: accuracy about 0.9500; this network: accuracy 0.9500"
    )


def test_constant_line_regression_compares_with_the_mean():
    own, mean = {"r2": 0.25, "rmse": 3.0}, {"mean": {"r2": -0.5, "rmse": 3.5}}
    assert summarize_constant_answer(make_manifest(own, classes=None, baselines=mean))[
        "constant"
    ] == (
        "always predicting the mean: r2 -0.5000, rmse 3.5000; this network: r2 0.2500, rmse 3.0000"
    )
    line = summarize_constant_answer(make_manifest(own, classes=None))["constant"]
    assert line == "always predicting the mean: r2 0; this network: r2 0.2500"


@pytest.mark.parametrize(
    ("line", "trees", "verdict"),
    [
        (0.6, 0.5, None),
        (0.7, 0.5, "as good as this network on the test rows: line"),
        (0.8, 0.5, "better than this network on the test rows: line; try --preset best"),
        (
            0.8,
            0.9,
            "better than this network on the test rows: line, trees; try --preset best",
        ),
        (
            0.7,
            0.9,
            "better than this network on the test rows: trees; "
            "as good as this network on the test rows: line; try --preset best",
        ),
    ],
)
def test_baselines_line_names_the_better_and_the_equally_good(line, trees, verdict):
    baselines = {
        name: {"accuracy": 0.5, "roc_auc": auc} for name, auc in (("line", line), ("trees", trees))
    }
    manifest = make_manifest(OWN, baselines=baselines, config={"preset": "balanced"})
    lines = summarize_baselines(manifest)
    start = f"roc_auc of 1: this network 0.7000, line {line:.4f}, trees {trees:.4f}"
    assert lines["baselines"].startswith(start)
    assert lines.get("") == verdict


def test_baselines_line_baseline_with_other_metrics_is_left_out():
    assert summarize_baselines(make_manifest(OWN, baselines={"line": {"accuracy": 1}})) == {}


def test_interval_line_has_main_metric_and_recall_of_positive_class():
    ends = {"roc_auc": (0.6, 0.8), "positive_recall": (0.1, 0.5), "accuracy": (0.9, 1)}
    line = summarize_interval(make_manifest(OWN, intervals=ends))["95 % CI"]
    assert line == (
        "roc_auc of 1 0.6000 to 0.8000, recall of 1 0.1000 to 0.5000 (bootstrap of 20 test rows)"
    )
    assert summarize_interval(make_manifest(OWN)) == {}


@pytest.mark.parametrize(
    ("classes", "config", "end"),
    [
        (["fraud", "good"], {}, ", the second by name; --positive fraud chooses the other"),
        (["no fraud", "rest"], {}, ", the second by name; --positive 'no fraud' chooses the other"),
        ([3, 4], {}, ", the second by name; --positive 3 chooses the other"),
        (["fraud", "good"], {"positive": "good"}, ""),
        (["no", "yes"], {}, ""),
    ],
)
def test_positive_line_class_chosen_by_default_says_how_to_choose_the_other(classes, config, end):
    manifest = SimpleNamespace(
        classes=classes,
        positive_class=classes[1],
        training=SimpleNamespace(config=config),
    )
    expected = f"{classes[1]}: roc_auc, pr_auc and the threshold refer to this class{end}"
    assert format_positive_class(manifest) == expected
