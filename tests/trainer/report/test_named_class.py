"""Tests that metrics and biases of one class name this class."""

from types import SimpleNamespace

import pytest

from serving.bundle import CompressionCandidate, CompressionSummary, MetricDrop
from tests.manifests import make_manifest
from trainer.cli.fit import _settled
from trainer.report.permutation_importance import PermutationImportance, PermutationImportances
from trainer.report.sections.calibration_curve import describe_calibration
from trainer.report.sections.compression import build_compression_section
from trainer.report.sections.feature_importance import build_importance_section


def make_candidate(name, **changes):
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


def test_compression_metric_names_the_positive_class():
    tried = [
        make_candidate("fp32"),
        make_candidate("int8", tested=MetricDrop(drop=0, interval=(0, 0))),
    ]
    result = CompressionSummary(metric="positive_f1", max_drop=0.01, tried=tried)
    manifest = make_manifest({}, classes=("fraud", "good"), positive="fraud", compression=result)
    page = repr(build_compression_section(SimpleNamespace(manifest=manifest)))
    assert "The F1 of “fraud” was allowed to drop" in page
    assert "Drop of the F1 of “fraud” on the test rows" in page
    assert "of the positive class" not in page


def test_importance_metric_names_the_positive_class():
    columns = [PermutationImportance("x", 0.1, 0.01)]
    page = repr(
        build_importance_section(PermutationImportances("roc_auc", 0.9, 10, columns), "fraud")
    )
    assert "ROC AUC of “fraud” is 0.9" in page
    assert "drop of ROC AUC of “fraud”" in page


@pytest.mark.parametrize(
    ("classes", "bias", "printed", "on_page"),
    [
        # The logit of a binary model is that of the second class, even if the first is positive.
        (("fraud", "good"), [1.5], "+1.5000 for good", "shifted by a bias of 1.50 for good"),
        ((3, 7, 9), [1, -2, 0.5], "+1.0000 for 3, -2.0000 for 7, +0.5000 for 9", " for 7 and 0.5"),
    ],
)
def test_calibration_bias_names_the_class_of_its_logit(classes, bias, printed, on_page):
    manifest = make_manifest(
        {}, classes=classes, logit_bias=bias, temperature=2.0, config={"calibrate": True}
    )
    assert _settled(manifest)["bias"] == printed
    assert on_page in describe_calibration(manifest)


def test_calibration_without_bias_mentions_none():
    for config in ({"calibrate": True}, {}):
        manifest = make_manifest({}, classes=("fraud", "good"), temperature=2.0, config=config)
        assert "bias" not in _settled(manifest)
        assert "shifted" not in describe_calibration(manifest)
