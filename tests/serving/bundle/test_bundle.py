"""Opening a bundle, reading its files and its self-test, and listing the versions of a folder."""

import json
from zipfile import ZipFile

import numpy as np
import pytest
from pydantic import ValidationError

from serving.bundle import (
    Bundle,
    BundleError,
    ExpectedAnswers,
    SelfTest,
    Variant,
    list_models,
    list_versions,
)


def edit_manifest(path, **changes):
    manifest = path / "bundle.json"
    manifest.write_text(json.dumps(json.loads(manifest.read_text()) | changes))


def test_open_shipped_bundle_reads_manifest_and_files(shipped):
    bundle = Bundle.open(shipped / "digits" / "1")
    assert bundle.manifest.classes == list(range(10))
    assert len(bundle.manifest.inputs) == 64
    assert set(bundle.checksums) == {"model.onnx", "selftest.npz", "reference.json"}
    for file in bundle.checksums:
        assert len(bundle.read_file(file)) == (bundle.path / file).stat().st_size


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"schema_version": 3}, "not valid at schema_version"),
        ({"surprise": 1}, "not valid at surprise: Extra inputs"),
        ({"version": 2}, "expected the manifest of digits/1; got the manifest of digits/2"),
        ({"name": "letters"}, "got the manifest of letters/1"),
        ({"name": "../digits"}, "not valid at name"),
        ({"inputs": []}, "not valid at inputs"),
        ({"variants": {}}, "not valid at variants"),
        ({"files": {"../../etc/passwd": "0" * 64}}, "not valid at files"),
        ({"classes": [1, "two"]}, "not valid at classes"),
        ({"task": "clustering"}, "not valid at task"),
        ({"threshold": 7.0}, "not valid at threshold"),
        ({"files": {"selftest.npz": "0" * 64}}, "not valid at files: .*got no reference.json"),
    ],
)
def test_open_invalid_manifest_is_refused_with_its_location(changes, message, only_digits):
    path = only_digits / "digits" / "1"
    edit_manifest(path, **changes)
    with pytest.raises(BundleError, match=message):
        Bundle.open(path)


def test_open_two_inputs_with_the_same_name_is_refused(only_digits):
    path = only_digits / "digits" / "1"
    inputs = json.loads((path / "bundle.json").read_text())["inputs"]
    inputs[1]["name"] = inputs[0]["name"]
    edit_manifest(path, inputs=inputs)
    with pytest.raises(BundleError, match="not valid at inputs: .*distinct names"):
        Bundle.open(path)


@pytest.mark.parametrize("content", ["", "{", "[]", "null", '{"schema_version": 1}', "\xff"])
def test_open_manifest_that_is_not_an_object_is_refused(content, only_digits):
    path = only_digits / "digits" / "1"
    (path / "bundle.json").write_text(content, encoding="latin-1")
    with pytest.raises(BundleError, match=r"bundle.json is not valid at"):
        Bundle.open(path)


def test_open_missing_manifest_is_refused(tmp_path):
    with pytest.raises(BundleError, match=r"expected a readable bundle.json; No such file"):
        Bundle.open(tmp_path / "digits" / "1")


