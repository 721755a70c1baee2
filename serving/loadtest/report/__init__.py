"""The report: what a run came to, on a terminal, on a page, in plots."""

from serving.loadtest.report.content import Limits, Probe, Report
from serving.loadtest.report.document import document
from serving.loadtest.report.page import page
from serving.loadtest.report.text import show

__all__ = ["Limits", "Probe", "Report", "document", "page", "show"]
