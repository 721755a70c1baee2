"""The report: what a run came to; `text` on a terminal, `page` with `plots`, `document` as JSON."""

from serving.loadtest.report.content import LoadTestReport

__all__ = ["LoadTestReport"]