@pytest.mark.parametrize("file", ["model.onnx", "selftest.npz", "reference.json"])
def test_read_file_one_flipped_bit_is_refused(file, only_digits):
    path = only_digits / "digits" / "1"
    content = bytearray((path / file).read_bytes())
    content[len(content) // 2] ^= 1
    (path / file).write_bytes(content)
    with pytest.raises(BundleError, match=f"{file} was altered after export"):
        Bundle.open(path).read_file(file)


def test_read_graph_missing_file_is_named(only_digits):
    path = only_digits / "digits" / "1"
    (path / "model.onnx").unlink()
    with pytest.raises(BundleError, match=r"expected a readable model.onnx"):
        Bundle.open(path).read_graph("fp32")


def test_read_file_not_listed_in_the_manifest_is_refused(shipped):
    with pytest.raises(BundleError, match=r"does not list bundle.json"):
        Bundle.open(shipped / "digits" / "1").read_file("bundle.json")


def test_selftest_round_trip_is_equal(rng):
    selftest = SelfTest(
        inputs={"features": rng.normal(size=(3, 2)).astype(np.float32)},
        expected={
            "fp32": ExpectedAnswers(
                {"label": np.array(["a", "ü", "b"]), "probabilities": np.ones((3, 2), np.float32)},
                {"probabilities": np.full((3, 2), 1e-6, np.float32)},
            ),
            "int8": ExpectedAnswers({"label": np.arange(3)}, {}),
        },
    )
    back = SelfTest.from_bytes(selftest.to_bytes())
    np.testing.assert_equal(back.inputs, selftest.inputs)
    assert set(back.expected) == {"fp32", "int8"}
    np.testing.assert_equal(back.expected["fp32"].outputs, selftest.expected["fp32"].outputs)
    np.testing.assert_equal(back.expected["fp32"].tolerances, selftest.expected["fp32"].tolerances)


def test_selftest_from_bytes_with_a_pickle_is_refused(tmp_path):
    np.savez(tmp_path / "evil.npz", **{"input/features": np.array([{}], dtype=object)})
    with pytest.raises(BundleError, match="expected plain arrays"):
        SelfTest.from_bytes((tmp_path / "evil.npz").read_bytes())
    with pytest.raises(BundleError, match="expected plain arrays"):
        SelfTest.from_bytes(b"no zip")
    np.savez(tmp_path / "other.npz", other=np.ones(3))
    with pytest.raises(BundleError, match="unexpected array 'other'"):
        SelfTest.from_bytes((tmp_path / "other.npz").read_bytes())


@pytest.mark.parametrize("header", [b"{'descr': [[[", b'{"descr": """', b"__import__('os')"])
def test_selftest_from_bytes_header_that_is_not_a_literal_is_refused(header, tmp_path):
    array = b"\x93NUMPY\x01\x00" + len(header).to_bytes(2, "little") + header
    with ZipFile(tmp_path / "odd.npz", "w") as file:
        file.writestr("input/features.npy", array)
    with pytest.raises(BundleError, match="expected plain arrays"):
        SelfTest.from_bytes((tmp_path / "odd.npz").read_bytes())


def test_variant_metric_that_is_nan_is_refused(shipped):
    part = Bundle.open(shipped / "digits" / "1").manifest.variants["fp32"]
    with pytest.raises(ValidationError, match="finite number"):
        Variant(**part.model_dump() | {"metrics": {"roc_auc": float("nan")}})


def test_list_versions_returns_only_numbered_folders(tmp_path):
    for name in ("1", "2", "10", "0", "03", "-1", "1.5", ".building", "latest", "9" * 12):
        (tmp_path / "m" / name).mkdir(parents=True)
    (tmp_path / "m" / "7").touch()  # a file
    assert list_versions(tmp_path / "m") == [1, 2, 10]
    assert list_versions(tmp_path / "absent") == []


def test_list_models_returns_only_folders_with_versions(tmp_path):
    (tmp_path / "b" / "1").mkdir(parents=True)
    (tmp_path / "a" / "2").mkdir(parents=True)
    (tmp_path / "empty").mkdir()
    (tmp_path / "notes.txt").touch()
    assert list_models(tmp_path) == ["a", "b"]
    assert list_models(tmp_path / "absent") == []


def test_list_models_export_in_progress_is_ignored(only_digits):
    (only_digits / "digits" / "1").rename(only_digits / "digits" / ".building")
    assert list_models(only_digits) == []


def test_selftest_columns_with_unusual_names_round_trip_without_pickles():
    texts = np.array([["a"], [""], ["é"]], dtype=object)
    inputs = {"pay/hour": np.ones((3, 1), np.float32), "expected/a/b": texts, "input": texts}
    back = SelfTest.from_bytes(SelfTest(inputs, {}).to_bytes())
    assert back.inputs["expected/a/b"].dtype.kind == "U"
    np.testing.assert_equal(back.inputs, inputs)
