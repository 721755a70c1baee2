"""The words and the curves of the section on training."""

from types import SimpleNamespace

import pytest

from serving.bundle import TrainingSummary
from tests.manifests import make_manifest
from trainer.report.blocks import FigureRow, Paragraph
from trainer.report.sections.loss_curves import build_training_section
from trainer.training.loop import VALIDATION_ERROR, Epoch

SMOOTHED = {"preset": "balanced", "monitor": "squared_error", "label_smoothing": 0.1}


def make_section(config, *, classes=(0, 1), has_errors=True, epochs_run=3, best_epoch=2):
    """Return the text and the figure of a run with these options."""
    training = TrainingSummary(
        config=config, epochs_run=epochs_run, best_epoch=best_epoch, seconds=1.5
    )
    history = [
        Epoch(n, 1 / n, 1.1 / n, 0.01 / n, {VALIDATION_ERROR: 0.3 / n} if has_errors else {})
        for n in range(1, epochs_run + 1)
    ]
    manifest = make_manifest({"accuracy": 1, "r2": 1}, classes=classes)
    manifest = manifest.model_copy(update={"training": training})
    section = build_training_section(
        SimpleNamespace(manifest=manifest, run=SimpleNamespace(history=history))
    )
    text = next(block.text for block in section.blocks if isinstance(block, Paragraph))
    row = next(block for block in section.blocks if isinstance(block, FigureRow))
    return text, row.figures[0]


def test_training_section_of_classes_shows_the_brier_score():
    text, figure = make_section(SMOOTHED)
    assert text == (
        "Trained for 3 epochs in 1.50 s, with the preset balanced. The weights are those of epoch "
        "2, which had the lowest Brier score of the validation rows."
    )
    assert "Brier score" in figure.svg
    assert "learning rate" in figure.svg
    assert figure.title == "Loss by epoch"
    assert figure.caption.startswith("Below the losses is the Brier score of the validation rows;")
    assert "those of labels smoothed by 0.1" in figure.caption


def test_training_section_of_values_shows_the_squared_error():
    text, figure = make_section({"preset": "balanced", "monitor": "squared_error"}, classes=None)
    assert text.endswith("which had the lowest squared error of the validation rows.")
    assert "squared error" in figure.svg
    assert "the squared error of the validation rows of the scaled target" in figure.caption
    assert "smoothed" not in figure.caption


@pytest.mark.parametrize("config", [{}, {"preset": "fast", "monitor": "loss"}], ids=str)
def test_training_section_without_error_shows_the_losses(config):
    text, figure = make_section(config, has_errors=False)
    assert text.endswith("epoch 2, which had the lowest loss of the validation rows.")
    assert ("preset" in text) == bool(config)
    assert "Brier" not in figure.svg
    assert figure.caption.startswith("Lower is better. Only the training loss")


@pytest.mark.parametrize("schedule", ["constant", "cosine"])
def test_training_section_last_epoch_best_suggests_more_with_a_constant_rate(schedule):
    config = {"schedule": schedule, "epochs": 3}
    text, _ = make_section(config, best_epoch=3)
    assert ("more epochs may help" in text) == (schedule == "constant")
