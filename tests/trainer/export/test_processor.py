"""The detection of INT8 overflow on this processor, compared with answers of real layers."""

import numpy as np

from serving.runtime import GraphSession
from trainer.compress.int8_overflow import has_int8_overflow
from trainer.export.onnx_graph import build_graph
from trainer.export.tolerances import compute_tolerances


def test_int8_overflow_is_detected_if_8_bit_layers_differ(export, create_integer_model):
    exported = export("multiclass")
    records = exported.table.records.take(slice(200))
    agrees = []
    for seed in range(5):
        rng = np.random.default_rng(seed)
        model = create_integer_model(exported.model, records, rng, runs_here=False)
        got, expected = (
            GraphSession(build_graph(model)).run(records.inputs()),
            model.answers(records),
        )
        delta = np.abs(got["probabilities"] - expected["probabilities"])
        agrees.append(bool((delta <= compute_tolerances(model, records)["probabilities"]).all()))
    assert all(agrees) is not has_int8_overflow()
