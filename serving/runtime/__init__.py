"""ONNX Runtime: sessions, their timing, and the proof that a graph answers as it should."""

from serving.runtime.self_test import Difference, Proof, compare, prove
from serving.runtime.session import GraphError, Session, run_in_slices
from serving.runtime.timing import TIMED_ROWS, race

__all__ = [
    "TIMED_ROWS",
    "Difference",
    "GraphError",
    "Proof",
    "Session",
    "compare",
    "prove",
    "race",
    "run_in_slices",
]
