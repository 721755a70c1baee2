"""Whether weights of 8 bits overflow here, against ONNX Runtime's answers to real layers."""

import numpy as np

from serving.runtime import GraphSession
from trainer.compress.int8_overflow import has_int8_overflow
from trainer.export.onnx_graph import build_graph
from trainer.export.tolerances import compute_tolerances


def test_overflows_with_8_bits_layers_of_large_bytes_answered_alike_only_if_not(export, in_bytes):
    exported = export("multiclass")
    records = exported.table.records.take(slice(200))
    agrees = []
    for seed in range(5):
        rng = np.random.default_rng(seed)
        model = in_bytes(exported.model, records, rng, runs_here=False)
        got, expected = (
            GraphSession(build_graph(model)).run(records.inputs()),
            model.answers(records),
        )
        delta = np.abs(got["probabilities"] - expected["probabilities"])
        agrees.append(bool((delta <= compute_tolerances(model, records)["probabilities"]).all()))
    assert all(agrees) is not has_int8_overflow()
