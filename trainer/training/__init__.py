"""Fitting: the training loop and what watches it."""
