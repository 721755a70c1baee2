from types import SimpleNamespace

import numpy as np
import pytest
from sklearn import metrics

from trainer.report.blocks import Paragraph, TableBlock
from trainer.report.sections.confusion_matrix import build_confusion_section


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
