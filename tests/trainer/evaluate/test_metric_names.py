import pytest

from trainer.evaluate.metric_names import format_class, format_metric_name, format_metrics


def test_format_metric_name_adds_class_and_macro():
    assert format_metric_name("positive_recall", 1) == "recall of 1"
    assert format_metric_name("positive_f1", "fraud") == "f1 of fraud"
    assert format_metric_name("recall", 1) == "macro recall"
    assert format_metric_name("roc_auc", 1) == "roc_auc of 1"
    assert format_metric_name("roc_auc") == "roc_auc"


def test_format_metrics_puts_positive_class_before_macro_averages():
    metrics = {"accuracy": 0.94, "recall": 0.5, "log_loss": 0.2, "positive_recall": 0.0}
    text = format_metrics(metrics, 1)
    assert text == "accuracy 0.9400, recall of 1 0.0000, log_loss 0.2000, macro recall 0.5000"


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
def test_format_class_is_printable_and_short(name, text):
    assert format_class(name) == text
