"""The highest rate that each server holds within a bound of its latency."""
