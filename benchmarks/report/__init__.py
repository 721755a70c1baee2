"""The page of the benchmarks: docs/benchmarks.md and the README's tables, out of the JSON alone."""
