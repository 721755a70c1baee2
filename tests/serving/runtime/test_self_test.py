"""Self-tests: a variant passes only if it gives the expected outputs for valid golden rows."""

import hashlib

import numpy as np
import pytest

from serving.bundle import Bundle, SelfTest
from serving.runtime import run_self_test

N_GOLDEN = 131  # rows of the shipped self-test


@pytest.fixture
def bundle(only_digits):
    return Bundle.open(only_digits / "digits" / "1")


def test_run_self_test_shipped_bundle_passes(shipped):
    result = run_self_test(Bundle.open(shipped / "digits" / "1"), "fp32")
    assert result.passed
    assert result.failure == ""
    assert result.difference.rows >= 100
    assert result.difference.label_agreement == 1


def rewrite_selftest(bundle, change):
    """Change the self-test of a bundle and its checksum, as a faulty exporter would."""
    selftest = bundle.read_selftest()
    change(selftest)
    content = selftest.to_bytes()
    (bundle.path / "selftest.npz").write_bytes(content)
    files = bundle.manifest.files | {"selftest.npz": hashlib.sha256(content).hexdigest()}
    manifest = bundle.manifest.model_copy(update={"files": files})
    (bundle.path / "bundle.json").write_text(manifest.model_dump_json())
    return Bundle.open(bundle.path)


def change_a_probability(selftest):
    selftest.expected["fp32"].outputs["probabilities"][5, 3] += 1e-2


def change_a_label(selftest):
    label = selftest.expected["fp32"].outputs["label"]
    label[7] = (label[7] + 1) % 10


@pytest.mark.parametrize("fault", [change_a_probability, change_a_label])
def test_run_self_test_other_outputs_fail_with_the_reason(fault, bundle):
    result = run_self_test(rewrite_selftest(bundle, fault), "fp32")
    assert not result.passed
    assert result.session is None
    assert "does not reproduce its self-test on this CPU" in result.failure


@pytest.mark.parametrize(
    "tolerances",
    [
        {},
        {"probabilities": np.ones((3, 2))},
        {"probabilities": np.array("x")},
        {"probabilities": np.full((N_GOLDEN, 10), np.inf)},
        {"probabilities": -np.ones((N_GOLDEN, 10))},
        {"probabilities": np.ones((N_GOLDEN, 10)), "label": np.ones(N_GOLDEN)},
    ],
)
def test_run_self_test_invalid_tolerances_fail(tolerances, bundle):
    def change(selftest):
        assert len(selftest.inputs["features"]) == N_GOLDEN
        selftest.expected["fp32"].tolerances.clear()
        selftest.expected["fp32"].tolerances.update(tolerances)

    assert (
        "expected finite tolerances"
        in run_self_test(rewrite_selftest(bundle, change), "fp32").failure
    )


def test_run_self_test_variant_without_expected_outputs_fails(bundle):
    result = run_self_test(rewrite_selftest(bundle, lambda s: s.expected.clear()), "fp32")
    assert "the self-test has no expected answers of fp32" in result.failure


@pytest.mark.parametrize(("rows", "passed"), [(0, False), (7, False), (8, True)])
def test_run_self_test_fewer_than_8_golden_rows_fail(rows, passed, bundle):
    def shorten(selftest: SelfTest) -> None:
        selftest.inputs["features"] = selftest.inputs["features"][:rows]
        expected = selftest.expected["fp32"]
        for arrays in (expected.outputs, expected.tolerances):
            arrays.update({name: array[:rows] for name, array in arrays.items()})

    result = run_self_test(rewrite_selftest(bundle, shorten), "fp32")
    assert result.passed == passed
    assert passed or f"at least 8 golden rows in the self-test; got {rows}" in result.failure


def edit_manifest(bundle, **changes):
    manifest = bundle.manifest.model_copy(update=changes)
    (bundle.path / "bundle.json").write_text(manifest.model_dump_json())
    return Bundle.open(bundle.path)


def test_run_self_test_manifest_with_other_inputs_or_outputs_fails(bundle):
    fewer = edit_manifest(bundle, inputs=bundle.manifest.inputs[:-1])
    assert "expected golden rows of 63 features" in run_self_test(fewer, "fp32").failure
    classes = edit_manifest(bundle, classes=list(range(11)))
    assert "expected answers of the shapes" in run_self_test(classes, "fp32").failure
    task = edit_manifest(bundle, classes=None)
    assert "'value': (" in run_self_test(task, "fp32").failure


def test_run_self_test_altered_graph_fails(bundle):
    path = bundle.path / "model.onnx"
    path.write_bytes(path.read_bytes()[:-1])
    assert "model.onnx was altered after export" in run_self_test(bundle, "fp32").failure


def test_run_self_test_mixed_columns_pass(adults):
    result = run_self_test(Bundle.open(adults / "adults" / "1"), "fp32")
    assert result.failure == ""
    assert result.session.inputs == {
        "age": "float32",
        "hours/week": "float32",
        "member": "float32",
        "work": "str",
        "grade": "str",
        "since": "float64",
    }


def run_mixed_self_test(folder, mixed, **parts):
    mixed.write(folder / "models", **parts)
    return run_self_test(Bundle.open(folder / "models" / "adults" / "1"), "fp32").failure


def test_run_self_test_graph_with_other_inputs_than_the_manifest_fails(tmp_path, mixed):
    work = next(column for column in mixed.columns if column["name"] == "work")
    date = next(column for column in mixed.columns if column["name"] == "since")
    rest = [c for c in mixed.columns if c not in (work, date)]
    fewer = mixed.graph([work, *rest])
    failure = run_mixed_self_test(tmp_path / "fewer", mixed, graph=fewer)
    assert "the inputs of the manifest, 'since' as float64; got no such input" in failure
    more = {"inputs": [*rest, work], "example": {}}
    selftest = Bundle.open(mixed.write(tmp_path / "whole")).read_selftest()
    del selftest.inputs["since"]
    failure = run_mixed_self_test(tmp_path / "more", mixed, selftest=selftest, **more)
    assert "'since' as none of them; got float64" in failure
    other = mixed.graph([*rest, work, {**date, "type": "number"}])
    failure = run_mixed_self_test(tmp_path / "other", mixed, graph=other)
    assert "'since' as float64; got float32" in failure


def remove_column(inputs):
    del inputs["age"]


def change_dtype(inputs):
    inputs["age"] = inputs["age"].astype(np.float64)


def replace_texts_by_numbers(inputs):
    inputs["work"] = np.zeros((32, 1), np.float32)


def flatten_column(inputs):
    inputs["age"] = inputs["age"][:, 0]


def remove_row(inputs):
    inputs["age"] = inputs["age"][1:]


def replace_by_scalar(inputs):
    inputs["age"] = np.float32(1)


@pytest.mark.parametrize(
    "fault",
    [
        remove_column,
        change_dtype,
        replace_texts_by_numbers,
        flatten_column,
        remove_row,
        replace_by_scalar,
    ],
)
def test_run_self_test_golden_rows_of_other_columns_fail(fault, adults, tmp_path, mixed):
    selftest = Bundle.open(adults / "adults" / "1").read_selftest()
    fault(selftest.inputs)
    failure = run_mixed_self_test(tmp_path, mixed, selftest=selftest)
    assert "expected golden rows of 6 features, as in the manifest; got " in failure
