"""Fixtures: a bundle for a table with all column types, and its expected answers from NumPy.

The graph is built by hand, so that no code of the trainer or of the codec is needed.
"""

import hashlib
import json
import subprocess
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from onnx import TensorProto, helper

from serving.bundle import ExpectedAnswers, Manifest, SelfTest
from serving.telemetry import log_rate_limit

COLUMNS = [
    {"name": "age", "type": "number", "missing": "impute", "minimum": 17, "maximum": 90},
    {"name": "hours/week", "type": "number", "missing": "refuse", "minimum": 1, "maximum": 99},
    {"name": "member", "type": "boolean", "missing": "impute"},
    {
        "name": "work",
        "type": "category",
        "missing": "impute",
        "unseen": "unknown",
        "categories": ["Private", "Self-employed", "State"],
    },
    {
        "name": "grade",
        "type": "category",
        "missing": "refuse",
        "unseen": "refuse",
        "categories": ["1", "2", "3"],
    },
    {
        "name": "since",
        "type": "date",
        "missing": "impute",
        "minimum": "2000-01-01",
        "maximum": "2024-12-31",
    },
]
CLASSES = ["<=50K", ">50K"]
RECORD = {
    "age": 39,
    "hours/week": 40.5,
    "member": True,
    "work": "Private",
    "grade": "2",
    "since": "2012-06-01",
}
YEAR = 365.25 * 86400  # seconds
MEANS = {"age": 40.0, "hours/week": 38.0, "member": 0.5, "since": 40 * YEAR}
SCALES = {"age": 13.0, "hours/week": 12.0, "member": 0.5, "since": 7 * YEAR}
# Number of features: four numeric columns, and five per category column: its three categories, an
# unseen one, a missing value.
WIDTH = 4 + 5 + 5
WEIGHTS = np.random.default_rng(7).normal(size=(WIDTH, 2)).astype(np.float32)


def numpy_answers(records):
    """Compute the expected answers with NumPy, without ONNX or the codec.

    Args:
        records: Instances as dictionaries; a missing key is a missing value.

    Returns:
        Probabilities, float32 of shape (n, 2), and labels, texts of shape (n,).
    """
    features = np.zeros((len(records), WIDTH), np.float32)
    for row, record in zip(features, records, strict=True):
        since = record.get("since")
        if since is not None:
            since = datetime.fromisoformat(since).replace(tzinfo=UTC).timestamp()
        numbers = record | {"since": since}
        for place, name in ((0, "age"), (1, "hours/week"), (2, "member"), (13, "since")):
            value = numbers.get(name)
            row[place] = 0 if value is None else (value - MEANS[name]) / SCALES[name]
        for start, column in ((3, COLUMNS[3]), (8, COLUMNS[4])):
            value = record.get(column["name"])
            categories = column["categories"]
            if value is None:
                row[start + 4] = 1
            else:
                row[start + (categories.index(value) if value in categories else 3)] = 1
    weights = np.exp(features @ WEIGHTS)
    probabilities = weights / weights.sum(axis=1, keepdims=True)
    return probabilities, np.array(CLASSES)[probabilities.argmax(axis=1)]


