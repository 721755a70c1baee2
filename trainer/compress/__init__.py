"""Compression: smaller and faster variants of a trained model, within a limit on the metric."""
