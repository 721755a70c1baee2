"""What the page says of rare, absent and many classes, of constants and of ties."""

from types import SimpleNamespace

import numpy as np
import pytest
from sklearn import metrics

from tests.manifests import make_manifest
from trainer.report.blocks import Paragraph, TableBlock, Tiles
from trainer.report.formatting import decimal, metric_name, shorts
from trainer.report.sections.confusion import confusion
from trainer.report.sections.verdict import verdict


def judged(truth, label, classes):
    answers = {"label": np.array(label)}
    return SimpleNamespace(known=np.array(classes), truth=np.array(truth), answers=answers)


def texts(section):
    return [block.text for block in section.blocks if isinstance(block, Paragraph)]


def tables(section):
    return [block for block in section.blocks if isinstance(block, TableBlock)]


def cell(found):
    return getattr(found, "text", found)


def test_confusion_of_a_thousand_classes_shows_the_commonest_mistakes(rng):
    classes = [f"class {i:04}" for i in range(1000)]
    truth = rng.integers(0, 1000, 5000)
    label = np.where(rng.random(5000) < 0.7, truth, rng.integers(0, 3, 5000))
    section = confusion(judged(np.array(classes)[truth], np.array(classes)[label], classes))
    pairs, each = tables(section)
    expected = metrics.confusion_matrix(truth, label, labels=np.arange(1000))
    np.fill_diagonal(expected, 0)
    counts = [int(row[2]) for row in pairs.rows]
    assert counts == sorted(expected.ravel(), reverse=True)[:20]
    for name, answer, n, of in pairs.rows:
        place = int(name[-4:])
        assert int(n) == expected[place, int(answer[-4:])]
        assert int(of) == np.count_nonzero(truth == place)
    assert f"{expected.sum():,} of 5,000 rows are wrong in all" in pairs.caption
    assert "With 1,000 classes" in pairs.caption
    assert len(each.rows) == 1000
    assert each.folded == "All 1,000 classes"


def test_confusion_of_many_classes_without_a_mistake_says_so():
    classes = [f"c{i:02}" for i in range(25)]
    section = confusion(judged(classes, classes, classes))
    assert texts(section) == ["None of 25 test rows is taken for another class."]
    assert len(tables(section)) == 1


@pytest.mark.parametrize("n", [3, 25])
def test_confusion_long_names_that_begin_alike_stay_different(n):
    classes = [f"a class whose name is very long, number {i:02}, and ends alike" for i in range(n)]
    _, each = tables(confusion(judged(classes, [classes[0]] * n, classes)))
    shown = [row[0] for row in each.rows]
    assert len(set(shown)) == n
    assert max(map(len, shown)) <= 24


def test_confusion_class_absent_from_the_test_rows_has_no_recall():
    section = confusion(judged(["a", "a", "b"], ["a", "c", "b"], ["a", "b", "c"]))
    matrix, each = tables(section)
    assert [cell(c) for c in matrix.rows[2]] == ["c", "0", "0", "0", "0"]
    assert each.rows[2] == ["c", "0.0000", "–", "0.0000", "0"]
    assert "Without test rows: “c”. Nothing here speaks of them." in texts(section)


def test_confusion_class_never_answered_is_said_and_has_no_precision():
    section = confusion(judged([0, 0, 1], [0, 0, 0], [0, 1]))
    assert texts(section) == [
        "Never answered, though some test rows are so: “1”. Their recall is 0."
    ]
    assert tables(section)[1].rows[1] == ["1", "–", "0.0000", "0.0000", "1"]


def test_confusion_many_classes_never_answered_names_ten():
    classes = [f"c{i:02}" for i in range(30)]
    said, *_ = texts(confusion(judged(classes, ["c00"] * 30, classes)))
    assert "“c10” and 19 more. Their" in said


OWN = {"accuracy": 0.95, "roc_auc": 0.9}


def section_of(test=OWN, **options):
    return verdict(SimpleNamespace(manifest=make_manifest(test, **options)))


def others(**figures):
    """Baselines of those ROC AUCs, all right on 95 % of the rows."""
    return {name: {"accuracy": 0.95, "roc_auc": value} for name, value in figures.items()}


def test_verdict_ahead_of_every_baseline_says_by_which_metric():
    said = texts(section_of(baselines=others(majority=0.5, gradient_boosting=0.8)))
    assert (
        "By ROC AUC of “1” it is ahead of every baseline; the best of them is gradient boosting "
        "(ROC AUC of “1” 0.8000), against its 0.9000."
    ) in said


