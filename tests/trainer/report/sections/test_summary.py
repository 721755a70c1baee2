from types import SimpleNamespace

import pytest

from tests.manifests import make_manifest
from trainer.report.blocks import MetricTiles, Paragraph, TableBlock
from trainer.report.sections.summary import build_summary


def get_texts(section):
    return [block.text for block in section.blocks if isinstance(block, Paragraph)]


def get_tables(section):
    return [block for block in section.blocks if isinstance(block, TableBlock)]


TEST_METRICS = {"accuracy": 0.95, "roc_auc": 0.9}


def make_summary(test=TEST_METRICS, **options):
    return build_summary(SimpleNamespace(manifest=make_manifest(test, **options)))


def make_baselines(**figures):
    """Return baselines with these ROC AUCs and an accuracy of 0.95."""
    return {name: {"accuracy": 0.95, "roc_auc": value} for name, value in figures.items()}


def test_summary_better_than_baselines_names_the_metric():
    text = get_texts(make_summary(baselines=make_baselines(majority=0.5, gradient_boosting=0.8)))
    assert (
        "The network is better than all baselines. Its ROC AUC of “1” is 0.9000; the best "
        "baseline is gradient boosting (ROC AUC of “1”: 0.8000)."
    ) in text


@pytest.mark.parametrize("figure", [0.9, 0.90000001])
def test_summary_tie_with_baseline_is_not_better(figure):
    made = make_baselines(majority=0.5, gradient_boosting=figure, logistic_regression=0.9)
    text = " ".join(get_texts(make_summary(baselines=made)))
    assert "better than all baselines" not in text
    assert (
        "Gradient boosting and logistic regression are as good on the same rows as this network "
        "(ROC AUC of “1”: 0.9000)."
    ) in text


def test_summary_better_baseline_is_named_before_tie():
    made = make_baselines(majority=0.9, gradient_boosting=0.95)
    text = " ".join(get_texts(make_summary(baselines=made)))
    assert (
        "Gradient boosting is better on the same rows than this network (ROC AUC of “1”: 0.9500 "
        "against 0.9000)."
    ) in text
    assert "better than all baselines" not in text


def test_summary_baselines_without_main_metric_are_not_compared():
    text = get_texts(make_summary(baselines={"majority": {"accuracy": 0.95}}))
    assert "The baselines cannot be compared: they were evaluated with other metrics." in text


def test_summary_class_without_test_rows_compares_accuracy():
    result = make_summary({"accuracy": 0.95}, baselines={"majority": {"accuracy": 0.95}})
    text = " ".join(get_texts(result))
    assert "Not every class has test rows" in text
    assert "Majority class is as good" in text


@pytest.mark.parametrize(("accuracy", "tone"), [(0.96, "plain"), (0.95, "bad"), (0.9, "bad")])
def test_summary_majority_class_accuracy_is_compared(accuracy, tone):
    result = make_summary(
        {"accuracy": accuracy, "roc_auc": 0.9}, baselines=make_baselines(majority=0.5)
    )
    (text,) = [
        b for b in result.blocks if isinstance(b, Paragraph) and "Always predicting" in b.text
    ]
    assert text.text.replace("\N{NO-BREAK SPACE}", " ").startswith(
        f"Always predicting “0” is correct on 95.0 % of these rows; this model is correct on "
        f"{accuracy:.1%}.".replace("%.", " %.")
    )
    assert ("Accuracy says little where a class is rare" in text.text) == (tone == "bad")
    assert text.tone == tone


def test_summary_regression_compares_with_mean():
    own, mean = {"r2": 0.1, "mae": 2.0, "rmse": 3.0}, {"r2": 0.0, "mae": 2.5, "rmse": 3.2}
    text = get_texts(make_summary(own, classes=None, baselines={"mean": mean}))
    assert (
        "A constant prediction of the mean of the training rows has a mean absolute error of 2.50; "
        "this model has 2."
    ) in [text.replace("2.00", "2") for text in text]


def test_summary_class_never_predicted_is_a_caution():
    result = make_summary(variants={"fp32": [1], "int8": [1]})
    text = [b.text for b in result.blocks if isinstance(b, Paragraph) and b.tone == "bad"]
    assert text[0].startswith(
        "None of 20 test rows is predicted as 1, although some belong to it: "
    )
    assert text[1].startswith("By int8, none of 20 test rows is predicted as 1")


def test_summary_tiles_show_metrics_of_positive_class():
    own = TEST_METRICS | {"recall": 0.7, "positive_recall": 0.4, "positive_precision": 0.8}
    (tiles,) = [block for block in make_summary(own).blocks if isinstance(block, MetricTiles)]
    labels = {name: figure for name, figure, _ in tiles.items}
    assert labels["recall of “1”"].startswith("0.4")
    assert not [name for name in labels if "macro" in name]
    table, meanings = get_tables(make_summary(own))
    assert [row[0] for row in meanings.rows] == [row[0] for row in table.rows]
    assert all(row[1].endswith(".") for row in meanings.rows)
    assert [row[0] for row in table.rows][2:] == [
        "recall, macro",
        "recall of “1”",
        "precision of “1”",
    ]
    assert "Macro: mean over the classes" in table.caption
