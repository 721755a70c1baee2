"""The report: one HTML page with the quality, the errors and the training of a bundle's model."""

import trainer.train_extra  # noqa: F401 - says which extra to install

from trainer.report.inputs import ReportInputs
from trainer.report.page import render

__all__ = ["ReportInputs", "render"]
