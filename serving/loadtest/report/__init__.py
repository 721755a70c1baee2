"""The report: what a run came to, on a terminal, on a page, in plots."""

from serving.loadtest.report.content import Limits, Probe, Report
from serving.loadtest.report.page import page
from serving.loadtest.report.text import show

__all__ = ["Limits", "Probe", "Report", "page", "show"]
