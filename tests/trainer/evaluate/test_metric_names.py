import pytest

from trainer.evaluate.metric_names import class_text, metric_figures, metric_label


def test_metric_label_says_whose_it_is_and_what_is_a_mean():
    assert metric_label("positive_recall", 1) == "recall of 1"
    assert metric_label("positive_f1", "fraud") == "f1 of fraud"
    assert metric_label("recall", 1) == "macro recall"
    assert metric_label("roc_auc", 1) == "roc_auc of 1"
    assert metric_label("roc_auc") == "roc_auc"


def test_metric_figures_puts_the_positive_class_before_means():
    found = {"accuracy": 0.94, "recall": 0.5, "log_loss": 0.2, "positive_recall": 0.0}
    told = metric_figures(found, 1)
    assert told == "accuracy 0.9400, recall of 1 0.0000, log_loss 0.2000, macro recall 0.5000"


@pytest.mark.parametrize(
    ("name", "text"),
    [
        (0, "0"),
        ("-1", "-1"),
        ("fraud", "fraud"),
        ("über", "über"),
        ("not fraud", "“not fraud”"),
        ("a,b", "“a,b”"),
        ("a\nb", "“a\\nb”"),
        ("\x1b[31m", "“\\x1b[31m”"),
        ("", "“”"),
        ("x" * 24, "x" * 24),
        ("x" * 25, "x" * 23 + "…"),
    ],
)
def test_class_text_is_one_printable_short_phrase(name, text):
    assert class_text(name) == text
