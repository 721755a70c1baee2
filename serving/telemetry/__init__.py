"""Telemetry: the counters that all workers share, the metrics, and the logs.

It knows neither models nor HTTP; of `serving` it imports only `call_context`.
"""
