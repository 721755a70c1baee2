"""The benchmark pages and the figures on other pages, written from benchmarks/results."""
