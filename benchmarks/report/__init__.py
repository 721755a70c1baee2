"""The benchmark page: docs/benchmarks.md and the README's tables, written from the results."""
