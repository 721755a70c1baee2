"""Make bundles of several variants (correct, slow, wrong, damaged) from a bundle with one graph."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path

import numpy as np
import onnx
from onnx import helper, numpy_helper

from serving.bundle import Bundle, ExpectedAnswers, SelfTest


def slow_down(graph: bytes) -> bytes:
    """Negate each feature 200 times: the answers stay exactly equal but take far longer."""
    model = onnx.load_from_string(graph)
    (features,) = model.graph.input
    for node in model.graph.node:
        node.input[:] = ["negated 200" if name == features.name else name for name in node.input]
    names = [features.name, *(f"negated {number}" for number in range(1, 201))]
    negations = [helper.make_node("Neg", [a], [b]) for a, b in pairwise(names)]
    nodes = [*negations, *model.graph.node]
    del model.graph.node[:]
    model.graph.node.extend(nodes)
    return model.SerializeToString()


def negate_weights(graph: bytes) -> bytes:
    """Negate all weight matrices: the inputs and outputs are the same, but the answers differ."""
    model = onnx.load_from_string(graph)
    for tensor in model.graph.initializer:
        if len(tensor.dims) == 2:
            tensor.CopyFrom(numpy_helper.from_array(-numpy_helper.to_array(tensor), tensor.name))
    return model.SerializeToString()


def refuse_row_count(graph: bytes, rows: int = 8) -> bytes:
    """Make a graph fail for batches of exactly this number of rows; other answers stay equal."""
    model = onnx.load_from_string(graph)
    (features,) = model.graph.input
    sizes = np.ones(1000, np.int64)
    sizes[rows] = 2  # reshaping a single number to this size fails
    constants = {"sizes": sizes, "one": np.ones(1, np.float32), "first": np.array([0])}
    for node in model.graph.node:
        node.input[:] = ["passed" if name == features.name else name for name in node.input]
    nodes = [
        helper.make_node("Shape", [features.name], ["shape"]),
        helper.make_node("Gather", ["shape", "first"], ["rows"]),
        helper.make_node("Gather", ["sizes", "rows"], ["size"]),
        helper.make_node("Reshape", ["one", "size"], ["factor"]),
        helper.make_node("Mul", [features.name, "factor"], ["passed"]),
        *model.graph.node,
    ]
    del model.graph.node[:]
    model.graph.node.extend(nodes)
    model.graph.initializer.extend(numpy_helper.from_array(a, n) for n, a in constants.items())
    return model.SerializeToString()


def enlarge(graph: bytes) -> bytes:
    """Pass the features through 2048 units unchanged: a 17 MB graph with exactly equal answers."""
    model = onnx.load_from_string(graph)
    (features,) = model.graph.input
    width = features.type.tensor_type.shape.dim[1].dim_value
    wide = np.eye(width, 2048, dtype=np.float32)
    weights = {"widen": wide, "square": np.eye(2048, dtype=np.float32), "narrow": wide.T.copy()}
    names = [features.name, *(f"{name} out" for name in weights)]
    for node in model.graph.node:
        node.input[:] = [names[-1] if name == features.name else name for name in node.input]
    steps = zip(pairwise(names), weights, strict=True)
    nodes = [helper.make_node("MatMul", [a, name], [b]) for (a, b), name in steps]
    nodes += list(model.graph.node)
    del model.graph.node[:]
    model.graph.node.extend(nodes)
    model.graph.initializer.extend(numpy_helper.from_array(a, n) for n, a in weights.items())
    return model.SerializeToString()


def write_variants(folder: Path, **changes: Callable[[bytes], bytes]) -> Path:
    """Replace the variants of a bundle, and expect the answers of its fp32 graph from all of them.

    Args:
        folder: Folder of the bundle, which is changed.
        **changes: Function from the fp32 graph to the variant's graph, by the variant's name.

    Returns:
        The folder.
    """
    bundle = Bundle.open(folder)
    graph, selftest = bundle.read_graph("fp32"), bundle.read_selftest()
    fp32 = bundle.manifest.variants["fp32"]
    variants = {}
    for name, change in changes.items():
        content = change(graph)
        file = f"model.{name}.onnx"
        (folder / file).write_bytes(content)
        described = {"file": file, "sha256": compute_sha256(content), "size_bytes": len(content)}
        variants[name] = fp32.model_copy(update=described)
    manifest = bundle.manifest.model_copy(update={"variants": variants})
    (folder / "bundle.json").write_text(manifest.model_dump_json())
    write_selftest(
        folder, SelfTest(selftest.inputs, dict.fromkeys(variants, selftest.expected["fp32"]))
    )
    return folder


def expect_other_answers(folder: Path, variant: str) -> None:
    """Make a variant fail its self-test, as on a CPU whose integer arithmetic saturates."""
    selftest = Bundle.open(folder).read_selftest()
    outputs = dict(selftest.expected[variant].outputs)
    outputs["probabilities"] = outputs["probabilities"][:, ::-1]
    tolerances = selftest.expected[variant].tolerances
    expected = selftest.expected | {variant: ExpectedAnswers(outputs, tolerances)}
    write_selftest(folder, SelfTest(selftest.inputs, expected))


def flip_bit(folder: Path, variant: str) -> None:
    """Flip one bit in the middle of a variant's file."""
    path = folder / Bundle.open(folder).manifest.variants[variant].file
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


def write_selftest(folder: Path, selftest: SelfTest) -> None:
    """Replace the self-test of a bundle, and its checksum in the manifest."""
    content = selftest.to_bytes()
    (folder / "selftest.npz").write_bytes(content)
    manifest = Bundle.open(folder).manifest
    files = manifest.files | {"selftest.npz": compute_sha256(content)}
    text = manifest.model_copy(update={"files": files}).model_dump_json()
    (folder / "bundle.json").write_text(text)


def keep_unchanged(graph: bytes) -> bytes:
    """Return the graph itself."""
    return graph


def compute_sha256(content: bytes) -> str:
    """Return the SHA-256 of a file's content in hexadecimal."""
    return hashlib.sha256(content).hexdigest()
