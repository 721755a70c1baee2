"""The highest rate that each server sustains while its latency stays below a bound."""
