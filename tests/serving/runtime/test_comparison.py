"""Outputs are compared with the expected ones by shape, dtype and tolerance."""

import numpy as np
import pytest

from serving.runtime import GraphError, compare_outputs


def f32(*rows):
    return np.array(rows, np.float32)


def test_compare_outputs_measures_the_largest_differences():
    expected = {"label": np.array([1, 2]), "p": f32([0.5, 0.25], [1, 0])}
    got = {"label": np.array([1, 3]), "p": f32([0.5, 0.25], [0.5, 0])}
    found = compare_outputs(got, expected, {"p": f32([1, 1], [1, 1])})
    assert (found.rows, found.max_abs, found.max_rel, found.label_agreement) == (2, 0.5, 0.5, 0.5)
    assert not found.is_within_tolerance  # a label differs


def test_compare_outputs_each_element_has_its_own_tolerance():
    expected = {"p": f32([1, 2])}
    got = {"p": f32([1.5, 2])}
    assert compare_outputs(got, expected, {"p": f32([0.5, 0])}).is_within_tolerance
    assert not compare_outputs(got, expected, {"p": f32([0.4, 9])}).is_within_tolerance


def test_compare_outputs_nan_is_never_within_tolerance():
    expected = {"p": f32([1, 1])}
    found = compare_outputs({"p": f32([np.nan, 1])}, expected, {"p": f32([1e30, 1e30])})
    assert not found.is_within_tolerance
    assert found.max_abs == found.max_rel == np.inf


def test_compare_outputs_missing_output_or_other_shape_or_dtype_is_refused():
    expected = {"p": f32([1, 2])}
    for got in ({}, {"p": f32([1, 2, 3])}, {"p": np.array([["a", "b"]])}):
        with pytest.raises(GraphError, match="expected p as float32"):
            compare_outputs(got, expected, {"p": f32([0, 0])})
