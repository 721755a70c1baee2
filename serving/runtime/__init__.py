"""ONNX Runtime: sessions, their timing, and the proof that a graph answers as it should."""

from serving.runtime.comparison import Difference, compare
from serving.runtime.limits import ProofLimits
from serving.runtime.self_test import Proof, prove
from serving.runtime.session import GraphError, RunTimeoutError, Session, run_in_slices
from serving.runtime.timing import TIMED_ROWS, TIMED_SECONDS, race

__all__ = [
    "TIMED_ROWS",
    "TIMED_SECONDS",
    "Difference",
    "GraphError",
    "Proof",
    "ProofLimits",
    "RunTimeoutError",
    "Session",
    "compare",
    "prove",
    "race",
    "run_in_slices",
]
