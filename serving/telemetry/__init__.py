"""Telemetry: the counters that all workers share, the metrics, and the logs.

It depends on neither models nor HTTP; from `serving` it imports only `call_context`.
"""
