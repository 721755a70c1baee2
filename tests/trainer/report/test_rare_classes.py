"""Tests of the confusion matrix and the summary with rare, missing and many classes, and ties."""

from types import SimpleNamespace

import numpy as np
import pytest
from sklearn import metrics

from tests.manifests import make_manifest
from trainer.report.blocks import MetricTiles, Paragraph, TableBlock
from trainer.report.formatting import format_decimal, format_metric, shorten_all
from trainer.report.sections.confusion_matrix import build_confusion_section
from trainer.report.sections.summary import build_summary


def make_test_rows(truth, label, classes):
    answers = {"label": np.array(label)}
    return SimpleNamespace(class_labels=np.array(classes), truth=np.array(truth), answers=answers)


def get_texts(section):
    return [block.text for block in section.blocks if isinstance(block, Paragraph)]


def get_tables(section):
    return [block for block in section.blocks if isinstance(block, TableBlock)]


def get_text(cell):
    return getattr(cell, "text", cell)


def test_confusion_thousand_classes_shows_most_frequent_confusions(rng):
    classes = [f"class {i:04}" for i in range(1000)]
    truth = rng.integers(0, 1000, 5000)
    label = np.where(rng.random(5000) < 0.7, truth, rng.integers(0, 3, 5000))
    section = build_confusion_section(
        make_test_rows(np.array(classes)[truth], np.array(classes)[label], classes)
    )
    pairs, per_class = get_tables(section)
    expected = metrics.confusion_matrix(truth, label, labels=np.arange(1000))
    np.fill_diagonal(expected, 0)
    counts = [int(row[2]) for row in pairs.rows]
    assert counts == sorted(expected.ravel(), reverse=True)[:20]
    for name, answer, n, of in pairs.rows:
        index = int(name[-4:])
        assert int(n) == expected[index, int(answer[-4:])]
        assert int(of) == np.count_nonzero(truth == index)
    assert f"{expected.sum():,} of 5,000 rows are misclassified" in pairs.caption
    assert "A matrix of 1,000 classes" in pairs.caption
    assert len(per_class.rows) == 1000
    assert per_class.folded == "All 1,000 classes"


def test_confusion_many_classes_without_errors_says_so():
    classes = [f"c{i:02}" for i in range(25)]
    section = build_confusion_section(make_test_rows(classes, classes, classes))
    assert get_texts(section) == ["All 25 test rows are classified correctly."]
    assert len(get_tables(section)) == 1


@pytest.mark.parametrize("n", [3, 25])
def test_confusion_long_names_with_same_beginning_stay_different(n):
    classes = [f"a class whose name is very long, number {i:02}, and ends alike" for i in range(n)]
    _, per_class = get_tables(
        build_confusion_section(make_test_rows(classes, [classes[0]] * n, classes))
    )
    labels = [row[0] for row in per_class.rows]
    assert len(set(labels)) == n
    assert max(map(len, labels)) <= 24


def test_confusion_class_without_test_rows_has_no_recall():
    section = build_confusion_section(
        make_test_rows(["a", "a", "b"], ["a", "c", "b"], ["a", "b", "c"])
    )
    matrix, per_class = get_tables(section)
    assert [get_text(c) for c in matrix.rows[2]] == ["c", "0", "0", "0", "0"]
    assert per_class.rows[2] == ["c", "0.0000", "–", "0.0000", "0"]
    assert "Classes without test rows: “c”. No metric on this page covers them." in get_texts(
        section
    )


def test_confusion_class_never_predicted_has_no_precision():
    section = build_confusion_section(make_test_rows([0, 0, 1], [0, 0, 0], [0, 1]))
    assert get_texts(section) == [
        "Never predicted, although there are test rows of these classes: “1”. Their recall is 0."
    ]
    assert get_tables(section)[1].rows[1] == ["1", "–", "0.0000", "0.0000", "1"]


def test_confusion_many_classes_never_predicted_names_ten():
    classes = [f"c{i:02}" for i in range(30)]
    text, *_ = get_texts(build_confusion_section(make_test_rows(classes, ["c00"] * 30, classes)))
    assert "“c10” and 19 more. Their" in text


TEST_METRICS = {"accuracy": 0.95, "roc_auc": 0.9}


def make_summary(test=TEST_METRICS, **options):
    return build_summary(SimpleNamespace(manifest=make_manifest(test, **options)))


def make_baselines(**figures):
    """Return baselines with these ROC AUCs and an accuracy of 0.95."""
    return {name: {"accuracy": 0.95, "roc_auc": value} for name, value in figures.items()}


def test_summary_better_than_baselines_names_the_metric():
    text = get_texts(make_summary(baselines=make_baselines(majority=0.5, gradient_boosting=0.8)))
    assert (
        "The network is better than all baselines by ROC AUC of “1”: 0.9000; the best baseline is "
        "gradient boosting (ROC AUC of “1” 0.8000)."
    ) in text


@pytest.mark.parametrize("figure", [0.9, 0.90000001])
def test_summary_tie_with_baseline_is_not_better(figure):
    made = make_baselines(majority=0.5, gradient_boosting=figure, logistic_regression=0.9)
    text = " ".join(get_texts(make_summary(baselines=made)))
    assert "better than all baselines" not in text
    assert (
        "Gradient boosting and logistic regression are as good on the same rows as this network: "
        "ROC AUC of “1” 0.9000."
    ) in text


def test_summary_better_baseline_is_named_before_tie():
    made = make_baselines(majority=0.9, gradient_boosting=0.95)
    text = " ".join(get_texts(make_summary(baselines=made)))
    assert "Gradient boosting is better on the same rows than this network" in text
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
        b for b in result.blocks if isinstance(b, Paragraph) and "A constant prediction" in b.text
    ]
    assert text.text.replace("\N{NO-BREAK SPACE}", " ") == (
        f"A constant prediction of 0 is correct on 95.0 % of these rows; this model is correct on "
        f"{accuracy:.1%}.".replace("%.", " %.")
    )
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
    assert text[0].startswith("None of 20 test rows is answered 1, though some of them are: ")
    assert text[1].startswith("By int8, none of 20 test rows is answered 1")


def test_summary_tiles_show_metrics_of_positive_class():
    own = TEST_METRICS | {"recall": 0.7, "positive_recall": 0.4, "positive_precision": 0.8}
    (tiles,) = [block for block in make_summary(own).blocks if isinstance(block, MetricTiles)]
    labels = {name: figure for name, figure, _ in tiles.items}
    assert labels["recall of “1”"].startswith("0.4")
    assert not [name for name in labels if "macro" in name]
    (table,) = get_tables(make_summary(own))
    assert [row[0] for row in table.rows][2:] == [
        "recall, macro",
        "recall of “1”",
        "precision of “1”",
    ]
    assert "Macro: mean over the classes" in table.caption


def test_format_metric_unknown_positive_class_is_described():
    assert format_metric("positive_recall") == "recall of the positive class"


def test_format_decimal_rounded_to_zero_has_no_sign():
    assert format_decimal(-0.00001) == "0.0000"
    assert format_decimal(-0.0001) == "−0.0001"


def test_shorten_all_results_are_short_and_different():
    same = "x" * 100
    result = shorten_all(
        [same + "a", same + "b", "plain", same + "c" + same, same + "d" + same], 24
    )
    assert result[2] == "plain"
    assert len(set(result)) == 5
    assert max(map(len, result)) <= 24