def mixed_graph(columns=COLUMNS):
    """Return the same computation as an ONNX graph with one input per column, serialized."""
    nodes, constants, inputs, parts = [], [], [], []

    def constant(name, array):
        constants.append(
            helper.make_tensor(
                name, helper.np_dtype_to_tensor_dtype(array.dtype), array.shape, array.ravel()
            )
        )
        return name

    for number, column in enumerate(columns):
        name, part, unique = column["name"], f"part {number}", str(number)
        parts.append(part)
        if column["type"] == "category":
            inputs.append(helper.make_tensor_value_info(name, TensorProto.STRING, ["N", 1]))
            table = constant(f"table {unique}", np.eye(5, dtype=np.float32))
            nodes += [
                helper.make_node(
                    "LabelEncoder",
                    [name],
                    [f"code {unique}"],
                    domain="ai.onnx.ml",
                    keys_strings=[*column["categories"], ""],
                    values_int64s=[0, 1, 2, 4],
                    default_int64=3,
                ),
                helper.make_node("Gather", [table, f"code {unique}"], [f"wide {unique}"]),
                helper.make_node("Squeeze", [f"wide {unique}", "one"], [part]),
            ]
            continue
        kind = np.float64 if column["type"] == "date" else np.float32
        onnx_kind = helper.np_dtype_to_tensor_dtype(np.dtype(kind))
        inputs.append(helper.make_tensor_value_info(name, onnx_kind, ["N", 1]))
        mean = constant(f"mean {unique}", np.array([MEANS[name]], kind))
        scale = constant(f"scale {unique}", np.array([SCALES[name]], kind))
        nodes += [
            helper.make_node("IsNaN", [name], [f"gap {unique}"]),
            helper.make_node("Where", [f"gap {unique}", mean, name], [f"filled {unique}"]),
            helper.make_node("Sub", [f"filled {unique}", mean], [f"centred {unique}"]),
            helper.make_node("Div", [f"centred {unique}", scale], [f"scaled {unique}"]),
            helper.make_node("Cast", [f"scaled {unique}"], [part], to=TensorProto.FLOAT),
        ]
    constant("one", np.array([1]))
    width = sum(5 if column["type"] == "category" else 1 for column in columns)
    constant("weights", WEIGHTS[:width])
    nodes += [
        helper.make_node("Concat", parts, ["features of all"], axis=1),
        helper.make_node("MatMul", ["features of all", "weights"], ["logits"]),
        helper.make_node("Softmax", ["logits"], ["probabilities"], axis=1),
        helper.make_node("ArgMax", ["logits"], ["place"], axis=1, keepdims=0),
        helper.make_node(
            "LabelEncoder",
            ["place"],
            ["label"],
            domain="ai.onnx.ml",
            keys_int64s=[0, 1],
            values_strings=CLASSES,
        ),
    ]
    outputs = [
        helper.make_tensor_value_info("label", TensorProto.STRING, ["N"]),
        helper.make_tensor_value_info("probabilities", TensorProto.FLOAT, ["N", 2]),
    ]
    graph = helper.make_graph(nodes, "mixed", inputs, outputs, constants)
    opsets = [helper.make_opsetid("", 17), helper.make_opsetid("ai.onnx.ml", 3)]
    return helper.make_model(graph, opset_imports=opsets, ir_version=9).SerializeToString()


def random_records(count, rng):
    """Return random records with values and gaps of every kind that the model accepts.

    Args:
        count: Number of records.
        rng: NumPy random generator.
    """
    dates = ["2001-02-03", "2012-06-01T10:30:00", "1969-12-31", None]
    return [
        {
            "age": rng.choice([None, *rng.uniform(17, 90, 5)]),
            "hours/week": float(rng.uniform(1, 99)),
            "member": rng.choice([None, True, False]),
            "work": rng.choice([None, "Private", "Self-employed", "State", "Abroad"]),
            "grade": str(rng.integers(1, 4)),
            "since": rng.choice(dates),
        }
        for _ in range(count)
    ]


def graph_inputs(records):
    """Return records as the graph's inputs, one array of shape (n, 1) per column."""

    def convert(record, column):
        value = record.get(column["name"])
        if column["type"] == "category":
            return value or ""
        if value is None:
            return np.nan
        if column["type"] == "date":
            return datetime.fromisoformat(value).replace(tzinfo=UTC).timestamp()
        return value

    kinds = {"category": np.object_, "date": np.float64}
    return {
        column["name"]: np.array(
            [[convert(record, column)] for record in records], kinds.get(column["type"], np.float32)
        )
        for column in COLUMNS
    }


