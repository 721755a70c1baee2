import pytest

from tests.manifests import make_manifest
from trainer.cli.model_summary import summarize_output_scaling
from trainer.report.sections.calibration_curve import describe_calibration


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
    assert summarize_output_scaling(manifest)["bias"] == printed
    assert on_page in describe_calibration(manifest)


def test_calibration_without_bias_mentions_none():
    for config in ({"calibrate": True}, {}):
        manifest = make_manifest({}, classes=("fraud", "good"), temperature=2.0, config=config)
        assert "bias" not in summarize_output_scaling(manifest)
        assert "shifted" not in describe_calibration(manifest)
