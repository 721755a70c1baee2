"""Compression: smaller and faster variants of a trained model, each with what it costs."""
