"""Figures of a model as commands print them."""

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


def test_classes_fact_gives_the_share_of_each():
    told = summarize_classes(make_manifest(OWN))["classes"]
    assert told == "0 95.0%, 1 5.0% of the training rows"


def test_classes_fact_of_a_thousand_names_the_commonest_and_the_rarest():
    shares = [0.5, 0.3, 0.1, 0.05] + [0.05 / 996] * 996
    made = make_manifest({"accuracy": 1}, classes=range(1000), class_shares=shares)
    assert summarize_classes(made)["classes"] == (
        "0 50.0%, 1 30.0%, 2 10.0%, 3 5.0% and 996 more, the rarest 999 0.01% of the training rows"
    )


def test_classes_fact_of_a_bundle_before_is_none():
    assert summarize_classes(make_manifest(OWN, class_shares=None)) == {}


@pytest.mark.parametrize(("accuracy", "end"), [(0.96, ""), (0.95, ", which is no better")])
def test_constant_fact_compares_with_always_answering_the_commonest(accuracy, end):
    own = {"accuracy": accuracy, "roc_auc": 0.7}
    majority = {"majority": {"accuracy": 0.95, "roc_auc": 0.5}}
    told = summarize_constant_answer(make_manifest(own, baselines=majority))["constant"]
    assert told == f"always answering 0 scores accuracy 0.9500; this network {accuracy:.4f}{end}"


def test_constant_fact_without_baselines_takes_the_share_of_the_training_rows():
    told = summarize_constant_answer(make_manifest(OWN))["constant"]
    assert told.startswith("always answering 0 scores accuracy about 0.9500; this network 0.9500")


def test_constant_fact_of_values_is_of_the_mean():
    own, mean = {"r2": 0.25, "rmse": 3.0}, {"mean": {"r2": -0.5, "rmse": 3.5}}
    assert summarize_constant_answer(make_manifest(own, classes=None, baselines=mean))[
        "constant"
    ] == (
        "always answering the mean scores r2 -0.5000 and rmse 3.5000; "
        "this network 0.2500 and 3.0000"
    )
    told = summarize_constant_answer(make_manifest(own, classes=None))["constant"]
    assert told == "always answering the mean scores r2 0; this network 0.2500"


@pytest.mark.parametrize(
    ("line", "trees", "said"),
    [
        (0.6, 0.5, None),
        (0.7, 0.5, "on the test rows line did as well as this network"),
        (0.8, 0.5, "on the test rows line did better than this network"),
        (0.8, 0.9, "on the test rows line and trees did better than this network"),
        (
            0.7,
            0.9,
            "on the test rows trees did better than this network, line did as well as this network",
        ),
    ],
)
def test_baselines_fact_says_which_are_better_and_which_as_good(line, trees, said):
    found = {
        name: {"accuracy": 0.5, "roc_auc": auc} for name, auc in (("line", line), ("trees", trees))
    }
    facts = summarize_baselines(make_manifest(OWN, baselines=found))
    shown = f"roc_auc of 1: this network 0.7000, line {line:.4f}, trees {trees:.4f}"
    assert facts["baselines"].startswith(shown)
    assert facts.get("") == said


def test_baselines_fact_leaves_out_one_judged_by_other_metrics():
    assert summarize_baselines(make_manifest(OWN, baselines={"line": {"accuracy": 1}})) == {}


def test_interval_fact_has_the_positive_classs_recall_beside_the_leading_figure():
    ends = {"roc_auc": (0.6, 0.8), "positive_recall": (0.1, 0.5), "accuracy": (0.9, 1)}
    told = summarize_interval(make_manifest(OWN, intervals=ends))["interval"]
    assert told == (
        "roc_auc of 1 0.6000 to 0.8000, recall of 1 0.1000 to 0.5000: 95 % of draws of 20 test rows"
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
def test_positive_fact_nobody_chose_the_class_says_how_to(classes, config, end):
    manifest = SimpleNamespace(
        classes=classes,
        positive_class=classes[1],
        training=SimpleNamespace(config=config),
    )
    expected = f"{classes[1]}: roc_auc, pr_auc and the threshold refer to this class{end}"
    assert format_positive_class(manifest) == expected
