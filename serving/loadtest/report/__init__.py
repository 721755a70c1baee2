"""The report: what a run came to; `text` on a terminal, `page` with `plots`, `document` as JSON."""

from serving.loadtest.report.content import Report

__all__ = ["Report"]
