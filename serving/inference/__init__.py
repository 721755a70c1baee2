"""Inference: a request's bytes are decoded, its rows run in a batch, and the outputs encoded.

Every protocol's handler calls `predictor`. It uses `codec` for the bytes, `repository` for the
model, `runtime` for the session and `telemetry` to count; it does not depend on HTTP.
"""