@pytest.mark.parametrize("figure", [0.9, 0.90000001])
def test_verdict_tie_with_a_baseline_is_not_ahead(figure):
    made = others(majority=0.5, gradient_boosting=figure, logistic_regression=0.9)
    said = " ".join(texts(section_of(baselines=made)))
    assert "ahead of every" not in said
    assert (
        "Gradient boosting and logistic regression do as well on the same rows as this network: "
        "ROC AUC of “1” 0.9000."
    ) in said


def test_verdict_baseline_that_is_better_is_named_though_another_ties():
    made = others(majority=0.9, gradient_boosting=0.95)
    said = " ".join(texts(section_of(baselines=made)))
    assert "Gradient boosting does better on the same rows than this network's 0.9000" in said
    assert "ahead of every" not in said


def test_verdict_baselines_without_the_leading_metric_are_not_compared():
    said = texts(section_of(baselines={"majority": {"accuracy": 0.95}}))
    assert "Its baselines were judged by other figures than it." in said


def test_verdict_a_class_without_test_rows_leads_by_accuracy_and_says_so():
    found = section_of({"accuracy": 0.95}, baselines={"majority": {"accuracy": 0.95}})
    said = " ".join(texts(found))
    assert "Not every class has test rows" in said
    assert "The commonest class alone does as well" in said


@pytest.mark.parametrize(("accuracy", "tone"), [(0.96, "plain"), (0.95, "bad"), (0.9, "bad")])
def test_verdict_says_what_always_answering_the_commonest_class_scores(accuracy, tone):
    found = section_of({"accuracy": accuracy, "roc_auc": 0.9}, baselines=others(majority=0.5))
    (said,) = [b for b in found.blocks if isinstance(b, Paragraph) and "Always answering" in b.text]
    assert said.text.replace("\N{NO-BREAK SPACE}", " ") == (
        f"Always answering 0 would be right on 95.0 % of rows like these; it is right on "
        f"{accuracy:.1%}.".replace("%.", " %.")
    )
    assert said.tone == tone


def test_verdict_of_values_says_what_the_mean_scores():
    own, mean = {"r2": 0.1, "mae": 2.0, "rmse": 3.0}, {"r2": 0.0, "mae": 2.5, "rmse": 3.2}
    said = texts(section_of(own, classes=None, baselines={"mean": mean}))
    assert (
        "Always answering the mean of the training rows would be off by 2.50 on average; it is off "
        "by 2."
    ) in [text.replace("2.00", "2") for text in said]


def test_verdict_class_never_answered_by_any_variant_is_bad_news():
    found = section_of(variants={"fp32": [1], "int8": [1]})
    said = [b.text for b in found.blocks if isinstance(b, Paragraph) and b.tone == "bad"]
    assert said[0].startswith(
        "None of 20 test rows is predicted as 1, although some belong to it: "
    )
    assert said[1].startswith("By int8, none of 20 test rows is predicted as 1")


def test_verdict_tiles_are_the_positive_classs_not_means():
    own = OWN | {"recall": 0.7, "positive_recall": 0.4, "positive_precision": 0.8}
    (tiles,) = [block for block in section_of(own).blocks if isinstance(block, Tiles)]
    shown = {name: figure for name, figure, _ in tiles.items}
    assert shown["recall of “1”"].startswith("0.4")
    assert not [name for name in shown if "macro" in name]
    (table,) = tables(section_of(own))
    assert [row[0] for row in table.rows][2:] == [
        "recall, macro",
        "recall of “1”",
        "precision of “1”",
    ]
    assert "Macro: the mean over the classes" in table.caption


def test_metric_name_of_a_class_that_is_not_known():
    assert metric_name("positive_recall") == "recall of the positive class"


def test_decimal_that_rounds_to_zero_has_no_sign():
    assert decimal(-0.00001) == "0.0000"
    assert decimal(-0.0001) == "−0.0001"


def test_shorts_are_as_short_as_asked_and_different():
    same = "x" * 100
    found = shorts([same + "a", same + "b", "plain", same + "c" + same, same + "d" + same], 24)
    assert found[2] == "plain"
    assert len(set(found)) == 5
    assert max(map(len, found)) <= 24
