"""Run ONNX graphs: sessions, the self-test of a bundle, latency, and the choice of a variant.

This module exports the names that the trainer also uses. All others are imported from their
modules: `variant_selection`, `proof_server` and `heap`. Only `session` imports ONNX Runtime, and
only when the first session is created. From `serving`, the package imports only `bundle`.
"""

from serving.runtime.comparison import OutputDifference, compare_outputs
from serving.runtime.latency_profile import MAX_TIMING_SECONDS, TIMED_BATCH_SIZES, measure_latencies
from serving.runtime.self_test import ProofLimits, SelfTestResult, run_self_test
from serving.runtime.session import GraphError, GraphSession, RunTimeoutError, run_in_slices

__all__ = [
    "MAX_TIMING_SECONDS",
    "TIMED_BATCH_SIZES",
    "GraphError",
    "GraphSession",
    "OutputDifference",
    "ProofLimits",
    "RunTimeoutError",
    "SelfTestResult",
    "compare_outputs",
    "measure_latencies",
    "run_in_slices",
    "run_self_test",
]
