import json

import numpy as np

from trainer.data.records import Records
from trainer.export.drift_reference import compute_drift_reference


def test_drift_reference_counts_every_row_once(export):
    exported = export("multiclass")
    reference = compute_drift_reference(exported.model, exported.table.records)
    n = len(exported.table)
    assert reference["rows"] == n
    assert list(reference["features"]) == list(exported.table.records.names)
    outputs = reference["outputs"]
    for histogram in (*reference["features"].values(), *outputs["probabilities"]):
        assert sum(histogram["counts"]) == n
        assert len(histogram["edges"]) == len(histogram["counts"]) + 1
    label = exported.model.answers(exported.table.records)["label"]
    assert outputs["label"] == np.bincount(label, minlength=10).tolist()
    json.dumps(reference, allow_nan=False)


def test_drift_reference_bins_have_equal_counts(export):
    exported = export("regression")
    reference = compute_drift_reference(exported.model, exported.table.records)
    counts = np.array(reference["outputs"]["value"][0]["counts"])
    assert abs(counts - 44.2).max() <= 3


def test_drift_reference_large_numbers_have_distinct_edges(export, rng):
    exported = export("several targets")
    timestamps = (1.6e9 + rng.integers(0, 30_000, size=(20, 3))).astype(np.float32)
    reference = compute_drift_reference(exported.model, Records.of_numbers("abc", timestamps))
    for histogram in reference["features"].values():
        edges = np.array(histogram["edges"], np.float32)
        assert (np.diff(edges) > 0).all()
        assert sum(histogram["counts"]) == 20


def test_drift_reference_constant_feature_has_one_bin(export):
    exported = export("multiclass")  # the first pixel of every digit is 0
    reference = compute_drift_reference(exported.model, exported.table.records)
    assert reference["features"]["pixel_0_0"]["counts"] == [1797]
