"""The report: what a run came to, on a terminal (`text`), on a page (`page`), in `plots`."""

from serving.loadtest.report.content import Limits, Probe, Report

__all__ = ["Limits", "Probe", "Report"]
