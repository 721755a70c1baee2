import json

import numpy as np

from trainer.data.records import Records
from trainer.export.drift_reference import compute_drift_reference


def test_every_row_is_counted_once_in_every_histogram(export):
    exported = export("multiclass")
    found = compute_drift_reference(exported.model, exported.table.records)
    n = len(exported.table)
    assert found["rows"] == n
    assert list(found["features"]) == list(exported.table.records.names)
    outputs = found["outputs"]
    for histogram in (*found["features"].values(), *outputs["probabilities"]):
        assert sum(histogram["counts"]) == n
        assert len(histogram["edges"]) == len(histogram["counts"]) + 1
    label = exported.model.answers(exported.table.records)["label"]
    assert outputs["label"] == np.bincount(label, minlength=10).tolist()
    json.dumps(found, allow_nan=False)


def test_quantile_bins_weigh_the_same(export):
    exported = export("regression")
    found = compute_drift_reference(exported.model, exported.table.records)
    counts = np.array(found["outputs"]["value"][0]["counts"])
    assert abs(counts - 44.2).max() <= 3


def test_edges_keep_their_digits(export, rng):
    exported = export("several targets")
    stamps = (1.6e9 + rng.integers(0, 30_000, size=(20, 3))).astype(np.float32)
    found = compute_drift_reference(exported.model, Records.of_numbers("abc", stamps))
    for histogram in found["features"].values():
        edges = np.array(histogram["edges"], np.float32)
        assert (np.diff(edges) > 0).all()
        assert sum(histogram["counts"]) == 20


def test_a_constant_feature_has_one_bin(export):
    exported = export("multiclass")  # the first pixel of every digit is blank
    found = compute_drift_reference(exported.model, exported.table.records)
    assert found["features"]["pixel_0_0"]["counts"] == [1797]
