import pytest

from trainer.evaluate.metric_names import format_class, format_metric_name, format_metrics


def test_metric_label_says_whose_it_is_and_what_is_a_mean():
    assert format_metric_name("positive_recall", 1) == "recall of 1"
    assert format_metric_name("positive_f1", "fraud") == "f1 of fraud"
    assert format_metric_name("recall", 1) == "macro recall"
    assert format_metric_name("roc_auc", 1) == "roc_auc of 1"
    assert format_metric_name("roc_auc") == "roc_auc"


def test_metric_figures_puts_the_positive_class_before_means():
    found = {"accuracy": 0.94, "recall": 0.5, "log_loss": 0.2, "positive_recall": 0.0}
    told = format_metrics(found, 1)
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
    assert format_class(name) == text