def write_bundle(models: Path, *, graph=None, selftest=None, **changes) -> Path:
    """Write the bundle `models/adults/1` and return its folder.

    Args:
        models: Folder of models to write to.
        graph: Serialized graph; by default `mixed_graph()`.
        selftest: Self-test; by default one of 32 random records.
        changes: Values of the manifest to replace.
    """
    records = random_records(32, np.random.default_rng(3))
    probabilities, label = numpy_answers(records)
    graph = graph or mixed_graph()
    selftest = selftest or SelfTest(
        graph_inputs(records),
        {
            "fp32": ExpectedAnswers(
                {"label": label, "probabilities": probabilities},
                {"probabilities": np.full_like(probabilities, 1e-5)},
            )
        },
    )
    files = {"model.onnx": graph, "selftest.npz": selftest.to_bytes(), "reference.json": b"{}"}
    checksums = {name: hashlib.sha256(content).hexdigest() for name, content in files.items()}
    manifest = {
        "schema_version": 1,
        "name": "adults",
        "version": 1,
        "created": "2026-01-01T00:00:00Z",
        "task": "binary",
        "inputs": COLUMNS,
        "classes": CLASSES,
        "threshold": 0.5,
        "aim": "f1 of >50K",
        "parameters": WEIGHTS.size,
        "example": RECORD,
        "intervals": {"accuracy": [0.8, 0.9]},
        "metrics": {"validation": {"accuracy": 0.8}, "test": {"accuracy": 0.85}},
        "variants": {
            "fp32": {
                "file": "model.onnx",
                "sha256": checksums.pop("model.onnx"),
                "size_bytes": len(graph),
                "metrics": {"accuracy": 0.85},
                "latency_us": {},
                "parity": {"rows": 77, "max_abs": 0, "max_rel": 0, "label_agreement": 1},
            }
        },
        "files": checksums,
        "data": {
            "source": "adults.csv",
            "fingerprint": "0",
            "target": ["income"],
            "rows": {"train": 411},
        },
        "training": {"config": {}, "epochs_run": 9, "best_epoch": 5, "seconds": 2.5},
        "libraries": {},
    }
    folder = models / "adults" / "1"
    folder.mkdir(parents=True)
    for name, content in files.items():
        (folder / name).write_bytes(content)
    content = json.dumps(manifest | changes)
    Manifest.model_validate_json(content)
    (folder / "bundle.json").write_text(content)
    return folder


@pytest.fixture(scope="session")
def adults(tmp_path_factory) -> Path:
    """Return a folder of models with one model of mixed columns; tests must not write to it."""
    models = tmp_path_factory.mktemp("adults") / "models"
    write_bundle(models)
    return models


@pytest.fixture(scope="session")
def mixed():
    """Return the parts of the model of mixed columns, and functions to build others."""
    return SimpleNamespace(
        columns=COLUMNS,
        record=RECORD,
        answers=numpy_answers,
        graph=mixed_graph,
        inputs=graph_inputs,
        records=random_records,
        write=write_bundle,
    )


def make_certificate(folder: Path) -> tuple[Path, Path]:
    """Write a self-signed certificate for 127.0.0.1 and its key; return both files."""
    cert, key = folder / "cert.pem", folder / "key.pem"
    command = (
        f"openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 1 "
        f"-subj /CN=forwardpass -addext subjectAltName=IP:127.0.0.1 -keyout {key} -out {cert}"
    )
    subprocess.run(command.split(), check=True, capture_output=True)
    return cert, key


@pytest.fixture(scope="session")
def certificate(tmp_path_factory) -> tuple[Path, Path]:
    """Return the files of a self-signed certificate for 127.0.0.1 and of its key."""
    return make_certificate(tmp_path_factory.mktemp("tls"))


@pytest.fixture(autouse=True)
def _cancel_log_timers(monkeypatch) -> Iterator[None]:
    """Stop the timers of the log rate limiter, which would log into the next test."""
    timers = []

    class Timer(log_rate_limit.Timer):
        def __init__(self, *arguments):
            super().__init__(*arguments)
            timers.append(self)

    monkeypatch.setattr(log_rate_limit, "Timer", Timer)
    yield
    for timer in timers:
        timer.cancel()
        if timer.ident is not None:
            timer.join()
