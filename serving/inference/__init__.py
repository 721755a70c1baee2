"""Inference: requests are decoded, joined into batches, run and encoded."""
