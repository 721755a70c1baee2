"""The page names the class that a figure or a bias is of, wherever it shows one."""

from types import SimpleNamespace

import pytest

from serving.bundle import CompressionCandidate, CompressionSummary, MetricDrop
from tests.manifests import make_manifest
from trainer.cli.model_summary import summarize_output_scaling
from trainer.report.importance import PermutationImportance, PermutationImportances
from trainer.report.sections.calibration import _sentence
from trainer.report.sections.compression import compression
from trainer.report.sections.importance_and_errors import importance


def candidate(name, **changes):
    return CompressionCandidate(
        name=name,
        bits=32,
        inputs=4,
        hidden=[8],
        parameters=9,
        size_bytes=1000,
        zipped_bytes=900,
        latency_us={"64": 20.0},
        validation=0.9,
        drop=0.0,
        kept=True,
        **changes,
    )


def test_compression_names_the_positive_class_of_its_metric():
    tried = [candidate("fp32"), candidate("int8", tested=MetricDrop(drop=0, interval=(0, 0)))]
    found = CompressionSummary(metric="positive_f1", max_drop=0.01, tried=tried)
    manifest = make_manifest({}, classes=("fraud", "good"), positive="fraud", compression=found)
    page = repr(compression(SimpleNamespace(manifest=manifest)))
    assert "Its F1 of “fraud” was allowed to drop" in page
    assert "the F1 of “fraud” is on the test rows" in page
    assert "of the positive class" not in page


def test_importance_names_the_positive_class_of_its_metric():
    columns = [PermutationImportance("x", 0.1, 0.01)]
    page = repr(importance(PermutationImportances("roc_auc", 0.9, 10, columns), "fraud"))
    assert "ROC AUC of “fraud” is 0.9" in page
    assert "ROC AUC of “fraud” lost" in page


@pytest.mark.parametrize(
    ("classes", "bias", "printed", "on_page"),
    [
        # One logit of two classes is that of the second, whichever is the positive one.
        (("fraud", "good"), [1.5], "+1.5000 for good", "moved by 1.50 for good"),
        ((3, 7, 9), [1, -2, 0.5], "+1.0000 for 3, -2.0000 for 7, +0.5000 for 9", " for 7 and 0.5"),
    ],
)
def test_a_bias_is_shown_with_the_class_whose_logit_it_moves(classes, bias, printed, on_page):
    manifest = make_manifest(
        {}, classes=classes, logit_bias=bias, temperature=2.0, config={"calibrate": True}
    )
    assert summarize_output_scaling(manifest)["bias"] == printed
    assert on_page in _sentence(SimpleNamespace(manifest=manifest))


def test_calibration_without_a_bias_speaks_of_none():
    for config in ({"calibrate": True}, {}):
        manifest = make_manifest({}, classes=("fraud", "good"), temperature=2.0, config=config)
        assert "bias" not in summarize_output_scaling(manifest)
        assert "moved" not in _sentence(SimpleNamespace(manifest=manifest))
