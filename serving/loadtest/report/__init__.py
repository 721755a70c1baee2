"""The report of a load test: its content, and how a terminal, a web page and JSON show it."""

from serving.loadtest.report.content import LoadTestReport

__all__ = ["LoadTestReport"]
