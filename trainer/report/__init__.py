"""The report: one page that says how good a bundle is, where it errs, and how it came about."""

from trainer.report.inputs import ReportInputs
from trainer.report.page import render

__all__ = ["ReportInputs", "render"]
